/** A call's result for a caller in this thread: a promise of a copy of its own. */
import type { ServiceAnswer } from "../module/service/calls";
import { uncopiedResult } from "../module/service/error";
import type { Carried } from "../module/service/values";

/** @returns the result as a copy of the caller's own */
export function promised(begin: (answer: ServiceAnswer) => void): Promise<unknown> {
  return new Promise((resolve, reject) => {
    begin({
      resolve: (value) => {
        try {
          resolve(copyOf(value));
        } catch (error) {
          reject(error);
        }
      },
      stream: (parts) => resolve(new Copies(parts)),
      reject,
    });
  });
}

/** Copies each part for its reader. */
class Copies implements AsyncIterableIterator<unknown> {
  readonly #parts: AsyncIterableIterator<Carried>;

  constructor(parts: AsyncIterableIterator<Carried>) {
    this.#parts = parts;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<unknown>> {
    const part = await this.#parts.next();
    return part.done === true ? { done: true, value: undefined } : { done: false, value: copyOf(part.value) };
  }

  async return(): Promise<IteratorResult<unknown>> {
    await this.#parts.return?.();
    return { done: true, value: undefined };
  }
}

function copyOf(part: Carried): unknown {
  try {
    return part.copy();
  } catch (error) {
    throw uncopiedResult(error);
  }
}
