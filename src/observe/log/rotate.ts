/** When and how a log file is rotated: FILE.1 is the newest old file, FILE.2 the one before. */
import { realpathSync, statSync } from "node:fs";
import { basename, dirname } from "node:path";
import type { LogRotation } from "../../config/options";

export interface RotationRules {
  /** 0: the size does not matter. */
  readonly maxFileBytes: number;
  /** 0: the file is emptied instead. */
  readonly maxFiles: number;
  readonly rotate: LogRotation;
}

/** @returns the hour or day of a moment, in UTC like the times of lines; "": a file's age does not matter */
export function periodOf(timeMs: number, rotate: LogRotation): string {
  if (rotate === "never") return "";
  return new Date(timeMs).toISOString().slice(0, rotate === "daily" ? 10 : 13);
}

/** @param period the hour or day of the file's lines */
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
 * Renames the file to FILE.1, FILE.1 to FILE.2 and so on, keeps `maxFiles` of them, and makes a new file with the mode
 * of the old one. A process that has the old file open still writes to it.
 *
 * The library's stream only renames. It would write in a later turn of the event loop, and a crash would lose the last
 * lines, which say why it crashed.
 *
 * @param maxFiles 1 or more
 */
export async function putAside(path: string, maxFiles: number): Promise<void> {
  // Few processes ever rotate a file, and each start would wait for the library.
  const { createStream } = await import("rotating-file-stream");
  // Follows a symbolic link, to rename the file and not the link.
  const file = realpathSync(path);
  const folder = dirname(file);
  await new Promise<void>((resolve, reject) => {
    // A limit of one byte makes the stream rotate the file when it opens it.
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
