/** The store in a database that Bun.SQL reaches. Any number of servers may share it. */
import { StoreError } from "../../../module/store/error";
import { behindPrefix } from "../../../module/store/names";
import type {
  Commit,
  IndexRange,
  KeyRange,
  Page,
  SqlStatement,
  StoredChange,
  StoredDocument,
  StoredEntry,
} from "../../../module/store/port";
import { asHost } from "../../../system/leave-graph";
import type { Backend, BackendOptions, Committed } from "../../backend";
import { liveAt } from "../../plan";
import { fillNewFile } from "../sqlite/fill";
import { SqlDatabase } from "./database";
import type { Dialect, Query, Row, SqlValue } from "./dialect";
import { KnownChanges } from "./known-changes";
import { documentOf, entryOf, logOf, textOf } from "./rows";
import { Snapshot } from "./snapshot";
import * as statements from "./statements";
import { SqlWriter } from "./writer";

const FORMAT = 1;
/** News of another server that could not be read are tried again after so long. In milliseconds. */
const CATCH_UP_MS = 1000;
/** A network may lose a connection so that nobody hears of it: the database is asked once in so long. In milliseconds. */
const ASK_ANYWAY_MS = 10_000;
/** How long each part of giving space back may take. In milliseconds. */
const COMPACT_MS = 3_600_000;
const COLUMNS = "id, text, version, expires";
const DOCUMENT = "d.id, d.text, d.version, d.expires";

interface OpenDatabase {
  readonly database: SqlDatabase;
  readonly known: KnownChanges;
  readonly writer: SqlWriter;
}

export class SqlBackend implements Backend {
  readonly kind: Dialect["kind"];
  readonly isTold: boolean;
  readonly #url: string;
  readonly #dialect: Dialect;
  readonly #options: BackendOptions;
  /** Tells its own news from those of others. */
  readonly #id = crypto.randomUUID();
  #open: OpenDatabase | null = null;
  #listening: Promise<void> | null = null;
  #retry: NodeJS.Timeout | null = null;
  /** While it listens. */
  #asks: NodeJS.Timeout | null = null;

  constructor(url: string, dialect: Dialect, options: BackendOptions) {
    this.kind = dialect.kind;
    this.isTold = dialect.channel !== null;
    this.#url = url;
    this.#dialect = dialect;
    this.#options = options;
  }

  async open(): Promise<number> {
    const database = new SqlDatabase(this.#url, this.#dialect, this.#options.durability);
    try {
      const { version, clock } = await this.#prepare(database);
      this.#options.raiseClock(clock);
      const known = new KnownChanges(version, this.#options.onForeignChanges);
      const writer = new SqlWriter({ database, known, id: this.#id, options: this.#options });
      this.#open = { database, known, writer };
      return version;
    } catch (error) {
      await database.close();
      throw error;
    }
  }

  async #prepare(database: SqlDatabase): Promise<{ version: number; clock: number }> {
    const session = await database.session();
    const [[has]] = (await session.all([this.#dialect.hasTables])) as [[Row]];
    if (Number(has["tables"]) === 0) for (const query of this.#dialect.tables) await session.all([query]);
    const [[head]] = (await session.all([this.#dialect.statement(statements.HEAD, [])])) as [[Row | undefined]];
    if (head === undefined)
      throw new StoreError(
        "NOT_A_STORE",
        `the store ${database.name}: its table hrmr_store is empty. Restore a backup`,
      );
    const format = Number(head["format"]);
    if (format > FORMAT)
      throw new StoreError(
        "NEWER_SCHEMA",
        `the store ${database.name} was written by a newer version of hrmr (schema ${format}; this one knows ${FORMAT}). Use that version, or restore a backup`,
      );
    return { version: Number(head["version"]), clock: Number(head["clock"]) };
  }

  // ---- reading ----

  async get(collection: string, keys: readonly string[]): Promise<readonly (StoredDocument | null)[]> {
    const parts = await Promise.all(
      this.#dialect.documentsByKey(collection, keys).map((query) => this.#database.read(query)),
    );
    const found = new Map(parts.flat().map((row) => [textOf(row["id"]), documentOf(row)]));
    const now = this.#options.now();
    return keys.map((key) => liveAt(found.get(key) ?? null, now));
  }

  async list(collection: string, { prefix, after, limit, reverse }: KeyRange): Promise<Page> {
    const rules: Rule[] = [["collection = ?", collection]];
    const end = behindPrefix(prefix);
    if (prefix !== "") rules.push(["id >= ?", bytes(prefix)]);
    if (prefix !== "" && end !== null) rules.push(["id < ?", bytes(end)]);
    if (after !== null) rules.push([reverse ? "id < ?" : "id > ?", bytes(after)]);
    return await this.#page(rules, {
      select: `SELECT ${DOCUMENT} FROM hrmr_documents d`,
      columns: COLUMNS,
      order: `id${reverse ? " DESC" : ""}`,
      limit,
    });
  }

  async find(collection: string, { index, from, to, after, limit, reverse }: IndexRange): Promise<Page> {
    const rules: Rule[] = [["e.collection = ? AND e.field = ?", collection, bytes(index)]];
    if (from !== null) rules.push(["e.value >= ?", bytes(from)]);
    if (to !== null) rules.push(["e.value <= ?", bytes(to)]);
    const [than, down] = reverse ? ["<", " DESC"] : [">", ""];
    if (after !== null) {
      const [value, key] = [bytes(after.value), bytes(after.key)];
      // Written so that every database takes the index.
      rules.push([`e.value ${than}= ? AND (e.value ${than} ? OR e.id ${than} ?)`, value, value, key]);
    }
    return await this.#page(rules, {
      select: `SELECT e.value, ${DOCUMENT} FROM hrmr_entries e JOIN hrmr_documents d ON d.collection = e.collection AND d.id = e.id`,
      columns: `value, ${COLUMNS}`,
      order: `value${down}, id${down}`,
      limit,
    });
  }

  async #page(
    rules: readonly Rule[],
    { select, columns, order, limit }: { select: string; columns: string; order: string; limit: number },
  ): Promise<Page> {
    const all: readonly Rule[] = [...rules, ["(d.expires IS NULL OR d.expires > ?)", this.#options.now()]];
    const where = all.map(([rule]) => rule).join(" AND ");
    const query = statements.page(`${select} WHERE ${where} ORDER BY ${order} LIMIT ?`, { columns, order });
    const rows = await this.#rows(query, [...all.flatMap(([, ...values]) => values), limit]);
    const entries = rows.filter(({ id }) => id !== null).map(entryOf);
    return { entries, at: Number(rows[0]?.["at"]) };
  }

  async changesAfter(version: number, limit: number): Promise<readonly StoredChange[] | null> {
    const found: StoredChange[] = [];
    for (let last = version; ;) {
      const { at, oldest, changes } = logOf(await this.#rows(statements.LOG, [last]));
      if (oldest === null ? last < at : last < oldest - 1) return null;
      for (const change of changes) if (change.version > version) found.push(change);
      last = changes.at(-1)?.version ?? at;
      if (found.length >= limit || last >= at) return found.slice(0, limit);
    }
  }

  async expired(limit: number): Promise<readonly (StoredEntry & { readonly collection: string })[]> {
    const rows = await this.#rows(
      `SELECT collection, ${COLUMNS} FROM hrmr_documents WHERE expires <= ? ORDER BY expires LIMIT ?`,
      [this.#options.now(), limit],
    );
    return rows.map((row) => ({ collection: textOf(row["collection"]), ...entryOf(row) }));
  }

  async collections(): Promise<readonly { readonly name: string; readonly documents: number }[]> {
    const rows = await this.#rows(
      "SELECT collection, count(*) AS documents FROM hrmr_documents GROUP BY collection ORDER BY collection",
      [],
    );
    return rows.map((row) => ({ name: textOf(row["collection"]), documents: Number(row["documents"]) }));
  }

  async sql({ parts, values }: SqlStatement): Promise<readonly Record<string, unknown>[]> {
    const sql = parts.map((part, at) => (at === 0 ? part : this.#dialect.mark(at) + part)).join("");
    return this.#dialect.plainRows(await this.#database.run({ sql, values: values as readonly SqlValue[] }));
  }

  // ---- writing ----

  async commit(commits: readonly Commit[]): Promise<readonly Committed[]> {
    return await this.#opened.writer.commit(commits);
  }

  async buildIndex(collection: string, index: string): Promise<boolean> {
    return await this.#opened.writer.buildIndex(collection, index);
  }

  async dropIndex(collection: string, index: string): Promise<boolean> {
    return await this.#opened.writer.dropIndex(collection, index);
  }

  // ---- upkeep ----

  async check(): Promise<readonly string[]> {
    return await this.#snapshot(async (snapshot) => await snapshot.faults());
  }

  async compact(): Promise<void> {
    await this.#database.apart(async (session) => {
      for (const query of this.#dialect.compact) await session.all([query], COMPACT_MS);
    });
  }

  /** The copy is a file of SQLite. */
  async backup(path: string): Promise<void> {
    await this.#snapshot(async (snapshot) => {
      await fillNewFile(path, { ...(await snapshot.head()), parts: snapshot.parts() });
    });
  }

  async #snapshot<T>(use: (snapshot: Snapshot) => Promise<T>): Promise<T> {
    return await this.#database.apart(async (session) => {
      await session.all(this.#dialect.snapshot);
      return await use(new Snapshot(session, this.#dialect));
    });
  }

  // ---- other servers ----

  async look(): Promise<void> {
    const { channel } = this.#dialect;
    if (channel !== null) {
      this.#listening ??= this.#listen(channel).catch((error: unknown) => {
        this.#listening = null;
        throw error;
      });
      await this.#listening;
      if (this.#open !== null) this.#asks ??= asHost(() => setInterval(() => this.#catchUpLater(0), ASK_ANYWAY_MS));
      this.#asks?.unref();
    }
    await this.#catchUp();
  }

  #listen(channel: string): Promise<void> {
    return this.#database.listen(
      channel,
      (news) => {
        if (!news.startsWith(this.#id)) this.#catchUpLater(0);
      },
      () => this.#catchUpLater(0),
    );
  }

  #catchUpLater(afterMs: number): void {
    this.#retry ??= asHost(() =>
      setTimeout(() => {
        this.#retry = null;
        if (this.#open !== null) this.#catchUp().catch(() => this.#catchUpLater(CATCH_UP_MS));
      }, afterMs),
    );
  }

  async #catchUp(): Promise<void> {
    const { known } = this.#opened;
    for (;;) {
      const { at, changes } = logOf(await this.#rows(statements.LOG, [known.version]));
      known.takeForeign(changes);
      if (changes.length === 0 || known.version >= at) return;
    }
  }

  // ---- the database ----

  async #rows(sql: string, values: readonly SqlValue[]): Promise<readonly Row[]> {
    return await this.#database.read(this.#query(sql, values));
  }

  #query(sql: string, values: readonly SqlValue[]): Query {
    return this.#dialect.statement(sql, values);
  }

  get #database(): SqlDatabase {
    return this.#opened.database;
  }

  get #opened(): OpenDatabase {
    if (this.#open === null) throw new StoreError("UNAVAILABLE", "the store is not open");
    return this.#open;
  }

  async close(): Promise<void> {
    const open = this.#open;
    this.#open = null;
    this.#listening = null;
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#retry = null;
    if (this.#asks !== null) clearInterval(this.#asks);
    this.#asks = null;
    await open?.writer.idle();
    await open?.database.close();
  }
}

type Rule = readonly [sql: string, ...values: SqlValue[]];

function bytes(text: string): Uint8Array {
  return Buffer.from(text);
}
