/**
 * The config file: finds it, reads it, checks it against the schema.
 */
import { existsSync, readFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { formatOf, parseText } from "./formats";
import { CONFIG_KEYS, modulePaths } from "../schema/key-list";
import { formatPath, type KeyPath, valueAt } from "../key-path";
import { isGroup } from "../quoted";
import { findMistakes, type Mistake } from "../mistakes";
import type { Options } from "../options";
import { withAbsolutePaths } from "../paths";
import type { Positions } from "../positions/index";
import { readEnvFile } from "./env-file";
import type { Environment } from "./environment";
import { type FilledText, fillVariables, textsAt } from "./variables";
import { KEY_SCHEMA } from "../schema/schema";
import { UserError } from "../user-error";
import { CONFIG_FILES } from "../working-folder";

/** A file that was read. `value` is its content even if it has mistakes. */
export interface ConfigFile {
  /** Absolute. */
  path: string;
  /**
   * The keys in the file, in groups, without `$schema`. Paths are absolute: relative ones start at the file's folder.
   */
  value: Record<string, unknown>;
  mistakes: Mistake[];
  /** The texts with `${NAME}` in them. `value` has the values of the variables. */
  variables: readonly FilledText[];
  /** `hrmr.json:12`, or `hrmr.json` if the line is not known. With variables: `environment variable NAME (hrmr.json:12)`. */
  originOf(path: KeyPath): string;
  /** `hrmr.json:12:5`, or `hrmr.json`. */
  positionOf(path: KeyPath): string;
}

/**
 * Reads the config file: `file` (relative to `cwd`; it must exist), or the one in `cwd` that is named in CONFIG_FILES.
 *
 * @param env  for `${NAME}` in its texts
 * @returns null if `file` is missing and there is none
 * @throws UserError NO_CONFIG, TWO_CONFIGS or BAD_CONFIG_SYNTAX (with line and column)
 */
export async function readConfigFile(cwd: string, file?: string, env: Environment = {}): Promise<ConfigFile | null> {
  const path = file === undefined ? findConfigFile(cwd) : resolve(cwd, file);
  if (path === null) return null;
  const text = readText(path);
  const { value, texts, mistakes } = fillVariables(await parseText(path, text), env);
  const positions = formatOf(path).locate(text);
  const position = (at: KeyPath, withColumn: boolean): string => {
    const found = positions.find(at);
    if (found === null) return basename(path);
    return `${basename(path)}:${found.line}${withColumn ? `:${found.column}` : ""}`;
  };
  const { $schema: _, ...keys } = isGroup(value)
    ? (withAbsolutePaths(value, KEY_SCHEMA, dirname(path)) as Record<string, unknown>)
    : {};
  return {
    path,
    value: keys,
    mistakes: [...mistakes, ...typeMistakes(value, texts, mistakes), ...doubleKeys(positions)].sort(
      byPosition(positions),
    ),
    variables: texts,
    originOf: (at) => withNames(namesAt(texts, at), position(at, false)),
    positionOf: (at) => position(at, true),
  };
}

/** A value that comes from a variable is not shown. A variable that is missing has its own mistake. */
function typeMistakes(value: unknown, texts: readonly FilledText[], found: readonly Mistake[]): Mistake[] {
  const isTold = ({ path }: Mistake): boolean => found.some((each) => Bun.deepEquals(each.path, path));
  return findMistakes(value, (path) => namesAt(texts, path)[0] ?? null).filter((mistake) => !isTold(mistake));
}

/** The variables in the value at `path`, and in a text that `path` leads into. */
function namesAt(texts: readonly FilledText[], path: KeyPath): string[] {
  return [...new Set(textsAt(texts, path).flatMap(({ names }) => names))];
}

function withNames(names: readonly string[], line: string): string {
  if (names.length === 0) return line;
  return `environment variable${names.length === 1 ? "" : "s"} ${names.join(", ")} (${line})`;
}

/** The config file over the defaults. For commands that need only one or two keys of it. */
export async function loadConfig(
  cwd: string,
  file?: string,
): Promise<{ file: string | null; options: Partial<Options> }> {
  const folder = file === undefined ? cwd : dirname(resolve(cwd, file));
  const config = await readConfigFile(cwd, file, { ...readEnvFile(folder, process.env).values, ...process.env });
  if (config === null) return { file: null, options: {} };
  if (config.mistakes.length > 0) throw mistakesError(withPositions(config, config.mistakes), config.path);
  return { file: config.path, options: config.value };
}

/** Mistakes of a file with their positions. */
export function withPositions(file: ConfigFile, mistakes: readonly Mistake[]): { position: string; message: string }[] {
  return mistakes.map(({ path, message }) => ({ position: file.positionOf(path), message }));
}

/** The paths of all keys that have a value in a file, or in another part of a configuration. */
export function setPaths(value: Record<string, unknown>): KeyPath[] {
  const own = [...CONFIG_KEYS.values()].map(({ path }) => path).filter((path) => valueAt(value, path) !== undefined);
  return [...own, ...modulePaths(value["modules"])];
}

/**
 * All mistakes as one error, a line each.
 *
 * @param mistakes  each with its position, "hrmr.json:12:5" or "--tls-cert"; null: it has none
 * @param file  the path of the file that they are in; null: they are not in a file
 */
export function mistakesError(
  mistakes: readonly { position: string | null; message: string }[],
  file: string | null,
): UserError {
  const lines = mistakes.map(({ position, message }) => `\n  ${position === null ? "" : `${position}: `}${message}`);
  const count = mistakes.length === 1 ? "a mistake" : `${mistakes.length} mistakes`;
  return new UserError(`${file ?? "The configuration"} has ${count}:${lines.join("")}`, {
    code: "BAD_CONFIG",
    hint: "Correct it and try again; `hrmr config --schema` tells what each key takes.",
  });
}

function findConfigFile(cwd: string): string | null {
  const [first, second] = CONFIG_FILES.filter((name) => existsSync(join(cwd, name)));
  if (first !== undefined && second !== undefined) {
    throw new UserError(`There are two config files in ${cwd}: ${first} and ${second}.`, {
      code: "TWO_CONFIGS",
      hint: "Keep one of them, or name the one that is meant with --config.",
    });
  }
  return first === undefined ? null : join(cwd, first);
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new UserError(`Cannot read the config file ${path} (${(cause as NodeJS.ErrnoException).code}).`, {
      code: "NO_CONFIG",
      hint: "Check the path in --config or HRMR_CONFIG; `hrmr init .` writes an hrmr.json.",
      cause,
    });
  }
}

/** Reports duplicate keys, of which the parser takes the last, and text behind the closing brace, which it ignores. */
function doubleKeys({ duplicates, trailing }: Positions): Mistake[] {
  const found = duplicates.map(({ path, first, second }) => {
    const lines = first.line === second.line ? "in one line" : `in line ${first.line} and in line ${second.line}`;
    return { path, message: `${formatPath(path)} stands twice, ${lines}` };
  });
  const behind =
    trailing === null
      ? []
      : [{ path: [], message: `line ${trailing.line} has something behind the end of the object` }];
  return [...found, ...behind];
}

function byPosition(positions: Positions): (a: Mistake, b: Mistake) => number {
  const positionOf = ({ path }: Mistake) => positions.find(path) ?? { line: Infinity, column: 0 };
  return (a, b) => {
    const [first, second] = [positionOf(a), positionOf(b)];
    // Subtraction alone fails: Infinity - Infinity, for two without a position, is NaN.
    return first.line === second.line ? first.column - second.column : first.line - second.line;
  };
}
