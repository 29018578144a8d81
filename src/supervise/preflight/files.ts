/** Checks whether a server could make its files, without making them: its locks, its log and its control socket. */
import { accessSync, constants, lstatSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { UserError } from "../../config/user-error";
import { controlPath, shortFolder } from "../../control/paths";
import { cannotControl, mustBeFree } from "../../control/server";
import { logFileError } from "../../observe/log/file";
import { cannotLock, notPlain, readHolder } from "../takeover/lock";

const { R_OK, W_OK, X_OK } = constants;

/** @throws UserError LOG_FILE, as opening it would */
export function lookAtLogFile(path: string): void {
  try {
    const found = statSync(path, { throwIfNoEntry: false });
    if (found === undefined) return mustTakeFiles(dirname(path));
    if (found.isDirectory()) throw errno("EISDIR");
    if (!found.isFile()) throw errno("ENXIO");
    accessSync(path, W_OK);
  } catch (error) {
    throw logFileError(path, error);
  }
}

/**
 * @returns the process that holds it; null: it could be locked
 * @throws UserError CANNOT_LOCK, as `lockFile`
 */
export function lookAtLock(path: string): number | null {
  try {
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found === undefined) {
      mustTakeFiles(dirname(path));
      return null;
    }
    if (found.isSymbolicLink()) throw errno("ELOOP");
    if (found.isDirectory()) throw errno("EISDIR");
    if (found.isFile()) accessSync(path, R_OK | W_OK);
    else throw notPlain(path);
  } catch (error) {
    throw isErrno(error) ? cannotLock(path, error) : error;
  }
  return readHolder(path);
}

/**
 * @param stateDir need not exist yet
 * @returns the socket's path
 * @throws UserError CONTROL_PATH_LONG or CANNOT_CONTROL, as opening it would
 */
export function lookAtControl(stateDir: string, runtimeDir: string | undefined, configured: string | null): string {
  const path = controlPath(stateDir, runtimeDir, configured);
  const folder = dirname(path);
  mustBeFree(path);
  // Both are made if they are missing.
  if (folder === stateDir || folder === shortFolder()) return path;
  try {
    mustTakeFiles(folder);
  } catch (error) {
    throw isErrno(error) ? cannotControl(path, error) : error;
  }
  return path;
}

/** @throws Error with the code that opening a file in it would give */
export function mustTakeFiles(folder: string): void {
  if (!statSync(folder).isDirectory()) throw errno("ENOTDIR");
  accessSync(folder, W_OK | X_OK);
}

/** An error in the system's words. */
function errno(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(code), { code });
}

/** A UserError is already clearer. */
function isErrno(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && !(error instanceof UserError);
}
