/** The mistakes of a configuration in words: each with its key, and with the nearest known name for an unknown key. */
import { bareSchema, CONFIG_KEYS, fieldsOf, schemaAt, valueFacts } from "./schema/key-list";
import { formatPath, type KeyPath, valueAt } from "./key-path";
import { nearest } from "./nearest";
import { KEY_SCHEMA } from "./schema/schema";
import type { Schema } from "./schema/parts";
import { quoted } from "./quoted";

export interface Mistake {
  path: KeyPath;
  /** Begins with the key. */
  message: string;
}

/** null: the value at `path` stands in the file. */
type VariableOf = (path: KeyPath) => string | null;

/** Names of earlier versions and of flags that do not resemble the right name. */
const ALIASES = new Map([
  ["healthEndpoint", "http.health"],
  ["port", "listen"],
  ["host", "listen"],
]);

/**
 * @param variableOf  the variable that the value at a path comes from: it is named, and its value is not shown
 * @returns the mistakes in a file's content; for each key only the first
 */
export function findMistakes(value: unknown, variableOf: VariableOf = () => null): Mistake[] {
  const issues = KEY_SCHEMA.safeParse(value).error?.issues ?? [];
  const found = new Map<string, Mistake>();
  for (const issue of issues) {
    const path = issue.path as KeyPath;
    const mistakes =
      issue.code === "unrecognized_keys"
        ? issue.keys.map((name) => unknownKey(path, name))
        : [wrongValue(path, value, variableOf)];
    for (const mistake of mistakes) {
      const key = formatPath(mistake.path);
      if (!found.has(key)) found.set(key, mistake);
    }
  }
  return [...found.values()];
}

/** @returns the mistake in the value of a key, as the end of a sentence ("must be ..., not ..."); null if it fits */
export function violation(schema: Schema, value: unknown): string | null {
  return schema.safeParse(value).success ? null : `must be ${valueFacts(schema).takes}, not ${shown(schema, value)}`;
}

function wrongValue(path: KeyPath, root: unknown, variableOf: VariableOf): Mistake {
  if (path.length === 0) return { path, message: "the file must hold an object, { ... }, and nothing else" };
  const value = valueAt(root, path);
  const schema = schemaAt(path);
  const variable = variableOf(path);
  const given = variable === null ? shown(schema, value) : `the value of the variable ${variable}`;
  const what =
    value === undefined
      ? "is missing"
      : `must be ${schema === null ? "another" : valueFacts(schema).takes}, not ${given}`;
  return { path, message: `${formatPath(path)} ${what}` };
}

function unknownKey(group: KeyPath, name: string): Mistake {
  const path = [...group, name];
  return { path, message: `${formatPath(path)}: there is no such key. ${suggestKey(group, name)}`.trim() };
}

/**
 * `Did you mean limits.maxBodyBytes?`: the nearest name in the same group, or the same name in another group; empty if
 * there is none.
 */
export function suggestKey(group: KeyPath, name: string): string {
  const schema = schemaAt(group);
  const beside = nearest(name, Object.keys((schema === null ? null : fieldsOf(schema)) ?? {}));
  const meant = beside === null ? (ALIASES.get(name) ?? sameNameElsewhere(name)) : formatPath([...group, beside]);
  return meant === null ? "" : `Did you mean ${meant}?`;
}

function sameNameElsewhere(name: string): string | null {
  const wanted = name.toLowerCase();
  const found = [...CONFIG_KEYS.values()].filter(({ path }) => path.at(-1)?.toLowerCase() === wanted);
  return found[0]?.name ?? null;
}

/** Does not quote a text in place of a group of keys: it may be a secret. */
function shown(schema: Schema | null, value: unknown): string {
  const isGroupWanted = schema === null || ["object", "record"].includes(bareSchema(schema).type);
  return isGroupWanted && typeof value === "string" ? "a text" : quoted(value);
}
