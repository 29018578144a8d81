/**
 * A database in a file that several processes of one server use. One of them leads: the others send it their commits, and
 * it tells them of changes. A database that only one process can have open is the leader's, which also reads for the
 * others. If the leader ends, another process takes its place.
 */
import { closeSync, constants, openSync } from "node:fs";
import { join } from "node:path";
import {
  type Flat,
  type FlatReader,
  pushIndexRange,
  pushKeyRange,
  pushTexts,
  readChange,
  readDocuments,
  readPage,
} from "../../host/store/flat";
import { StoreError } from "../../module/store/error";
import type {
  Awaitable,
  Commit,
  CommitResult,
  Hold,
  IndexRange,
  KeyRange,
  Page,
  SqlStatement,
  StoredChange,
  StoredDocument,
  StoredEntry,
} from "../../module/store/port";
import { asHost } from "../../system/leave-graph";
import type { StoreSize } from "../../observe/snapshot";
import type { Backend, BackendOptions, Committed, ReadsApart } from "../backend";
import { type SyncBackend, TurnWriter } from "../turn-writer";
import { storeError, type Writer, type WriterOwner } from "../writer";
import { FollowerSide } from "./follower";
import { LeaderSide } from "./leader";
import { Lease } from "./lease";
import { READ } from "./messages";
import { Outbox } from "./outbox";
import { RemoteReads } from "./reads";
import { atOnce } from "./served-reads";
import { SharedWriter } from "./shared-writer";

interface SharedDatabase {
  readonly url: string;
  /** Whether several processes can have it open. */
  readonly isOpenToAll: boolean;
  make(options: BackendOptions): SyncBackend;
}

/** How long commits and reads wait for a process that leads. In milliseconds. */
const WAIT_MS = 10_000;
/** Between two looks whether this process may lead, or can reach the one that does. In milliseconds. */
const MAX_PAUSE_MS = 50;
/** The same when the database cannot be opened. */
const FAILED_PAUSE_MS = 500;
const EXPIRE_MS = 250;
/** Another leader is there within milliseconds. Without one, processes that can write themselves do so. */
const GRACE_MS = 1000;
/** sizeof(sockaddr_un.sun_path) of macOS without its NUL; Linux has 4 more. In bytes. */
const MAX_SOCKET_PATH_BYTES = 103;

let opened = 0;

export class SharedBackend implements Backend {
  readonly kind: Backend["kind"];
  readonly #database: SharedDatabase;
  readonly #options: BackendOptions;
  readonly #folder: string;
  readonly #lease: Lease;
  readonly #socket = `store-${process.pid}-${++opened}.sock`;
  readonly #outbox = new Outbox();
  readonly #reads = new RemoteReads();
  readonly #own: SyncBackend;
  /** It is open in this process. */
  #isOpen = false;
  #writer: SharedWriter | null = null;
  /** This process leads. */
  #leader: LeaderSide | null = null;
  /** Another one leads. */
  #follower: FollowerSide | null = null;
  #seeking: Promise<void> | null = null;
  /** Until then a process waits for a leader, though it could write itself: others may write at the same time. */
  #grace: NodeJS.Timeout | null = null;
  /** Of the newest change that this process has told its watches. null: it does not know the store yet. */
  #version: number | null = null;
  #expiry: NodeJS.Timeout | null = null;
  #isClosed = false;
  /** A path of the socket is too long: the open folder has a short one. */
  #folderFd: number | null = null;

  /** @param folder of this user alone, the same for all processes of the server */
  constructor(database: SharedDatabase, options: BackendOptions, folder: string) {
    this.#database = database;
    this.#options = options;
    this.#folder = folder;
    this.#lease = new Lease(folder, database.url);
    this.#own = database.make({ ...options, onForeignChanges: (changes) => this.#foreign(changes) });
    this.kind = this.#own.kind;
  }

  /** What a process that does not write has to send. */
  get outbox(): Outbox {
    return this.#outbox;
  }

  /** Whether this process has the database open. */
  get isOpenHere(): boolean {
    return this.#isOpen;
  }

  /** Whether another process commits for this one. */
  get mustSend(): boolean {
    return !this.#isOpen || this.#follower?.mayAsk === true || this.#grace !== null;
  }

  get isLeading(): boolean {
    return this.#leader !== null;
  }

  open(): Awaitable<number> {
    if (this.#database.isOpenToAll) {
      this.#openOwn();
      // Without the others, changes are only seen later.
      const error = this.#tryLead();
      if (error === OTHER_LEADS) this.#awaitLeader();
      if (error !== null) this.#seekSoon();
      return this.#version ?? 0;
    }
    const error = this.#tryLead();
    if (error === null) return this.#version ?? 0;
    if (error === OTHER_LEADS) return this.#openBeside();
    this.#leaveFolder();
    throw error;
  }

  async #openBeside(): Promise<number> {
    try {
      await this.#seek(performance.now() + WAIT_MS);
      return this.#version ?? 0;
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  #openOwn(): void {
    if (this.#isOpen) return;
    const version = atOnce(this.#own.open());
    this.#isOpen = true;
    this.#version = Math.max(this.#version ?? 0, version);
  }

  /** The writer of this process. Once, after `open`. */
  writer(owner: WriterOwner): Writer {
    const told: WriterOwner = {
      ...owner,
      changed: (changes) => {
        this.#told(changes);
        owner.changed(changes);
      },
    };
    this.#writer = new SharedWriter(this, (): TurnWriter => new TurnWriter(this.#own, told));
    return this.#writer;
  }

  // ---- which process leads ----

  /** @returns null: this process leads. OTHER_LEADS, or why it cannot */
  #tryLead(): Error | null {
    try {
      if (!this.#lease.take()) return OTHER_LEADS;
      this.#lead();
      return null;
    } catch (error) {
      this.#leader?.close();
      this.#leader = null;
      this.#lease.release();
      return error instanceof StoreError ? error : storeError(error);
    }
  }

  #lead(): void {
    const seen = this.#isOpen ? null : this.#version;
    this.#openOwn();
    const leader = new LeaderSide({
      backend: this.#own,
      isOpenToAll: this.#database.isOpenToAll,
      writer: () => this.#writer,
      version: () => this.#version ?? 0,
      wrote: () => this.#look(),
    });
    leader.listen(this.#pathOf(this.#socket));
    this.#lease.name({ pid: process.pid, socket: this.#socket });
    this.#leader = leader;
    // Changes that the leader before did not tell any more.
    if (seen !== null) this.#tellSince(seen);
    else this.#look();
    this.#answerWaiting();
  }

  #tellSince(seen: number): void {
    const changes = atOnce(this.#own.changesAfter(seen, Number.MAX_SAFE_INTEGER));
    if (changes === null) this.#options.onChangesLost?.();
    else if (changes.length > 0) this.#foreign(changes);
  }

  /** What waits for a leader: this is it. */
  #answerWaiting(): void {
    this.#awaitNoMore();
    this.#writeHere();
    this.#reads.answerBy(this.#own);
  }

  #seekSoon(): void {
    if (this.#isClosed) return;
    this.#seek(Infinity).then(
      () => {
        // The leader may have gone before the search that has found it was over.
        if (this.#leader === null && this.#follower === null) this.#seekSoon();
      },
      () => undefined,
    );
  }

  /** Until this process leads, or is connected to the one that does. Rejects after the deadline. */
  #seek(deadline: number): Promise<void> {
    return (this.#seeking ??= asHost(() => this.#seekNow(deadline)).finally(() => (this.#seeking = null)));
  }

  async #seekNow(deadline: number): Promise<void> {
    for (let pauseMs = 1; !this.#isClosed; pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS)) {
      const error = this.#tryLead();
      if (error === null || (error === OTHER_LEADS && (await this.#follow()))) return;
      if (performance.now() >= deadline) throw error === OTHER_LEADS ? this.#noLeader() : error;
      await Bun.sleep(isSoonOver(error) ? pauseMs : FAILED_PAUSE_MS);
    }
  }

  #noLeader(): StoreError {
    const pid = this.#lease.leader()?.pid;
    const who = pid === undefined ? "the process that has it" : `process ${pid}, which has it`;
    return new StoreError("UNAVAILABLE", `the store ${this.#database.url} cannot be used: ${who}, does not answer`);
  }

  /** @returns whether it is connected to the process that leads */
  async #follow(): Promise<boolean> {
    try {
      const leader = this.#lease.leader();
      if (leader === null) return false;
      const seen = this.#database.isOpenToAll ? null : this.#version;
      const side = await FollowerSide.connect(this.#pathOf(leader.socket), seen, {
        outbox: this.#outbox,
        reads: this.#reads,
        welcomed: (version) => (this.#version ??= version),
        changed: (changes) => (changes.length === 0 ? this.#look() : this.#foreign(changes)),
        lost: () => this.#options.onChangesLost?.(),
        leaving: () => this.#awaitLeader(),
        gone: () => this.#leaderGone(),
      });
      if (this.#isClosed) side.close();
      else if (!side.isGone) {
        this.#follower = side;
        this.#awaitNoMore();
      }
      // What this process has written while there was no leader was told to nobody.
      if (this.#database.isOpenToAll) side.wrote();
      return true;
    } catch {
      return false;
    }
  }

  #leaderGone(): void {
    this.#follower = null;
    this.#outbox.lost();
    this.#awaitLeader();
    this.#seekSoon();
  }

  #awaitLeader(): void {
    if (!this.#isOpen || this.#isClosed) return;
    this.#awaitNoMore();
    const over = (): void => {
      this.#grace = null;
      this.#reads.close();
      this.#writeHere();
    };
    this.#grace = asHost(() => setTimeout(over, GRACE_MS));
    this.#grace.unref();
  }

  #awaitNoMore(): void {
    if (this.#grace !== null) clearTimeout(this.#grace);
    this.#grace = null;
  }

  /** What waits to be sent is done here. */
  #writeHere(): void {
    if (this.#isOpen)
      this.#outbox.handOver((commit) => (this.#writer as Writer).commit(commit) as Promise<CommitResult>);
  }

  /** In a folder with a long path the name goes by the open folder. Linux only. */
  #pathOf(name: string): string {
    const path = join(this.#folder, name);
    if (Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES || process.platform !== "linux") return path;
    this.#folderFd ??= openSync(this.#folder, constants.O_RDONLY | constants.O_DIRECTORY);
    return `/proc/self/fd/${this.#folderFd}/${name}`;
  }

  // ---- changes ----

  /** Of this process's own commits. */
  #told(changes: readonly StoredChange[]): void {
    this.#version = changes.at(-1)?.version ?? this.#version;
    if (this.#leader !== null) this.#leader.tell(changes);
    else this.#follower?.wrote();
  }

  /** Of others. */
  #foreign(changes: readonly StoredChange[]): void {
    const last = changes.at(-1)?.version ?? 0;
    if (last <= (this.#version ?? 0)) return;
    this.#version = last;
    this.#options.onForeignChanges(changes);
  }

  /** The database tells what others have written, when it is asked. */
  #look(): void {
    if (!this.#isOpen) return;
    try {
      this.#own.look?.();
    } catch {
      // The next use tells the error.
    }
  }

  look(): void {
    if (this.#isOpen) this.#own.look?.();
  }

  // ---- writing ----

  commit(commits: readonly Commit[]): Awaitable<readonly Committed[]> {
    if (this.#isOpen) return this.#own.commit(commits);
    throw new StoreError("UNSUPPORTED", "this process sends its commits to another one");
  }

  /** For a process that does not write itself. @throws StoreError */
  send(commit: Commit, hold = 0): Promise<CommitResult> {
    if (this.#isClosed) throw new StoreError("UNAVAILABLE", "the store is closed");
    const result = this.#outbox.add(commit, performance.now() + WAIT_MS, hold);
    this.#expireSoon();
    this.#follower?.flushSoon();
    return result;
  }

  /** The same. @returns null: the leader has gone meanwhile */
  async hold(): Promise<Hold | null> {
    const { message, answer } = this.#reads.add(
      [READ.hold],
      (reader) => reader.number() === 1,
      performance.now() + WAIT_MS,
    );
    this.#expireSoon();
    this.#follower?.read(message);
    try {
      if (!(await answer)) return null;
    } catch {
      return null;
    }
    let hold = message[1] as number;
    const take = (): number => {
      const number = hold;
      hold = 0;
      return number;
    };
    return {
      commit: (commit) => this.send(commit, take()),
      leave: () => {
        const number = take();
        if (number !== 0) this.#follower?.unhold(number);
      },
    };
  }

  // ---- reading ----

  get(collection: string, keys: readonly string[]): Awaitable<readonly (StoredDocument | null)[]> {
    if (this.#isOpen) return this.#own.get(collection, keys);
    const ask: Flat = [READ.get, collection];
    pushTexts(ask, keys);
    return this.#ask(ask, readDocuments);
  }

  list(collection: string, range: KeyRange): Awaitable<Page> {
    if (this.#isOpen) return this.#own.list(collection, range);
    const ask: Flat = [READ.list, collection];
    pushKeyRange(ask, range);
    return this.#ask(ask, readPage);
  }

  find(collection: string, range: IndexRange): Awaitable<Page> {
    if (this.#isOpen) return this.#own.find(collection, range);
    const ask: Flat = [READ.find, collection];
    pushIndexRange(ask, range);
    return this.#ask(ask, readPage);
  }

  changesAfter(version: number, limit: number): Awaitable<readonly StoredChange[] | null> {
    if (this.#isOpen) return this.#own.changesAfter(version, limit);
    return this.#ask([READ.changes, version, limit], (reader) => {
      const isKept = reader.number() === 1;
      const changes = reader.many(readChange);
      return isKept ? changes : null;
    });
  }

  expired(limit: number): Awaitable<readonly (StoredEntry & { readonly collection: string })[]> {
    if (this.#isOpen) return this.#own.expired(limit);
    return this.#ask([READ.expired, limit], (reader) => reader.many(readExpired));
  }

  buildIndex(collection: string, index: string): Awaitable<boolean> {
    if (this.#isOpen) return this.#own.buildIndex(collection, index);
    return this.#ask([READ.buildIndex, collection, index], (reader) => reader.number() === 1);
  }

  dropIndex(collection: string, index: string): Awaitable<boolean> {
    if (this.#isOpen) return this.#own.dropIndex(collection, index);
    return this.#ask([READ.dropIndex, collection, index], (reader) => reader.number() === 1);
  }

  collections(): Awaitable<readonly { readonly name: string; readonly documents: number }[]> {
    if (this.#isOpen) return this.#own.collections();
    const read = (each: FlatReader): { name: string; documents: number } => ({
      name: each.text(),
      documents: each.number(),
    });
    return this.#ask([READ.collections], (reader) => reader.many(read));
  }

  indexes(): Awaitable<readonly { readonly collection: string; readonly index: string }[]> {
    if (this.#isOpen) return this.#own.indexes?.() ?? [];
    const read = (each: FlatReader): { collection: string; index: string } => ({
      collection: each.text(),
      index: each.text(),
    });
    return this.#ask([READ.indexes], (reader) => reader.many(read));
  }

  /** undefined where the database has none. */
  get apart(): ReadsApart {
    return this.#own.apart as ReadsApart;
  }

  size(): StoreSize | null {
    return this.#isOpen ? (this.#own.size?.() ?? null) : null;
  }

  /** Not for a process that does not have it open: the commands open a database themselves. */
  sql(statement: SqlStatement): Awaitable<readonly Record<string, unknown>[]> {
    return this.#own.sql(statement);
  }

  check(): Awaitable<readonly string[]> {
    return this.#own.check();
  }

  compact(): Awaitable<void> {
    return this.#own.compact();
  }

  backup(path: string): Awaitable<void> {
    return this.#own.backup(path);
  }

  #ask<T>(fields: Flat, read: (reader: FlatReader) => T): Promise<T> {
    if (this.#isClosed) return Promise.reject(new StoreError("UNAVAILABLE", "the store is closed"));
    const { message, answer } = this.#reads.add(fields, read, performance.now() + WAIT_MS);
    this.#expireSoon();
    this.#follower?.read(message);
    return answer;
  }

  // ---- its end ----

  #expireSoon(): void {
    this.#expiry ??= asHost(() => setTimeout(() => this.#expire(), EXPIRE_MS).unref());
  }

  #expire(): void {
    this.#expiry = null;
    const now = performance.now();
    this.#outbox.expire(now);
    this.#reads.expire(now);
    if (!this.#outbox.isEmpty || !this.#reads.isEmpty) this.#expireSoon();
  }

  /** Another process may lead from now on, of this server or of its successor. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    await this.#leader?.leave();
    await this.#writer?.idle();
    this.#isClosed = true;
    if (this.#expiry !== null) clearTimeout(this.#expiry);
    this.#awaitNoMore();
    this.#outbox.close();
    this.#reads.close();
    this.#follower?.close();
    await this.#seeking?.catch(() => undefined);
    try {
      if (this.#isOpen) await this.#own.close();
      this.#isOpen = false;
    } finally {
      this.#lease.release();
      this.#leader?.close();
      this.#leaveFolder();
    }
  }

  #leaveFolder(): void {
    if (this.#folderFd !== null) closeSync(this.#folderFd);
    this.#folderFd = null;
  }
}

/** The process that had the database is about to give it up. */
function isSoonOver(error: Error): boolean {
  return error === OTHER_LEADS || (error as StoreError).code === "UNAVAILABLE";
}

const OTHER_LEADS = new Error("another process leads");

function readExpired(reader: FlatReader): StoredEntry & { readonly collection: string } {
  return {
    collection: reader.text(),
    key: reader.text(),
    text: reader.text(),
    version: reader.number(),
    expiresAt: reader.numberOrNull(),
  };
}
