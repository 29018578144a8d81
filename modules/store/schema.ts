/**
 * Schemas that follow Standard Schema and describe themselves by JSON Schema, in the part of it that is needed here:
 * type, properties, required, additionalProperties, items, enum, const, minimum, maximum, maxItems, minLength, anyOf.
 */
import type { StandardResult, StandardSchema } from "hrmr";

export interface JsonSchema {
  readonly type?: "object" | "array" | "string" | "number" | "integer" | "boolean" | "null";
  readonly description?: string;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: false;
  readonly items?: JsonSchema;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly default?: unknown;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly maxItems?: number;
  readonly minLength?: number;
  readonly anyOf?: readonly JsonSchema[];
}

type Path = readonly PropertyKey[];
type Issue = { readonly message: string; readonly path: Path };

/**
 * @param isChecked false: it describes values, and takes all of them
 * @returns a schema whose output is its input, with the defaults of missing properties
 */
export function schemaOf<Output>(json: JsonSchema, isChecked = true): StandardSchema<Output> {
  const written = () => json as Record<string, unknown>;
  return {
    "~standard": {
      version: 1,
      vendor: "hrmr",
      validate(value): StandardResult<Output> {
        if (!isChecked) return { value: value as Output };
        const issues = issuesOf(json, value, []);
        return issues.length > 0 ? { issues } : { value: withDefaults(json, value) as Output };
      },
      jsonSchema: { input: written, output: written },
    },
  };
}

/** An object whose properties are all known. @param required their names */
export function objectOf(properties: Record<string, JsonSchema>, required: readonly string[] = []): JsonSchema {
  return { type: "object", properties, required, additionalProperties: false };
}

export function issuesOf(schema: JsonSchema, value: unknown, path: Path): Issue[] {
  if (schema.anyOf !== undefined) return issuesOfBest(schema.anyOf, value, path);
  const wrong = (message: string): Issue[] => [{ message, path }];
  const { type, minimum = -Infinity, maximum = Infinity, minLength = 0, maxItems = Infinity } = schema;
  if (type !== undefined && !isOfType(type, value)) return wrong(`it must be ${A[type]}`);
  if (schema.const !== undefined && value !== schema.const) return wrong(`it must be ${JSON.stringify(schema.const)}`);
  if (schema.enum !== undefined && !schema.enum.includes(value))
    return wrong(`it must be one of ${listOf(schema.enum)}`);
  if (typeof value === "number" && (value < minimum || value > maximum))
    return wrong(`it must be ${rangeText(minimum, maximum)}`);
  if (typeof value === "string" && value.length < minLength) return wrong("it must not be empty");
  if (Array.isArray(value)) {
    if (value.length > maxItems) return wrong(`it has ${value.length} entries; at most ${maxItems} are possible`);
    const { items } = schema;
    return items === undefined ? [] : value.flatMap((each, at) => issuesOf(items, each, [...path, at]));
  }
  return schema.properties === undefined ? [] : issuesOfObject(schema, value as Fields, path);
}

type Fields = Record<string, unknown>;

function issuesOfObject(
  { properties = {}, required = [], additionalProperties }: JsonSchema,
  value: Fields,
  path: Path,
) {
  const issues: Issue[] = [];
  for (const name of required)
    if (!Object.hasOwn(value, name)) issues.push({ message: "it is missing", path: [...path, name] });
  for (const [name, each] of Object.entries(value)) {
    const known = Object.hasOwn(properties, name) ? properties[name] : undefined;
    if (known !== undefined) issues.push(...issuesOf(known, each, [...path, name]));
    else if (additionalProperties === false)
      issues.push({ message: `it is unknown: use ${Object.keys(properties).join(", ")}`, path: [...path, name] });
  }
  return issues;
}

/** The mistakes by the form that fits best. */
function issuesOfBest(forms: readonly JsonSchema[], value: unknown, path: Path): Issue[] {
  let best: Issue[] | null = null;
  for (const form of forms) {
    const issues = issuesOf(form, value, path);
    if (issues.length === 0) return [];
    if (best === null || issues.length < best.length) best = issues;
  }
  // It has none of the forms.
  if (best?.[0]?.path.length === path.length)
    return [{ message: `it must be ${[...new Set(forms.map(formOf))].join(" or ")}`, path }];
  return best ?? [];
}

function formOf({ type, const: only }: JsonSchema): string {
  return type === undefined ? JSON.stringify(only) : A[type];
}

const A = {
  object: "an object",
  array: "a list",
  string: "a string",
  number: "a number",
  integer: "a whole number",
  boolean: "true or false",
  null: "null",
};

function isOfType(type: NonNullable<JsonSchema["type"]>, value: unknown): boolean {
  switch (type) {
    case "null":
      return value === null;
    case "array":
      return Array.isArray(value);
    case "object":
      return typeof value === "object" && value !== null && !Array.isArray(value);
    case "integer":
      return Number.isSafeInteger(value);
    case "number":
      return typeof value === "number" && Number.isFinite(value);
    default:
      return typeof value === type;
  }
}

function rangeText(minimum: number, maximum: number): string {
  if (maximum === Infinity) return `at least ${minimum}`;
  return minimum === -Infinity ? `at most ${maximum}` : `${minimum} to ${maximum}`;
}

function listOf(values: readonly unknown[]): string {
  return values.map((value) => JSON.stringify(value)).join(", ");
}

/** Of the properties of an object alone. */
function withDefaults({ properties }: JsonSchema, value: unknown): unknown {
  if (properties === undefined) return value;
  const defaults = Object.entries(properties).filter(
    ([name, each]) => each.default !== undefined && !Object.hasOwn(value as Fields, name),
  );
  if (defaults.length === 0) return value;
  return { ...Object.fromEntries(defaults.map(([name, each]) => [name, each.default])), ...(value as Fields) };
}
