/**
 * How this program starts itself once more: as a server process, or as its own successor.
 */

/** Which part of the program a process plays; read by `main.ts`, and taken out of the environment there. */
export const ROLE_VARIABLE = "HRMR_ROLE";

/**
 * The interpreter's or the binary's path, as it was at the start: an upgrade may have put another file there since,
 * which is meant.
 */
const EXECUTABLE = process.execPath;

/** @param args what follows the program's own name */
export function selfCommand(args: readonly string[]): string[] {
  return Bun.isStandaloneExecutable ? [EXECUTABLE, ...args] : [EXECUTABLE, Bun.main, ...args];
}
