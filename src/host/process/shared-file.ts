/** Nameless files that processes share: nothing remains of them, however the processes end. */
import { closeSync, constants, openSync, unlinkSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SharedMemory } from "../remote/messages";
import { SHARED_BYTES } from "../remote/saved-replies";

/** A flag of Linux that node:fs has no name for. */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;

/** For the memory shared with a process: in memory, if there is a folder for that. @returns its descriptor: close it */
export function openSharedFile(): number {
  const fd = openNameless("/dev/shm");
  // Written and not only extended: a lack of room is an error here, and would be a crash at the first use of a page.
  writeSync(fd, Buffer.alloc(SHARED_BYTES));
  return fd;
}

/**
 * An empty file that no folder lists. @param folder the first choice; otherwise the temporary folder. @returns its
 * descriptor: close it
 */
export function openNameless(folder: string): number {
  return (process.platform === "linux" ? (openUnnamed(folder) ?? openUnnamed(tmpdir())) : null) ?? openUnlinked();
}

/** @param fd of `openSharedFile`, or the same in another process. It may be closed afterwards. */
export function mapShared(fd: number): SharedMemory {
  const folder = process.platform === "linux" ? "/proc/self/fd" : "/dev/fd";
  const { buffer, byteOffset, byteLength } = Bun.mmap(`${folder}/${fd}`, { shared: true });
  return new Int32Array(buffer, byteOffset, byteLength >> 2);
}

function openUnnamed(folder: string): number | null {
  try {
    return openSync(folder, O_TMPFILE | constants.O_RDWR, 0o600);
  } catch {
    // No such folder, or a file system that has only files with names.
    return null;
  }
}

function openUnlinked(): number {
  const path = join(tmpdir(), `hrmr-${process.pid}-${crypto.randomUUID()}`);
  const fd = openSync(path, "wx+", 0o600);
  unlinkSync(path);
  return fd;
}

/** For the side that does not need the descriptor after mapping. */
export function mapAndClose(fd: number): SharedMemory {
  const shared = mapShared(fd);
  closeSync(fd);
  return shared;
}
