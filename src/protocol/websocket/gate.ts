/**
 * Decides whether a WebSocket is read. Reading stops while its module is being replaced or its peer does not read. It
 * is throttled for the rest of a second with too many messages. It also waits for handlers in another process. Each reason
 * holds for itself.
 */
import { asHost } from "../../system/leave-graph";
import type { Wire } from "../wire";
import type { FrameReader } from "./reader";

export class ReadGate {
  isStopped = false;
  isThrottled = false;
  readonly #wire: Wire;
  readonly #reader: FrameReader;
  /** Handlers that it waits for. */
  #waits = 0;
  #isOver = false;

  constructor(wire: Wire, reader: FrameReader) {
    this.#wire = wire;
    this.#reader = reader;
  }

  get isOpen(): boolean {
    return !this.isStopped && !this.isThrottled && this.#waits === 0 && !this.#isOver;
  }

  stop(): void {
    this.isStopped = true;
    this.#wire.pause();
  }

  /** The end of `stop`. */
  goOn(): void {
    this.isStopped = false;
    this.#read();
  }

  /** Until `waited`. */
  wait(): void {
    if (++this.#waits === 1) this.#wire.pause();
  }

  waited(): void {
    if (this.#waits > 0 && --this.#waits === 0) this.#read();
  }

  throttle(ms: number): void {
    if (this.isThrottled) return;
    this.isThrottled = true;
    this.#wire.pause();
    asHost(() => setTimeout(() => this.#letOn(), ms));
  }

  #letOn(): void {
    this.isThrottled = false;
    this.#read();
  }

  /** The peer's close frame must be read, even while reading is stopped. */
  openForClose(): void {
    if (!this.isStopped && !this.isThrottled && this.#waits === 0) return;
    this.isThrottled = false;
    this.#waits = 0;
    this.goOn();
  }

  /** Nothing is read any more. */
  end(): void {
    this.#isOver = true;
  }

  #read(): void {
    this.#reader.resume();
    // The kept bytes may have stopped it again.
    if (this.isOpen) this.#wire.resume();
  }
}
