/** Copies of the files of stores. */
import { closeSync, constants, copyFileSync, fsyncSync, openSync, renameSync, rmSync, chmodSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { UserError } from "../../../config/user-error";
import { PRIVATE_FILE } from "../../../system/private-files";
import { syncFolder } from "../../../system/files/durable";
import { fileOf } from "./open-store";

/** @throws UserError CANNOT_WRITE */
export function copyFileOfStore(url: string, to: string): void {
  const from = fileOf(url);
  if (from === null) throw new Error("only a store in a file has one. This is a bug in hrmr; please report it.");
  copyDurably(from, to);
}

/** Copies a file into a new one of this user alone, which is on the disk when this returns. @throws UserError CANNOT_WRITE */
function copyDurably(from: string, to: string): void {
  try {
    copyFileSync(from, to, constants.COPYFILE_EXCL);
    chmodSync(to, PRIVATE_FILE);
    const fd = openSync(to, "r");
    fsyncSync(fd);
    closeSync(fd);
    syncFolder(dirname(to));
  } catch (cause) {
    const { code, path = to } = cause as NodeJS.ErrnoException;
    throw new UserError(`Cannot copy ${from} to ${to} (${code}).`, {
      code: "CANNOT_WRITE",
      hint: `Look at ${path}: is it there, readable, and is there room?`,
      cause,
    });
  }
}

/** Puts a copy of a file in the place of another one, in one step. @throws UserError CANNOT_WRITE */
export function putInPlace(from: string, to: string): void {
  const temporary = join(dirname(to), `.${basename(to)}.${process.pid}.tmp`);
  rmSync(temporary, { force: true });
  copyDurably(from, temporary);
  renameSync(temporary, to);
  syncFolder(dirname(to));
}
