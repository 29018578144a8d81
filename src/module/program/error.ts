/** Why a program gave no answer. */

/** The message is for the client, and ends without a full stop. */
export class ProgramError extends Error {
  override readonly name = "ProgramError";
  /** TIMEOUT, BUSY, UNAVAILABLE, CANCELLED, or the code that the program gave. */
  readonly code: string;
  /** For programs: what the program gave with it. */
  readonly data: unknown;

  constructor(code: string, message: string, data?: unknown) {
    super(message);
    this.code = code;
    this.data = data;
  }
}
