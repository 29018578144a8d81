/** An error that a user can mend: shown as two lines, without a stack. Any other error is a bug in hrmr. */
interface UserErrorOptions {
  /** Stable, in capitals: MODULES_DIR_MISSING. Tests and scripts rely on it. */
  code: string;
  /** The process's exit code if the error ends it. Default 1; 2 for wrong usage. */
  exitCode?: number;
  /** One sentence that says what to do about it. */
  hint?: string;
  cause?: unknown;
}

/** An error whose `message` says what happened and where, and whose `hint` says what to do. */
export class UserError extends Error {
  readonly code: string;
  readonly exitCode: number;
  readonly hint: string | undefined;

  constructor(message: string, options: UserErrorOptions) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "UserError";
    this.code = options.code;
    this.exitCode = options.exitCode ?? 1;
    this.hint = options.hint;
  }
}
