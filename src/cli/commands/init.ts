/** `hrmr init DIR`: writes a first project: the files of examples/init or examples/hub, and the types beside them. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { defineCommand } from "citty";
import { quoteForShell } from "../screen/terminal";
import { assetFiles, assetPath } from "../../config/assets";
import { JSON_SCHEMA_FILE, jsonSchema } from "../../config/schema/json-schema";
import { DEFAULT_HOST, DEFAULT_PORT } from "../../config/options";
import { UserError } from "../../config/user-error";
import { serviceTypes, TYPES_FILE } from "../../module/build/service-types";
import { selfCommand } from "../../system/self";
import { bunTypeFiles } from "../bun-types";
import { argument, type Flags, switchFlag } from "../flags";

const args = {
  dir: argument("Folder of the project; made if it is missing; `.` for this one", { required: true }),
  hub: switchFlag("Write a hub: scores that bots in Python, node and a shell share, with a live page"),
} as const satisfies Flags;

export const initCommand = defineCommand({
  meta: { name: "init", description: "Write a first project; existing files are kept" },
  args,
  run({ args: { dir, hub } }) {
    const root = resolve(dir);
    const { written, kept } = writeProject(root, projectFiles(hub === true));
    for (const path of written) console.log(`wrote  ${join(dir, path)}`);
    const types = writeProject(root, bunTypeFiles()).written.length;
    if (types > 0) console.log(`wrote  ${join(dir, "types")} (${types} files: the types of Bun and Node)`);
    for (const path of kept) console.log(`kept   ${join(dir, path)} (it was there already)`);
    console.log(nextSteps(relative(process.cwd(), root), hub === true ? HUB_STEPS : FIRST_STEPS));
  },
});

/** Of the files of examples/init, those that a hub has too. */
const COMMON_FILES = new Set(["gitignore", "tsconfig.json"]);

/** Each file's path in the project and its text, in the order of their names. */
function projectFiles(isHub: boolean): [path: string, text: string][] {
  const first = assetFiles("examples", "init").filter(([path]) => !isHub || COMMON_FILES.has(path));
  const files = [...first, ...(isHub ? assetFiles("examples", "hub") : [])].map(([path, text]): [string, string] => [
    // A file of the name .gitignore would not be in the npm package.
    path === "gitignore" ? ".gitignore" : path,
    text,
  ]);
  files.push(
    ["hrmr.d.ts", moduleTypes()],
    [`modules/${TYPES_FILE}`, serviceTypes([])],
    ["hrmr-test.d.ts", readFileSync(assetPath("src/cli/testing/test-contract.d.ts"), "utf8")],
    [JSON_SCHEMA_FILE, `${JSON.stringify(jsonSchema(), null, 2)}\n`],
  );
  return files.sort(([a], [b]) => (a < b ? -1 : 1));
}

/** The types of "hrmr". The project's tsconfig.json names this file under `paths`, so no package is needed. */
function moduleTypes(): string {
  const note =
    '// The types of "hrmr", written by `hrmr init`. After an update of hrmr: delete this file and the folder types, and run `hrmr init .` again.\n';
  return note + readFileSync(assetPath("src/module/contract.d.ts"), "utf8");
}

function writeProject(root: string, files: [path: string, text: string][]): { written: string[]; kept: string[] } {
  const written: string[] = [];
  const kept: string[] = [];
  for (const [path, text] of files) {
    (writeNewFile(join(root, path), text) ? written : kept).push(path);
  }
  return { written, kept };
}

/**
 * Writes a file and its folders, unless the file exists.
 *
 * @returns false if it existed
 * @throws UserError CANNOT_WRITE
 */
export function writeNewFile(path: string, text: string): boolean {
  try {
    mkdirSync(dirname(path), { recursive: true });
    // "wx" checks and creates in one step, so that even a file made meanwhile is kept.
    writeFileSync(path, text, { flag: "wx" });
    return true;
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "EEXIST" && isFile(path)) return false;
    const hint = "Choose a folder that you may write to, and that no file stands in the way of.";
    throw new UserError(`Cannot write ${path} (${code}).`, { code: "CANNOT_WRITE", hint, cause });
  }
}

/** mkdir, too, fails with EEXIST if a file has the folder's name. */
function isFile(path: string): boolean {
  try {
    readFileSync(path);
    return true;
  } catch {
    return false;
  }
}

/** The port for the first start: the default, or the next free one. @returns null: the default */
function otherPort(): number | null {
  const isFree = (port: number): boolean => {
    try {
      Bun.listen({ hostname: DEFAULT_HOST, port, socket: { data() {} } }).stop(true);
      return true;
    } catch {
      // The port is in use, or not allowed: try the next.
      return false;
    }
  };
  if (isFree(DEFAULT_PORT)) return null;
  const others = Array.from({ length: 20 }, (_, at) => DEFAULT_PORT + 1 + at);
  return others.find(isFree) ?? 0;
}

const FIRST_STEPS = (dir: string): string[][] => [
  ["hrmr send HELLO", `asks it, from another terminal${dir === "" ? "" : " in the same folder"}`],
  ["hrmr new NAME", "adds a module"],
];
const HUB_STEPS = (dir: string): string[][] => [
  ["hrmr client --lang python --out bots/hub.py", `in another terminal${dir === "" ? "" : " in the same folder"}`],
  ["python3 bots/bot.py ada", "the first bot; watch the page of the server"],
];

function nextSteps(dir: string, further: (dir: string) => string[][]): string {
  const port = otherPort();
  const start =
    port === null
      ? ["hrmr", "starts the server"]
      : [`hrmr -p ${port}`, `starts the server; port ${DEFAULT_PORT} is taken`];
  const steps = [
    ...(Bun.which("hrmr") === null ? [[`alias hrmr=${quoteForShell(ownCommand())}`, "hrmr is not on the PATH"]] : []),
    ...(dir === "" ? [start] : [[`cd ${quoteForShell(dir)} && ${start[0]}`, start[1]]]),
    ...further(dir),
  ];
  const width = Math.max(...steps.map(([command = ""]) => command.length));
  return ["", "Next:", ...steps.map(([command = "", what]) => `  ${command.padEnd(width)}  # ${what}`)].join("\n");
}

/** The command that starts this program. */
function ownCommand(): string {
  return selfCommand([]).map(quoteForShell).join(" ");
}
