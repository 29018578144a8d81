/** A request's body on its way to the handler's host. It is read only as fast as the handler asks for it. */
import { failureText, type Fields, PART_BYTES } from "./fetch-messages";
import { toLatin1, type BodyPart } from "./messages";

/** Smaller parts cost more as messages than as bytes. In bytes. */
const SMALL_BYTES = 1024;
/** This many small parts in a row are sent at once. After them, parts are collected before they are sent. */
const MAX_SMALL_PARTS = 64;
const COLLECT_MS = 5;

export class RemoteBody {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  #credit = 0;
  #isPumping = false;
  #isOver = false;
  #smallParts = 0;
  /** Bytes that were read but not sent yet. */
  #rest: Uint8Array | null = null;

  readonly #trailers: (() => Promise<Fields>) | null;

  /**
   * @param stream taken: it is read to its end, or cancelled
   * @param trailers  asked behind the last part; null: there are none
   */
  constructor(stream: ReadableStream<Uint8Array>, trailers: (() => Promise<Fields>) | null) {
    this.#trailers = trailers;
    this.#reader = stream.getReader() as ReadableStreamDefaultReader<Uint8Array>;
  }

  /**
   * The handler asks for more.
   *
   * @param parts how many; 0: it needs no more
   * @param send  takes one part to the place that asked
   */
  want(parts: number, send: (part: BodyPart) => void): void {
    if (parts === 0) return this.cancel();
    this.#credit += parts;
    if (!this.#isPumping && !this.#isOver) void this.#pump(send);
  }

  /** Nobody reads any more. Idempotent. */
  cancel(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#rest = null;
    this.#reader.cancel().catch(() => undefined);
  }

  async #pump(send: (part: BodyPart) => void): Promise<void> {
    this.#isPumping = true;
    try {
      while (this.#credit > 0 && !this.#isOver) {
        const part = this.#rest ?? (await this.#read());
        if (this.#isOver) return;
        if (part === null) {
          const trailers = this.#trailers === null ? [] : await this.#trailers();
          this.#isOver = true;
          return send(trailers.length === 0 ? { text: null } : { text: null, trailers });
        }
        this.#rest = part.length > PART_BYTES ? part.subarray(PART_BYTES) : null;
        this.#credit--;
        send({ text: toLatin1(part.subarray(0, PART_BYTES)) });
        await this.#collectMore(part.length);
      }
    } catch (error) {
      this.#isOver = true;
      send({ text: null, error: failureText(error) });
    } finally {
      this.#isPumping = false;
    }
  }

  /**
   * A client may send its body in single bytes. Small parts are joined, so that the place does not keep an object for
   * each byte.
   */
  async #collectMore(partBytes: number): Promise<void> {
    this.#smallParts = partBytes < SMALL_BYTES ? this.#smallParts + 1 : 0;
    if (this.#smallParts > MAX_SMALL_PARTS) await Bun.sleep(COLLECT_MS);
  }

  /** @returns null at the end */
  async #read(): Promise<Uint8Array | null> {
    const { done, value } = await this.#reader.read();
    return done ? null : value;
  }
}
