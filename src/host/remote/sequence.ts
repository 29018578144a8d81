/** The numbers of the calls that were sent to one place, and how many it has begun: see HEAD in messages.ts. */
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
