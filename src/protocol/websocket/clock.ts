/**
 * The two deadlines of a WebSocket. A message that has begun must progress within bodyMs. After half of idleTimeoutMs
 * without a frame the peer gets a ping, after the other half the socket ends. Both share the connection's one alarm.
 */
import type { Wire } from "../wire";
import type { ReadGate } from "./gate";
import type { FrameReader } from "./reader";

/** Within bodyMs, this much of a message must come, or its end. Single bytes do not extend the deadline. In bytes. */
const MIN_PROGRESS_BYTES = 1024;

/** The action at the alarm: nothing; send a ping; end for a slow message; end for silence. */
type Alarm = "none" | "ping" | "slow" | "silent";

export class SocketClock {
  /** The deadline for the next MIN_PROGRESS_BYTES of a message. In milliseconds. 0: no message has begun. */
  messageAt = 0;
  /** Since the last tick of the idle clock the peer has sent: something; nothing; nothing after a ping. */
  peer: "heard" | "quiet" | "pinged" = "heard";
  readonly #wire: Wire;
  readonly #reader: FrameReader;
  readonly #gate: ReadGate;
  /** How much of it had come at the time of the deadline. In bytes. */
  #seenBytes = 0;
  #idleTimeoutMs = 0;
  /** The next tick of the idle clock, by performance.now(). In milliseconds. 0: none. */
  #idleAt = 0;

  constructor(wire: Wire, reader: FrameReader, gate: ReadGate) {
    this.#wire = wire;
    this.#reader = reader;
    this.#gate = gate;
  }

  /** @param idleTimeoutMs  0: silence is no reason to end */
  restartIdle(idleTimeoutMs: number): void {
    this.#idleTimeoutMs = idleTimeoutMs;
    this.#idleAt = idleTimeoutMs === 0 ? 0 : performance.now() + idleTimeoutMs / 2;
    this.#arm();
  }

  /** Bytes of a message were read, or its end. @param isOpen  the message still counts */
  noteMessage(isOpen: boolean): void {
    const reader = this.#reader;
    if (!reader.isInside || !isOpen) {
      this.messageAt = 0;
      return;
    }
    const isNew = this.messageAt === 0;
    if (!isNew && reader.messageBytes - this.#seenBytes < MIN_PROGRESS_BYTES) return;
    const { bodyMs } = this.#wire.dispatch.timeouts;
    this.#seenBytes = reader.messageBytes;
    if (bodyMs === 0) return;
    this.messageAt = performance.now() + bodyMs;
    // A deadline that only moves needs no new alarm: `tick` sets it.
    if (isNew) this.#arm();
  }

  /** The alarm has fired. */
  tick(): Alarm {
    const now = performance.now();
    if (this.messageAt !== 0 && this.messageAt <= now) {
      if (this.#gate.isOpen) return "slow";
      // While the server does not read, the client cannot send: move the deadline.
      this.messageAt = now + this.#wire.dispatch.timeouts.bodyMs;
    }
    if (this.#idleAt !== 0 && this.#idleAt <= now) return this.#tickIdle();
    this.#arm();
    return "none";
  }

  #tickIdle(): Alarm {
    // A peer that is not being read counts as heard.
    const wasHeard = this.peer === "heard" || !this.#gate.isOpen;
    if (!wasHeard && this.peer === "pinged") return "silent";
    this.peer = wasHeard ? "quiet" : "pinged";
    this.restartIdle(this.#idleTimeoutMs);
    return wasHeard ? "none" : "ping";
  }

  /** Sets the connection's one alarm to the nearer deadline. */
  #arm(): void {
    const { messageAt } = this;
    const next = messageAt === 0 || (this.#idleAt !== 0 && this.#idleAt < messageAt) ? this.#idleAt : messageAt;
    this.#wire.armDeadline(next === 0 ? 0 : Math.max(1, Math.ceil(next - performance.now())));
  }
}
