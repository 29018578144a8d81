/**
 * The config file: hrmr.json, JSON with comments and trailing commas. Finds it, reads it, checks it against `rules.ts`.
 */
import { existsSync, readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { suggest } from "./nearest";
import type { ControlOptions, Http2Options, HttpOptions, Limits, LogOptions, Options, Timeouts, TlsOptions } from "./options";
import { CONFIG_RULES, isGroup, MODULE_RULES, type Rule, violation } from "./rules";
import { UserError } from "./user-error";

export const CONFIG_FILE = "hrmr.json";

/** What a config file said; what it left out is not there. Paths are absolute. */
export type FileOptions = Partial<Omit<Options, "limits" | "timeouts" | "http" | "http2" | "tls" | "log" | "control">> & {
  log?: Partial<LogOptions>;
  control?: Partial<ControlOptions>;
  limits?: Partial<Limits>;
  timeouts?: Partial<Timeouts>;
  http?: Partial<HttpOptions>;
  http2?: Partial<Http2Options>;
  tls?: Partial<TlsOptions>;
};

export interface LoadedConfig {
  /** The file's absolute path; null when there is none. */
  file: string | null;
  options: FileOptions;
}

/**
 * Loads the config file: `file` (relative to `cwd`; it must exist), or hrmr.json in `cwd` if there is one.
 *
 * @throws UserError NO_CONFIG, BAD_CONFIG_SYNTAX (with line and column) or BAD_CONFIG (all mistakes at once, each with its key)
 */
export async function loadConfig(cwd: string, file?: string): Promise<LoadedConfig> {
  const path = resolve(cwd, file ?? CONFIG_FILE);
  if (file === undefined && !existsSync(path)) return { file: null, options: {} };
  const value = await parseConfig(path, readConfig(path));
  const mistakes = findMistakes(value);
  if (mistakes.length > 0) {
    throw new UserError(`${path} has ${mistakes.length === 1 ? "a mistake" : `${mistakes.length} mistakes`}:\n  ${mistakes.join("\n  ")}`, {
      code: "BAD_CONFIG",
      hint: "Nothing was started. Correct the file and start again.",
    });
  }
  return { file: path, options: toOptions(value as Record<string, unknown>, dirname(path)) };
}

/** Puts what a file said over `base`, group by group. `base` is changed and returned. */
export function applyConfig(base: Options, file: FileOptions): Options {
  const { limits, timeouts, http, http2, tls, log, control, modules, ...rest } = file;
  Object.assign(base, rest);
  Object.assign(base.limits, limits);
  Object.assign(base.timeouts, timeouts);
  Object.assign(base.http, http);
  Object.assign(base.http2, http2);
  Object.assign(base.tls, tls);
  Object.assign(base.log, log);
  Object.assign(base.control, control);
  Object.assign(base.modules, modules);
  return base;
}

function readConfig(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new UserError(`Cannot read the config file ${path} (${(cause as NodeJS.ErrnoException).code}).`, {
      code: "NO_CONFIG",
      hint: "Check the path after --config; `hrmr init .` writes an hrmr.json.",
      cause,
    });
  }
}

async function parseConfig(path: string, text: string): Promise<unknown> {
  try {
    return Bun.JSONC.parse(text);
  } catch (cause) {
    const where = await findSyntaxError(path);
    throw new UserError(`${path}${where?.place ?? ""}: ${where?.message ?? "this is not JSON"}.`, {
      code: "BAD_CONFIG_SYNTAX",
      hint: where?.lineText === undefined ? "Correct the file and start again." : `There: ${where.lineText.trim().slice(0, 100)}`,
      cause,
    });
  }
}

/** JSONC.parse does not say where; the module loader does (as a module of type jsonc, whatever the file's name). */
async function findSyntaxError(path: string): Promise<{ place: string; message: string; lineText?: string } | null> {
  try {
    // The query keeps a second look at the same path from meeting the first one's cached failure.
    await import(`${pathToFileURL(path).href}?at=${performance.now()}`, { with: { type: "jsonc" } });
    return null;
  } catch (error) {
    const { message, position } = error as BuildMessage;
    return position ? { place: `:${position.line}:${position.column}`, message, lineText: position.lineText } : null;
  }
}

/** @returns one line for each mistake, beginning with its key's path; empty when there is none */
export function findMistakes(value: unknown): string[] {
  if (!isGroup(value)) return [`the file must hold an object, { ... }, and nothing else`];
  const { modules, ...rest } = value;
  return [...groupMistakes("", rest, CONFIG_RULES, ["modules"]), ...(modules === undefined ? [] : moduleMistakes(modules))];
}

function groupMistakes(prefix: string, group: Record<string, unknown>, rules: Record<string, Rule>, alsoKnown: string[] = []): string[] {
  return Object.entries(group).flatMap(([name, value]) => {
    const rule = Object.hasOwn(rules, name) ? rules[name] : undefined;
    const path = prefix + name;
    if (rule === undefined)
      return [`${path}: there is no such key. ${suggest(name, [...Object.keys(rules), ...alsoKnown], prefix)}`.trim()];
    const wrong = violation(rule, value);
    if (wrong !== null) return [`${path} ${wrong}`];
    if (rule.type === "groups" && Array.isArray(value)) return value.flatMap((item, at) => itemMistakes(`${path}[${at}]`, item, rule));
    return rule.type === "group" && isGroup(value) ? groupMistakes(`${path}.`, value, rule.keys) : [];
  });
}

function itemMistakes(path: string, item: Record<string, unknown>, rule: Extract<Rule, { type: "groups" }>): string[] {
  const missing = rule.required.filter((name) => item[name] === undefined);
  return [...missing.map((name) => `${path}.${name} is missing`), ...groupMistakes(`${path}.`, item, rule.keys)];
}

function moduleMistakes(modules: unknown): string[] {
  if (!isGroup(modules)) return ["modules must be an object: a module's name, then its settings"];
  return Object.entries(modules).flatMap(([name, settings]) => {
    if (!isGroup(settings)) return [`modules.${name} must be an object`];
    return Object.entries(MODULE_RULES).flatMap(([key, rule]) => {
      const wrong = settings[key] === undefined ? null : violation(rule, settings[key]);
      return wrong === null ? [] : [`modules.${name}.${key} ${wrong}`];
    });
  });
}

/** `value` has no mistakes. Paths are relative to the file, so that it means the same from every working directory. */
function toOptions(value: Record<string, unknown>, folder: string): FileOptions {
  const { $schema: _, ...options } = value;
  return withAbsolutePaths(options, CONFIG_RULES, folder);
}

/** @returns a copy in which every path, also one in a group, starts at the root */
function withAbsolutePaths(group: Record<string, unknown>, rules: Record<string, Rule>, folder: string): Record<string, unknown> {
  const absolute = (value: unknown, rule: Rule | undefined): unknown => {
    if (rule?.type === "path" && typeof value === "string") return resolve(folder, value);
    if (rule?.type === "group" && isGroup(value)) return withAbsolutePaths(value, rule.keys, folder);
    if (rule?.type === "groups" && Array.isArray(value)) return value.map((item) => withAbsolutePaths(item, rule.keys, folder));
    return value;
  };
  return Object.fromEntries(Object.entries(group).map(([name, value]) => [name, absolute(value, rules[name])]));
}
