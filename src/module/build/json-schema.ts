/** JSON Schema (draft 2020-12) as a type of TypeScript or Python. Other parts become `unknown` or `Any`. Pure. */

type Schema = Readonly<Record<string, unknown>>;

/** One language. */
export interface TypeWriter {
  readonly unknown: string;
  readonly null: string;
  readonly boolean: string;
  readonly number: string;
  readonly integer: string;
  readonly string: string;
  literal(value: unknown): string;
  list(item: string): string;
  tuple(items: readonly string[]): string;
  /** An object of any keys. */
  map(value: string): string;
  object(fields: readonly ObjectField[]): string;
  union(types: readonly string[]): string;
  intersection(types: readonly string[]): string;
}

interface ObjectField {
  readonly name: string;
  readonly type: string;
  readonly isRequired: boolean;
  readonly description: string;
}

const quoted = (value: unknown): string => JSON.stringify(value) ?? "unknown";
/** Whether a field may stand without quotes. */
export const isName = (name: string): boolean => /^[A-Za-z_$][\w$]*$/.test(name);

export const TYPESCRIPT: TypeWriter = {
  unknown: "unknown",
  null: "null",
  boolean: "boolean",
  number: "number",
  integer: "number",
  string: "string",
  literal: (value) => (typeof value === "object" && value !== null ? "unknown" : quoted(value)),
  list: (item) => `readonly (${item})[]`,
  tuple: (items) => `readonly [${items.join(", ")}]`,
  map: (value) => `Readonly<Record<string, ${value}>>`,
  object: (fields) =>
    `{ ${fields.map(({ name, type, isRequired }) => `${isName(name) ? name : quoted(name)}${isRequired ? "" : "?"}: ${type}`).join("; ")} }`,
  union: (types) => [...new Set(types)].join(" | ") || "never",
  intersection: (types) => types.map((type) => `(${type})`).join(" & "),
};

/** Types that refer to themselves end here. */
const MAX_LEVELS = 12;

/** @param schema undefined or true: anything */
export function typeOf(schema: unknown, writer: TypeWriter): string {
  return write(schema, { writer, root: isObject(schema) ? schema : {}, level: 0 });
}

interface Place {
  readonly writer: TypeWriter;
  readonly root: Schema;
  readonly level: number;
}

function write(schema: unknown, place: Place): string {
  const { writer, level } = place;
  if (!isObject(schema) || level > MAX_LEVELS) return writer.unknown;
  const inner: Place = { ...place, level: level + 1 };
  const { $ref, anyOf, oneOf, allOf, type } = schema;
  if (typeof $ref === "string") return write(resolved($ref, place.root), inner);
  if (schema.const !== undefined) return writer.literal(schema.const);
  if (Array.isArray(schema.enum)) return writer.union(schema.enum.map((value) => writer.literal(value)));
  const either = Array.isArray(anyOf) ? anyOf : oneOf;
  if (Array.isArray(either)) return writer.union(either.map((each) => write(each, inner)));
  if (Array.isArray(allOf)) return writer.intersection(allOf.map((each) => write(each, inner)));
  if (Array.isArray(type)) return writer.union(type.map((each) => write({ ...schema, type: each as unknown }, inner)));
  if (type === "object" || (type === undefined && isObject(schema.properties))) return objectType(schema, inner);
  if (type === "array") return arrayType(schema, inner);
  if (type === "null") return writer.null;
  const plain = ["boolean", "number", "integer", "string"] as const;
  const known = plain.find((each) => each === type);
  return known === undefined ? writer.unknown : writer[known];
}

function objectType({ properties, required, additionalProperties }: Schema, place: Place): string {
  const { writer } = place;
  if (!isObject(properties) || Object.keys(properties).length === 0) {
    return isObject(additionalProperties) ? writer.map(write(additionalProperties, place)) : writer.map(writer.unknown);
  }
  const needed = new Set(Array.isArray(required) ? required : []);
  return writer.object(
    Object.entries(properties).map(([name, schema]) => ({
      name,
      type: write(schema, place),
      isRequired: needed.has(name),
      description: isObject(schema) && typeof schema.description === "string" ? schema.description : "",
    })),
  );
}

function arrayType({ items, prefixItems }: Schema, place: Place): string {
  if (Array.isArray(prefixItems)) return place.writer.tuple(prefixItems.map((each) => write(each, place)));
  return place.writer.list(write(items, place));
}

/** @returns the part of the document that "#/$defs/Name" names; undefined: it names another document, or nothing */
function resolved(reference: string, root: Schema): unknown {
  if (!reference.startsWith("#")) return undefined;
  const steps = reference.split("/").slice(1);
  const unescaped = steps.map((step) => decodeURIComponent(step).replaceAll("~1", "/").replaceAll("~0", "~"));
  return unescaped.reduce<unknown>(
    (at, step) => (isObject(at) && Object.hasOwn(at, step) ? at[step] : undefined),
    root,
  );
}

function isObject(value: unknown): value is Schema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
