/**
 * The watchdog's note about a blocked event loop, in a file for `hrmr status`. The control socket cannot answer: the
 * blocked loop serves it.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PRIVATE_FILE } from "../system/private-files";

interface BlockedNote {
  readonly pid: number;
  /** Milliseconds since 1970. */
  readonly sinceMs: number;
  /** null: not known. */
  readonly module: string | null;
  /** 0 without a module. */
  readonly generation: number;
  /** The culprit in the log's words: `"SLOW "`. */
  readonly what: string;
}

/** @returns the path of the note of this state folder's server */
export function blockedPath(stateDir: string): string {
  return join(stateDir, "blocked.json");
}

/** Writes the note whole or not at all. Never throws: the note is only help for `hrmr status`. */
export function writeBlocked(path: string, note: BlockedNote): void {
  try {
    writeFileSync(`${path}.new`, JSON.stringify(note), { mode: PRIVATE_FILE });
    renameSync(`${path}.new`, path);
  } catch {
    // The disk is full, or the folder is gone.
  }
}

/** Removes the note: the event loop runs again. Never throws. */
export function removeBlocked(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // An old note does no harm: readers check the process in it.
  }
}

/** @returns null: no note says that this process is blocked */
export function readBlocked(stateDir: string, pid: number): BlockedNote | null {
  try {
    const note = JSON.parse(readFileSync(blockedPath(stateDir), "utf8")) as BlockedNote;
    return note.pid === pid ? note : null;
  } catch {
    return null;
  }
}
