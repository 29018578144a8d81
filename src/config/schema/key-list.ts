/**
 * The keys of the schema as a list, and the way from a key's path to its part of the schema.
 */
import type * as z from "zod/mini";
import { formatPath, type KeyPath, valueAt } from "../key-path";
import { isGroup } from "../quoted";
import { defaultOptions, type Options } from "../options";
import { KEY_SCHEMA } from "./schema";
import { KEYS, type KeyFacts, type Schema, VALUES, type ValueFacts } from "./parts";

/** One key that holds a value: `limits.maxBodyBytes`. A list is one value. */
export interface ConfigKey extends KeyFacts, ValueFacts {
  name: string;
  path: readonly string[];
  schema: Schema;
  /** undefined for a key of `modules.NAME`: the module's or the server's value holds instead. */
  default: unknown;
}

/** The schema inside of optional and nullable ones. */
export function bareSchema(schema: Schema): Schema {
  const { innerType } = schema._zod.def as { innerType?: Schema };
  return innerType === undefined ? schema : bareSchema(innerType);
}

/** The schemas of an object's own keys; null if the schema is no object with known keys. */
export function fieldsOf(schema: Schema): Readonly<Record<string, Schema>> | null {
  const bare = bareSchema(schema);
  return bare.type === "object" ? ((bare as z.ZodMiniObject)._zod.def.shape as Record<string, Schema>) : null;
}

/** The schema at `path`, from `root` on; null if there is no such key, or it takes anything. */
export function schemaAt(path: KeyPath, root: Schema = KEY_SCHEMA): Schema | null {
  const [step, ...rest] = path;
  if (step === undefined) return root;
  const child = childOf(bareSchema(root), step);
  return child === null ? null : schemaAt(rest, child);
}

function childOf(bare: Schema, step: string | number): Schema | null {
  if (bare.type === "array") return (bare as z.ZodMiniArray)._zod.def.element as Schema;
  if (bare.type === "record") return (bare as z.ZodMiniRecord)._zod.def.valueType as Schema;
  const fields = fieldsOf(bare);
  return fields !== null && Object.hasOwn(fields, step) ? (fields[step] ?? null) : null;
}

/** The facts about a value, from whichever layer of `schema` has them. */
export function valueFacts(schema: Schema): ValueFacts {
  const { innerType } = schema._zod.def as { innerType?: Schema };
  return VALUES.get(schema) ?? (innerType === undefined ? { takes: "something else" } : valueFacts(innerType));
}

/** The facts about a key, from whichever layer of `schema` has them. */
function keyFacts(schema: Schema): KeyFacts {
  const { innerType } = schema._zod.def as { innerType?: Schema };
  return KEYS.get(schema) ?? (innerType === undefined ? { description: "" } : keyFacts(innerType));
}

function listKeys(schema: Schema, path: readonly string[], defaults: unknown): ConfigKey[] {
  const fields = fieldsOf(schema);
  if (fields !== null)
    return Object.entries(fields).flatMap(([name, field]) => listKeys(field, [...path, name], defaults));
  return [
    {
      name: formatPath(path),
      path,
      schema,
      default: valueAt(defaults, path),
      ...keyFacts(schema),
      ...valueFacts(schema),
    },
  ];
}

const all = listKeys(KEY_SCHEMA, [], defaultOptions());

/** Every key with a default, by its name, in the order of the schema: all but `$schema` and `modules`. */
export const CONFIG_KEYS: ReadonlyMap<string, ConfigKey> = new Map(
  all.filter(({ name }) => name !== "$schema" && name !== "modules").map((key) => [key.name, key]),
);

/** The server's own keys of `modules.NAME`: `enabled`, `timeouts.loadMs`. */
export const MODULE_KEYS: ReadonlyMap<string, ConfigKey> = new Map(
  listKeys(schemaAt(["modules", "NAME"]) as Schema, [], undefined).map((key) => [key.name, key]),
);

/**
 * A key of the whole configuration with its value: `limits.maxBodyBytes`, `modules.greet.greeting`,
 * `modules.greet.timeouts.loadMs`.
 */
export function flattenOptions(options: Options): Map<string, unknown> {
  const flat = new Map<string, unknown>();
  for (const { name, path } of CONFIG_KEYS.values()) flat.set(name, valueAt(options, path));
  for (const path of modulePaths(options.modules)) flat.set(formatPath(path), valueAt(options, path));
  return flat;
}

/** The paths of the settings of modules; `modules.NAME` alone for a module without settings. */
export function modulePaths(modules: unknown): string[][] {
  return entriesOf(modules).flatMap(([name, settings]) => {
    const paths = entriesOf(settings).flatMap(([key, value]) => {
      const inner = key === "timeouts" ? entriesOf(value) : [];
      return inner.length === 0
        ? [["modules", name, key]]
        : inner.map(([innerKey]) => ["modules", name, key, innerKey]);
    });
    return paths.length === 0 ? [["modules", name]] : paths;
  });
}

function entriesOf(value: unknown): [string, unknown][] {
  return isGroup(value) ? Object.entries(value) : [];
}
