/**
 * What the watchdog knows of a blocked event loop, in a file: the control socket cannot tell, since it is served by that loop. For
 * `hrmr status`.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PRIVATE_FILE } from "../system/private-files";

export interface BlockedNote {
  readonly pid: number;
  /** Milliseconds since 1970. */
  readonly sinceMs: number;
  /** null: it is not known whose code it is. */
  readonly module: string | null;
  /** 0 without a module. */
  readonly generation: number;
  /** As the log has it, without how long: `"SLOW "`. */
  readonly what: string;
}

/** @returns where a server of this state folder notes it */
export function blockedPath(stateDir: string): string {
  return join(stateDir, "blocked.json");
}

/** Whole or not at all. Never throws: without it a blocked server is told less of. */
export function writeBlocked(path: string, note: BlockedNote): void {
  try {
    writeFileSync(`${path}.new`, JSON.stringify(note), { mode: PRIVATE_FILE });
    renameSync(`${path}.new`, path);
  } catch {
    // The disk is full, or the folder gone.
  }
}

/** The event loop goes round again. Never throws. */
export function removeBlocked(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // It names a process and a time; who reads it asks whether they fit.
  }
}

/** @returns null: that process is not blocked, as far as is known */
export function readBlocked(stateDir: string, pid: number): BlockedNote | null {
  try {
    const note = JSON.parse(readFileSync(blockedPath(stateDir), "utf8")) as BlockedNote;
    return note.pid === pid ? note : null;
  } catch {
    return null;
  }
}
