/**
 * Runs commands of a pipeline as one transaction of the store: they share one commit, and see one moment of the store.
 * Their replies stay out of the client's sight until it is durable.
 */
import type { StoreTransaction } from "hrmr";
import type { Call, Documents, Ready } from "./call";
import { errorText, isStoreError, ReplyError } from "./errors";
import type { Peer } from "./peer";
import type { Command } from "./reader";
import type { Writer } from "./writer";

/** Replies in one transaction. In bytes. */
const MAX_REPLIES = 1_048_576;
/** Codes that may be the fault of one command of several. With any other, all of them have failed. */
const FAULTS_OF_ONE = new Set(["TOO_LARGE", "INVALID_VALUE", "INVALID_KEY", "INVALID_NAME", "NOT_A_NUMBER", "TIMEOUT"]);

interface Collections {
  collection(name: string): Documents;
}

/** Commands that run one after another on the same view of the store. */
export class Run implements Call {
  readonly peer: Peer;
  readonly out: Writer;
  readonly #collections: Collections;
  #args: Command | null = null;
  #documents: Documents | null = null;
  #collection: string;
  #isSelected = false;
  #later: (() => void)[] = [];

  constructor(peer: Peer, collections: Collections) {
    this.peer = peer;
    this.out = peer.out;
    this.#collections = collections;
    this.#collection = peer.data.collection;
  }

  get args(): Command {
    return this.#args as Command;
  }

  get documents(): Documents {
    return (this.#documents ??= this.#collections.collection(this.#collection));
  }

  select(collection: string): void {
    this.#collection = collection;
    this.#documents = null;
    this.#isSelected = true;
  }

  afterwards(run: () => void): void {
    this.#later.push(run);
  }

  /** Writes one reply. @throws the errors that are not the command's own */
  async one({ spec, args }: Ready): Promise<void> {
    const mark = this.out.mark();
    this.#args = args;
    this.peer.lastCommand = spec.name;
    try {
      const running = spec.run(this);
      if (running !== undefined) await running;
    } catch (error) {
      const text = isCommands(error) ? errorText(error) : null;
      if (text === null) throw error;
      this.out.reset(mark);
      this.out.error(text);
    }
  }

  /** All that it has done is in the store. */
  done(): void {
    if (this.#isSelected) this.peer.data.collection = this.#collection;
    for (const run of this.#later) run();
  }
}

/** Whether an error is the reply to one command, and those behind it may go on. */
function isCommands(error: unknown): boolean {
  return !isStoreError(error) || (FAULTS_OF_ONE.has(error.code) && error.code !== "TIMEOUT");
}

/** @returns how many of them have run, at least one; the replies of all others are still to come */
export async function runTogether(peer: Peer, items: readonly Ready[]): Promise<number> {
  const { store } = peer.face.context;
  const many = manyOf(peer, items);
  if (many !== null) {
    try {
      return await many;
    } catch (error) {
      if (!isStoreError(error)) throw error;
      return await failed(peer, items, error);
    }
  }
  const isPlain =
    items.every(({ spec }) => spec.use === "nothing") || (items.length === 1 && mayRunAlone(items[0] as Ready));
  const mark = peer.out.mark();
  try {
    if (isPlain) {
      const run = new Run(peer, store);
      const done = await runAll(run, items);
      run.done();
      return done;
    }
    return await inTransaction(peer, (run) => runAll(run, items));
  } catch (error) {
    if (!isStoreError(error)) throw error;
    peer.out.reset(mark);
    return await failed(peer, items, error);
  }
}

/** All of one command, if that can be done by one call of the store. @returns null: it cannot */
function manyOf(peer: Peer, items: readonly Ready[]): Promise<number> | null {
  const { spec } = items[0] as Ready;
  if (spec.runMany === undefined || items.some((item) => item.spec !== spec)) return null;
  const { store } = peer.face.context;
  const { collection } = peer.data;
  peer.lastCommand = spec.name;
  try {
    return spec.runMany({
      all: items.map(({ args }) => args),
      out: peer.out,
      documents: store.collection(collection),
      texts: store.collection(collection, { text: true }),
    });
  } catch (error) {
    // The reply to one of them. Those before it have one, too.
    if (isStoreError(error) || error instanceof ReplyError) return null;
    throw error;
  }
}

/** One read needs no transaction, and a session's command may hold one. */
function mayRunAlone({ spec }: Ready): boolean {
  return (
    spec.use === "session" || spec.isLong === true || (spec.use === "read" && spec.keys[0] === 1 && spec.keys[1] === 1)
  );
}

/** The function may run again: then its replies are written anew. */
export async function inTransaction<T>(peer: Peer, work: (run: Run, tx: StoreTransaction) => Promise<T>): Promise<T> {
  const mark = peer.out.mark();
  let run: Run | null = null;
  const result = await peer.face.context.store.transaction(async (tx) => {
    peer.out.reset(mark);
    run = new Run(peer, tx);
    return await work(run, tx);
  });
  (run as Run | null)?.done();
  return result as T;
}

async function runAll(run: Run, items: readonly Ready[]): Promise<number> {
  const end = run.out.length + MAX_REPLIES;
  let done = 0;
  for (const item of items) {
    await run.one(item);
    done++;
    if (run.out.length > end) break;
  }
  return done;
}

async function failed(peer: Peer, items: readonly Ready[], error: Error & { code: string }): Promise<number> {
  if (items.length > 1 && FAULTS_OF_ONE.has(error.code)) {
    for (const item of items) await runTogether(peer, [item]);
    return items.length;
  }
  for (const _ of items) peer.out.error(errorText(error) as string);
  return items.length;
}
