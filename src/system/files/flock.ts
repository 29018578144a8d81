/** flock(2): a lock on an open file. The kernel frees it when its last descriptor is closed, so also by kill -9. */
import { fstatSync, statSync } from "node:fs";
import { openLibc } from "../libc";

const KINDS = { shared: 1, exclusive: 2 } as const;
const NOT_WAITING = 4;

const libc = openLibc({ flock: { args: ["i32", "i32"], returns: "i32" } });

/** Whether files can be locked at all: not on Windows. */
export const hasFlock = libc !== null;

/**
 * Locks an open file without waiting, or changes the kind of its lock.
 *
 * @returns false: another process holds it, or there is no flock here
 */
export function tryFlock(fd: number, kind: keyof typeof KINDS): boolean {
  return libc !== null && libc.flock(fd, KINDS[kind] | NOT_WAITING) === 0;
}

/** Whether an open file is the one at a path. A lock on a file that was deleted or replaced keeps nobody out. */
export function isFileAt(fd: number, path: string): boolean {
  const there = statSync(path, { throwIfNoEntry: false });
  const held = fstatSync(fd);
  return there !== undefined && there.ino === held.ino && there.dev === held.dev;
}
