/**
 * Ends the program after an error. An error that a user can mend prints two lines and exits with 1 (2 for wrong usage).
 * Any other error is our bug: it prints its stack and exits with 70 (EX_SOFTWARE of sysexits.h).
 */
import { writeSync } from "node:fs";
import { inspect } from "node:util";
import { systemError, UserError } from "../config/user-error";

const STDERR = 2;
const EXIT_BUG = 70;

interface Failure {
  readonly message: string;
  /** "" if nothing is to be said. */
  readonly hint: string;
  readonly code: string;
  readonly exitCode: number;
}

export function failureOf(thrown: unknown): Failure {
  const error = systemError(thrown) ?? thrown;
  if (error instanceof UserError)
    return { message: error.message, hint: error.hint ?? "", code: error.code, exitCode: error.exitCode };
  const message = `This is a bug in hrmr. Please report it with these lines:\n${inspect(error)}`;
  return { message, hint: "", code: "BUG", exitCode: EXIT_BUG };
}

/** Prints what happened and what to do, and ends the process. */
export function fail(thrown: unknown): never {
  const { message, hint, exitCode } = failureOf(thrown);
  tell(hint === "" ? `${message}\n` : `${message}\n${hint}\n`);
  process.exit(exitCode);
}

let handleStray: (error: unknown) => void = fail;

/** From now on uncaught exceptions and rejections go to `handleStray`: `fail`, until a server sets another handler. */
export function catchStrays(): void {
  process.on("uncaughtException", (error) => handleStray(error));
  process.on("unhandledRejection", (error) => handleStray(error));
}

/** Hands uncaught errors to `handler`, which must not throw. */
export function onStray(handler: (error: unknown) => void): void {
  handleStray = handler;
}

/** Writes synchronously: process.exit drops the queue of process.stderr. */
function tell(text: string): void {
  try {
    writeSync(STDERR, text);
  } catch {
    // Nobody reads stderr any more. The exit code remains.
  }
}
