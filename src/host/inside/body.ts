/**
 * A request's body as a handler reads it: its parts come from the server, as they are asked for.
 */
import { type BodyPart, fromLatin1, STREAM_WINDOW } from "../remote/messages";

export class HostedBody {
  readonly stream: ReadableStream<Uint8Array>;
  readonly #want: (parts: number) => void;
  readonly #parts: Uint8Array[] = [];
  #hasBegun = false;
  #isOver = false;
  #error: unknown = undefined;
  readonly #trailers = Promise.withResolvers<Headers>();
  #wake: (() => void) | null = null;

  /** @param want asks the server for so many parts; 0: no more are wanted */
  constructor(want: (parts: number) => void) {
    this.#want = want;
    // Nobody need ask for the trailers.
    this.#trailers.promise.catch(() => undefined);
    this.stream = new ReadableStream<Uint8Array>(
      { pull: (controller) => this.#pull(controller), cancel: () => this.#cancel() },
      // Nothing is asked for before somebody reads.
      { highWaterMark: 0 },
    );
  }

  /** The request's trailers, behind the last part. */
  get trailers(): Promise<Headers> {
    return this.#trailers.promise;
  }

  receive({ text, error, trailers = [] }: BodyPart): void {
    if (text !== null) this.#parts.push(fromLatin1(text));
    else if (error === undefined) {
      this.#isOver = true;
      this.#trailers.resolve(new Headers(trailers));
    } else this.#fail(new Error(error));
    this.#wake?.();
  }

  /** The rest will not come. */
  fail(reason: unknown): void {
    if (this.#isOver) return;
    this.#fail(reason);
    this.#wake?.();
  }

  #fail(reason: unknown): void {
    this.#error ??= reason;
    this.#trailers.reject(reason);
  }

  async #pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    if (!this.#hasBegun) this.#want(STREAM_WINDOW);
    this.#hasBegun = true;
    while (this.#parts.length === 0 && !this.#isOver && this.#error === undefined) {
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    const part = this.#parts.shift();
    if (part !== undefined) {
      this.#want(1);
      controller.enqueue(part);
    } else if (this.#isOver) controller.close();
    else controller.error(this.#error);
  }

  #cancel(): void {
    this.#isOver = true;
    this.#parts.length = 0;
    this.#want(0);
  }
}
