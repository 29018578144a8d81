/** The reader threads of a store of SQLite: reads that take long, so that the event loop need not wait for them. */
import { StoreError } from "../../../../module/store/error";
import type { Page, SqlStatement, StoredEntry } from "../../../../module/store/port";
import { asHost } from "../../../../system/leave-graph";
import { databaseError } from "../../../database-error";
import type { FromReader, ToReader } from "./messages";

interface ReadersOptions {
  readonly threads: number;
  /** Reads that wait for a thread. More are refused (BUSY). */
  readonly maxWaiting: number;
  /** How long a read may take, its waiting included. In milliseconds. */
  readonly readMs: number;
  /** A thread without work ends after so long. In milliseconds. */
  readonly idleMs: number;
}

const DEFAULTS: ReadersOptions = { threads: 4, maxWaiting: 1000, readMs: 10_000, idleMs: 30_000 };
/** Threads that were given up, and still work on their read: nothing ends it. More are not left behind. */
const MAX_LOST = 4;
/** How long `close` waits for reads under way. In milliseconds. */
const CLOSE_MS = 5000;

type Read = Extract<ToReader, { type: "read" }>;
type Answer = Exclude<FromReader, { type: "failed" }>;

interface Order {
  readonly read: Read;
  resolve(answer: Answer): void;
  reject(error: StoreError): void;
  thread: Thread | null;
  timer: NodeJS.Timeout | null;
}

interface Thread {
  readonly worker: Worker;
  order: Order | null;
  /** Ends it while it has no work. */
  idle: NodeJS.Timeout | null;
  onClosed: (() => void) | null;
}

export class Readers {
  readonly #path: string;
  readonly #options: ReadersOptions;
  readonly #threads = new Set<Thread>();
  #waiting: Order[] = [];
  #lost = 0;
  #isClosed = false;
  /** Waits for the end of all reads. */
  #onDone: (() => void) | null = null;

  /** @param path of the database, which is there */
  constructor(path: string, options: Partial<ReadersOptions> = {}) {
    this.#path = path;
    this.#options = { ...DEFAULTS, ...options };
  }

  /** Threads. */
  get size(): number {
    return this.#threads.size;
  }

  async page(query: { readonly sql: string; readonly values: readonly (string | number)[] }): Promise<Page> {
    const answer = await this.#read({ type: "read", isPage: true, ...query });
    return answer.type === "page" ? { at: answer.at, entries: entriesFrom(answer.cells) } : { at: 0, entries: [] };
  }

  /** @throws StoreError READ_ONLY if it writes: it has done nothing then */
  async sql({ parts, values }: SqlStatement): Promise<readonly Record<string, unknown>[]> {
    const answer = await this.#read({ type: "read", isPage: false, sql: parts.join("?"), values });
    return answer.type === "rows" ? answer.rows : [];
  }

  /** Resolves when the threads have closed their handles, so that SQLite can put the file in order. Never rejects. */
  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#isBusy()) {
      const done = new Promise<void>((resolve) => (this.#onDone = resolve));
      await Promise.race([done, asHost(() => Bun.sleep(CLOSE_MS))]);
    }
    const error = new StoreError("UNAVAILABLE", "the store is closed");
    for (const order of this.#waiting.splice(0)) settle(order, () => order.reject(error));
    await Promise.all([...this.#threads].map((thread) => this.#end(thread, error)));
  }

  #read(read: Read): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const order: Order = { read, resolve, reject, thread: null, timer: null };
      const thread = this.#freeThread();
      if (thread === null && (this.#isClosed || this.#waiting.length >= this.#options.maxWaiting))
        return reject(new StoreError("BUSY", `the store has too much to read: ${this.#waiting.length} reads wait`));
      order.timer = asHost(() => setTimeout(() => this.#giveUp(order), this.#options.readMs));
      if (thread === null) this.#waiting.push(order);
      else this.#begin(thread, order);
    });
  }

  #isBusy(): boolean {
    return this.#waiting.length > 0 || [...this.#threads].some(({ order }) => order !== null);
  }

  /** @returns null: all have work */
  #freeThread(): Thread | null {
    if (this.#isClosed) return null;
    for (const thread of this.#threads) if (thread.order === null) return thread;
    const most = this.#options.threads - Math.max(0, this.#lost - MAX_LOST);
    return this.#threads.size < most ? this.#open() : null;
  }

  #open(): Thread {
    // A separate entry of the compiled binary: build.ts names it.
    const worker = asHost(() => new Worker(new URL("./reader-worker.ts", import.meta.url).href, { smol: true }));
    worker.unref();
    const thread: Thread = { worker, order: null, idle: null, onClosed: null };
    worker.onmessage = ({ data }: { data: FromReader }) => this.#answered(thread, data);
    worker.onerror = ({ message }) => {
      thread.onClosed?.();
      this.#broken(thread, message);
    };
    this.#threads.add(thread);
    post(thread, { type: "open", path: this.#path });
    return thread;
  }

  #begin(thread: Thread, order: Order): void {
    if (thread.idle !== null) clearTimeout(thread.idle);
    thread.idle = null;
    thread.order = order;
    order.thread = thread;
    post(thread, order.read);
  }

  #answered(thread: Thread, answer: FromReader): void {
    if (answer.type === "closed") return thread.onClosed?.();
    const { order } = thread;
    thread.order = null;
    if (order !== null)
      settle(order, () => {
        if (answer.type === "failed") order.reject(errorOf(answer, this.#path));
        else order.resolve(answer);
      });
    this.#goOn(thread);
  }

  /** Gives a thread its next work. */
  #goOn(thread: Thread): void {
    const next = this.#waiting.shift();
    if (next !== undefined) return this.#begin(thread, next);
    if (!this.#isBusy()) this.#onDone?.();
    const { idleMs } = this.#options;
    thread.idle = asHost(() => setTimeout(() => void this.#end(thread, null), idleMs));
    thread.idle.unref();
  }

  /** Nothing ends a statement of SQLite: its thread is left alone, and another one takes its place. */
  #giveUp(order: Order): void {
    const { thread } = order;
    order.reject(
      new StoreError(
        "BUSY",
        `the read took longer than ${this.#options.readMs / 1000} seconds. Ask for less at a time`,
      ),
    );
    if (thread === null) this.#waiting = this.#waiting.filter((each) => each !== order);
    else this.#leave(thread);
  }

  #leave(thread: Thread): void {
    this.#threads.delete(thread);
    this.#lost++;
    thread.worker.addEventListener("close", () => {
      this.#lost--;
      this.#fill();
    });
    thread.worker.terminate();
    this.#fill();
  }

  /** Threads in place of lost ones, for reads that wait. */
  #fill(): void {
    if (!this.#isBusy()) this.#onDone?.();
    while (this.#waiting.length > 0) {
      const thread = this.#freeThread();
      if (thread === null) return;
      this.#begin(thread, this.#waiting.shift() as Order);
    }
  }

  #broken(thread: Thread, message: string): void {
    if (!this.#threads.delete(thread)) return;
    thread.worker.terminate();
    const { order } = thread;
    if (order !== null)
      settle(order, () => order.reject(new StoreError("FAILED", `a reader thread of the store failed: ${message}`)));
    this.#fill();
  }

  /** @param error for its read. null: it has none */
  async #end(thread: Thread, error: StoreError | null): Promise<void> {
    if (!this.#threads.delete(thread)) return;
    if (thread.idle !== null) clearTimeout(thread.idle);
    const { order } = thread;
    if (order === null) {
      const closed = new Promise<void>((resolve) => (thread.onClosed = resolve));
      post(thread, { type: "close" });
      await closed;
    } else if (error !== null) settle(order, () => order.reject(error));
    thread.worker.terminate();
  }
}

function post({ worker }: Thread, message: ToReader): void {
  worker.postMessage(message);
}

function settle(order: Order, answer: () => void): void {
  if (order.timer !== null) clearTimeout(order.timer);
  answer();
}

function errorOf({ code, message }: Extract<FromReader, { type: "failed" }>, path: string): StoreError {
  if (code === "TOO_LARGE") return new StoreError(code, message);
  return databaseError(Object.assign(new Error(message), code === null ? {} : { code }), path);
}

const CELLS = 4;

function entriesFrom(cells: readonly (string | number | null)[]): StoredEntry[] {
  const entries: StoredEntry[] = [];
  for (let at = 0; at < cells.length; at += CELLS)
    entries.push({
      key: cells[at] as string,
      text: cells[at + 1] as string,
      version: cells[at + 2] as number,
      expiresAt: cells[at + 3] as number | null,
    });
  return entries;
}

const READING = /^(?:\s|--[^\n]*\n|\/\*[\s\S]*?\*\/)*(?:select|with|values|explain)\b/i;

/** Whether a statement is likely to read only. One that writes after all fails in a thread, and can be run elsewhere. */
export function looksLikeRead({ parts }: SqlStatement): boolean {
  return READING.test(parts[0] ?? "");
}
