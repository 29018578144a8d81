/**
 * Turns the output of a module's process into lines of the server's log. A flood costs the module time, but hardly any
 * of the server's: most lines are only counted, and above a cheap rate the module waits for its pipe.
 */
import { asHost } from "../../system/leave-graph";

/** The rest of a longer line is left out. */
const MAX_LINE_BYTES = 4096;
/** A process that starts or ends may print much at once. */
const BURST_LINES = 400;
const LINES_PER_SECOND = 200;
/** The most bytes read within a tick. */
const TICK_BYTES = 1_048_576;
const TICK_MS = 100;
const NEWLINE = 10;

/** The limit of lines that one process prints, or logs. */
export class LineBudget {
  #left = BURST_LINES;
  #filledAt = performance.now();
  #dropped = 0;
  #timer: Timer | null = null;
  readonly #tellDropped: (count: number) => void;

  /** @param tellDropped called a second after the first dropped line, with the number of dropped lines */
  constructor(tellDropped: (count: number) => void) {
    this.#tellDropped = tellDropped;
  }

  /** @returns whether a line may be logged; otherwise it is counted */
  take(): boolean {
    const now = performance.now();
    this.#left = Math.min(BURST_LINES, this.#left + ((now - this.#filledAt) * LINES_PER_SECOND) / 1000);
    this.#filledAt = now;
    if (this.#left >= 1) {
      this.#left--;
      return true;
    }
    this.#dropped++;
    this.#timer ??= asHost(() => setTimeout(() => this.flush(), 1000));
    return false;
  }

  flush(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#dropped > 0) this.#tellDropped(this.#dropped);
    this.#dropped = 0;
  }
}

/**
 * Reads a stream to its end.
 *
 * @param say gets a line, cut, without its end
 * @returns resolves at the end; never rejects
 */
export async function readLines(
  stream: ReadableStream<Uint8Array>,
  budget: LineBudget,
  say: (line: string) => void,
): Promise<void> {
  const lines = new Lines(budget, say);
  let left = TICK_BYTES;
  let tickAt = performance.now();
  try {
    for await (const piece of stream) {
      lines.add(piece);
      left -= piece.length;
      const now = performance.now();
      if (now - tickAt >= TICK_MS) [left, tickAt] = [TICK_BYTES, now];
      else if (left <= 0) await Bun.sleep(TICK_MS - (now - tickAt));
    }
  } catch {
    // The process is gone with its last output.
  }
  lines.end();
}

class Lines {
  readonly #budget: LineBudget;
  readonly #say: (line: string) => void;
  readonly #decoder = new TextDecoder();
  /** The beginning of an incomplete line. */
  #held: Uint8Array[] = [];
  #heldBytes = 0;

  constructor(budget: LineBudget, say: (line: string) => void) {
    this.#budget = budget;
    this.#say = say;
  }

  add(piece: Uint8Array): void {
    let from = 0;
    for (let end = piece.indexOf(NEWLINE); end !== -1; end = piece.indexOf(NEWLINE, from)) {
      this.#hold(piece.subarray(from, end));
      this.#tell();
      from = end + 1;
    }
    this.#hold(piece.subarray(from));
  }

  end(): void {
    if (this.#heldBytes > 0) this.#tell();
  }

  #hold(part: Uint8Array): void {
    const room = MAX_LINE_BYTES - this.#heldBytes;
    // Copied: the stream's buffers are large.
    if (room > 0 && part.length > 0) this.#held.push(part.slice(0, room));
    this.#heldBytes += part.length;
  }

  #tell(): void {
    const held = this.#held;
    const cut = this.#heldBytes - MAX_LINE_BYTES;
    this.#held = [];
    this.#heldBytes = 0;
    if (held.length === 0 || !this.#budget.take()) return;
    this.#say(`${this.#decoder.decode(Buffer.concat(held)).trimEnd()}${cut > 0 ? ` ... and ${cut} bytes more` : ""}`);
  }
}
