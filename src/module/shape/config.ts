/** A module's settings, checked by the schema that it exports as `config` (standardschema.dev). */
import { formatPath, type KeyPath } from "../../config/key-path";
import { nearest } from "../../config/nearest";
import { MASK } from "../../config/quoted";
import { messageOf } from "../../config/user-error";
import { isForKey, jsonOrText, MODULE_PREFIX, variableFor } from "../../config/variable-names";
import type { StandardSchema } from "../contract";
import { isObject, kindOf, shapeError } from "./errors";

/**
 * The server's own settings of a module: `modules.NAME.run`. The module's schema does not see them. Exported for a test:
 * it compares them with the schema of the config file.
 */
export const SERVER_SETTINGS: readonly string[] = [
  "enabled",
  "external",
  "libs",
  "include",
  "run",
  "reload",
  "timeouts",
  "maxMemoryMb",
  "maxCrashes",
  "crashWindowMs",
];

type Settings = Readonly<Record<string, unknown>>;

/** A setting that does not fit. */
interface SettingMistake {
  /** In `modules.NAME`. */
  readonly path: KeyPath;
  /** Begins with the whole path: `modules.mail.port: ...`. */
  readonly message: string;
}

/** All mistakes in a module's settings. */
export class SettingsError extends Error {
  readonly mistakes: readonly SettingMistake[];

  constructor(mistakes: readonly SettingMistake[]) {
    super(mistakes.map(({ message }) => message).join("\n"));
    this.mistakes = mistakes;
  }
}

/**
 * @param config the module's export
 * @returns null: there is none
 * @throws Error if it is no schema
 */
export function readSchema(name: string, config: unknown): StandardSchema | null {
  if (config === undefined) return null;
  if (isSchema(config)) return config;
  throw shapeError(
    name,
    `"config" is ${kindOf(config)}, and must be a schema that follows Standard Schema: config: z.object({ port: z.number() }), from zod, valibot or arktype. The settings themselves are in hrmr.json, as modules.${name}`,
  );
}

/** Whether a value follows Standard Schema. Some libraries' schemas are functions. */
export function isSchema(value: unknown): value is StandardSchema {
  const standard: unknown =
    isObject(value) || typeof value === "function" ? Reflect.get(value, "~standard") : undefined;
  return isObject(standard) && typeof standard.validate === "function";
}

/** Some libraries' schemas are functions. */
export function isStandardSchema(value: unknown): value is StandardSchema {
  if (!isObject(value) && typeof value !== "function") return false;
  const standard: unknown = Reflect.get(value, "~standard");
  return isObject(standard) && typeof standard.validate === "function";
}

/**
 * The value of `context.config`. Calls the author's schema: run it inside the module's graph.
 *
 * @param settings `modules.NAME` of the configuration
 * @returns without a schema: `settings`. With one: its output, as plain data
 * @throws SettingsError for settings that do not fit; Error for a schema that cannot be used
 */
export function readConfig(name: string, settings: Settings, schema: StandardSchema | null): Record<string, unknown> {
  const variables = Object.keys(settings).filter((key) => key.startsWith(MODULE_PREFIX));
  if (schema === null) {
    if (variables.length === 0) return settings;
    throw new SettingsError(variables.map((variable) => unknownVariable(name, variable, Object.keys(settings))));
  }
  const own = Object.fromEntries(
    Object.entries(settings).filter(([key]) => !SERVER_SETTINGS.includes(key) && !variables.includes(key)),
  );
  const { texts, mistakes } = placeVariables(name, settings, variables, schema);
  if (mistakes.length > 0) throw new SettingsError(mistakes);
  const output = validated(name, own, texts, schema);
  const misfit = notPlain(output, []);
  if (misfit !== null || !isObject(output) || Array.isArray(output)) {
    const { path, what } = misfit ?? { path: [], what: kindOf(output) };
    throw shapeError(
      name,
      `its config schema makes ${what} of ${formatPath(["modules", name, ...path])}. All hosts get a copy of the settings, so they must be plain data: make such things in setup`,
    );
  }
  try {
    return structuredClone(output);
  } catch (cause) {
    throw shapeError(name, `its config schema makes data that cannot be copied to other hosts: ${messageOf(cause)}`);
  }
}

/** By key: the text of the variable that sets it. */
type Texts = ReadonlyMap<string, string>;

function placeVariables(
  name: string,
  settings: Settings,
  variables: readonly string[],
  schema: StandardSchema,
): { texts: Texts; mistakes: SettingMistake[] } {
  const texts = new Map<string, string>();
  const mistakes: SettingMistake[] = [];
  const known = variables.length === 0 ? [] : (keysOf(schema) ?? []);
  for (const variable of variables) {
    const found = known.filter((key) => isForKey(variable, name, key));
    const [key, second] = found;
    if (key === undefined) mistakes.push(unknownVariable(name, variable, known));
    else if (second === undefined) texts.set(key, String(settings[variable]));
    else
      mistakes.push({
        path: [variable],
        message: `modules.${name} has two settings for this variable, ${key} and ${second}. ${IN_THE_FILE}`,
      });
  }
  return { texts, mistakes };
}

const IN_THE_FILE = "Write it in the config file";

function unknownVariable(name: string, variable: string, known: readonly string[]): SettingMistake {
  const names = known.filter((key) => key !== variable && !key.startsWith(MODULE_PREFIX));
  const list = names.length === 0 ? "" : `. Known are ${names.map((key) => variableFor(name, key)).join(", ")}`;
  const where = "in the module's config schema or in the config file";
  return { path: [variable], message: `modules.${name} has no setting for this variable, ${where}${list}` };
}

function mistake(path: KeyPath, name: string, text: string): SettingMistake {
  return { path, message: at(name, path, text) };
}

function at(name: string, path: KeyPath, text: string): string {
  return `${formatPath(["modules", name, ...path])}: ${text}`;
}

/** The names of an object schema's keys. null: the schema does not tell them. */
function keysOf(schema: StandardSchema): string[] | null {
  const { jsonSchema } = schema["~standard"] as { jsonSchema?: { input?(options: object): unknown } };
  const { shape, entries } = schema as { shape?: unknown; entries?: unknown };
  try {
    const json = jsonSchema?.input?.({ target: "draft-2020-12" });
    if (isObject(json) && isObject(json.properties)) return Object.keys(json.properties);
  } catch {
    // It has a part that cannot be written as JSON Schema.
  }
  const fields = [shape, entries].find(isObject);
  return fields === undefined ? null : Object.keys(fields);
}

function validated(name: string, own: Settings, texts: Texts, schema: StandardSchema): unknown {
  // A text such as 12345 may be meant as a number or as a text. The schema tells, by what it refuses.
  const given: Record<string, unknown> = { ...own };
  for (const [key, text] of texts) given[key] = jsonOrText(text);
  let result = validate(name, given, schema);
  const refused = new Set((result.issues ?? []).map(({ path }) => stepsOf(path)[0]));
  const again = [...texts].filter(([key, text]) => refused.has(key) && given[key] !== text);
  if (again.length > 0) {
    for (const [key, text] of again) given[key] = text;
    result = validate(name, given, schema);
  }
  if (result.issues === undefined) return result.value;
  const secrets = leavesOf(given);
  const known = keysOf(schema) ?? [];
  throw new SettingsError(result.issues.flatMap((issue) => mistakesOf(name, issue, known, secrets)));
}

type Result = Awaited<ReturnType<StandardSchema["~standard"]["validate"]>>;
type Issue = NonNullable<Result["issues"]>[number];

function validate(name: string, value: unknown, schema: StandardSchema): Result {
  let result: Result | Promise<Result>;
  try {
    result = schema["~standard"].validate(value);
  } catch (cause) {
    throw shapeError(name, `its config schema failed: ${messageOf(cause)}`);
  }
  if (!("then" in result)) return result;
  // Its result is ignored.
  result.then(undefined, () => {});
  throw shapeError(
    name,
    "its config schema has an asynchronous check or transform. Settings are checked while the module is loaded: check such things in setup",
  );
}

function mistakesOf(
  name: string,
  issue: Issue,
  known: readonly string[],
  secrets: readonly string[],
): SettingMistake[] {
  const path = stepsOf(issue.path);
  const { keys } = issue as { keys?: unknown };
  // zod reports all unknown keys of an object as one issue, at the object.
  if (Array.isArray(keys) && keys.length > 0 && keys.every((key) => typeof key === "string")) {
    return keys.map((key) => {
      const similar = path.length === 0 ? nearest(key, known) : null;
      const hint = similar === null ? "" : ` Did you mean ${similar}?`;
      return mistake([...path, key], name, `there is no such setting.${hint}`);
    });
  }
  return [mistake(path, name, withoutSecrets(issue.message, secrets))];
}

function stepsOf(path: Issue["path"]): (string | number)[] {
  return (path ?? []).map((step) => {
    const key = typeof step === "object" ? step.key : step;
    return typeof key === "number" ? key : String(key);
  });
}

/** All texts and numbers in the settings, as messages may quote them. */
function leavesOf(value: unknown): string[] {
  if (typeof value === "string" || typeof value === "number") return [String(value)];
  return isObject(value) ? Object.values(value).flatMap(leavesOf) : [];
}

/** Shorter texts are parts of words. */
const MIN_BARE_CHARS = 4;

/** Some libraries quote the value in their messages. */
function withoutSecrets(message: string, secrets: readonly string[]): string {
  let text = message;
  for (const secret of [...secrets].sort((a, b) => b.length - a.length)) {
    for (const mark of ['"', "'", "`"]) text = text.replaceAll(`${mark}${secret}${mark}`, MASK);
    if (secret.length >= MIN_BARE_CHARS) text = text.replaceAll(secret, MASK);
  }
  return text;
}

/** @returns the first part that a copy to another thread would lose or change; null: there is none */
function notPlain(
  value: unknown,
  path: KeyPath,
  around: readonly object[] = [],
): { path: KeyPath; what: string } | null {
  if (typeof value === "function" || typeof value === "symbol") return { path, what: kindOf(value) };
  if (typeof value !== "object" || value === null || isCopied(value)) return null;
  if (around.includes(value)) return { path, what: "an object that contains itself" };
  const prototype: unknown = Object.getPrototypeOf(value);
  if (!Array.isArray(value) && prototype !== Object.prototype && prototype !== null)
    return { path, what: `an object of the class ${value.constructor?.name ?? "?"}` };
  for (const [key, inner] of Object.entries(value)) {
    const found = notPlain(inner, [...path, Array.isArray(value) ? Number(key) : key], [...around, value]);
    if (found !== null) return found;
  }
  return null;
}

/** Objects that structuredClone copies as they are. Maps and sets may hold others; their copy would fail then. */
function isCopied(value: object): boolean {
  return (
    value instanceof Date ||
    value instanceof RegExp ||
    value instanceof Map ||
    value instanceof Set ||
    value instanceof ArrayBuffer ||
    ArrayBuffer.isView(value)
  );
}
