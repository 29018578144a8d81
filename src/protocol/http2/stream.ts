/**
 * One open stream (RFC 9113 section 5): which sides are open, the client's window, and the bytes that wait for it. A
 * request that is answered at once has none.
 */
import type { Deadline } from "../../host/deadlines";

/** The part of the connection that a stream needs. */
export interface StreamOwner {
  /** Sends what waits on this stream and on others, as far as the windows allow. */
  pump(stream: Http2Stream): void;
  /** Nothing was sent for `writeMs`. */
  stalled(stream: Http2Stream): void;
  /** The reply is complete, and its client neither ends its body nor sends it. */
  timedOut(stream: Http2Stream): void;
  /** Both sides are over. */
  streamEnded(stream: Http2Stream): void;
  /** Whether the connection has room for DATA. */
  readonly hasRoom: boolean;
  armDeadline(deadline: Deadline, ms: number): void;
  readonly writeMs: number;
}

/** Gets the events of a stream. */
export interface StreamUser {
  /** A part of the request's body. @param heldBytes  flow-controlled bytes to give back when it is not held */
  received(content: Buffer, paddingBytes: number, endsStream: boolean): void;
  trailers(fields: readonly string[]): void;
  /** The client has reset the stream, or its connection is gone. */
  gone(): void;
  /** The server shuts down. */
  draining(): void;
}

/** Within writeMs, this much of a body must leave, or its end. */
const MIN_PROGRESS_BYTES = 1024;

export class Http2Stream implements Deadline {
  /** The wheel's. */
  deadlineAt = 0;
  readonly id: number;
  /** How much DATA the client takes. May be negative (RFC 9113 section 6.9.2). */
  window: number;
  /** How much DATA the client may send. */
  receiveWindow: number;
  /** Received bytes whose window was not given back yet. */
  owed = 0;
  /** The client's side is open: more of the request may come. */
  isReceiving: boolean;
  /** Our side is open. */
  isSending = true;
  isGone = false;
  /** It carries another protocol: small frames are that one's matter. */
  isTunnel = false;
  /** null: what comes of the request is dropped. */
  user: StreamUser | null = null;
  /** Trailers to send behind the last byte, as a block. */
  trailerBlock: Buffer | null = null;
  readonly #owner: StreamOwner;
  /** null: nothing waits to be sent. */
  #pending: Uint8Array | null = null;
  #endsBehind = false;
  /** Bytes sent since the deadline was armed. */
  #progress = 0;
  #wake: (() => void) | null = null;

  constructor(owner: StreamOwner, id: number, window: number, receiveWindow: number, isReceiving: boolean) {
    this.#owner = owner;
    this.id = id;
    this.window = window;
    this.receiveWindow = receiveWindow;
    this.isReceiving = isReceiving;
  }

  /** Bytes that wait for the client. */
  get pendingBytes(): number {
    return this.#pending === null ? 0 : this.#pending.length;
  }

  /** Something waits to be sent: bytes, or the end. */
  get isPending(): boolean {
    return this.#pending !== null;
  }

  /** END_STREAM follows the bytes that wait. */
  get endsBehind(): boolean {
    return this.#endsBehind;
  }

  /** Whether bytes would leave now. */
  get hasRoom(): boolean {
    return this.#owner.hasRoom && this.window > 0;
  }

  /**
   * Sends bytes behind those before, in frames. At most one piece may wait. A piece without bytes that ends nothing
   * waits for room, and sends nothing.
   *
   * @param ends  nothing follows
   */
  send(bytes: Uint8Array, ends: boolean): void {
    if (this.isGone || !this.isSending) return;
    this.#pending = bytes;
    this.#endsBehind = ends;
    this.#owner.pump(this);
    if (this.#pending === null) return;
    this.#progress = 0;
    if (this.deadlineAt === 0) this.#owner.armDeadline(this, this.#owner.writeMs);
  }

  /** Resolves when the piece has left, or the stream is gone. */
  waitForRoom(): Promise<void> {
    if (this.#pending === null || this.isGone) return Promise.resolve();
    return new Promise((resolve) => (this.#wake = resolve));
  }

  /** Takes the next bytes to send. @returns a view */
  take(most: number): Uint8Array {
    const pending = this.#pending as Uint8Array;
    const count = Math.min(most, pending.length);
    this.window -= count;
    this.#progress += count;
    if (count === pending.length) this.#pending = null;
    else this.#pending = pending.subarray(count);
    return count === pending.length ? pending : pending.subarray(0, count);
  }

  /** What waited has left. */
  drained(): void {
    this.#owner.armDeadline(this, 0);
    this.#wakeUp();
  }

  /** No frame of it may be sent any more. */
  drop(): void {
    this.isGone = true;
    this.isSending = false;
    this.isReceiving = false;
    this.#pending = null;
    this.#owner.armDeadline(this, 0);
    this.#wakeUp();
  }

  /** Our END_STREAM was sent. */
  sent(): void {
    this.isSending = false;
    if (!this.isReceiving) this.#owner.streamEnded(this);
  }

  expired(): void {
    if (this.isGone) return;
    if (this.#pending === null) return this.#owner.timedOut(this);
    const isSlow = this.#progress < Math.min(MIN_PROGRESS_BYTES, Math.max(1, this.#pending.length + this.#progress));
    if (isSlow) return this.#owner.stalled(this);
    this.#progress = 0;
    this.#owner.armDeadline(this, this.#owner.writeMs);
  }

  #wakeUp(): void {
    const wake = this.#wake;
    this.#wake = null;
    wake?.();
  }
}
