/** Errors of the operating system and of SQLite, as the store's callers get them. */
import { accessSync, constants } from "node:fs";
import { StoreError } from "../module/store/error";

/** By the beginning of SQLite's code, or the system's. */
const CODES: readonly (readonly [start: string, code: string, advice: string])[] = [
  ["SQLITE_FULL", "FULL", "there is no space on its disk. Make room; it goes on by itself"],
  ["ENOSPC", "FULL", "there is no space on its disk. Make room; it goes on by itself"],
  ["EDQUOT", "FULL", "the quota of its disk is used up. Make room; it goes on by itself"],
  ["SQLITE_READONLY", "READ_ONLY", "it cannot be written. Check its file's owner and mode, and its disk"],
  ["EROFS", "READ_ONLY", "its disk is read-only"],
  ["EACCES", "READ_ONLY", "it may not be opened for writing. Check the owner and mode of its file and folder"],
  ["EPERM", "READ_ONLY", "it may not be opened for writing. Check the owner and mode of its file and folder"],
  ["SQLITE_BUSY", "UNAVAILABLE", "another program has it locked. Give each server a store of its own (`store.url`)"],
  ["SQLITE_LOCKED", "UNAVAILABLE", "another program has it locked"],
  ["SQLITE_CANTOPEN", "UNAVAILABLE", "it cannot be opened. Check its folder, and its owner and mode"],
  ["SQLITE_NOTADB", "NOT_A_STORE", "the file is no SQLite database. Name another file in `store.url`"],
  ["SQLITE_CORRUPT", "UNAVAILABLE", "its file is damaged. Restore a backup"],
  ["SQLITE_IOERR_FSYNC", "UNKNOWN", "its disk failed, so nobody knows whether the write is there after a crash"],
  ["SQLITE_IOERR", "UNAVAILABLE", "its disk failed"],
  ["ENOTDIR", "UNAVAILABLE", "a part of its path is no folder. Name another file in `store.url`"],
  ["ENAMETOOLONG", "UNAVAILABLE", "its path is too long. Name another file in `store.url`"],
  ["ELOOP", "UNAVAILABLE", "its path has links that lead in a circle"],
  ["ENOENT", "UNAVAILABLE", "it is not there any more. Restart the server to make a new one, or restore a backup"],
  ["EIO", "UNAVAILABLE", "its disk failed"],
];

/** @param path of its file */
export function databaseError(error: unknown, path: string): StoreError {
  if (error instanceof StoreError) return error;
  const told = (error as { code?: unknown } | null)?.code;
  const text = error instanceof Error ? error.message : String(error);
  if (typeof told === "string" && told.startsWith("SQLITE_IOERR") && isOnReadOnlyDisk(path))
    return databaseError({ code: "EROFS" }, path);
  const known = CODES.find(([start]) => typeof told === "string" && told.startsWith(start));
  if (known === undefined) return new StoreError("FAILED", `the store ${path} failed: ${text}`);
  const [, code, advice] = known;
  return new StoreError(code, `the store ${path}: ${advice} (${String(told)})`);
}

/** SQLite does not tell. Opening the file would end the locks that SQLite has. */
function isOnReadOnlyDisk(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EROFS";
  }
}
