/**
 * `hrmr new NAME`: adds a module to the project of the working directory.
 */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { defineCommand } from "citty";
import { assetPath } from "../../../config/assets";
import { modulesFolder } from "../../remote/modules-folder";
import { UserError } from "../../../config/user-error";
import { moduleNameOf } from "../../../module/build/discover";
import { argument, type Flags, switchFlag, usageError, valueFlag } from "../../flags";
import { writeNewFile } from "../init";

const MAX_NAME_LENGTH = 64;
const RESERVED_NAMES = ["lib", "node_modules"];
/** HTTP requests stay HTTP: a key `GET ` would get hardly any messages. */
const METHODS = ["get", "head", "post", "put", "delete", "connect", "options", "trace", "patch"];
const COMMANDS = ["reload", "close", "shutdown", "help", "status"];

const args = {
  name: argument("The module's name: letters, digits, - and _, a letter first", { required: true }),
  modules: valueFlag("dir", "Folder of the modules. Default: the project's"),
  c: switchFlag("A module in C, and hrmr.h for editors. Default: in TypeScript"),
  program: switchFlag("A program in Python, and the module that runs it"),
} as const satisfies Flags;

export const newCommand = defineCommand({
  meta: { name: "new", description: "Add a module to the project" },
  args,
  async run({ args: { name, modules, c, program } }) {
    checkName(name);
    const { folder } = await modulesFolder(modules);
    checkFolder(folder);
    const taken = readdirSync(folder).find((entry) => isModuleOf(name, entry));
    if (c === true && program === true)
      throw usageError("BAD_VALUE", "--c and --program exclude each other.", "Leave one out.");
    const file = `${name}${c === true ? ".c" : ".ts"}`;
    const path = join(folder, file);
    const text = c === true ? moduleInC(name) : program === true ? programModule(name) : moduleText(name);
    if (taken !== undefined || !writeNewFile(path, text)) {
      const there = relative(process.cwd(), join(folder, taken ?? file));
      throw new UserError(`There is a module "${name}" already: ${there}.`, {
        code: "MODULE_EXISTS",
        hint: "Nothing was changed. Choose another name.",
      });
    }
    const written =
      c === true && writeNewFile(join(folder, HEADER), readFileSync(assetPath("src/module/hrmr.h"), "utf8"))
        ? [HEADER]
        : [];
    if (program === true && writeNewFile(join(folder, `${name}.py`), programText(name))) written.push(`${name}.py`);
    for (const name of [file, ...written]) console.log(`wrote  ${relative(process.cwd(), join(folder, name))}`);
    console.log(
      `\nNext:\n  hrmr reload             # a running server takes it in\n  hrmr send '${routeKey(name)}bob'`,
    );
  },
});

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
  if (METHODS.includes(folded)) return `its key would be ${JSON.stringify(routeKey(name))}, and what begins so is HTTP`;
  if (COMMANDS.includes(folded))
    return `its key would be ${JSON.stringify(routeKey(name))}, which is a built-in command`;
  return null;
}

function checkFolder(folder: string): void {
  if (existsSync(folder) && statSync(folder).isDirectory()) return;
  throw new UserError(`There is no modules folder ${folder}.`, {
    code: "NO_MODULES_DIR",
    hint: "Run this in a project, pass --modules DIR, or make a project with `hrmr init DIR`.",
  });
}

/**
 * Whether a folder's entry is this module: a file such as NAME.ts, or a folder NAME. Case does not count, since some
 * file systems ignore it.
 */
function isModuleOf(name: string, entry: string): boolean {
  return (moduleNameOf(entry) ?? entry).toLowerCase() === name.toLowerCase();
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

function programModule(name: string): string {
  return `import { defineModule } from "hrmr";

export default defineModule({
  // A line that begins with "${routeKey(name)}" goes to the program; its next line is the reply.
  program: { command: ["python3", "${name}.py"], protocol: "lines", routes: ["${routeKey(name)}"] },
});
`;
}

function programText(name: string): string {
  return `"""One line in, one line out. print(..., file=sys.stderr) writes to the server's log."""
import sys

for line in sys.stdin:
    name = line.rstrip("\\n")[${routeKey(name).length}:]
    print(f"Hello, {name}", flush=True)
`;
}
