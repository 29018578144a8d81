import { type CommandDef, defineCommand, renderUsage, type SubCommandsDef } from "citty";
import { suggest } from "../config/nearest";
import { usageError } from "./flags";
import { VERSION } from "./version";

/** `hrmr help [COMMAND]`. The name is checked by `showHelp`. */
export const helpCommand = defineCommand({
  meta: { name: "help", description: "Show how hrmr, or one of its commands, is used" },
  args: { command: { type: "positional", required: false, description: "The command to tell about" } },
});

/**
 * Prints the usage of `name`, or the list of all commands.
 *
 * @throws UserError UNKNOWN_COMMAND, exit code 2
 */
export async function showHelp(commands: SubCommandsDef, name: string | undefined): Promise<void> {
  const parent: CommandDef = {
    meta: { name: "hrmr", version: VERSION, description: "A hot-reloadable module router; `hrmr` alone is `hrmr start`" },
    subCommands: commands,
  };
  const text = await renderUsage(
    ...((name === undefined ? [parent] : [await findCommand(commands, name), parent]) as [CommandDef, CommandDef?]),
  );
  // citty colours whenever NO_COLOR is not "1", also into a file.
  const isPlain = process.stdout.isTTY !== true || Boolean(process.env.NO_COLOR);
  console.log((isPlain ? Bun.stripANSI(text) : text).replace(/ +$/gm, ""));
}

/** @throws UserError UNKNOWN_COMMAND with the nearest name, exit code 2 */
export async function findCommand(commands: SubCommandsDef, name: string): Promise<SubCommandsDef[string]> {
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command !== undefined) return await (typeof command === "function" ? command() : command);
  const near = suggest(name, Object.keys(commands), "hrmr ");
  throw usageError("UNKNOWN_COMMAND", `hrmr has no command ${JSON.stringify(name)}.`, near || "`hrmr help` lists the commands.");
}
