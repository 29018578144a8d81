import { statSync } from "node:fs";
import { type CommandDef, defineCommand, type SubCommandsDef } from "citty";
import { suggest } from "../config/nearest";
import { UserError } from "../config/user-error";
import { argument, type Flag, type Flags, isRequired, usageError } from "./flags";
import { type Paint, paintFor, wrap } from "./screen/terminal";

/** `hrmr help [COMMAND]`. `showHelp` checks the name. */
export const helpCommand = defineCommand({
  meta: { name: "help", description: "Show how hrmr, or one of its commands, is used" },
  args: { command: argument("The command to explain", { required: false }) },
});

/** Columns of a line if stdout is no terminal. Wider terminals get longer lines, up to MAX_WIDTH. */
const WIDTH = 80;
const MAX_WIDTH = 110;
const MIN_WIDTH = 40;
/** The description of a longer flag stands below it. */
const MAX_NAME_WIDTH = 26;

/**
 * Prints the usage of `name`, or the list of all commands.
 *
 * @throws UserError UNKNOWN_COMMAND, exit code 2
 */
export async function showHelp(commands: SubCommandsDef, name: string | undefined): Promise<void> {
  const { isTTY, columns } = process.stdout;
  const width = isTTY === true ? Math.min(MAX_WIDTH, Math.max(MIN_WIDTH, columns || WIDTH)) : WIDTH;
  const paint = paintFor(process.stdout);
  if (name !== undefined)
    return console.log(commandHelp(name, (await findCommand(commands, name)) as CommandDef, width, paint).join("\n"));
  const all = await Promise.all(
    Object.keys(commands).map(async (each) => ({
      name: each,
      ...describe((await findCommand(commands, each)) as CommandDef),
    })),
  );
  console.log(allHelp(all, width, paint).join("\n"));
}

/** @throws UserError UNKNOWN_COMMAND with the most similar name, exit code 2 */
export async function findCommand(commands: SubCommandsDef, name: string): Promise<SubCommandsDef[string]> {
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command !== undefined) return await (typeof command === "function" ? command() : command);
  const later = LATER.get(name);
  if (later !== undefined) throw new UserError(later, { code: "UNKNOWN_COMMAND", exitCode: 2 });
  const meant = MEANT.get(name.toLowerCase());
  const near = meant === undefined ? suggest(name, Object.keys(commands), "hrmr ") : `Did you mean ${meant}?`;
  const isFolder = statSync(name, { throwIfNoEntry: false })?.isDirectory() === true;
  const hint = isFolder ? `It is a folder: cd ${name} && hrmr starts the server of a project.` : near;
  throw usageError(
    "UNKNOWN_COMMAND",
    `hrmr has no command ${JSON.stringify(name)}.`,
    hint || "`hrmr help` lists the commands.",
  );
}

/** Commands of a later version. */
const LATER = new Map([
  ["logs", "`hrmr logs` comes with a later version; the log is on stderr, of `hrmr start -d` in .hrmr/hrmr.log."],
]);

/** hrmr's names for commands that other programs spell differently. */
const MEANT = new Map(
  Object.entries({
    "hrmr start": "serve server up listen begin launch",
    "hrmr start --watch": "dev develop watch",
    "hrmr start -d": "daemon background",
    "hrmr stop": "down kill quit shutdown end halt",
    "hrmr status": "ps info stats health top state",
    "hrmr modules": "list ls routes show",
    "hrmr push": "deploy upload publish",
    "hrmr pull": "download fetch get",
    "hrmr remove": "delete del rm uninstall unload",
    "hrmr rollback": "undo revert back downgrade",
    "hrmr versions": "history generations log",
    "hrmr validate": "check lint verify doctor",
    "hrmr config": "env settings conf",
    "hrmr init": "setup scaffold",
    "hrmr new": "create generate module make template",
    "hrmr examples": "cookbook example samples sample recipes demo",
    "hrmr add": "install i npm",
    "hrmr cert": "tls ssl certificate",
    "hrmr token": "auth login access key user",
    "hrmr send": "nc curl request ask",
    "hrmr call": "rpc invoke",
    "hrmr service": "systemd unit enable",
    "hrmr reload": "refresh hup",
  }).flatMap(([command, words]) => words.split(" ").map((word): [string, string] => [word, command])),
);

function describe({ meta }: CommandDef): { description: string } {
  return { description: (meta as { description?: string } | undefined)?.description ?? "" };
}

function allHelp(commands: readonly { name: string; description: string }[], width: number, paint: Paint): string[] {
  const intro = "A hot-reloadable module router. hrmr alone is hrmr start.";
  const entries = commands.map(({ name, description }): Entry => [name, description]);
  return [
    ...wrap(intro, width),
    "",
    `${paint("USAGE", "bold")} hrmr [COMMAND] [OPTIONS] [ARGUMENTS]`,
    "",
    paint("COMMANDS", "bold"),
    ...entryLines(entries, width),
    "",
    ...wrap(
      "hrmr help COMMAND shows the arguments and flags of a command. hrmr version (-v), hrmr version --verbose (-V).",
      width,
    ),
  ];
}

function commandHelp(name: string, command: CommandDef, width: number, paint: Paint): string[] {
  const all = Object.entries((command.args ?? {}) as Flags);
  const args = all.filter(([, flag]) => flag.type === "positional");
  const flags = all.filter(([, flag]) => flag.type !== "positional");
  const usage = [
    "hrmr",
    name,
    ...(flags.length === 0 ? [] : ["[OPTIONS]"]),
    ...args.map(([each, flag]) => argumentOf(each, flag)),
  ].join(" ");
  const part = (title: string, entries: Entry[]): string[] =>
    entries.length === 0 ? [] : ["", paint(title, "bold"), ...entryLines(entries, width)];
  return [
    ...wrap(`${describe(command).description}.`, width),
    "",
    `${paint("USAGE", "bold")} ${usage}`,
    ...part(
      "ARGUMENTS",
      args.map(([each, flag]): Entry => [each.toUpperCase(), flag.description ?? ""]),
    ),
    ...part("OPTIONS", flags.flatMap(flagEntries)),
  ];
}

function argumentOf(name: string, flag: Flag): string {
  const shown = `${name.toUpperCase()}${flag.canRepeat === true ? "..." : ""}`;
  return isRequired(flag) ? shown : `[${shown}]`;
}

/** A name and its meaning. */
type Entry = readonly [name: string, description: string];

function flagEntries([name, flag]: [string, Flag]): Entry[] {
  const { description = "" } = flag;
  const short = "alias" in flag && typeof flag.alias === "string" ? `-${flag.alias}, ` : "    ";
  if (flag.type === "enum") return [[`${short}--${name} WORD`, `${flag.options?.join("|")}. ${description}`]];
  if (flag.type !== "boolean") return [[`${short}--${name} ${(flag.valueHint ?? "value").toUpperCase()}`, description]];
  const negative = "negativeDescription" in flag ? flag.negativeDescription : undefined;
  return [
    [`${short}--${name}`, description],
    ...(negative === undefined ? [] : [[`    --no-${name}`, negative] as const]),
  ];
}

/** Two columns: names, and their descriptions, wrapped between words. */
function entryLines(entries: readonly Entry[], width: number): string[] {
  const fitting = entries.map(([name]) => name.length).filter((length) => length <= MAX_NAME_WIDTH);
  const indent = 2 + Math.max(0, ...fitting) + 2;
  return entries.flatMap(([name, description]) => {
    const [first = "", ...rest] = wrap(description, width - indent);
    const isLong = name.length > indent - 4;
    const head = isLong ? [`  ${name}`, `${" ".repeat(indent)}${first}`] : [`  ${name.padEnd(indent - 4)}  ${first}`];
    return [...head, ...rest.map((line) => `${" ".repeat(indent)}${line}`)].map((line) => line.trimEnd());
  });
}
