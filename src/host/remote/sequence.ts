/**
 * The numbers of the calls that were sent to one place, how many it has begun (see HEAD in messages.ts), and the calls
 * by their numbers.
 */
import type { RemoteCall } from "./call";
import { HEAD, isBefore, type ReplyBatch, ON_STACK, SHARED_WORDS, type SharedMemory } from "./messages";
import { readSaved } from "./saved-replies";

const NO_MEMORY: SharedMemory = new Int32Array(SHARED_WORDS);
/** More calls than a place ever holds. */
const MOST_AHEAD = 65_536;

export class Sequence {
  /** The number of the next call. */
  next = 1;
  #shared: SharedMemory = NO_MEMORY;

  /**
   * A place has started. Numbers continue, so that a late cancel of a call of the last place hits none of this one's.
   */
  begin(shared: SharedMemory): void {
    this.#shared = shared;
    Atomics.store(shared, HEAD, this.next);
  }

  /** A broken process may write any value there. An impossible head means that every call has begun. */
  get head(): number {
    const head = Atomics.load(this.#shared, HEAD);
    const ahead = (this.next - head) | 0;
    return ahead >= 0 && ahead <= MOST_AHEAD ? head : this.next;
  }

  /** How many sent calls have not begun. */
  get waiting(): number {
    return (this.next - this.head) | 0;
  }

  /** The call whose handler is on the stack. 0: none. */
  get running(): number {
    return Atomics.load(this.#shared, ON_STACK);
  }

  hasBegun(seq: number): boolean {
    return isBefore(seq, this.head);
  }

  /** @returns the number for a call that is being sent */
  take(): number {
    const seq = this.next;
    this.next = (seq + 1) | 0;
    return seq;
  }

  /** Prevents the place from beginning its waiting calls. @returns their numbers */
  takeBack(): number[] {
    let head = this.head;
    // An impossible head leaves no calls to take back.
    while (head !== this.next) {
      const seen = Atomics.compareExchange(this.#shared, HEAD, head, this.next);
      if (seen === head) break;
      head = this.head;
    }
    const taken: number[] = [];
    for (let seq = head; seq !== this.next; seq = (seq + 1) | 0) taken.push(seq);
    return taken;
  }

  /** @returns the unsent replies of a lost place. @throws Error if it has written something else */
  saved(): ReplyBatch {
    return readSaved(this.#shared);
  }
}

/** More than a place is usually sent ahead. A power of two. */
const RING = 256;

/**
 * Calls by number. Nearly all are answered before 255 more are sent, so each has a place of its own in a ring: a Map
 * would be filled and emptied with each call, and made anew again and again.
 */
export class OpenCalls {
  size = 0;
  readonly #ring: (RemoteCall | null)[] = Array.from({ length: RING }, () => null);
  /** Calls whose place was taken by an older one: a slow handler's, or a stream's. */
  readonly #others = new Map<number, RemoteCall>();

  get(seq: number): RemoteCall | undefined {
    const call = this.#ring[seq & (RING - 1)] ?? null;
    if (call !== null && call.seq === seq) return call;
    return this.#others.size === 0 ? undefined : this.#others.get(seq);
  }

  has(seq: number): boolean {
    return this.get(seq) !== undefined;
  }

  /** @param call  its `seq` is its number, which no other call here has, and stays so until it is deleted */
  add(call: RemoteCall): void {
    const at = call.seq & (RING - 1);
    if (this.#ring[at] === null) this.#ring[at] = call;
    else this.#others.set(call.seq, call);
    this.size++;
  }

  delete(seq: number): void {
    const at = seq & (RING - 1);
    if (this.#ring[at]?.seq === seq) this.#ring[at] = null;
    else if (!this.#others.delete(seq)) return;
    this.size--;
  }

  /** Oldest first. */
  list(): RemoteCall[] {
    if (this.size === 0) return [];
    const calls = [...this.#ring.filter((call) => call !== null), ...this.#others.values()];
    // Numbers wrap.
    return calls.sort((a, b) => (a.seq - b.seq) | 0);
  }

  clear(): void {
    this.#ring.fill(null);
    this.#others.clear();
    this.size = 0;
  }
}
