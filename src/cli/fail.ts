/**
 * How the program ends when something went wrong: what a user can mend is told in two lines and exits with 1 (2 for
 * wrong usage); anything else is our bug, shows its stack and exits with 70 (EX_SOFTWARE of sysexits.h).
 */
import { writeSync } from "node:fs";
import { inspect } from "node:util";
import { systemError } from "../config/system-errors";
import { UserError } from "../config/user-error";

const STDERR = 2;
const EXIT_BUG = 70;

/** Tells what happened and what to do, and ends the process. */
export function fail(thrown: unknown): never {
  const error = systemError(thrown) ?? thrown;
  if (error instanceof UserError) {
    tell(error.hint === undefined ? `${error.message}\n` : `${error.message}\n${error.hint}\n`);
    process.exit(error.exitCode);
  }
  tell(`This is a bug in hrmr. Please report it with these lines:\n${inspect(error)}\n`);
  process.exit(EXIT_BUG);
}

let handleStray: (error: unknown) => void = fail;

/**
 * From now on an exception or a rejection that nobody catches goes through `handleStray`: `fail`, until a server takes
 * over.
 */
export function catchStrays(): void {
  process.on("uncaughtException", (error) => handleStray(error));
  process.on("unhandledRejection", (error) => handleStray(error));
}

/** Hands what nobody catches to `handler`, which must not throw. */
export function onStray(handler: (error: unknown) => void): void {
  handleStray = handler;
}

/** Written synchronously: what is queued in process.stderr is lost at process.exit. */
function tell(text: string): void {
  try {
    writeSync(STDERR, text);
  } catch {
    // Nobody reads stderr any more; the exit code still tells.
  }
}
