/** The tokens' file on disk: read whole, and replaced whole. */
import { chownSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { replaceFile } from "../../system/files/durable";
import { makePrivateFolder, PRIVATE_FILE, readSecretFile, SecretFileError } from "../../system/private-files";
import { formatTokens, parseTokens, type TokenRecord, tokensError } from "./tokens";

/** The file's name in the data folder, where no other is set. */
export const TOKENS_FILE = "tokens.json";
/** Some 20,000 tokens. */
const MAX_FILE_BYTES = 8_388_608;

/**
 * @returns its tokens, expired ones too; none if there is no such file
 * @throws UserError TOKENS_FILE if it cannot be read, if others than its owner may read or write it, and if it is no
 *   tokens' file
 */
export function readTokens(file: string): TokenRecord[] {
  try {
    return parseTokens(readSecretFile(file, MAX_FILE_BYTES).toString(), file);
  } catch (error) {
    if (!(error instanceof SecretFileError)) throw error;
    if (error.code === "ENOENT") return [];
    throw tokensError(file, error.message, error.hint ?? "Name the file that `hrmr token add` has made.", error);
  }
}

/**
 * Replaces the file, which then has mode 0600 and is on the disk. Makes its folder if it is missing. If root writes it,
 * the file belongs to the owner of the folder: the server may run as that user.
 *
 * @throws UserError TOKENS_FILE if it cannot be written; the old file stays
 */
export function writeTokens(file: string, records: readonly TokenRecord[]): void {
  const folder = dirname(file);
  try {
    makePrivateFolder(folder);
    replaceFile(file, formatTokens(records), PRIVATE_FILE);
    if (process.getuid?.() !== 0) return;
    const { uid, gid } = statSync(folder);
    if (uid !== 0) chownSync(file, uid, gid);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw tokensError(file, `cannot be written (${code})`, "Run it as the user who runs the server.", cause);
  }
}
