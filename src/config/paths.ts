import { resolve } from "node:path";
import { bareSchema, fieldsOf, valueFacts } from "./schema/key-list";
import { isGroup } from "./quoted";
import { absoluteStoreUrl } from "./store-url";
import type { Schema } from "./schema/parts";
import type * as z from "zod/mini";

/**
 * Makes the paths in a value absolute, so that they mean the same from every working directory.
 *
 * @param folder  where relative ones start
 * @returns a copy; values that do not fit the schema are unchanged in it
 */
export function withAbsolutePaths(value: unknown, schema: Schema, folder: string): unknown {
  if (typeof value === "string" && value !== "") {
    const { isPath, isStoreUrl } = valueFacts(schema);
    if (isStoreUrl === true) return absoluteStoreUrl(value, folder);
    return isPath === true ? resolve(folder, value) : value;
  }
  const bare = bareSchema(schema);
  if (Array.isArray(value) && bare.type === "array") {
    const element = (bare as z.ZodMiniArray)._zod.def.element as Schema;
    return value.map((item) => withAbsolutePaths(item, element, folder));
  }
  const fields = fieldsOf(schema);
  if (fields === null || !isGroup(value)) return structuredClone(value);
  const entries = Object.entries(value).map(([name, inner]): [string, unknown] => {
    const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
    return [name, field === undefined ? structuredClone(inner) : withAbsolutePaths(inner, field, folder)];
  });
  return Object.fromEntries(entries);
}
