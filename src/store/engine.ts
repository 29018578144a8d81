/**
 * The store of a server process: opens the database at its first use, groups commits, and tells the watches. It is the
 * port of modules in this thread.
 */
import { existsSync } from "node:fs";
import type { StoreOptions } from "../config/options";
import { defaultStoreUrl, parseStoreUrl } from "../config/store-url";
import { StoreError } from "../module/store/error";
import type {
  Awaitable,
  CollectionSpec,
  Commit,
  CommitResult,
  Hold,
  IndexRange,
  KeyRange,
  Page,
  SqlStatement,
  StoredDocument,
  StorePort,
  StoreVersion,
  Turn,
  WatchSink,
  WatchWish,
} from "../module/store/port";
import type { Background } from "../module/background";
import type { Log } from "../module/contract";
import type { StoreSnapshot } from "../observe/snapshot";
import { asHost } from "../system/leave-graph";
import type { Backend } from "./backend";
import { openBackend } from "./backends/open";
import { StoreInUse } from "./backends/place";
import { StoreClock } from "./clock";
import { FailureLog } from "./failure-log";
import { Feed } from "./feed";
import { StoreFigures } from "./figures";
import { DeclaredIndexes, IndexBuilder } from "./indexes";
import { PagePlace } from "./page-place";
import { QueueWriter } from "./queue-writer";
import { SharedBackend } from "./shared/shared-backend";
import { type SyncBackend, TurnWriter } from "./turn-writer";
import { Upkeep } from "./upkeep";
import { type CommitFigures, storeError, type Writer, type WriterOwner } from "./writer";

/** A database that could not be opened is tried again by the first use after so long. In milliseconds. */
const RETRY_MS = 500;
/** How long the first use waits for the process before this one, which may have the file of JSON. In milliseconds. */
const HANDOVER_MS = 5000;
const HANDOVER_STEP_MS = 50;
const MAX_DEPTH = 200;
/** How often a database is asked for writes of other processes while something watches. In milliseconds. */
const LOOK_MS = 100;

/** An index whose making takes longer is told. In milliseconds. */
const LONG_BUILD_MS = 1000;
/** How often it is looked whether a document's time is over. In milliseconds. */
const UPKEEP_MS = 1000;
/** How long it rests when the database could not be used. In milliseconds. */
const UPKEEP_REST_MS = 60_000;

interface EngineOptions {
  /** The settings now. */
  readonly settings: () => Readonly<StoreOptions>;
  readonly dataDir: string;
  /** Where the processes of the server meet. null: there is one. */
  readonly stateDir: string | null;
  readonly log: Log;
  /** Of all processes of the server one keeps the store up. */
  readonly background: Background;
}

/** An open database. */
interface OpenStore {
  readonly url: string;
  readonly durability: StoreOptions["durability"];
  readonly backend: Backend;
  readonly writer: Writer;
  readonly feed: Feed;
  readonly indexes: IndexBuilder;
}

export class StoreEngine implements StorePort {
  readonly #options: EngineOptions;
  readonly #failures: FailureLog;
  readonly #clock = new StoreClock();
  readonly #declared = new DeclaredIndexes();
  #open: OpenStore | null = null;
  #opening: Promise<OpenStore> | null = null;
  /** Why it could not be opened, for some time. */
  #failure: { readonly url: string; readonly error: StoreError; readonly at: number } | null = null;
  #isClosed = false;
  /** While something watches. */
  #looks: NodeJS.Timeout | null = null;
  readonly #upkeep = new Upkeep(this.#declared);
  /** While this is the background process. */
  #upkeeps: NodeJS.Timeout | null = null;
  /** By `performance.now()`. */
  #restsUntil = 0;
  readonly #figures = new StoreFigures();
  readonly #pagePlace = new PagePlace();

  constructor(options: EngineOptions) {
    this.#options = options;
    this.#failures = new FailureLog(options.log);
    options.background.watch((left) => {
      this.#keepUpNoMore();
      if (left !== null) return;
      this.#upkeeps = asHost(() => setInterval(() => void this.#keepUp(), UPKEEP_MS));
      this.#upkeeps.unref();
    });
  }

  get(collection: string, keys: readonly string[]): Awaitable<readonly (StoredDocument | null)[]> {
    return this.#with(({ writer, backend }) => writer.read(() => backend.get(collection, keys)));
  }

  list(collection: string, range: KeyRange): Awaitable<Page> {
    return this.#with((open) => this.#page(open, (from) => from.list(collection, range)));
  }

  find(collection: string, range: IndexRange): Awaitable<Page> {
    this.#declared.mustHave(collection, range.index);
    return this.#with((open) => {
      const find = (): Awaitable<Page> => this.#page(open, (from) => from.find(collection, range));
      const built = open.indexes.build(collection, range.index);
      return built instanceof Promise ? built.then(find) : find();
    });
  }

  #page(
    { writer, backend }: OpenStore,
    read: (from: Pick<Backend, "list" | "find">) => Awaitable<Page>,
  ): Awaitable<Page> {
    const { apart } = backend;
    if (apart === undefined) return writer.read(() => read(backend));
    const began = performance.now();
    if (this.#pagePlace.isApart(began)) return writer.between(() => read(apart));
    const page = writer.read(() => read(backend));
    this.#pagePlace.wasHere(began, performance.now());
    return page;
  }

  count(collection: string): Awaitable<number> {
    return this.#with(async ({ writer, backend }) => {
      const all = await writer.between(() => backend.collections());
      return all.find(({ name }) => name === collection)?.documents ?? 0;
    });
  }

  commit(commit: Commit): Awaitable<CommitResult> {
    return this.#with(({ writer }) => writer.commit(commit));
  }

  enterTurn(): Awaitable<Turn | null> {
    return this.#with(({ writer }) => writer.enterTurn());
  }

  hold(): Awaitable<Hold | null> {
    return this.#with(({ writer }) => writer.hold());
  }

  sql(statement: SqlStatement): Awaitable<readonly Record<string, unknown>[]> {
    return this.#with(async ({ writer, backend }) => {
      try {
        const rows = await writer.between(() => backend.apart?.sql(statement) ?? null);
        if (rows !== null) return rows;
      } catch (error) {
        if (storeError(error).code !== "READ_ONLY") throw error;
      }
      // A statement may write, and must not become part of a batch that may be rolled back.
      return await writer.between(() => backend.sql(statement));
    });
  }

  watch(version: StoreVersion, wish: WatchWish, sink: WatchSink): () => void {
    let leave: (() => void) | null = null;
    let isOver = false;
    const add = ({ feed }: OpenStore): void => {
      if (isOver) return;
      leave = feed.add(version, wish, sink);
      this.#lookOften();
    };
    // "From now on" is behind all that others have written.
    const begin = (open: OpenStore): Awaitable<void> => {
      const looked = open.backend.look?.();
      return looked instanceof Promise ? looked.then(() => add(open)) : add(open);
    };
    const fail = (error: unknown): void => {
      const { code, message } = storeError(error);
      if (!isOver) sink.end(code, message);
    };
    try {
      const open = this.#store();
      const begun = open instanceof Promise ? open.then(begin) : begin(open);
      if (begun instanceof Promise) begun.catch(fail);
    } catch (error) {
      fail(error);
    }
    return () => {
      isOver = true;
      leave?.();
    };
  }

  /** The modules that serve from now on. */
  follow(modules: Parameters<Feed["follow"]>[0]): void {
    this.#open?.feed.follow(modules);
  }

  async declare({
    id,
    collections,
  }: {
    readonly id: number;
    readonly collections: readonly CollectionSpec[];
  }): Promise<void> {
    this.#declared.add(id, collections);
    try {
      for (const { name, indexes } of collections) for (const index of indexes) await this.#tellIfLong(name, index);
    } catch (error) {
      this.#log(storeError(error));
    }
  }

  /** Makes an index that a version needs, which waits for it. */
  async #tellIfLong(collection: string, index: string): Promise<void> {
    const text = `store: the index ${JSON.stringify(index)} of ${collection} is being made, and its version waits for it`;
    const timer = asHost(() => setTimeout(() => this.#options.log.info(text), LONG_BUILD_MS));
    try {
      await this.#with(({ indexes }) => indexes.build(collection, index));
    } finally {
      clearTimeout(timer);
    }
  }

  forget(id: number): void {
    this.#declared.delete(id);
    this.#open?.indexes.keep(this.#declared);
  }

  /** The settings may have changed: another database is opened in place of this one, when what is under way is durable. */
  reconfigured(): void {
    const open = this.#open;
    if (open === null) this.#opening?.then(() => this.reconfigured()).catch(() => undefined);
    if (open === null || (open.url === this.#url() && open.durability === this.#options.settings().durability)) return;
    this.#open = null;
    const next = this.#end(open, "GONE", "the database of the store was changed: read the documents again").then(() => {
      this.#opening = null;
      return this.#store();
    });
    // Whoever uses the store gets the error; nobody may do so now.
    next.catch(() => undefined);
    this.#opening = next;
  }

  /** A process is not told when another one has written. */
  #lookOften(): void {
    const { look: looks, isTold = false } = this.#open?.backend ?? {};
    if (this.#looks !== null || looks === undefined || isTold) return;
    let isLooking = false;
    const look = async (): Promise<void> => {
      const open = this.#open;
      if (open === null || open.feed.size === 0) return this.#lookNoMore();
      if (isLooking) return;
      isLooking = true;
      try {
        await open.backend.look?.();
      } catch (error) {
        this.#log(storeError(error));
      }
      isLooking = false;
    };
    this.#looks = asHost(() => setInterval(() => void look(), LOOK_MS));
    this.#looks.unref();
  }

  #lookNoMore(): void {
    if (this.#looks !== null) clearInterval(this.#looks);
    this.#looks = null;
  }

  async #keepUp(): Promise<void> {
    if (performance.now() < this.#restsUntil) return;
    try {
      const open = this.#open ?? this.#openedByOthers();
      if (open === null) return;
      await this.#upkeep.run(open, () => this.#open === open && this.#upkeeps !== null, performance.now());
    } catch (error) {
      this.#restsUntil = performance.now() + UPKEEP_REST_MS;
      this.#options.log.warn(`store: documents whose time is over could not be deleted: ${storeError(error).message}`);
    }
  }

  /** Another process of the server may have made the database, whose documents end here. */
  #openedByOthers(): OpenStore | null {
    const database = parseStoreUrl(this.#url());
    if (this.#opening !== null || this.#isClosed || database === null) return null;
    const restsUntil = this.#failure === null ? 0 : this.#failure.at + UPKEEP_REST_MS;
    if (performance.now() < restsUntil || ("path" in database && !existsSync(database.path))) return null;
    const open = this.#store();
    if (!(open instanceof Promise)) return open;
    // Its failure is logged.
    open.catch(() => undefined);
    return null;
  }

  #keepUpNoMore(): void {
    if (this.#upkeeps !== null) clearInterval(this.#upkeeps);
    this.#upkeeps = null;
  }

  snapshot(): StoreSnapshot {
    const open = this.#open;
    const url = open?.url ?? this.#url();
    return this.#figures.snapshot({
      url,
      durability: open?.durability ?? this.#options.settings().durability,
      isOpening: this.#opening !== null,
      open,
    });
  }

  /** Ends watches, and closes the database when all that is under way is durable. Never rejects. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#lookNoMore();
    this.#keepUpNoMore();
    const open = this.#open ?? (await this.#opening?.catch(() => null)) ?? null;
    if (open === null) return;
    this.#open = null;
    await this.#end(open, null, "");
  }

  async #end({ backend, writer, feed }: OpenStore, code: string | null, message: string): Promise<void> {
    await writer.idle();
    feed.close(code, message);
    this.#figures.watchesLost += feed.lost;
    try {
      await backend.close();
    } catch (error) {
      this.#options.log.warn(`the store was not closed cleanly: ${storeError(error).message}`);
    }
  }

  #with<T>(use: (open: OpenStore) => Awaitable<T>): Awaitable<T> {
    const open = this.#store();
    return open instanceof Promise ? open.then(use) : use(open);
  }

  #store(): Awaitable<OpenStore> {
    if (this.#open !== null) return this.#open;
    if (this.#isClosed) throw closedError();
    if (this.#opening !== null) return this.#opening;
    const { url, error } = { url: this.#url(), error: this.#recentFailure() };
    if (error !== null) throw error;
    return this.#openNow(url);
  }

  #recentFailure(): StoreError | null {
    // Another database may have been named since.
    if (this.#failure?.url !== this.#url()) return null;
    return performance.now() - this.#failure.at < RETRY_MS ? this.#failure.error : null;
  }

  #url(): string {
    return this.#options.settings().url ?? defaultStoreUrl(this.#options.dataDir);
  }

  /** @param triedMs  how long it was tried before */
  #openNow(url: string, triedMs = 0): Awaitable<OpenStore> {
    const { durability, maxValueBytes, keptChanges } = this.#options.settings();
    try {
      const options = {
        limits: { maxValueBytes, maxDepth: MAX_DEPTH },
        durability,
        now: this.#clock.now,
        raiseClock: this.#clock.raise,
        keptChanges,
        indexesOf: (collection: string) => this.#declared.of(collection),
        onForeignChanges: (changes: Parameters<Feed["publish"]>[0]) => this.#open?.feed.publish(changes),
        onChangesLost: () => this.#open?.feed.close("GONE", CHANGES_LOST),
      };
      const backend = openBackend(url, options, this.#options.stateDir);
      const version = asHost(() => backend.open());
      const made = { url, durability, backend };
      if (!(version instanceof Promise)) return this.#opened(made, version);
      this.#opening = version.then(
        (at) => this.#opened(made, at),
        (error) => {
          throw this.#notOpened(url, error);
        },
      );
      return this.#opening;
    } catch (error) {
      if (error instanceof StoreInUse && triedMs < HANDOVER_MS) {
        this.#opening = asHost(() => Bun.sleep(HANDOVER_STEP_MS)).then(() => {
          this.#opening = null;
          if (this.#isClosed) throw closedError();
          return this.#openNow(url, triedMs + HANDOVER_STEP_MS);
        });
        return this.#opening;
      }
      throw this.#notOpened(url, error);
    }
  }

  #opened(made: Pick<OpenStore, "url" | "durability" | "backend">, version: number): OpenStore {
    const { backend } = made;
    const feed = new Feed(version, (after, limit) => backend.changesAfter(after, limit));
    const owner = {
      changed: (changes: Parameters<Feed["publish"]>[0]) => {
        this.#failures.worked();
        feed.publish(changes);
      },
      committed: (figures: CommitFigures) => this.#figures.committed(figures),
      failed: (error: StoreError) => this.#broken(error),
      mustFind: (collection: string, index: string) => this.#mustFind(collection, index),
    };
    const writer = writerOf(backend, owner);
    const open = { ...made, writer, feed, indexes: new IndexBuilder(backend, writer) };
    this.#open = open;
    this.#opening = null;
    this.#failure = null;
    this.#figures.opened();
    return open;
  }

  #mustFind(collection: string, index: string): void {
    this.#declared.mustHave(collection, index);
    if (this.#open?.indexes.isComplete(collection, index) === true) return;
    throw new StoreError("BUSY", `the index ${JSON.stringify(index)} of ${collection} is being made: try it again`);
  }

  #notOpened(url: string, error: unknown): StoreError {
    const failed = storeError(error);
    this.#opening = null;
    this.#failure = { url, error: failed, at: performance.now() };
    this.#figures.notOpened(failed);
    this.#log(failed);
    return failed;
  }

  #broken(error: StoreError): void {
    this.#figures.notCommitted(error);
    this.#log(error);
  }

  #log(error: StoreError): void {
    this.#failures.failed(error);
  }
}

const CHANGES_LOST =
  "the process that had the store has ended, and changes are lost. Read the documents again, then watch";

function writerOf(backend: Backend, owner: WriterOwner): Writer {
  if (backend instanceof SharedBackend) return backend.writer(owner);
  return backend.begin === undefined ? new QueueWriter(backend, owner) : new TurnWriter(backend as SyncBackend, owner);
}

function closedError(): StoreError {
  return new StoreError("UNAVAILABLE", "the store is closed: the server ends");
}
