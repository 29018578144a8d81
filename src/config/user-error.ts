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

/** By code: the cause, and what to do. */
const REASONS: Readonly<Record<string, readonly [what: string, hint: string]>> = {
  ENOSPC: ["the disk is full", "Make room on it, or name folders on another disk: --state DIR, --data DIR."],
  EDQUOT: [
    "this user's share of the disk is used up",
    "Make room on it, or name folders on another disk: --state DIR, --data DIR.",
  ],
  ENAMETOOLONG: ["a path is too long", "Move the project to a folder with a shorter path, or shorten names."],
  EROFS: ["the file system is read-only", "Name folders that can be written: --state DIR, --data DIR."],
  EIO: ["the disk has failed", "Read the system's log: `dmesg`."],
  EMFILE: ["too many files are open in this process", "Raise the limit: `ulimit -n 65536`."],
  ENFILE: ["too many files are open on this machine", "Raise the limit: `sysctl fs.file-max`."],
  ENOMEM: ["the memory is used up", "Stop other programs, or raise the process's memory limit."],
};

/** @returns null: `error` is another one, and may be a bug */
export function systemError(error: unknown): UserError | null {
  if (!(error instanceof Error) || error instanceof UserError || !("code" in error)) return null;
  const { code, syscall, path } = error as NodeJS.ErrnoException;
  const reason = code === undefined || !Object.hasOwn(REASONS, code) ? undefined : REASONS[code];
  if (reason === undefined) return null;
  const [what, hint] = reason;
  const where = [syscall, path].filter((part) => part !== undefined).join(" ");
  return new UserError(`hrmr cannot go on: ${what} (${[code, ...(where === "" ? [] : [where])].join(", ")}).`, {
    code: "SYSTEM",
    hint,
    cause: error,
  });
}

/** The text of a thrown value: of an error, its message. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
