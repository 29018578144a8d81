/** A streamed reply on the server's side: holds parts until the reader takes them, and asks for more. */

export class RemoteStream implements AsyncIterableIterator<string | Uint8Array> {
  readonly #taken: () => void;
  readonly #left: () => void;
  readonly #parts: (string | Uint8Array)[] = [];
  #isOver = false;
  #error: Error | null = null;
  #waiting: PromiseWithResolvers<IteratorResult<string | Uint8Array>> | null = null;

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
  async next(): Promise<IteratorResult<string | Uint8Array>> {
    const part = this.#parts.shift();
    if (part !== undefined) {
      this.#taken();
      return { done: false, value: part };
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

  async return(): Promise<IteratorResult<string | Uint8Array>> {
    if (!this.#isOver) {
      this.end();
      this.#left();
    }
    this.#parts.length = 0;
    this.#error = null;
    return { done: true, value: undefined };
  }

  push(part: string | Uint8Array): void {
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
