/**
 * When a log file is put aside, and how: FILE.1 is the newest of those, FILE.2 the one before.
 */
import { realpathSync, statSync } from "node:fs";
import { basename, dirname } from "node:path";
import type { LogRotation } from "../../config/options";

export interface RotationRules {
  /** 0: never for its size. */
  readonly maxFileBytes: number;
  /** 0: the file is emptied instead. */
  readonly maxFiles: number;
  readonly rotate: LogRotation;
}

/** @returns the hour or day (UTC, as the lines' times are) that a moment is in; "": a file's age does not matter */
export function periodOf(timeMs: number, rotate: LogRotation): string {
  if (rotate === "never") return "";
  return new Date(timeMs).toISOString().slice(0, rotate === "daily" ? 10 : 13);
}

/** @param period that of the file's lines */
export function isRotationDue(
  bytes: number,
  period: string,
  nowMs: number,
  { maxFileBytes, rotate }: RotationRules,
): boolean {
  if (bytes === 0) return false;
  return (maxFileBytes > 0 && bytes >= maxFileBytes) || period !== periodOf(nowMs, rotate);
}

/**
 * Renames the file to FILE.1, and those that are there already to one more each, keeping `maxFiles`; then a new file
 * stands at its place. A process that has the old file open goes on writing to it. The new file has the mode of the old
 * one.
 *
 * The library's stream only does the renaming: it writes when the event loop comes to it, so that a crash would lose
 * the last lines, which are those that tell why.
 *
 * @param maxFiles 1 or more
 */
export async function putAside(path: string, maxFiles: number): Promise<void> {
  // Few processes ever put a file aside, and each start would wait for the library.
  const { createStream } = await import("rotating-file-stream");
  // Through a symbolic link: the file is renamed, not the link.
  const file = realpathSync(path);
  const folder = dirname(file);
  await new Promise<void>((resolve, reject) => {
    // A size of one byte: whatever is in the file, it is put aside when the stream opens it.
    const stream = createStream(basename(file), {
      path: folder,
      rotate: maxFiles,
      size: "1B",
      mode: statSync(file).mode & 0o777,
    });
    stream.once("error", reject);
    stream.once("open", () => stream.end(() => resolve()));
  });
}
