/** `hrmr restore FILE`: puts a backup in the place of the store. The server must be down. */
import { existsSync, renameSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { defineCommand } from "citty";
import { parseStoreUrl } from "../../../config/store-url";
import { UserError } from "../../../config/user-error";
import { makePrivateFolder } from "../../../system/private-files";
import { argument, badValue, type Flags, switchFlag } from "../../flags";
import { findHolder } from "../../remote/control-target";
import { printJson } from "../../screen/terminal";
import { putInPlace } from "./file-copy";
import { fileOf, findStore, STORE_ARGS, withStore } from "./open-store";

const args = {
  file: argument("A file of hrmr backup", { required: true }),
  ...STORE_ARGS,
  json: switchFlag("Print JSON"),
} as const satisfies Flags;

export const restoreCommand = defineCommand({
  meta: { name: "restore", description: "Put a backup in the place of the store; the server must be down" },
  args,
  async run({ args: { file, url, config, modules, data, json } }) {
    const backup = resolve(file);
    if (!existsSync(backup)) throw badValue(`There is no file ${file}.`, "Name one that `hrmr backup` wrote.");
    await mustBeDown({ config, modules });
    const found = await findStore({ url, config, modules, data });
    const target = fileOf(found.url);
    if (target === null)
      throw badValue(
        "The store is in a database server.",
        `Make an empty database, and copy the backup there: hrmr store copy URL --url sqlite://${file}.`,
      );
    const { kind } = parseStoreUrl(found.url) ?? { kind: "sqlite" };
    // It must be a whole store of a known version, before anything is moved.
    const documents = await withStore({ ...found, url: `${kind}://${backup}` }, async (backend) => {
      const faults = await backend.check();
      if (faults.length > 0)
        throw new UserError(`${file} has faults: ${faults.slice(0, 3).join("; ")}.`, { code: "BACKUP_BROKEN" });
      return (await backend.collections()).reduce((sum, each) => sum + each.documents, 0);
    });
    const kept = await setAside(found, target);
    makePrivateFolder(dirname(target));
    putInPlace(backup, target);
    if (json === true) return printJson({ documents, file: target, kept });
    console.log(`${documents.toLocaleString("en-US")} documents restored to ${target}.`);
    if (kept !== null) console.log(`The store before is kept in ${kept}.`);
  },
});

/** @throws UserError SERVER_RUNS */
async function mustBeDown(place: { config?: string | undefined; modules?: string | undefined }): Promise<void> {
  const { config, modules } = place;
  const holder = await findHolder({
    ...(config === undefined ? null : { config }),
    ...(modules === undefined ? null : { modules }),
  });
  if (holder === null) return;
  throw new UserError(`A server runs here (process ${holder.pid}).`, {
    code: "SERVER_RUNS",
    hint: "Stop it first: hrmr stop.",
  });
}

/** Renames the store that is there. @returns its new path; null: there was none */
async function setAside(found: Awaited<ReturnType<typeof findStore>>, target: string): Promise<string | null> {
  if (!existsSync(target)) return null;
  // Closing it puts all of SQLite's log into the file itself.
  await withStore(found, async () => undefined).catch(() => undefined);
  const kept = `${target}.before-${new Date().toISOString().replaceAll(/[:.]/g, "-")}`;
  renameSync(target, kept);
  for (const end of ["-wal", "-shm"]) if (existsSync(target + end)) renameSync(target + end, kept + end);
  return kept;
}
