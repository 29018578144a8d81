/**
 * An outgoing message: its frame is made once, and compressed at most once for each window, for any number of sockets.
 */
import { deflate, isWorthIt } from "./deflate";
import { BINARY, encodeFrame, encodeText, FIN, RSV1, TEXT } from "./frames";

export class Outgoing {
  /** The length of the message, not of its frame. */
  readonly bytes: number;
  /** Of messages. */
  readonly count = 1;
  readonly data: string | Uint8Array;
  readonly #isWorthIt: boolean;
  #plain: Buffer | null = null;
  #packed: Buffer | null = null;
  #packedBits = 0;

  /** @param compress  as `send` takes it */
  constructor(data: string | Uint8Array, compress: boolean | undefined) {
    const isText = typeof data === "string";
    this.data = data;
    this.bytes = isText ? Buffer.byteLength(data) : data.length;
    this.#isWorthIt = isWorthIt(isText, this.bytes, compress);
  }

  /** @param windowBits  0: the peer does not inflate */
  frame(windowBits: number): Buffer {
    if (windowBits === 0 || !this.#isWorthIt) return (this.#plain ??= plainFrame(this.data));
    if (this.#packed === null || this.#packedBits !== windowBits) {
      this.#packed = this.#pack(windowBits);
      this.#packedBits = windowBits;
    }
    return this.#packed;
  }

  #pack(windowBits: number): Buffer {
    const isText = typeof this.data === "string";
    const payload = deflate(typeof this.data === "string" ? Buffer.from(this.data) : this.data, windowBits);
    if (payload === null) return (this.#plain ??= plainFrame(this.data));
    return encodeFrame(FIN | RSV1 | (isText ? TEXT : BINARY), payload);
  }
}

/** Several messages for any number of sockets, each of which gets them in one write. */
export class OutgoingBatch {
  readonly bytes: number;
  readonly count: number;
  readonly #messages: readonly Outgoing[];
  /** By window. */
  readonly #frames = new Map<number, Buffer>();

  constructor(messages: readonly Outgoing[]) {
    this.#messages = messages;
    this.count = messages.length;
    this.bytes = messages.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** @returns the frames of all. @param windowBits  0: the peer does not inflate */
  frame(windowBits: number): Buffer {
    const known = this.#frames.get(windowBits);
    if (known !== undefined) return known;
    const frames = Buffer.concat(this.#messages.map((message) => message.frame(windowBits)));
    this.#frames.set(windowBits, frames);
    return frames;
  }
}

/** A message's frame, uncompressed. */
export function plainFrame(data: string | Uint8Array): Buffer {
  return typeof data === "string" ? encodeText(data) : encodeFrame(FIN | BINARY, data);
}

/** @throws TypeError if it is neither text nor bytes */
export function prepare(data: unknown, compress: boolean | undefined): Outgoing {
  return new Outgoing(toData(data), compress);
}

/** @returns text, or a view of the same bytes. Throws a TypeError for anything else. */
export function toData(data: unknown): string | Uint8Array {
  if (typeof data === "string" || data instanceof Uint8Array) return data;
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  if (data instanceof ArrayBuffer || data instanceof SharedArrayBuffer) return new Uint8Array(data);
  throw new TypeError(
    `A WebSocket sends strings and bytes, not ${data === null ? "null" : typeof data}. Use JSON.stringify for objects.`,
  );
}

/** Only text, for `sendText`. */
export function toText(data: unknown): string {
  if (typeof data === "string") return data;
  throw new TypeError(`sendText and publishText take a string, not ${data === null ? "null" : typeof data}.`);
}

/** Only bytes, for `sendBinary` and control frames. */
export function toBytes(data: unknown): Uint8Array {
  const read = toData(data);
  if (typeof read !== "string") return read;
  throw new TypeError("sendBinary and publishBinary take bytes, not a string.");
}
