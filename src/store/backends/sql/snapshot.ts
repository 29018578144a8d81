/** Reads a whole store as it is at one moment, while others write. */
import type { StoredEntry } from "../../../module/store/port";
import { entriesOf } from "../../plan";
import type { EntryRow } from "./batch";
import type { Session } from "./database";
import type { Dialect, Query, Row } from "./dialect";
import { entryOf, textOf } from "./rows";
import * as statements from "./statements";

/** Faults that are told one by one. */
const MAX_TOLD = 20;
const PAGE = 1000;

interface SnapshotPart {
  readonly collection: string;
  readonly entries: readonly StoredEntry[];
}

/** Within one transaction that sees one moment. */
export class Snapshot {
  readonly #session: Session;
  readonly #dialect: Dialect;

  constructor(session: Session, dialect: Dialect) {
    this.#session = session;
    this.#dialect = dialect;
  }

  async head(): Promise<{ version: number; clock: number }> {
    const [row] = await this.#rows(this.#dialect.statement(statements.HEAD, []));
    return { version: Number(row?.["version"]), clock: Number(row?.["clock"]) };
  }

  /** All documents, also those whose time is over, by collection and key. */
  async *parts(): AsyncGenerator<SnapshotPart, void> {
    for (const { collection } of await this.#rows(this.#dialect.statement(statements.COLLECTIONS, [])))
      yield* this.#partsOf(textOf(collection));
  }

  async *#partsOf(collection: string): AsyncGenerator<SnapshotPart, void> {
    let after: Uint8Array | null = null;
    for (;;) {
      const sql = statements.documentsBehind(after !== null);
      const rows = await this.#rows(this.#dialect.statement(sql, [collection, after ?? Buffer.alloc(0), PAGE]));
      const entries = rows.map(entryOf);
      const last = entries.at(-1);
      if (last === undefined) return;
      yield { collection, entries };
      after = Buffer.from(last.key);
    }
  }

  /** @returns the faults, each a sentence */
  async faults(): Promise<string[]> {
    const { version } = await this.head();
    const indexes = (await this.#rows(this.#dialect.statement(statements.COMPLETE_INDEXES, []))).map((row) => ({
      collection: textOf(row["collection"]),
      index: textOf(row["field"]),
      expected: 0,
    }));
    const faults: string[] = [];
    for await (const part of this.parts()) {
      const { collection } = part;
      const own = indexes.filter((index) => index.collection === collection);
      const { readable, told } = readPart(part, version);
      faults.push(...told);
      const rows: EntryRow[] = [];
      for (const each of own) {
        const expected = readable.flatMap(({ key, ...document }) =>
          entriesOf(document, [each.index]).map(({ value }) => ({ collection, key, index: each.index, value })),
        );
        each.expected += expected.length;
        rows.push(...expected);
      }
      faults.push(...(await this.#missing(rows)));
      if (faults.length >= MAX_TOLD) return faults.slice(0, MAX_TOLD);
    }
    for (const { collection, index, expected } of indexes) {
      const count = this.#dialect.statement(statements.COUNT_ENTRIES, [collection, Buffer.from(index)]);
      const surplus = Number((await this.#rows(count))[0]?.["entries"]) - expected;
      if (surplus > 0) faults.push(`the index ${index} of ${collection} has ${surplus} entries too many`);
    }
    return faults;
  }

  async #missing(rows: readonly EntryRow[]): Promise<string[]> {
    const found = new Set<string>();
    for (const query of this.#dialect.entriesAmong(rows))
      for (const { field, value, id } of await this.#rows(query))
        found.add(JSON.stringify([textOf(field), textOf(value), textOf(id)]));
    return rows
      .filter(({ index, value, key }) => !found.has(JSON.stringify([index, value, key])))
      .map(({ collection, index, key }) => `the index ${index} of ${collection} lacks the document ${quote(key)}`);
  }

  async #rows(query: Query): Promise<readonly Row[]> {
    const [rows] = await this.#session.all([query]);
    return rows as readonly Row[];
  }
}

/** The documents that are JSON, and what is wrong with the others. */
function readPart({ collection, entries }: SnapshotPart, version: number): { readable: StoredEntry[]; told: string[] } {
  const told: string[] = [];
  const readable = entries.filter((entry) => {
    const name = `the document ${quote(entry.key)} of ${collection}`;
    if (entry.version > version) told.push(`${name} has version ${entry.version}, and the store only ${version}`);
    try {
      JSON.parse(entry.text);
      return true;
    } catch {
      told.push(`${name} is not JSON`);
      return false;
    }
  });
  return { readable, told };
}

function quote(key: string): string {
  return JSON.stringify(key);
}
