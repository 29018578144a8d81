/**
 * Writes to a database that others write, too. Every transaction begins with a lock on the one row that counts versions,
 * so that they run one after the other, and each sees all those before it.
 */
import { StoreError } from "../../../module/store/error";
import type { Commit, StoredDocument, StoredEntry } from "../../../module/store/port";
import { asHost } from "../../../system/leave-graph";
import type { BackendOptions, Committed } from "../../backend";
import { entriesOf, type Found } from "../../plan";
import { pushChange } from "../change-rows";
import { documentId, documentsOf, netWrites, planBatch } from "./batch";
import { type Session, type SqlDatabase, SqlError } from "./database";
import type { Dialect, Query, Row, SqlValue } from "./dialect";
import type { KnownChanges } from "./known-changes";
import { documentOf, entryOf, logOf, textOf } from "./rows";
import * as statements from "./statements";

/** The log of changes is trimmed once in so many batches. */
const TRIM_EVERY = 64;
/** Documents whose entries are made in one step of building an index. */
const INDEX_STEP = 1000;
/** Entries that one step of dropping an index deletes. */
const DROP_STEP = 5000;
/** How long a commit waits to hear whether it was done, if the connection was lost at its end. In milliseconds. */
const DOUBT_MS = 10_000;
const DOUBT_STEP_MS = 200;

interface SqlWriterParts {
  readonly database: SqlDatabase;
  readonly known: KnownChanges;
  readonly id: string;
  readonly options: BackendOptions;
}

/** The store under the lock. */
interface Head {
  readonly session: Session;
  readonly version: number;
}

export class SqlWriter {
  readonly #database: SqlDatabase;
  readonly #dialect: Dialect;
  readonly #known: KnownChanges;
  readonly #id: string;
  readonly #options: BackendOptions;
  /** The transaction under way, and those that wait for it. */
  #last: Promise<unknown> = Promise.resolve();
  #batches = 0;
  /** Indexes that are being dropped. */
  readonly #dropped = new Set<string>();

  constructor({ database, known, id, options }: SqlWriterParts) {
    this.#database = database;
    this.#dialect = database.dialect;
    this.#known = known;
    this.#id = id;
    this.#options = options;
  }

  /** Resolves when nothing is under way. Never rejects. */
  async idle(): Promise<void> {
    await this.#last.catch(() => undefined);
  }

  async commit(commits: readonly Commit[]): Promise<readonly Committed[]> {
    return await this.#alone(async () => {
      try {
        return await this.#commit(commits);
      } catch (error) {
        // Nothing was sent that lasts: the connection was an old one, which its server has closed.
        if (error instanceof BeginLost) return await this.#commit(commits);
        throw error;
      }
    });
  }

  async #commit(commits: readonly Commit[]): Promise<readonly Committed[]> {
    const { head, found } = await this.#begin(commits);
    const { committed, writes, changes, lastVersion } = this.#orClose(head.session, () => planBatch(commits, found));
    if (changes.length === 0) {
      await this.#run(head.session, [ROLLBACK]);
      return committed;
    }
    const net = netWrites(writes);
    const cells: Parameters<typeof pushChange>[0] = [];
    for (const change of changes) pushChange(cells, change);
    const batch = `${this.#id}:${lastVersion}`;
    const { now } = found;
    const queries = [
      ...this.#dialect.deleteDocuments(net.deleted),
      ...this.#dialect.putDocuments(net.documents),
      ...this.#dialect.deleteEntries(net.deletedEntries),
      ...this.#dialect.putEntries(net.entries),
      this.#query(statements.PUT_CHANGES, [lastVersion, head.version + 1, batch, JSON.stringify(cells)]),
      this.#query(statements.PUT_HEAD, [lastVersion, now]),
      ...this.#trim(lastVersion),
      this.#dialect.notify(batch),
    ].filter((query) => query !== null);
    await this.#end(head.session, queries, { batch, lastVersion });
    this.#known.takeOwn(changes);
    return committed;
  }

  #trim(lastVersion: number): readonly Query[] {
    if (++this.#batches % TRIM_EVERY !== 0) return [];
    return [this.#query(statements.TRIM, [lastVersion - this.#options.keptChanges])];
  }

  /** Takes the lock, and reads all that the commits ask for. */
  async #begin(commits: readonly Commit[]): Promise<{ head: Head; found: Found }> {
    const session = await this.#database.session();
    const asked = this.#dialect.documentsByName(documentsOf(commits));
    const { version: known } = this.#known;
    const [, [row], indexes, log, ...documents] = (await this.#orLost(session, [
      this.#dialect.begin,
      this.#query(statements.BEGIN_ROW, []),
      this.#query(statements.INDEXES, []),
      this.#query(statements.LOG, [known]),
      ...asked,
    ])) as [unknown, [Row], readonly Row[], readonly Row[], ...(readonly Row[])[]];
    const head = { session, version: Number(row["version"]) };
    this.#options.raiseClock(Number(row["clock"]));
    await this.#hear(head, log);
    return { head, found: this.#found(head.version, indexes, documents.flat()) };
  }

  /** What others have committed is told before what this batch does. */
  async #hear({ session, version }: Head, log: readonly Row[]): Promise<void> {
    this.#known.takeForeign(logOf(log).changes);
    if (this.#known.version >= version) return;
    const [[newest]] = (await this.#run(session, [this.#query(statements.NEWEST, [])])) as [[Row | undefined]];
    if (newest !== undefined) this.#known.takeForeign(logOf([{ at: version, oldest: null, ...newest }]).changes);
  }

  #found(lastVersion: number, indexes: readonly Row[], rows: readonly Row[]): Found {
    const documents = new Map<string, StoredDocument>();
    for (const row of rows) documents.set(documentId(textOf(row["collection"]), textOf(row["id"])), documentOf(row));
    const fields = Map.groupBy(indexes, (row) => textOf(row["collection"]));
    const names = new Map([...fields].map(([name, of]) => [name, of.map(({ field }) => textOf(field))]));
    return {
      read: (collection, key) => documents.get(documentId(collection, key)) ?? null,
      isUnchanged: (check) => this.#known.isUnchanged(check),
      indexesOf: (collection) => names.get(collection) ?? [],
      now: this.#options.now(),
      lastVersion,
      limits: this.#options.limits,
    };
  }

  // ---- indexes ----

  async buildIndex(collection: string, index: string): Promise<boolean> {
    const name: readonly SqlValue[] = [collection, Buffer.from(index)];
    const state = this.#query("SELECT built, complete FROM hrmr_indexes WHERE collection = ? AND field = ?", name);
    const [known] = await this.#database.read(state);
    if (known !== undefined && Number(known["complete"]) === 1) return true;
    return await this.#alone(async () => {
      const session = await this.#locked();
      const [[row]] = (await this.#run(session, [state])) as [[Row | undefined]];
      if (row === undefined)
        await this.#run(session, [
          this.#query("INSERT INTO hrmr_indexes (collection, field, built, complete) VALUES (?, ?, NULL, 0)", name),
        ]);
      const built = (row?.["built"] ?? null) as Uint8Array | null;
      const documents = await this.#documentsBehind(session, collection, built);
      const last = documents.at(-1);
      const entries = documents.flatMap(({ key, ...document }) =>
        entriesOf(document, [index]).map(({ value }) => ({ collection, key, index, value })),
      );
      const isComplete = last === undefined;
      await this.#run(session, [
        ...this.#dialect.putEntries(entries),
        this.#query("UPDATE hrmr_indexes SET built = ?, complete = ? WHERE collection = ? AND field = ?", [
          last === undefined ? built : Buffer.from(last.key),
          isComplete ? 1 : 0,
          ...name,
        ]),
      ]);
      await this.#run(session, [COMMIT]);
      return isComplete;
    });
  }

  async #documentsBehind(session: Session, collection: string, key: Uint8Array | null): Promise<StoredEntry[]> {
    const sql = statements.documentsBehind(key !== null);
    const query = this.#query(sql, [collection, key ?? Buffer.alloc(0), INDEX_STEP]);
    const [rows] = (await this.#run(session, [query])) as [readonly Row[]];
    return rows.map(entryOf);
  }

  /** Drops it in steps. It stops if another server begins to build it anew. */
  async dropIndex(collection: string, index: string): Promise<boolean> {
    const name: readonly SqlValue[] = [collection, Buffer.from(index)];
    const id = documentId(collection, index);
    return await this.#alone(async () => {
      const session = await this.#locked();
      const state = "SELECT built, complete FROM hrmr_indexes WHERE collection = ? AND field = ?";
      const entries = `SELECT value, id FROM hrmr_entries WHERE collection = ? AND field = ? ORDER BY value, id LIMIT ${DROP_STEP}`;
      const [[row], rows] = (await this.#run(session, [this.#query(state, name), this.#query(entries, name)])) as [
        [Row | undefined],
        readonly Row[],
      ];
      const step = dropStep({ row, isEmpty: rows.length === 0, isBegun: this.#dropped.has(id) });
      const found = rows.map(({ value, id: key }) => ({ collection, index, value: textOf(value), key: textOf(key) }));
      const queries = {
        end: [],
        remove: [this.#query("DELETE FROM hrmr_indexes WHERE collection = ? AND field = ?", name)],
        go: [
          this.#query("UPDATE hrmr_indexes SET built = NULL, complete = 0 WHERE collection = ? AND field = ?", name),
          ...this.#dialect.deleteEntries(found),
        ],
      }[step];
      await this.#run(session, [...queries, COMMIT]);
      const isOver = step !== "go";
      if (isOver) this.#dropped.delete(id);
      else this.#dropped.add(id);
      return isOver;
    });
  }

  async #locked(): Promise<Session> {
    const session = await this.#database.session();
    await this.#run(session, [this.#dialect.begin, this.#query(statements.BEGIN_ROW, [])]);
    return session;
  }

  // ---- transactions ----

  /** One after the other, on one connection. */
  async #alone<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work, work);
    this.#last = done.catch(() => undefined);
    return await done;
  }

  /** Runs the first queries of a transaction. @throws BeginLost: the connection was lost */
  async #orLost(session: Session, queries: readonly Query[]): Promise<readonly (readonly Row[])[]> {
    try {
      return await this.#run(session, queries);
    } catch (error) {
      throw error instanceof SqlError && error.isLost ? new BeginLost(error) : error;
    }
  }

  /** A transaction that fails ends with its connection. */
  async #run(session: Session, queries: readonly Query[]): Promise<readonly (readonly Row[])[]> {
    try {
      return await session.all(queries);
    } catch (error) {
      session.close();
      throw error;
    }
  }

  #orClose<T>(session: Session, work: () => T): T {
    try {
      return work();
    } catch (error) {
      session.close();
      throw error;
    }
  }

  /** Writes and commits. @throws SqlError none of it was done, but for UNKNOWN */
  async #end(session: Session, queries: readonly Query[], made: Batch): Promise<void> {
    if (!this.#dialect.isAbortedByErrors) await this.#run(session, queries);
    const sent = this.#dialect.isAbortedByErrors ? [...queries, COMMIT] : [COMMIT];
    const error = await this.#commitError(session, sent);
    if (error === null) return;
    session.close();
    if (!error.isLost) throw error;
    if (!(await this.#wasDone(made))) throw error;
  }

  async #commitError(session: Session, queries: readonly Query[]): Promise<SqlError | null> {
    try {
      const done = await session.settled(queries);
      const last = done.at(-1) as (typeof done)[number];
      // COMMIT of a transaction with an error is answered by ROLLBACK.
      const isDone = last.status === "fulfilled" && (last.value as { command?: unknown }).command !== "ROLLBACK";
      if (isDone) return null;
      const first = done.find(({ status }) => status === "rejected") as PromiseRejectedResult | undefined;
      const reason: unknown = first?.reason ?? new Error("the database has rolled the transaction back");
      return this.#database.failed(reason);
    } catch (error) {
      return this.#database.failed(error);
    }
  }

  /**
   * Whether a COMMIT was done whose answer was lost. The lock waits until the lost transaction has ended.
   *
   * @throws StoreError UNKNOWN: the database does not come back
   */
  async #wasDone({ batch, lastVersion }: Batch): Promise<boolean> {
    const until = performance.now() + DOUBT_MS;
    for (;;) {
      try {
        const session = await this.#locked();
        const [[row]] = (await this.#run(session, [this.#query(statements.BATCH, [lastVersion])])) as [
          [Row | undefined],
        ];
        await this.#run(session, [ROLLBACK]);
        return row !== undefined && textOf(row["batch"]) === batch;
      } catch (error) {
        if (performance.now() > until)
          throw new StoreError(
            "UNKNOWN",
            `the store ${this.#database.name}: the connection was lost while it committed, so the write may be done or not. Read the documents again (${(error as Error).message})`,
          );
        await asHost(() => Bun.sleep(DOUBT_STEP_MS));
      }
    }
  }

  #query(sql: string, values: readonly SqlValue[]): Query {
    return this.#dialect.statement(sql, values);
  }
}

interface DropState {
  /** Of the index. undefined: there is none */
  readonly row: Row | undefined;
  /** It has no entries. */
  readonly isEmpty: boolean;
  /** A step before this one has marked it. */
  readonly isBegun: boolean;
}

function dropStep({ row, isEmpty, isBegun }: DropState): "go" | "remove" | "end" {
  if (row === undefined) return "end";
  const isBuilt = row["built"] !== null || Number(row["complete"]) === 1;
  // A server that needs it has begun to build it anew.
  if (isBegun && isBuilt) return "end";
  return isEmpty ? "remove" : "go";
}

/** What a batch leaves in the log of changes. */
interface Batch {
  readonly batch: string;
  readonly lastVersion: number;
}

const COMMIT: Query = { sql: "COMMIT", values: [] };
const ROLLBACK: Query = { sql: "ROLLBACK", values: [] };

/** The connection was lost before anything was written. */
class BeginLost extends SqlError {
  constructor(error: SqlError) {
    super({ code: error.code, text: "", isLost: true }, "");
    this.message = error.message;
  }
}
