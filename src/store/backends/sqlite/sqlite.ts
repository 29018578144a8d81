/** The store in a file of SQLite, in WAL mode. */
import type { Database, SQLQueryBindings, Statement } from "bun:sqlite";
import { statSync } from "node:fs";
import { StoreError } from "../../../module/store/error";
import type {
  Awaitable,
  Check,
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
import type { StoreSize } from "../../../observe/snapshot";
import type { Backend, BackendOptions, Batch, Committed, ReadsApart } from "../../backend";
import { databaseError } from "../../database-error";
import { type DocumentWrite, type Found, planCommit } from "../../plan";
import { RecentChanges } from "../../recent";
import { pushChange, readChanges } from "../change-rows";
import { checkFile } from "./check";
import { DocumentCache } from "./document-cache";
import { addEntry, buildStep, dropStep } from "./index-steps";
import { DOCUMENT, entriesOfPage, findQuery, listQuery, type PageQuery } from "./pages";
import { looksLikeRead, Readers } from "./readers/readers";
import { copyInto, openFile } from "./schema";
import { runSql } from "./sql";

/** The log of changes is trimmed once in so many batches. */
const TRIM_EVERY = 64;

const READ = `SELECT ${DOCUMENT} FROM documents d WHERE d.collection = ? AND d.key = ?`;

export class SqliteBackend implements Backend, Found {
  readonly kind = "sqlite";
  readonly path: string;
  readonly #options: BackendOptions;
  readonly #cache = new DocumentCache();
  readonly #statements = new Map<string, Statement>();
  /** By name. */
  #collections = new Map<string, number>();
  /** By collection: what the database keeps, whichever process has begun it. */
  #indexes = new Map<string, KnownIndexes>();
  #recent = new RecentChanges(0);
  /** How many documents the batch has added to collections, by id. Their rows get it at its end. */
  readonly #grown = new Map<number, number>();
  #open: Database | null = null;
  #readers: Readers | null = null;
  #batch: SqliteBatch | null = null;
  #dataVersion = 0;
  /** In this turn of the loop. */
  #hasLooked = false;
  #batches = 0;
  /** Of the newest change, that of the batch under way included. */
  lastVersion = 0;

  /** @param path absolute */
  constructor(path: string, options: BackendOptions) {
    this.path = path;
    this.#options = options;
  }

  open(): number {
    return this.#try(() => {
      this.#open = asHost(() => openFile(this.path, this.#options.durability));
      this.#dataVersion = this.#readDataVersion();
      const clock = this.#row<{ clock: number | null }>("SELECT max(clock) AS clock FROM changes").clock;
      if (clock !== null) this.#options.raiseClock(clock);
      this.lastVersion = this.#readLastVersion();
      this.#recent = new RecentChanges(this.lastVersion);
      return this.lastVersion;
    });
  }

  // ---- as a commit finds it ----

  get now(): number {
    return this.#options.now();
  }

  get limits(): BackendOptions["limits"] {
    return this.#options.limits;
  }

  indexesOf(collection: string): readonly string[] {
    return this.#indexesIn(collection).names;
  }

  read(collection: string, key: string): StoredDocument | null {
    const known = this.#cache.get(collection, key);
    if (known !== undefined) return known;
    const at = this.#collectionId(collection);
    const found = at === null ? null : this.statement(READ).get(at, key);
    this.#cache.set(collection, key, found as StoredDocument | null);
    return found as StoredDocument | null;
  }

  isUnchanged(check: Extract<Check, { kind: "range" }>): boolean {
    return this.#recent.isUnchanged(check);
  }

  // ---- reading ----

  get(collection: string, keys: readonly string[]): readonly (StoredDocument | null)[] {
    try {
      this.#refresh();
      const found: (StoredDocument | null)[] = [];
      for (const key of keys) {
        const document = this.read(collection, key);
        const isOver = document !== null && document.expiresAt !== null && document.expiresAt <= this.now;
        found.push(isOver ? null : document);
      }
      return found;
    } catch (error) {
      throw databaseError(error, this.path);
    }
  }

  list(collection: string, range: KeyRange): Page {
    return this.#page(this.#listQuery(collection, range));
  }

  find(collection: string, range: IndexRange): Page {
    return this.#page(this.#findQuery(collection, range));
  }

  get apart(): ReadsApart {
    const page = async (query: PageQuery | null): Promise<Page> =>
      query === null ? { entries: [], at: this.lastVersion } : await this.#readersNow().page(query);
    return {
      list: (collection, range) => page(this.#listQuery(collection, range)),
      find: (collection, range) => page(this.#findQuery(collection, range)),
      sql: (statement) => (looksLikeRead(statement) ? this.#readersNow().sql(statement) : null),
    };
  }

  #readersNow(): Readers {
    return (this.#readers ??= new Readers(this.path));
  }

  /** @returns null: there is no such collection */
  #listQuery(collection: string, range: KeyRange): PageQuery | null {
    return this.#try(() => {
      this.#refresh();
      const id = this.#collectionId(collection);
      return id === null ? null : listQuery(id, range, this.now);
    });
  }

  #findQuery(collection: string, range: IndexRange): PageQuery | null {
    return this.#try(() => {
      this.#refresh();
      const [id, index] = [this.#collectionId(collection), this.#indexId(collection, range.index)];
      return id === null || index === null ? null : findQuery({ collection: id, index }, range, this.now);
    });
  }

  #page(query: PageQuery | null): Page {
    return this.#try(() => {
      const rows = query === null ? [] : this.statement(query.sql).iterate(...query.values);
      return { entries: entriesOfPage(rows as Iterable<StoredEntry>), at: this.lastVersion };
    });
  }

  changesAfter(version: number, limit: number): readonly StoredChange[] | null {
    return this.#try(() => {
      const oldest = this.#firstKept();
      if (oldest === null ? version < this.lastVersion : version < oldest - 1) return null;
      const rows = this.statement("SELECT changes FROM changes WHERE last > ? ORDER BY last").iterate(version);
      const found: StoredChange[] = [];
      for (const { changes } of rows as Iterable<{ changes: string }>) {
        for (const change of readChanges(changes)) if (change.version > version) found.push(change);
        if (found.length >= limit) break;
      }
      return found.slice(0, limit);
    });
  }

  /** @returns the version of the oldest change that is kept; null: none is */
  #firstKept(): number | null {
    return this.#row<{ first: number }>("SELECT first FROM changes ORDER BY last LIMIT 1", null)?.first ?? null;
  }

  expired(limit: number): readonly (StoredEntry & { readonly collection: string })[] {
    return this.#try(
      () =>
        this.statement(
          `SELECT c.name AS collection, d.key AS key, ${DOCUMENT} FROM documents d JOIN collections c ON c.id = d.collection WHERE d.expires <= ? ORDER BY d.expires LIMIT ?`,
        ).all(this.now, limit) as (StoredEntry & { collection: string })[],
    );
  }

  collections(): readonly { readonly name: string; readonly documents: number }[] {
    return this.#try(
      () =>
        this.statement("SELECT name, documents FROM collections ORDER BY name").all() as {
          name: string;
          documents: number;
        }[],
    );
  }

  /** As of the last commit. */
  size(): StoreSize {
    return this.#try(() => {
      const { documents } = this.#row<{ documents: number }>(
        "SELECT coalesce(sum(documents), 0) AS documents FROM collections",
      );
      const first = this.#firstKept();
      const changes = first === null ? 0 : this.#readLastVersion() - first + 1;
      return { documents, changes, bytes: bytesOf(this.path) + bytesOf(`${this.path}-wal`) };
    });
  }

  sql(statement: SqlStatement): readonly Record<string, unknown>[] {
    return this.#try(() => runSql(this.#database, statement, () => this.#forget()));
  }

  // ---- writing ----

  commit(commits: readonly Commit[]): readonly Committed[] {
    const batch = this.begin();
    try {
      const done = commits.map((commit) => batch.apply(commit));
      batch.commit();
      return done;
    } catch (error) {
      batch.rollback();
      throw error;
    }
  }

  begin(): Batch {
    if (this.#batch !== null) throw new Error("A batch is under way. This is a bug in hrmr; please report it.");
    return this.#try(() => {
      this.statement("BEGIN IMMEDIATE").run();
      try {
        this.#refreshNow();
      } catch (error) {
        this.statement("ROLLBACK").run();
        throw error;
      }
      this.#batch = new SqliteBatch(this, this.lastVersion);
      return this.#batch;
    });
  }

  /** For the batch. */
  apply(commit: Commit, cells: Parameters<typeof pushChange>[0]): Committed {
    const plan = planCommit(commit, this);
    const { result } = plan;
    if (!("writes" in plan)) return { result, changes: [] };
    this.#try(() => {
      for (const write of plan.writes) this.#write(write);
    });
    for (const change of plan.changes) pushChange(cells, change);
    this.#recent.add(plan.changes);
    this.lastVersion = plan.lastVersion;
    return { result, changes: plan.changes };
  }

  /** For the batch. @param cells its changes; none: nothing has changed */
  finish(first: number, cells: readonly unknown[]): void {
    this.#try(() => {
      this.#writeCounts();
      if (cells.length > 0)
        this.statement("INSERT INTO changes (last, first, clock, changes) VALUES (?, ?, ?, ?)").run(
          this.lastVersion,
          first + 1,
          this.now,
          JSON.stringify(cells),
        );
      if (++this.#batches % TRIM_EVERY === 0)
        this.statement("DELETE FROM changes WHERE last <= ?").run(this.lastVersion - this.#options.keptChanges);
      this.statement("COMMIT").run();
    });
    this.#batch = null;
  }

  /** For the batch. @param first the version before it */
  undo(first: number): void {
    this.#batch = null;
    this.#grown.clear();
    this.#forget();
    this.lastVersion = first;
    this.#recent.cut(first);
    try {
      if (this.#database.inTransaction) this.statement("ROLLBACK").run();
    } catch {
      // SQLite has rolled it back by itself, or the next use tells the error.
    }
  }

  #write({ collection, key, after, isThere, removed, added }: DocumentWrite): void {
    const id = this.#collectionId(collection) ?? this.#makeCollection(collection);
    this.#cache.set(collection, key, after);
    const more = (after === null ? 0 : 1) - (isThere ? 1 : 0);
    if (more !== 0) this.#grown.set(id, (this.#grown.get(id) ?? 0) + more);
    if (after === null) {
      this.statement("DELETE FROM documents WHERE collection = ? AND key = ?").run(id, key);
    } else {
      const sql = isThere
        ? "UPDATE documents SET version = ?, text = ?, expires = ? WHERE collection = ? AND key = ?"
        : "INSERT INTO documents (version, text, expires, collection, key) VALUES (?, ?, ?, ?, ?)";
      this.statement(sql).run(after.version, after.text, after.expiresAt, id, key);
    }
    for (const { index, value } of removed)
      this.statement('DELETE FROM entries WHERE "index" = ? AND value = ? AND key = ?').run(
        this.#makeIndex(collection, index),
        value,
        key,
      );
    for (const { index, value } of added) addEntry(this.#prepare, this.#makeIndex(collection, index), { value, key });
  }

  #writeCounts(): void {
    if (this.#grown.size === 0) return;
    for (const [id, more] of this.#grown)
      if (more !== 0) this.statement("UPDATE collections SET documents = documents + ? WHERE id = ?").run(more, id);
    this.#grown.clear();
  }

  // ---- collections and indexes ----

  /** @returns null: it has no document yet */
  #collectionId(name: string): number | null {
    const known = this.#collections.get(name);
    if (known !== undefined) return known;
    const id = this.#row<{ id: number }>("SELECT id FROM collections WHERE name = ?", null, name)?.id ?? null;
    if (id !== null) this.#collections.set(name, id);
    return id;
  }

  #makeCollection(name: string): number {
    this.statement("INSERT INTO collections (name) VALUES (?)").run(name);
    return this.#collectionId(name) as number;
  }

  #indexesIn(collection: string): KnownIndexes {
    const known = this.#indexes.get(collection);
    if (known !== undefined) return known;
    const id = this.#collectionId(collection);
    const rows = id === null ? [] : this.statement("SELECT name, id FROM indexes WHERE collection = ?").all(id);
    const ids = new Map((rows as { name: string; id: number }[]).map((row) => [row.name, row.id]));
    const made = { names: [...ids.keys()], ids };
    this.#indexes.set(collection, made);
    return made;
  }

  #indexId(collection: string, index: string): number | null {
    return this.#indexesIn(collection).ids.get(index) ?? null;
  }

  #makeIndex(collection: string, index: string): number {
    const known = this.#indexId(collection, index);
    if (known !== null) return known;
    const id = this.#collectionId(collection) ?? this.#makeCollection(collection);
    this.statement("INSERT INTO indexes (collection, name, complete) VALUES (?, ?, 0)").run(id, index);
    this.#indexes.delete(collection);
    return this.#indexId(collection, index) as number;
  }

  indexes(): readonly { readonly collection: string; readonly index: string }[] {
    return this.#try(() => {
      this.#refresh();
      const sql =
        'SELECT c.name AS collection, x.name AS "index" FROM indexes x JOIN collections c ON c.id = x.collection';
      return this.statement(sql).all() as { collection: string; index: string }[];
    });
  }

  buildIndex(collection: string, index: string): boolean {
    return this.#within(() => {
      const id = this.#makeIndex(collection, index);
      return buildStep(this.#prepare, { id, collection: this.#collectionId(collection), name: index });
    });
  }

  dropIndex(collection: string, index: string): boolean {
    return this.#within(() => {
      const id = this.#indexId(collection, index);
      const isGone = id === null || dropStep(this.#prepare, id);
      if (isGone) this.#indexes.delete(collection);
      return isGone;
    });
  }

  /** In the batch under way, or in a transaction of its own. */
  #within<T>(work: () => T): T {
    return this.#try(() => {
      if (this.#batch !== null) return work();
      this.statement("BEGIN IMMEDIATE").run();
      try {
        this.#refreshNow();
        const result = work();
        this.statement("COMMIT").run();
        return result;
      } catch (error) {
        this.undo(this.lastVersion);
        throw error;
      }
    });
  }

  // ---- other processes ----

  look(): void {
    this.#try(() => {
      if (this.#batch === null) this.#refreshNow();
    });
  }

  /** Once in a turn of the loop: what has come since was not there when the turn began. */
  #refresh(): void {
    if (this.#batch !== null || this.#hasLooked) return;
    this.#refreshNow();
    this.#hasLooked = true;
    asHost(() => setImmediate(this.#lookAgain));
  }

  readonly #lookAgain = (): void => {
    this.#hasLooked = false;
  };

  /** Another process may have written. */
  #refreshNow(): void {
    const version = this.#readDataVersion();
    if (version === this.#dataVersion) return;
    this.#dataVersion = version;
    this.#forget();
    const before = this.lastVersion;
    this.lastVersion = Math.max(before, this.#readLastVersion());
    this.#recent = new RecentChanges(this.lastVersion);
    const changes = this.changesAfter(before, Number.MAX_SAFE_INTEGER) ?? [];
    if (changes.length > 0) this.#options.onForeignChanges(changes);
  }

  #readDataVersion(): number {
    return this.#row<{ data_version: number }>("PRAGMA data_version").data_version;
  }

  #readLastVersion(): number {
    return this.#row<{ last: number | null }>("SELECT max(last) AS last FROM changes").last ?? 0;
  }

  /** What it knows of the database without asking it. */
  #forget(): void {
    this.#cache.clear();
    this.#collections.clear();
    this.#indexes.clear();
  }

  // ---- the database ----

  get #database(): Database {
    if (this.#open === null) throw new StoreError("UNAVAILABLE", `the store ${this.path} is not open`);
    return this.#open;
  }

  readonly #prepare = (sql: string): Statement => this.statement(sql);

  /** Prepared once. */
  statement(sql: string): Statement {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    const made = asHost(() => this.#database.prepare(sql));
    this.#statements.set(sql, made);
    return made;
  }

  /** @param otherwise without a row. Default: there is one */
  #row<T>(sql: string, otherwise?: undefined, ...values: SQLQueryBindings[]): T;
  #row<T>(sql: string, otherwise: null, ...values: SQLQueryBindings[]): T | null;
  #row<T>(sql: string, otherwise: null | undefined, ...values: SQLQueryBindings[]): T | null {
    return (this.statement(sql).get(...values) as T | null) ?? otherwise ?? null;
  }

  #try<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw databaseError(error, this.path);
    }
  }

  check(): readonly string[] {
    return this.#try(() => checkFile(this.#database));
  }

  compact(): void {
    this.#try(() => {
      this.#database.run("VACUUM");
      this.#database.run("PRAGMA wal_checkpoint(TRUNCATE)");
    });
  }

  backup(path: string): void {
    this.#try(() => copyInto(this.#database, path));
  }

  close(): Awaitable<void> {
    const db = this.#open;
    const readers = this.#readers;
    this.#open = null;
    this.#readers = null;
    for (const statement of this.#statements.values()) statement.finalize();
    this.#statements.clear();
    // The last handle puts the file in order.
    if (readers !== null) return readers.close().then(() => db?.close());
    db?.close();
  }
}

function bytesOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

interface KnownIndexes {
  readonly names: readonly string[];
  readonly ids: ReadonlyMap<string, number>;
}

class SqliteBatch implements Batch {
  readonly #backend: SqliteBackend;
  readonly #first: number;
  readonly #cells: Parameters<typeof pushChange>[0] = [];

  /** @param first the version before it */
  constructor(backend: SqliteBackend, first: number) {
    this.#backend = backend;
    this.#first = first;
  }

  apply(commit: Commit): Committed {
    return this.#backend.apply(commit, this.#cells);
  }

  commit(): void {
    this.#backend.finish(this.#first, this.#cells);
  }

  rollback(): void {
    this.#backend.undo(this.#first);
  }
}
