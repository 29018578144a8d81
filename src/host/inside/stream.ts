/** A streamed reply on its handler's side: a source that is read only as fast as the server asks for more. */
import type { StreamReply } from "../../module/graph/returned";
import { STREAM_WINDOW } from "../remote/messages";

interface StreamOutput {
  part(value: string | Uint8Array): void;
  end(): void;
  failed(error: unknown): void;
}

// A stream's own iterator lets `return` wait behind a pending read; its reader's `cancel` ends that read.
function iteratorOf(source: StreamReply): AsyncIterator<string | Uint8Array> {
  if (!(source instanceof ReadableStream)) return source[Symbol.asyncIterator]();
  const reader = source.getReader();
  return {
    next: () => reader.read() as Promise<IteratorResult<string | Uint8Array>>,
    return: async () => {
      await reader.cancel();
      return { done: true, value: undefined };
    },
  };
}

export class StreamSource {
  readonly #run: <R>(fn: () => R) => R;
  readonly #iterator: AsyncIterator<string | Uint8Array>;
  readonly #output: StreamOutput;
  #credit = STREAM_WINDOW;
  #onCredit: (() => void) | null = null;
  #isCancelled = false;

  /** @param run enters the module's graph: the source is the module's code */
  constructor(source: StreamReply, run: <R>(fn: () => R) => R, output: StreamOutput) {
    this.#run = run;
    this.#output = output;
    this.#iterator = run(() => iteratorOf(source));
  }

  /** The server has taken one part. */
  addCredit(): void {
    this.#credit++;
    this.#onCredit?.();
  }

  /**
   * Nobody reads any more: sends nothing more, and stops the source (`return` of an iterator, `cancel` of a stream).
   */
  cancel(): void {
    this.#isCancelled = true;
    this.#onCredit?.();
    // Errors of a stopped source do not matter any more.
    this.#enter(() => this.#iterator.return?.()).catch(() => {});
  }

  /** Never rejects. */
  async pump(): Promise<void> {
    try {
      for (;;) {
        if (this.#credit === 0) await new Promise<void>((resolve) => (this.#onCredit = resolve));
        if (this.#isCancelled) return;
        const next = await this.#enter(() => this.#iterator.next());
        if (this.#isCancelled) return;
        if (next?.done !== false) return this.#output.end();
        this.#send(next.value);
      }
    } catch (error) {
      if (!this.#isCancelled) this.#output.failed(error);
    }
  }

  #send(value: unknown): void {
    if (typeof value !== "string" && !(value instanceof Uint8Array)) {
      this.cancel();
      return this.#output.failed(
        new TypeError(`The reply's stream gave ${Bun.inspect(value, { depth: 0 })}. Yield strings or Uint8Arrays.`),
      );
    }
    this.#credit--;
    this.#output.part(value);
  }

  async #enter<R>(fn: () => R): Promise<Awaited<R>> {
    return await this.#run(fn);
  }
}
