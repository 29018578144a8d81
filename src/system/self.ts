/** How this program starts itself again: as a server process, or as its own successor. */
import { dirname, sep } from "node:path";

/** The role of a process. `main.ts` reads it and removes it from the environment. */
export const ROLE_VARIABLE = "HRMR_ROLE";

/**
 * The path of the interpreter or the binary at the start. If an upgrade has replaced the file since, the new file is
 * meant.
 */
const EXECUTABLE = process.execPath;

/** @param args what follows the program's own name */
export function selfCommand(args: readonly string[]): string[] {
  return Bun.isStandaloneExecutable ? [EXECUTABLE, ...args] : [EXECUTABLE, Bun.main, ...args];
}

/** The folder of the server's own code, with a separator at the end: src/, or the binary's own file system. */
export const OWN_ROOT = dirname(import.meta.dir) + sep;
