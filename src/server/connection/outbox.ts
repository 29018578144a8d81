/**
 * Bytes that the kernel has not taken yet. Bun queues nothing itself: a short write leaves the rest with the caller,
 * and `drain` comes once when there is room again. Made at the first short write, dropped when it is empty.
 */
import type { Deadline } from "../../host/deadlines";

/** The part of a Bun socket that sending needs. */
interface SendingSocket {
  /** @returns bytes taken; 0 if the kernel is full; -1 if the socket is closed */
  write(data: string | Uint8Array): number;
}

export class Outbox implements Deadline {
  deadlineAt = 0;
  bytes = 0;
  readonly #pieces: Uint8Array[] = [];
  readonly #onExpired: () => void;

  /** @param onExpired called if the client takes nothing until the deadline */
  constructor(onExpired: () => void) {
    this.#onExpired = onExpired;
  }

  expired(): void {
    this.#onExpired();
  }

  push(data: string | Uint8Array): void {
    const piece = typeof data === "string" ? Buffer.from(data) : data;
    this.#pieces.push(piece);
    this.bytes += piece.length;
  }

  /** Sends as much as the kernel takes. @returns how many bytes it took, or -1 if the socket is closed */
  flush(socket: SendingSocket): number {
    let taken = 0;
    while (this.#pieces.length > 0) {
      const piece = this.#pieces[0] as Uint8Array;
      const count = socket.write(piece);
      if (count < 0) return -1;
      taken += count;
      this.bytes -= count;
      if (count < piece.length) {
        this.#pieces[0] = piece.subarray(count);
        break;
      }
      this.#pieces.shift();
    }
    return taken;
  }
}
