/** `.env`: variables in a file of the project's folder. Bun's own reading of such files is off. */
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { parseEnv } from "node:util";
import { UserError } from "../user-error";
import { ENV_FILE } from "../working-folder";
import { type Environment, isReserved } from "./environment";

/** Others than the owner and the group: a server often runs in a group of its own. */
const OTHERS_MAY_READ = 0o004;
const MAY_CHANGE = 0o022;

/** `NAME=value`, with quotes around a value of several lines. Other lines must be empty, or comments. */
const ASSIGNMENT =
  /^[ \t]*(?:export[ \t]+)?[\w.-]+[ \t]*=[ \t]*(?:"[^"]*"|'[^']*'|`[^`]*`|[^\r\n]*?)[ \t]*(?:#[^\r\n]*)?$/gm;

interface EnvFile {
  /** The variables that the environment does not have. */
  readonly values: Readonly<Record<string, string>>;
  /** A line for each thing that is odd, and no mistake. */
  readonly notes: readonly string[];
}

const NO_FILE: EnvFile = { values: {}, notes: [] };

/**
 * Reads `.env` in `folder`. A variable that the environment has keeps its value.
 *
 * @throws UserError ENV_FILE if there is a file that cannot be read
 */
export function readEnvFile(folder: string, env: Environment): EnvFile {
  const path = join(folder, ENV_FILE);
  const info = statSync(path, { throwIfNoEntry: false });
  // Some people's virtual environment of Python is a folder of this name.
  if (info?.isFile() !== true) return NO_FILE;
  const text = readText(path);
  const { own, others } = parse(text, env);
  const mode = info.mode & 0o777;
  const isOpen = (mode & (OTHERS_MAY_READ | MAY_CHANGE)) !== 0;
  const notes = [
    ...(isOpen ? [`Other users can read or change ${path} (mode ${mode.toString(8)}). Run: chmod 600 ${path}`] : []),
    ...oddLines(text).map((line) => `${path}:${line} is not NAME=value, and is ignored.`),
    ...others.map((name) => `${name} in ${path} is ignored: only the environment or a flag can say it.`),
  ];
  return { values: own, notes };
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8").replace(/^\ufeff/, "");
  } catch (cause) {
    throw new UserError(`Cannot read ${path} (${(cause as NodeJS.ErrnoException).code}).`, {
      code: "ENV_FILE",
      hint: "Let the server's user read it (chmod, chown), or move it away.",
      cause,
    });
  }
}

/** `others`: names that hrmr itself needs before it reads the file. */
function parse(text: string, env: Environment): { own: Record<string, string>; others: string[] } {
  const found = Object.entries(parseEnv(text)).filter(([name]) => env[name] === undefined) as [string, string][];
  return {
    own: Object.fromEntries(found.filter(([name]) => !isReserved(name))),
    others: found.map(([name]) => name).filter(isReserved),
  };
}

/** @returns the numbers of lines that are no variable, no comment and not empty; from 1 */
function oddLines(text: string): number[] {
  const rest = text.replaceAll(ASSIGNMENT, (found) => found.replaceAll(/[^\n]/g, ""));
  return rest.split("\n").flatMap((line, at) => (/^\s*(?:#|$)/.test(line) ? [] : [at + 1]));
}
