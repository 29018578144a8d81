/**
 * stderr as a log's destination. A slow reader does not stop the server, and the last lines before an exit are not
 * lost.
 *
 * Bun writes to a piped stderr without waiting, but at `process.exit` drops the bytes that did not fit into the pipe
 * (64 KB). The rest is therefore kept here, and written at the exit.
 */
import { writeSync } from "node:fs";
import { asHost } from "../../system/leave-graph";

/** The most bytes kept for a reader that does not read. */
const MAX_WAITING_BYTES = 4_194_304;
const RETRY_MS = 10;
/** How long an exit waits for the reader. In milliseconds. */
const EXIT_WAIT_MS = 1000;

class StderrSink {
  /** The event about events that were left out. */
  describeDropped = (count: number): string => `${count} events were left out here: nobody read stderr\n`;
  readonly #fd: number;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #dropped = 0;
  #timer: Timer | null = null;

  /** @param fd  where to write. Default 2. */
  constructor(fd = 2) {
    this.#fd = fd;
    asHost(() => {
      // The first access to `process.stderr` makes a pipe non-blocking. A reader that closes it must not end the
      // server.
      if (fd === 2) process.stderr.on("error", () => {});
      process.on("exit", () => this.flush());
    });
  }

  /**
   * @param text whole events. One write(2) each, so that lines of several processes do not mix in a pipe (up to 4096
   * bytes).
   */
  write(text: string): void {
    const bytes = Buffer.from(text);
    if (this.#waiting.length === 0) {
      const rest = this.#attempt(bytes);
      if (rest !== null) this.#keep(rest);
    } else if (this.#waitingBytes + bytes.length > MAX_WAITING_BYTES) this.#dropped++;
    else this.#keep(bytes);
  }

  /** Writes the waiting events; waits up to a second for a reader. */
  flush(): void {
    const deadline = performance.now() + EXIT_WAIT_MS;
    for (this.#writeWaiting(); this.#waiting.length > 0 && performance.now() < deadline; this.#writeWaiting())
      Bun.sleepSync(1);
  }

  #keep(bytes: Buffer): void {
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    if (this.#timer === null) asHost(() => (this.#timer = setTimeout(() => this.#retry(), RETRY_MS).unref()));
  }

  #retry(): void {
    this.#timer = null;
    this.#writeWaiting();
    if (this.#waiting.length > 0) asHost(() => (this.#timer = setTimeout(() => this.#retry(), RETRY_MS).unref()));
  }

  #writeWaiting(): void {
    let written = 0;
    for (const bytes of this.#waiting) {
      const rest = this.#attempt(bytes);
      if (rest !== null) {
        this.#waiting[written] = rest;
        break;
      }
      written++;
    }
    this.#waiting.splice(0, written);
    this.#waitingBytes = this.#waiting.reduce((sum, bytes) => sum + bytes.length, 0);
    if (this.#waiting.length === 0 && this.#dropped > 0) this.#tellDropped();
  }

  #tellDropped(): void {
    const text = this.describeDropped(this.#dropped);
    this.#dropped = 0;
    this.write(text);
  }

  /** @returns the bytes that did not fit; null: all are written, or the reader is gone */
  #attempt(bytes: Buffer): Buffer | null {
    try {
      const count = writeSync(this.#fd, bytes);
      return count < bytes.length ? bytes.subarray(count) : null;
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === "EAGAIN" ? bytes : null;
    }
  }
}

let shared: StderrSink | null = null;

/** The only one of this process. */
export function stderrSink(): StderrSink {
  return (shared ??= new StderrSink());
}
