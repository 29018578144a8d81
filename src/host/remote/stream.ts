/** A stream from the other side: holds parts until the reader takes them, and asks for more. */

/** Of a reply's parts, on the server's side; of other values, on either side. */
export class RemoteStream<Part = string | Uint8Array> implements AsyncIterableIterator<Part> {
  readonly #taken: () => void;
  readonly #left: () => void;
  readonly #parts: Part[] = [];
  #isOver = false;
  #error: Error | null = null;
  #waiting: PromiseWithResolvers<IteratorResult<Part>> | null = null;

  /**
   * @param taken the reader has taken one part
   * @param left the reader has left; not called once the stream is over
   */
  constructor(taken: () => void, left: () => void) {
    this.#taken = taken;
    this.#left = left;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** One at a time. Rejects once if the source failed. */
  async next(): Promise<IteratorResult<Part>> {
    if (this.#parts.length > 0) {
      const value = this.#parts.shift() as Part;
      this.#taken();
      return { done: false, value };
    }
    if (this.#error !== null) {
      const error = this.#error;
      this.#error = null;
      throw error;
    }
    if (this.#isOver) return { done: true, value: undefined };
    this.#waiting = Promise.withResolvers();
    return this.#waiting.promise;
  }

  async return(): Promise<IteratorResult<Part>> {
    if (!this.#isOver) {
      this.end();
      this.#left();
    }
    this.#parts.length = 0;
    this.#error = null;
    return { done: true, value: undefined };
  }

  push(part: Part): void {
    const waiting = this.#waiting;
    this.#waiting = null;
    if (waiting === null) {
      this.#parts.push(part);
      return;
    }
    this.#taken();
    waiting.resolve({ done: false, value: part });
  }

  end(): void {
    this.#isOver = true;
    this.#waiting?.resolve({ done: true, value: undefined });
    this.#waiting = null;
  }

  fail(error: Error): void {
    this.#isOver = true;
    if (this.#waiting === null) this.#error = error;
    else this.#waiting.reject(error);
    this.#waiting = null;
  }
}
