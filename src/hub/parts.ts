/** The parts of a streamed result: an async iterable of the service's module. */
import { Carried } from "../module/service/values";

interface PartsOwner {
  /** Enters the module's graph. */
  run<R>(fn: () => R): R;
  /**
   * Called at the end. `error` is undefined if the result is complete, or if its reader left.
   *
   * @returns the reader's error
   */
  over(error?: unknown): Error | null;
}

export class PartsOf implements AsyncIterableIterator<Carried> {
  readonly #owner: PartsOwner;
  readonly #iterator: AsyncIterator<unknown>;
  #cut: Error | null = null;
  #onCut: ((error: Error) => void) | null = null;
  #isOver = false;

  /** @param source an async iterable, or a ReadableStream, which is one too */
  constructor(source: AsyncIterable<unknown>, owner: PartsOwner) {
    this.#owner = owner;
    this.#iterator = owner.run(() => source[Symbol.asyncIterator]());
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Carried>> {
    if (this.#cut !== null) throw this.#cut;
    if (this.#isOver) return { done: true, value: undefined };
    try {
      const cut = new Promise<never>((_, reject) => (this.#onCut = reject));
      const next = await Promise.race([this.#enter(() => this.#iterator.next()), cut]);
      // As `for await` has it. Else a wrong iterator would give parts for ever.
      if (typeof next !== "object" || next === null)
        throw new TypeError(`an iterator gave ${typeof next} for a result`);
      if (next.done === true) return this.#end();
      return { done: false, value: Carried.of(next.value) };
    } catch (error) {
      if (this.#cut !== null) throw this.#cut;
      throw this.#fail(error);
    } finally {
      this.#onCut = null;
    }
  }

  async return(): Promise<IteratorResult<Carried>> {
    this.#stop();
    return this.#end();
  }

  /** Its reader gets the error. Idempotent. */
  cut(error: Error): void {
    if (this.#isOver) return;
    this.#cut = error;
    this.#onCut?.(error);
    this.#stop();
    this.#fail(undefined);
  }

  async #enter<R>(fn: () => R): Promise<Awaited<R>> {
    return await this.#owner.run(fn);
  }

  #stop(): void {
    // Errors of a stopped source no longer matter.
    if (!this.#isOver) this.#enter(() => this.#iterator.return?.()).catch(() => undefined);
  }

  #end(): IteratorResult<Carried> {
    if (!this.#isOver) {
      this.#isOver = true;
      this.#owner.over();
    }
    return { done: true, value: undefined };
  }

  #fail(error: unknown): unknown {
    if (this.#isOver) return error;
    this.#isOver = true;
    return this.#owner.over(error) ?? error;
  }
}
