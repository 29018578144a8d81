/**
 * `hrmr new NAME`: adds a module to the project of the working directory.
 */
import { readFileSync } from "node:fs";
import { extname } from "node:path";
import { defineCommand } from "citty";
import { assetFiles, assetPath } from "../../../config/assets";
import { RPC } from "../../../module/build/discover";
import { argument, type Flags, switchFlag, usageError, valueFlag } from "../../flags";
import { modulesFolder } from "../../remote/modules-folder";
import { withProjectPort } from "../../remote/project-port";
import { addFiles } from "../../templates/add-files";
import { commandsIn, RELOAD } from "../../templates/head-comment";

const MAX_NAME_LENGTH = 64;
const RESERVED_NAMES = ["lib", "node_modules"];
/** HTTP requests stay HTTP: a key `GET ` would get hardly any messages. */
const METHODS = ["get", "head", "post", "put", "delete", "connect", "options", "trace", "patch"];
const COMMANDS = ["reload", "close", "shutdown", "help", "status"];

const args = {
  name: argument("The module's name: letters, digits, - and _, a letter first", { required: true }),
  modules: valueFlag("dir", "Folder of the modules. Default: the project's"),
  c: switchFlag("A module in C, and hrmr.h for editors. Default: a command in TypeScript"),
  program: switchFlag("A program in Python, and the module that runs it"),
  kv: switchFlag("Keys and values in a database, for clients and other modules"),
  chat: switchFlag("A chat for raw clients"),
  cron: switchFlag("Work on a schedule"),
  gateway: switchFlag("A WebSocket to another service, kept open over reloads"),
  rpc: switchFlag("Procedures for clients, by JSON-RPC"),
  hono: switchFlag("A web app with hono"),
} as const satisfies Flags;

/** Each has a template in examples/new, except C. */
const KINDS = ["c", "program", "kv", "chat", "cron", "gateway", "rpc", "hono"] as const;
type Kind = (typeof KINDS)[number];

export const newCommand = defineCommand({
  meta: { name: "new", description: "Add a module to the project" },
  args,
  async run({ args }) {
    const { name } = args;
    checkName(name);
    const kind = kindOf(KINDS.filter((each) => args[each] === true));
    const { folder } = await modulesFolder(args.modules);
    const files = await Promise.all(
      filesOf(kind, name).map(async ([path, text]): Promise<[string, string]> => [
        path,
        path.endsWith(".h") ? text : await withProjectPort(text),
      ]),
    );
    addFiles(folder, name, files);
    console.log(
      `\nNext:\n${nextCommands(kind, name, files)
        .map((line) => `  ${line}`)
        .join("\n")}`,
    );
  },
});

/** @throws UserError BAD_VALUE, exit code 2 */
function kindOf(given: readonly Kind[]): Kind | null {
  if (given.length < 2) return given[0] ?? null;
  const flags = given.map((each) => `--${each}`).join(" and ");
  throw usageError("BAD_VALUE", `${flags} exclude each other.`, "A module is of one kind: leave the others out.");
}

/** The module's file first. */
function filesOf(kind: Kind | null, name: string): [path: string, text: string][] {
  if (kind === "c") {
    return [
      [`${name}.c`, moduleInC(name)],
      [HEADER, readFileSync(assetPath("src/module/hrmr.h"), "utf8")],
    ];
  }
  if (kind === null) return [[`${name}.ts`, moduleText(name)]];
  const template = assetFiles("examples", "new").filter(([path]) => path.startsWith(`${kind}.`));
  const files = template.map(([path, text]): [string, string] => [name + extname(path), withName(text, name)]);
  return files.sort(([a], [b]) => Number(b.endsWith(".ts")) - Number(a.endsWith(".ts")));
}

/** A template in examples/new has COMMAND in place of the first word of its messages, and NAME in place of its name. */
function withName(text: string, name: string): string {
  return text.replaceAll(/\bCOMMAND\b/g, name.toUpperCase()).replaceAll(/\bNAME\b/g, name);
}

/** Packages are installed before the reload. */
function nextCommands(kind: Kind | null, name: string, [file]: [string, string][]): string[] {
  const commands = kind === null || kind === "c" ? [`hrmr send '${routeKey(name)}bob'`] : commandsIn(file?.[1] ?? "");
  const isBefore = (command: string): boolean => command.startsWith("hrmr add ");
  return [...commands.filter(isBefore), RELOAD, ...commands.filter((command) => !isBefore(command))];
}

function checkName(name: string): void {
  const why = whyNot(name);
  if (why === null) return;
  throw usageError(
    "BAD_NAME",
    `${JSON.stringify(name)} cannot be a module's name: ${why}.`,
    "Choose another name, such as greet.",
  );
}

function whyNot(name: string): string | null {
  if (!/^[a-z][a-z0-9_-]*$/i.test(name) || name.length > MAX_NAME_LENGTH)
    return `a name starts with a letter and has only letters, digits, - and _, ${MAX_NAME_LENGTH} at most`;
  const folded = name.toLowerCase();
  if (RESERVED_NAMES.includes(folded)) return "a folder of that name holds no modules";
  if (folded === RPC) return "procedures whose names begin with it are the server's";
  if (METHODS.includes(folded)) return `its key would be ${JSON.stringify(routeKey(name))}, and what begins so is HTTP`;
  if (COMMANDS.includes(folded))
    return `its key would be ${JSON.stringify(routeKey(name))}, which is a built-in command`;
  return null;
}

function routeKey(name: string): string {
  return `${name.toUpperCase()} `;
}

/** The server uses its own copy; this one is for editors. */
const HEADER = "hrmr.h";

function moduleInC(name: string): string {
  return readFileSync(assetPath("src/cli/commands/modules/new.c"), "utf8").replaceAll("KEY ", routeKey(name));
}

function moduleText(name: string): string {
  const key = routeKey(name);
  return `import { defineModule } from "hrmr";

export default defineModule({
  routes: {
    // A message that begins with "${key}" comes here; a line is a message.
    "${key}": {
      description: "Says hello",
      framing: "line",
      handle: (message) => \`Hello, \${message.text.slice(${key.length})}\\n\`,
    },
  },
});
`;
}
