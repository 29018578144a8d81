/** The numbers of the calls that are sent to one place, and how far it has begun them: see HEAD in messages.ts. */
import { HEAD, isBefore, type ReplyBatch, ON_STACK, SHARED_WORDS, type SharedMemory } from "./messages";
import { readSaved } from "./saved-replies";

const NO_MEMORY: SharedMemory = new Int32Array(SHARED_WORDS);
/** More than ever wait in a place. */
const MOST_AHEAD = 65_536;

export class Sequence {
  /** Of the next call that is sent. */
  next = 1;
  #shared: SharedMemory = NO_MEMORY;

  /** A place has started. Numbers go on, so that a late cancel of a call of the last place means none of this one's. */
  begin(shared: SharedMemory): void {
    this.#shared = shared;
    Atomics.store(shared, HEAD, this.next);
  }

  /** A process that went astray may write anything there: what no head can be means that everything has begun. */
  get head(): number {
    const head = Atomics.load(this.#shared, HEAD);
    const ahead = (this.next - head) | 0;
    return ahead >= 0 && ahead <= MOST_AHEAD ? head : this.next;
  }

  /** Calls that were sent and have not begun. */
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

  /** @returns the number of a call that is being sent */
  take(): number {
    const seq = this.next;
    this.next = (seq + 1) | 0;
    return seq;
  }

  /** Keeps the place from beginning any call that waits. @returns their numbers */
  takeBack(): number[] {
    let head = this.head;
    // What is no head has no calls behind it that could be taken back.
    while (head !== this.next) {
      const seen = Atomics.compareExchange(this.#shared, HEAD, head, this.next);
      if (seen === head) break;
      head = this.head;
    }
    const taken: number[] = [];
    for (let seq = head; seq !== this.next; seq = (seq + 1) | 0) taken.push(seq);
    return taken;
  }

  /** @returns replies that a lost place had and has not sent. @throws Error when it has written something else */
  saved(): ReplyBatch {
    return readSaved(this.#shared);
  }
}
