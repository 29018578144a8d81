/** A reply that is too large to keep: checks its head, and compares each byte of its body as it comes. */
import { type HttpExpectation, headProblem, splitHead } from "./reply";

const NONE: Buffer = Buffer.alloc(0);

export class LargeReply {
  readonly #file: Buffer;
  readonly #expected: HttpExpectation;
  /** The bytes of an incomplete head. */
  #held: Buffer = NONE;
  /** Bytes of the body so far; -1: in the head. */
  #at = -1;

  /** @param file the body that is expected */
  constructor(file: Buffer, expected: HttpExpectation) {
    this.#file = file;
    this.#expected = expected;
  }

  /**
   * @returns "incomplete", null after the last byte of a right reply (the next one may follow), otherwise the mistake
   */
  receive(bytes: Buffer): string | null {
    return this.#at === -1
      ? this.#readHead(this.#held.length === 0 ? bytes : Buffer.concat([this.#held, bytes]))
      : this.#compare(bytes);
  }

  #readHead(bytes: Buffer): string | null {
    const end = bytes.indexOf("\r\n\r\n");
    const head = splitHead(bytes.latin1Slice(0, end + 4));
    this.#held = head === null ? bytes : NONE;
    if (head === null) return "incomplete";
    const problem = headProblem(head, this.#expected);
    if (problem !== null) return problem;
    if (head.length !== this.#file.length) return `Content-Length ${head.length}, not ${this.#file.length}`;
    this.#at = 0;
    return this.#compare(bytes.subarray(head.end));
  }

  #compare(bytes: Buffer): string | null {
    if (!this.#file.subarray(this.#at, this.#at + bytes.length).equals(bytes))
      return `${bytes.length} bytes from ${this.#at} on of a body of ${this.#file.length}`;
    this.#at += bytes.length;
    if (this.#at < this.#file.length) return "incomplete";
    this.#at = -1;
    return null;
  }
}
