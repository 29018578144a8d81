/**
 * What the schema is put together from: values, which say what they take, and groups of keys, which say what each key means.
 */
import * as z from "zod/mini";
import { LISTEN_FORMS, parseListen } from "./listen";
import type { Range } from "./ranges";
import { isServerName } from "./server-name";

export type Schema = z.ZodMiniType;

/** What a value may be. */
export interface ValueFacts {
  /** Ends a message: `must be ${takes}, not ...`. */
  takes: string;
  /** It is made absolute: from the file's folder, or from the working directory for a flag or a variable. */
  isPath?: boolean;
}

/** What a key, or a group of them, is for. */
export interface KeyFacts {
  /** Markdown, without a full stop at its end. */
  description: string;
  /** "ms", "bytes", ... */
  unit?: string;
  /** A reload cannot change it: the server must be started anew. Default false. */
  restart?: boolean;
}

export const VALUES = z.registry<ValueFacts>();
export const KEYS = z.registry<KeyFacts>();

function value<S extends Schema>(schema: S, takes: string, isPath = false): S {
  VALUES.add(schema, { takes, isPath });
  return schema;
}

export const text = () => value(z.string(), "a text");
export const flag = () => value(z.boolean(), "true or false");
export const path = () => value(z.string().check(z.minLength(1)), "a path", true);
export const pathOrNull = () => value(z.nullable(z.string().check(z.minLength(1))), "a path or null", true);

/** A whole number. Without a `max`: up to 2^53 - 1. */
export function integer({ min, max = Number.MAX_SAFE_INTEGER }: { min: number; max?: number } & Partial<Range>) {
  const takes = max === Number.MAX_SAFE_INTEGER ? `a whole number from ${min}` : `a whole number from ${min} to ${max}`;
  return value(z.int().check(z.gte(min), z.lte(max)), takes);
}

export function choice<const Choices extends readonly string[]>(choices: Choices) {
  return value(z.enum(choices), `one of ${choices.map((each) => `"${each}"`).join(", ")}`);
}

export const texts = () => value(z.array(text()), "a list of texts");

export function listenUrls() {
  const url = z.string().check(z.refine((item: string) => parseListen(item) !== null));
  return value(z.array(value(url, LISTEN_FORMS)).check(z.minLength(1)), `a list of ${LISTEN_FORMS}`);
}

export function serverNames() {
  const takes = 'lower-case host names, like "a.example" or "*.b.example"';
  const name = z.string().check(z.refine((item: string) => isServerName(item)));
  return value(z.array(value(name, "a lower-case host name")).check(z.minLength(1)), `a list of ${takes}`);
}

export function listOf<S extends Schema>(item: S) {
  return value(z.array(item), "a list of objects");
}

/** Any object: what is in it is somebody else's to judge. */
export const object = <S extends Schema>(schema: S): S => value(schema, "an object");

/** Says what a key means: `key(integer({ min: 1 }), "Open connections in all", { unit: "connections" })`. */
export function key<S extends Schema>(schema: S, description: string, facts: Omit<KeyFacts, "description"> = {}): S {
  KEYS.add(schema, { description, ...facts });
  return schema;
}

type Defaulted<Shape> = { [Name in keyof Shape]: Shape[Name] extends Schema ? z.ZodMiniDefault<Shape[Name]> : never };

/**
 * Gives each key of `shape` its default from `defaults`.
 * A key that one of the two lacks, or whose value does not fit its schema, is an error of types.
 */
export function withDefaults<Defaults extends object, Shape extends { [Name in keyof Defaults]: z.ZodMiniType<Defaults[Name]> }>(
  defaults: Defaults,
  shape: Shape,
): Defaulted<Shape> {
  const entries = Object.entries(shape as Record<string, Schema>).map(([name, schema]): [string, Schema] => {
    const initial = (defaults as Record<string, unknown>)[name];
    const optional = z._default(schema, () => structuredClone(initial) as object);
    const facts = KEYS.get(schema);
    if (facts !== undefined) KEYS.add(optional, facts);
    return [name, optional];
  });
  return Object.fromEntries(entries) as Defaulted<Shape>;
}

/** An object of keys with defaults, which may be left out as a whole. It takes no other key. */
export function group<Defaults extends object, Shape extends { [Name in keyof Defaults]: z.ZodMiniType<Defaults[Name]> }>(
  defaults: Defaults,
  description: string,
  shape: Shape,
) {
  const keys = withDefaults(defaults, shape);
  const schema = object(z.strictObject(keys));
  // A type that still depends on `Shape` cannot be seen to take {}, although each of its keys has a default.
  return key(z.prefault(schema, {} as z.input<typeof schema>), description);
}
