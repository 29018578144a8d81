/**
 * The sending half of a WebSocket: writes frames to the connection, holds those of a `cork`, and a pong that waits for
 * room.
 */
import type { Client } from "../../module/contract";
import type { WebSocketBound } from "../routing";
import type { Wire } from "../wire";
import type { Deflate } from "./deflate";
import { encodeBinaryAt, encodeFrame, encodeTextAt, FIN, MAX_CONTROL_BYTES, MAX_HEADER_BYTES, PONG } from "./frames";
import { type Outgoing, type OutgoingBatch, plainFrame } from "./outgoing";

/** Above this much unsent, pongs wait, and only the latest one is sent (section 5.5.3). In bytes. */
const MAX_BEFORE_PONG_BYTES = 65_536;
/** Longer messages get memory of their own. In characters or bytes. */
const MAX_IN_PLACE = 65_536;

/** The owner of the sender. `RouteSockets` is one. */
interface SenderOwner {
  /** null: the module has no such route any more. */
  readonly route: WebSocketBound | null;
  /** The module is being replaced. */
  readonly isUnavailable: boolean;
  /** Messages were dropped, since the client reads too slowly. */
  tellDropped(client: Client, messages: number): void;
}

export class FrameSender {
  /** False once our close frame is sent: no other frame may follow it (section 5.5.1). */
  isOpen = true;
  readonly #wire: Wire;
  readonly #owner: SenderOwner;
  /** The window for our messages; 0: no compression. */
  readonly #windowBits: number;
  #corked: Buffer[] | null = null;
  #corkedBytes = 0;
  #latePong: Buffer | null = null;
  /** A send returned -1 or 0: `drain` is due. */
  #owesDrain = false;

  constructor(wire: Wire, owner: SenderOwner, deflate: Deflate | null) {
    this.#wire = wire;
    this.#owner = owner;
    this.#windowBits = deflate?.windowBits ?? 0;
  }

  /** @returns as ServerWebSocket.send */
  sendMessage(message: Outgoing | OutgoingBatch): number {
    return this.sendFrame(message.frame(this.#windowBits), message.bytes, message.count);
  }

  /** Whether an uncompressed frame is right. */
  get isPlain(): boolean {
    return this.#windowBits === 0;
  }

  /** The same for a message that only this socket gets, uncompressed. */
  sendPlain(data: string | Uint8Array): number {
    if (!this.isOpen) return 0;
    // Corked frames are kept for a while; others are written now.
    const bytes = this.#corked === null && data.length <= MAX_IN_PLACE ? this.#writeInPlace(data) : 0;
    if (bytes > 0) return this.#tellSent(payloadBytes(bytes));
    const frame = plainFrame(data);
    return this.sendFrame(frame, payloadBytes(frame.length));
  }

  /** @returns the length of the frame; 0 if it is not sent */
  #writeInPlace(data: string | Uint8Array): number {
    return typeof data === "string"
      ? this.#wire.writeInPlace(3 * data.length + MAX_HEADER_BYTES, encodeTextAt, data)
      : this.#wire.writeInPlace(data.length + MAX_HEADER_BYTES, encodeBinaryAt, data);
  }

  /** @param messages  that the frame holds; 0: it is a control frame */
  sendFrame(frame: Buffer, bytes: number, messages = 1): number {
    if (!this.isOpen) return 0;
    const wire = this.#wire;
    const waiting = this.queuedBytes;
    if (waiting > 0 && waiting + frame.length > (this.#owner.route?.websocket.maxQueuedBytes ?? 0)) {
      this.#owesDrain = true;
      if (messages > 0) this.#owner.tellDropped(wire.client, messages);
      return 0;
    }
    if (this.#corked !== null) {
      this.#corked.push(frame);
      this.#corkedBytes += frame.length;
      return bytes || 1;
    }
    wire.write(frame);
    return this.#tellSent(bytes);
  }

  #tellSent(bytes: number): number {
    if (this.#wire.queuedBytes === 0) return bytes || 1;
    this.#owesDrain = true;
    return -1;
  }

  /** @param opcode  PING or PONG. @throws RangeError over 125 bytes */
  sendControl(opcode: number, payload: Uint8Array): number {
    if (payload.length > MAX_CONTROL_BYTES)
      throw new RangeError(`A ping or pong holds at most ${MAX_CONTROL_BYTES} bytes, not ${payload.length}.`);
    return this.sendFrame(encodeFrame(FIN | opcode, payload), payload.length, 0);
  }

  /** The answer to a ping: at once, or when there is room. */
  answerPing(payload: Buffer): void {
    if (this.#wire.queuedBytes > MAX_BEFORE_PONG_BYTES) this.#latePong = Buffer.from(payload);
    else this.#wire.write(encodeFrame(FIN | PONG, payload));
  }

  /** There is room again. */
  sendLatePong(): void {
    const pong = this.#latePong;
    this.#latePong = null;
    if (pong !== null && this.isOpen) this.#wire.write(encodeFrame(FIN | PONG, pong));
  }

  /** @returns whether to call `drain`, which is true once */
  takeDrain(): boolean {
    if (!this.#owesDrain || !this.isOpen || this.#wire.queuedBytes > 0 || this.#owner.isUnavailable) return false;
    this.#owesDrain = false;
    return true;
  }

  get queuedBytes(): number {
    return this.#wire.queuedBytes + this.#corkedBytes;
  }

  cork<R>(fn: () => R): R {
    if (this.#corked !== null) return fn();
    this.#corked = [];
    try {
      return fn();
    } finally {
      this.#uncork();
    }
  }

  /** Sends our close frame behind all others, and nothing after it. */
  close(frame: Buffer): void {
    this.#uncork();
    this.#wire.write(frame);
    this.isOpen = false;
  }

  #uncork(): void {
    const corked = this.#corked;
    this.#corked = null;
    this.#corkedBytes = 0;
    if (corked === null || corked.length === 0 || this.#wire.isClosed) return;
    this.#wire.write(corked.length === 1 ? (corked[0] as Buffer) : Buffer.concat(corked));
    if (this.#wire.queuedBytes > 0) this.#owesDrain = true;
  }
}

/** The length of the message in an uncompressed frame of so many bytes. */
function payloadBytes(frameBytes: number): number {
  return frameBytes - (frameBytes < 128 ? 2 : frameBytes < 65_540 ? 4 : MAX_HEADER_BYTES);
}
