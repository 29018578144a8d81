/** How this program starts itself again: as a server process, or as its own successor. */
import { dirname, sep } from "node:path";

/** The role of a process. `main.ts` reads it and removes it from the environment. */
export const ROLE_VARIABLE = "HRMR_ROLE";

/**
 * The path of the interpreter or the binary at the start. If an upgrade has replaced the file since, the new file is
 * meant.
 */
const EXECUTABLE = process.execPath;

/** @param args what follows the program's own name. From source, Bun is told not to read .env by itself. */
export function selfCommand(args: readonly string[]): string[] {
  return Bun.isStandaloneExecutable ? [EXECUTABLE, ...args] : [EXECUTABLE, "--no-env-file", Bun.main, ...args];
}

/** The folder of the server's own code, with a separator at the end: src/, or the binary's own file system. */
export const OWN_ROOT = dirname(import.meta.dir) + sep;

/** With this variable the binary acts as bun. From source, bun runs the program anyway. */
const AS_BUN = "BUN_BE_BUN";

/**
 * The Bun inside this program, used as Bun: its package manager, test runner and type checker need nothing else.
 *
 * @returns `bun ARGS…`, and the environment that it needs
 */
export function ownBun(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): { command: readonly string[]; env: Record<string, string | undefined> } {
  return { command: [process.execPath, ...args], env: { ...process.env, ...env, [AS_BUN]: "1" } };
}
