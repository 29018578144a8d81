/**
 * `hrmr completion bash|zsh|fish`: a script that lets the shell complete hrmr's commands, flags and values, made from
 * the tables that check the command line.
 */
import { type CommandDef, defineCommand, type SubCommandsDef } from "citty";
import { CONFIG_KEYS } from "../../config/schema/key-list";
import { suggest } from "../../config/nearest";
import { bashScript } from "./bash";
import { fishScript } from "./fish";
import type { CompletionCommand, CompletionFlag, Offer } from "./offers";
import { zshScript } from "./zsh";
import { argument, badValue, type Flag, type Flags } from "../flags";
import { exampleNames } from "../commands/examples";
import { STORE_ACTIONS } from "../commands/store/store";
import { TOKEN_ACTIONS } from "../commands/token";
import { findCommand } from "../help";

const SCRIPTS = { bash: bashScript, zsh: zshScript, fish: fishScript } as const;
const SHELLS = Object.keys(SCRIPTS);

/** `hrmr completion SHELL`. `renderCompletion` makes the text. */
export const completionCommand = defineCommand({
  meta: { name: "completion", description: "Print a script that lets your shell complete hrmr's commands and flags" },
  args: { shell: argument(`${SHELLS.join(", ")}. Its first lines say where to put it`, { required: true }) },
});

/** @throws UserError BAD_VALUE for a shell that is not known, exit code 2 */
export async function renderCompletion(commands: SubCommandsDef, shell: string): Promise<string> {
  if (!isShell(shell)) {
    const hint = suggest(shell, SHELLS) || `It knows ${SHELLS.join(", ")}.`;
    throw badValue(`hrmr completion has no script for ${JSON.stringify(shell)}.`, hint);
  }
  const names = Object.keys(commands);
  const described = names.map(async (name) =>
    describeCommand(name, (await findCommand(commands, name)) as CommandDef, names),
  );
  return SCRIPTS[shell](await Promise.all(described));
}

function isShell(name: string): name is keyof typeof SCRIPTS {
  return Object.hasOwn(SCRIPTS, name);
}

function describeCommand(
  name: string,
  { meta, args = {} }: CommandDef,
  commandNames: readonly string[],
): CompletionCommand {
  const entries = Object.entries(args as Flags);
  return {
    name,
    description: (meta as { description?: string } | undefined)?.description ?? "",
    flags: entries.filter(([, flag]) => flag.type !== "positional").flatMap(([each, flag]) => describeFlag(each, flag)),
    args: entries
      .filter(([, flag]) => flag.type === "positional")
      .map(([each, flag]) => ({
        name: each,
        canRepeat: flag.canRepeat === true,
        ...offerForArgument(name, each, flag, commandNames),
      })),
  };
}

function describeFlag(name: string, flag: Flag): CompletionFlag[] {
  const { description = "" } = flag;
  const short = "alias" in flag && typeof flag.alias === "string" ? flag.alias : null;
  const isSwitch = flag.type === "boolean";
  const found = {
    name,
    short,
    description,
    canRepeat: flag.canRepeat === true,
    value: isSwitch ? null : offerForFlag(flag),
  };
  const negative = isSwitch && "negativeDescription" in flag ? flag.negativeDescription : undefined;
  return negative === undefined
    ? [found]
    : [found, { ...found, name: `no-${name}`, short: null, description: negative }];
}

function offerForFlag(flag: Flag): Offer {
  if (flag.type === "enum") return { kind: "words", words: flag.options ?? [] };
  switch (flag.valueHint) {
    case "file":
    case "path":
      return { kind: "file" };
    case "dir":
      return { kind: "dir" };
    case "key=value":
      return { kind: "words", words: [...CONFIG_KEYS.keys()].map((key) => `${key}=`), isOpen: true };
    default:
      return { kind: "any" };
  }
}

function offerForArgument(command: string, name: string, { valueHint }: Flag, commandNames: readonly string[]): Offer {
  if (name === "module") return { kind: "modules" };
  if (command === "token" && name === "action") return { kind: "words", words: TOKEN_ACTIONS };
  if (command === "store" && name === "action") return { kind: "words", words: STORE_ACTIONS };
  if (command === "examples" && name === "name") return { kind: "words", words: exampleNames() };
  if (name === "shell") return { kind: "words", words: SHELLS };
  if (name === "file") return { kind: "file" };
  if (command === "help") return { kind: "words", words: commandNames };
  return name === "dir" || valueHint === "dir" ? { kind: "dir" } : { kind: "any" };
}
