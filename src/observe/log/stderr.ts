/**
 * stderr as a log's destination: a reader that is slow, or gone, neither stops the server nor costs lines at its end.
 *
 * Bun opens a piped stderr for writing without waiting, but drops at `process.exit` what did not fit into the pipe (64
 * KB). So the rest is kept here, and written at the exit.
 */
import { writeSync } from "node:fs";
import { outsideModules } from "./context";

/** What is kept for a reader that does not read. In bytes. */
const MAX_WAITING_BYTES = 4_194_304;
const RETRY_MS = 10;
/** How long an exit waits for the reader. In milliseconds. */
const EXIT_WAIT_MS = 1000;

class StderrSink {
  /** The event that tells of others which were left out. */
  describeDropped = (count: number): string => `${count} events were left out here: nobody read stderr\n`;
  readonly #fd: number;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #dropped = 0;
  #timer: Timer | null = null;

  /** @param fd  where to write. Default 2. */
  constructor(fd = 2) {
    this.#fd = fd;
    outsideModules(() => {
      // The first look at it makes a pipe one that does not block; and who closes it ends no server.
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

  /** Writes what waits; waits for a reader up to a second. */
  flush(): void {
    const deadline = performance.now() + EXIT_WAIT_MS;
    for (this.#writeWaiting(); this.#waiting.length > 0 && performance.now() < deadline; this.#writeWaiting())
      Bun.sleepSync(1);
  }

  #keep(bytes: Buffer): void {
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    if (this.#timer === null) outsideModules(() => (this.#timer = setTimeout(() => this.#retry(), RETRY_MS).unref()));
  }

  #retry(): void {
    this.#timer = null;
    this.#writeWaiting();
    if (this.#waiting.length > 0)
      outsideModules(() => (this.#timer = setTimeout(() => this.#retry(), RETRY_MS).unref()));
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

  /** @returns what did not fit; null: all is written, or cannot be, for the reader is gone */
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

/** The one of this process. */
export function stderrSink(): StderrSink {
  return (shared ??= new StderrSink());
}
