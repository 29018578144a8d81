/**
 * `hrmr pull MODULE [DIR]`: fetches a module's files from a running server.
 */
import { lstatSync, mkdirSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { defineCommand } from "citty";
import { UserError } from "../../../config/user-error";
import { replaceFile } from "../../../system/files/durable";
import type { ModuleFiles } from "../../../reload/operations";
import { checkPath } from "../../../reload/upload/names";
import { askServer, CONTROL_ARGS } from "../../remote/control-target";
import { argument, type Flags, switchFlag } from "../../flags";
import { cleanText, printJson } from "../../screen/terminal";

const args = {
  module: argument("The module to fetch", { required: true }),
  dir: argument("The folder to write to, like a modules folder. Default: this one", { required: false }),
  force: switchFlag("Overwrite files that differ"),
  ...CONTROL_ARGS,
} as const satisfies Flags;

/** A received file and its destination. */
interface Arrival {
  readonly file: string;
  readonly bytes: Buffer;
}

export const pullCommand = defineCommand({
  meta: { name: "pull", description: "Fetch a module's files from a running server" },
  args,
  async run({ args: flags }) {
    const body = await askServer<ModuleFiles>(flags, "GET", `/v1/modules/${encodeURIComponent(flags.module)}/files`);
    if (flags.json === true) return printJson(body);
    const dir = flags.dir ?? ".";
    const arrivals = body.files.map(({ path, encoding, content }) => {
      // The server must not choose where this program writes.
      checkPath(path);
      return { file: join(dir, path), bytes: Buffer.from(content, encoding) };
    });
    for (const arrival of arrivals) mustBeWritable(arrival, flags.force === true);
    for (const { file, bytes } of arrivals) {
      mkdirSync(dirname(resolve(file)), { recursive: true });
      replaceFile(file, bytes, 0o666 & ~process.umask());
      console.log(cleanText(file));
    }
    if (body.skipped.length > 0) console.error(`not fetched: ${cleanText(body.skipped.join(", "))}`);
  },
});

/** Called for all files before the first is written. @throws UserError FILE_EXISTS, FILE_WRONG */
function mustBeWritable({ file, bytes }: Arrival, isForced: boolean): void {
  const there = lstatSync(file, { throwIfNoEntry: false });
  if (there === undefined) return;
  // Write neither through a symbolic link nor over a folder.
  if (!there.isFile())
    throw new UserError(`${file} is there, and is no plain file.`, {
      code: "FILE_WRONG",
      hint: "Name another folder.",
    });
  if (isForced || readFileSync(file).equals(bytes)) return;
  throw new UserError(`${file} is there, and is different.`, {
    code: "FILE_EXISTS",
    hint: "Pass --force to write over it, or name another folder.",
  });
}
