/** Checks a handler's result, and sends a streamed one at the client's pace. */
import type { Reply } from "../../module/contract";
import { isStream, type StreamReply } from "../../module/graph/returned";
import { nextTurn, WriteTurns } from "../turns";

/**
 * Checks the result of an author's handler.
 *
 * @returns the reply; null for nothing
 * @throws TypeError if it cannot be sent; the message says what to return
 */
export function checkReply(value: unknown): Exclude<Reply, void | undefined> {
  if (typeof value === "string" || value instanceof Uint8Array) return value;
  if (value === null || value === undefined) return null;
  if (isStream(value)) return value;
  const kind = typeof value === "object" ? (value.constructor?.name ?? "Object") : typeof value;
  throw new TypeError(
    `The handler returned ${kind === "Object" ? "an object" : `a ${kind}`}. Return a string, bytes, an async iterable of either, or nothing.`,
  );
}

/** The destination of a stream's pieces. */
export interface StreamTarget {
  readonly isClosed: boolean;
  write(piece: string | Uint8Array): boolean;
  waitForDrain(): Promise<void>;
}

/** Reads a stream to its end, at the client's pace. `stop` ends it, even if its next piece never comes. */
export class StreamPump {
  readonly #iterator: AsyncIterator<string | Uint8Array>;
  readonly #turns = new WriteTurns();
  #isStopped = false;
  /** The bytes of all pieces so far. */
  sentBytes = 0;

  constructor(source: StreamReply) {
    this.#iterator = (source as AsyncIterable<string | Uint8Array>)[Symbol.asyncIterator]();
  }

  /**
   * @returns true if the source ended and every piece was accepted; false if it was stopped or the client is gone
   * @throws the source's error, or TypeError for a piece that is neither text nor bytes
   */
  async run(target: StreamTarget): Promise<boolean> {
    for (;;) {
      const { done, value } = await this.#iterator.next();
      if (this.#isStopped) return false;
      if (done) return true;
      if (typeof value !== "string" && !(value instanceof Uint8Array)) {
        this.stop();
        throw new TypeError(`A streamed reply may yield strings and bytes only, not ${typeof value}.`);
      }
      const bytes = typeof value === "string" ? Buffer.byteLength(value) : value.length;
      this.sentBytes += bytes;
      if (!target.write(value)) await target.waitForDrain();
      if (this.#turns.count(bytes)) await nextTurn();
      if (target.isClosed) {
        this.stop();
        return false;
      }
    }
  }

  /** Stops the source. Idempotent. */
  stop(): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    // The source may be suspended for ever, so its answer is ignored.
    void Promise.resolve(this.#iterator.return?.()).catch(() => undefined);
  }
}
