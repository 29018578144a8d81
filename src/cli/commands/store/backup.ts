/** `hrmr backup FILE`: a copy of the store as it is at one moment, while the server runs. */
import { existsSync, rmSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { defineCommand } from "citty";
import { parseStoreUrl } from "../../../config/store-url";
import { UserError } from "../../../config/user-error";
import { argument, type Flags, switchFlag } from "../../flags";
import { printJson } from "../../screen/terminal";
import { copyFileOfStore } from "./file-copy";
import { findStore, STORE_ARGS, withStore } from "./open-store";

const args = {
  file: argument("The file to write; it must not exist", { required: true }),
  ...STORE_ARGS,
  json: switchFlag("Print JSON"),
} as const satisfies Flags;

export const backupCommand = defineCommand({
  meta: { name: "backup", description: "Copy the store into a file while the server runs, and check the copy" },
  args,
  async run({ args: { file, url, config, modules, data, json } }) {
    const path = resolve(file);
    if (existsSync(path))
      throw new UserError(`${file} is there already.`, { code: "CANNOT_WRITE", hint: "Name a new file." });
    const found = await findStore({ url, config, modules, data });
    const { kind } = parseStoreUrl(found.url) ?? { kind: null };
    // The server has the file of JSON locked; what it appends leaves the beginning as it is.
    if (kind === "json") copyFileOfStore(found.url, path);
    else await withStore(found, async (backend) => await backend.backup(path));
    // A copy of a database server's store is a file of SQLite.
    const documents = await checkedCopy(`${kind === "json" ? "json" : "sqlite"}://${path}`, path, found.options);
    const { size } = statSync(path);
    if (json === true) printJson({ file: path, documents, bytes: size });
    else
      console.log(`${documents.toLocaleString("en-US")} documents in ${file} (${size.toLocaleString("en-US")} bytes).`);
  },
});

/** Opens the copy. @returns how many documents it has. @throws UserError BACKUP_BROKEN; the copy is removed */
async function checkedCopy(
  url: string,
  path: string,
  options: Parameters<typeof withStore>[0]["options"],
): Promise<number> {
  const [documents, faults] = await withStore({ url, options }, async (backend) => [
    (await backend.collections()).reduce((sum, each) => sum + each.documents, 0),
    await backend.check(),
  ]);
  if (faults.length === 0) return documents;
  rmSync(path);
  throw new UserError(`The copy has faults: ${faults.slice(0, 3).join("; ")}.`, {
    code: "BACKUP_BROKEN",
    hint: "The store itself may have them: hrmr store check.",
  });
}
