/** Lines of a program's output, whole. */

/** The rest of a longer line is dropped. In bytes. */
export const MAX_LINE_BYTES = 1_048_576;
const NEWLINE = 10;
const RETURN = 13;

export class LineReader {
  readonly #told: (line: Buffer, isCut: boolean) => void;
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  #isCut = false;

  /** @param told gets each line without its end; a cut one too */
  constructor(told: (line: Buffer, isCut: boolean) => void) {
    this.#told = told;
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

  #hold(part: Uint8Array): void {
    const room = MAX_LINE_BYTES - this.#heldBytes;
    if (part.length > room) this.#isCut = true;
    const kept = part.subarray(0, Math.max(0, room));
    if (kept.length === 0) return;
    // Copied: the stream's buffers are large.
    this.#held.push(kept.slice());
    this.#heldBytes += kept.length;
  }

  #tell(): void {
    const line = Buffer.concat(this.#held);
    const isCut = this.#isCut;
    this.#held = [];
    this.#heldBytes = 0;
    this.#isCut = false;
    this.#told(line.at(-1) === RETURN ? line.subarray(0, -1) : line, isCut);
  }
}
