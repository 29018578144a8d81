/**
 * Checks a command's arguments against its table before citty parses them: citty takes an unknown flag for a boolean, a
 * missing value for an empty one and leaves surplus arguments alone, so that `--prot 80` would serve on 8080. citty
 * parses by the same table, and `--help` shows it.
 */
import type { ArgDef } from "citty";
import { suggest } from "../config/nearest";
import { quoted } from "../config/quoted";
import { UserError } from "../config/user-error";

/** One flag, or one argument (`type: "positional"`). `alias` is its single letter. */
export type Flag = ArgDef & {
  /** The value is a whole number in this range. */
  integer?: { readonly min: number; readonly max: number };
  /**
   * May be given more than once: read a flag with `repeated`, the last argument with `positionals`. Of other flags the
   * last one counts.
   */
  canRepeat?: boolean;
  /**
   * A required argument behind an optional one. citty cannot express that, so its `required` is false for this
   * argument.
   */
  isNeeded?: boolean;
};

export type Flags = Readonly<Record<string, Flag>>;

/** The values that citty gives for `Args`: undefined for a missing flag. */
export type Given<Args extends Flags> = {
  [Name in keyof Args]?: Args[Name] extends { type: "boolean" } ? boolean : string;
};

type Extras = Pick<Flag, "integer" | "canRepeat" | "isNeeded"> & {
  readonly alias?: string;
  readonly required?: boolean;
  readonly negativeDescription?: string;
};

/** `--name VALUE`. @param valueHint stands for the value in `--help`, and says what completion offers: "file", "dir" */
export function valueFlag<const More extends Extras>(valueHint: string, description: string, more = {} as More) {
  return { type: "string", valueHint, description, ...more } as const;
}

/** `--name`, and `--no-name` if `negativeDescription` is there. */
export function switchFlag<const More extends Extras>(description: string, more = {} as More) {
  return { type: "boolean", description, ...more } as const;
}

/** An argument without a name. Required by default. */
export function argument<const More extends Extras>(description: string, more = {} as More) {
  return { type: "positional", description, ...more } as const;
}

/** A mistake in the command line: exit code 2. */
export function usageError(code: string, message: string, hint: string): UserError {
  return new UserError(message, { code, hint, exitCode: 2 });
}

/** A flag or an argument with a value that it cannot take: exit code 2. */
export function badValue(message: string, hint: string): UserError {
  return usageError("BAD_VALUE", message, hint);
}

/**
 * Checks `raw` and brings it into one form: `--name=value`, `--name`, `--no-name`, then `--` and the arguments. Also
 * takes `-port 80`, `-p 80`, `-p80` and `--port 80`.
 *
 * @param command  for the messages
 * @throws UserError UNKNOWN_FLAG, MISSING_VALUE, BAD_VALUE, SURPLUS_ARGUMENT or MISSING_ARGUMENT, naming the flag; exit
 *   code 2
 */
export function checkArgs(command: string, raw: readonly string[], flags: Flags): string[] {
  const found: string[] = [];
  const positionals: string[] = [];
  for (let at = 0; at < raw.length; at++) {
    const word = raw[at] ?? "";
    if (word === "--") {
      positionals.push(...raw.slice(at + 1));
      break;
    }
    if (!word.startsWith("-") || word === "-") {
      positionals.push(word);
      continue;
    }
    const { name, isNegated, value } = readFlag(command, word, flags);
    const flag = flags[name] as Flag;
    const given = flag.type === "boolean" ? value : (value ?? takeValue(command, word, raw[++at]));
    checkValue(command, word, flag, given);
    found.push(flag.type === "boolean" ? `--${isNegated ? "no-" : ""}${name}` : `--${name}=${given}`);
  }
  checkCount(command, positionals, flags);
  return [...found, "--", ...positionals];
}

/** The values of a flag that may be given more than once, in order. `checked` comes from `checkArgs`. */
export function repeated(checked: readonly string[], name: string): string[] {
  const start = `--${name}=`;
  const end = checked.indexOf("--");
  return checked.slice(0, end).flatMap((word) => (word.startsWith(start) ? [word.slice(start.length)] : []));
}

/** All arguments that are no flags, in order. `checked` comes from `checkArgs`. */
export function positionals(checked: readonly string[]): string[] {
  return checked.slice(checked.indexOf("--") + 1);
}

function readFlag(
  command: string,
  word: string,
  flags: Flags,
): { name: string; isNegated: boolean; value: string | undefined } {
  const equals = word.indexOf("=");
  const spelled = equals === -1 ? word : word.slice(0, equals);
  const value = equals === -1 ? undefined : word.slice(equals + 1);
  const bare = spelled.replace(/^--?/, "");
  const isNamed = (name: string) => Object.hasOwn(flags, name) && flags[name]?.type !== "positional";
  if ((bare.length > 1 || spelled.startsWith("--")) && isNamed(bare)) return { name: bare, isNegated: false, value };
  const positive = bare.replace(/^no-/, "");
  if (positive !== bare && isNamed(positive) && flags[positive]?.type === "boolean")
    return { name: positive, isNegated: true, value };
  const short = /^-([a-zA-Z])(\d+)?$/.exec(spelled);
  const name = Object.keys(flags).find((each) => short !== null && shortOf(flags[each]) === short[1]);
  if (name !== undefined && (short?.[2] === undefined || value === undefined))
    return { name, isNegated: false, value: short?.[2] ?? value };
  throw usageError(
    "UNKNOWN_FLAG",
    `hrmr ${command} has no flag ${spelled}.`,
    suggest(bare, [...flagNames(flags), "help", "version"], "--") || seeHelp(command),
  );
}

function shortOf(flag: Flag | undefined): string | undefined {
  return flag !== undefined && "alias" in flag && typeof flag.alias === "string" ? flag.alias : undefined;
}

/** Every long spelling that is accepted. */
function flagNames(flags: Flags): string[] {
  return Object.entries(flags).flatMap(([name, flag]) => {
    if (flag.type === "positional") return [];
    return flag.type === "boolean" ? [name, `no-${name}`] : [name];
  });
}

function takeValue(command: string, word: string, next: string | undefined): string {
  // `--port --watch` lacks a value; `--port -1` has a bad one.
  if (next === undefined || /^--?[a-zA-Z]|^--$/.test(next)) {
    throw usageError(
      "MISSING_VALUE",
      `${word} needs a value${next === undefined ? "" : `, and ${next} is a flag`}.`,
      seeHelp(command),
    );
  }
  return next;
}

function checkValue(command: string, word: string, flag: Flag, value: string | undefined): void {
  const spelled = word.replace(/=.*$/s, "");
  if (flag.type === "boolean") {
    if (value === undefined) return;
    throw badValue(`${spelled} takes no value, and was given ${quoted(value)}.`, seeHelp(command));
  }
  if (value === "") throw usageError("MISSING_VALUE", `${spelled} needs a value.`, seeHelp(command));
  if (flag.integer !== undefined && !isInteger(value, flag.integer)) {
    const { min, max } = flag.integer;
    throw badValue(`${spelled} takes a whole number from ${min} to ${max}, not ${quoted(value)}.`, seeHelp(command));
  }
  if (flag.type === "enum" && value !== undefined && !flag.options?.includes(value)) {
    const near = suggest(value, flag.options ?? []);
    throw badValue(`${spelled} takes ${flag.options?.join(", ")}, not ${quoted(value)}.`, near || seeHelp(command));
  }
}

/** Whether `text` is a whole number in the range, in plain decimal digits. */
export function isInteger(
  text: string | undefined,
  { min, max }: { readonly min: number; readonly max: number },
): boolean {
  return text !== undefined && /^-?\d{1,15}$/.test(text) && Number(text) >= min && Number(text) <= max;
}

function checkCount(command: string, given: string[], flags: Flags): void {
  const wanted = Object.entries(flags).filter(([, flag]) => flag.type === "positional");
  const missing = wanted.filter(([, flag]) => isRequired(flag))[given.length];
  if (missing !== undefined) {
    throw usageError(
      "MISSING_ARGUMENT",
      `hrmr ${command} needs ${missing[0].toUpperCase()}: ${missing[1].description}`,
      seeHelp(command),
    );
  }
  if (given.length > wanted.length && wanted.at(-1)?.[1].canRepeat !== true) {
    const surplus = quoted(given[wanted.length]);
    const takes = wanted.length === 0 ? "no arguments" : wanted.map(([name]) => name.toUpperCase()).join(" ");
    throw usageError(
      "SURPLUS_ARGUMENT",
      `hrmr ${command} takes ${takes}, and ${surplus} is one too many.`,
      seeHelp(command),
    );
  }
}

/** Whether an argument is required. */
export function isRequired(flag: Flag): boolean {
  return flag.required !== false || flag.isNeeded === true;
}

function seeHelp(command: string): string {
  return `\`hrmr help ${command}\` shows how it is used.`;
}
