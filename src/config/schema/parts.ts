/**
 * The parts of the schema: values, with the text of what they take, and groups of keys, with the meaning of each key.
 */
import * as z from "zod/mini";
import { isServerName, LISTEN_FORMS, parseListen } from "../listen";
import { parseStoreUrl, STORE_FORMS } from "../store-url";
import type { Range } from "./ranges";

export type Schema = z.ZodMiniType;

/** The facts about a value. */
export interface ValueFacts {
  /** Ends a message: `must be ${takes}, not ...`. */
  takes: string;
  /** It is made absolute: relative to the file's folder, or to the working directory for a flag or a variable. */
  isPath?: boolean;
  /** It is the URL of a store: a path in it is made absolute. */
  isStoreUrl?: boolean;
}

/** The facts about a key, or a group of keys. */
export interface KeyFacts {
  /** Markdown, without a full stop at its end. */
  description: string;
  /** "ms", "bytes", ... */
  unit?: string;
  /** A reload cannot change it: the server must be restarted. Default false. */
  restart?: boolean;
}

export const VALUES = z.registry<ValueFacts>();
export const KEYS = z.registry<KeyFacts>();

/** A schema and the facts about its key. */
interface Key<S extends Schema> {
  readonly schema: S;
  readonly facts: KeyFacts;
}

function value<S extends Schema>(schema: S, takes: string, isPath = false): S {
  VALUES.add(schema, { takes, isPath });
  return schema;
}

// Made once and shared by all keys of the same kind: making them takes most of the time at a start.
export const TEXT = value(z.string(), "a text");
export const TEXTS = value(z.array(TEXT), "a list of texts");
export const FLAG = value(z.boolean(), "true or false");
export const FLAG_OR_AUTO = value(z.union([z.boolean(), z.literal("auto")]), 'true, false or "auto"');
export const PATH = value(z.string().check(z.minLength(1)), "a path", true);
export const CIPHERS_OR_NULL = value(
  z.nullable(z.string().check(z.minLength(1))),
  "OpenSSL cipher names with a colon between them, or null",
);
export const PATH_OR_NULL = value(z.nullable(PATH), "a path or null", true);
export const LISTEN_URLS = listOf(
  value(z.string().check(z.refine((item: string) => parseListen(item) !== null)), LISTEN_FORMS),
  `a list of ${LISTEN_FORMS}`,
);
export const CONTROL_URL_OR_NULL = value(
  z.nullable(z.string().check(z.refine((item: string) => /^(?:tcp|tls):/.test(item) && parseListen(item) !== null))),
  '"tcp://host:port", "tls://host:port" or null',
);
export const STORE_URL_OR_NULL = z.nullable(z.string().check(z.refine((item: string) => parseStoreUrl(item) !== null)));
VALUES.add(STORE_URL_OR_NULL, { takes: `${STORE_FORMS} or null`, isStoreUrl: true });
export const TIME_ZONE_OR_NULL = value(
  z.nullable(z.string().check(z.refine(isTimeZone))),
  'an IANA time zone such as "Europe/Berlin", or null',
);
export const SERVER_NAMES = listOf(
  value(z.string().check(z.refine((item: string) => isServerName(item))), "a lower-case host name"),
  'a list of lower-case host names, like "a.example" or "*.b.example"',
);

function isTimeZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat("en", { timeZone: name }).format(0) !== "";
  } catch {
    return false;
  }
}

/** A whole number. Without a `max`: up to 2^53 - 1. */
export function integer({ min, max = Number.MAX_SAFE_INTEGER }: Pick<Range, "min"> & Partial<Range>) {
  const takes = max === Number.MAX_SAFE_INTEGER ? `a whole number from ${min}` : `a whole number from ${min} to ${max}`;
  return value(z.int().check(z.gte(min), z.lte(max)), takes);
}

/** A share of a whole. */
export const SHARE = value(z.number().check(z.gte(0), z.lte(1)), "a number from 0 to 1");

export function choice<const Choices extends readonly string[]>(choices: Choices) {
  return value(z.enum(choices), `one of ${choices.map((each) => `"${each}"`).join(", ")}`);
}

/** A list that is not empty. */
function listOf<S extends Schema>(item: S, takes: string) {
  return value(z.array(item).check(z.minLength(1)), takes);
}

/** A list of objects; it may be empty. */
export function objects<S extends Schema>(item: S) {
  return value(z.array(item), "a list of objects");
}

/** Adds the text about an object to its schema, for messages. */
export function object<S extends Schema>(schema: S): S {
  return value(schema, "an object");
}

/** Adds the meaning of a key: `key(COUNT, "Open connections in all", { unit: "connections" })`. */
export function key<S extends Schema>(
  schema: S,
  description: string,
  facts: Omit<KeyFacts, "description"> = {},
): Key<S> {
  return { schema, facts: { description, ...facts } };
}

/** A key that may be missing, without a default. */
export function optional<S extends Schema>({ schema, facts }: Key<S>) {
  const wrapped = z.optional(schema);
  KEYS.add(wrapped, facts);
  return wrapped;
}

/** A key that must be present. */
export function required<S extends Schema>({ schema, facts }: Key<S>): S {
  // A copy: the schema may be shared with other keys.
  const copy = schema.clone();
  VALUES.add(copy, VALUES.get(schema) as ValueFacts);
  KEYS.add(copy, facts);
  return copy;
}

type Shape<Defaults> = { [Name in keyof Defaults]: Key<z.ZodMiniType<Defaults[Name]>> };
type Defaulted<Keys> = { [Name in keyof Keys]: Keys[Name] extends Key<infer S> ? z.ZodMiniDefault<S> : never };

/**
 * Gives each key of `keys` its default from `defaults`. The types refuse a key that `defaults` lacks, or a default
 * that does not fit its schema.
 */
export function withDefaults<Defaults extends object, Keys extends Partial<Shape<Defaults>>>(
  defaults: Defaults,
  keys: Keys,
): Defaulted<Keys> {
  const entries = Object.entries(keys as Record<string, Key<Schema>>).map(
    ([name, { schema, facts }]): [string, Schema] => {
      const initial = (defaults as Record<string, unknown>)[name];
      const wrapped = z._default(schema, () => structuredClone(initial) as object);
      KEYS.add(wrapped, facts);
      return [name, wrapped];
    },
  );
  return Object.fromEntries(entries) as Defaulted<Keys>;
}

/** An object of keys with defaults. It may be missing as a whole. It takes no other key. */
export function group<Defaults extends object, Keys extends Shape<Defaults>>(
  defaults: Defaults,
  description: string,
  keys: Keys,
) {
  const schema = object(z.strictObject(withDefaults(defaults, keys)));
  // The type depends on `Keys`, so the compiler cannot see that it takes {}, although each key has a default.
  const wrapped = z.prefault(schema, {} as z.input<typeof schema>);
  KEYS.add(wrapped, { description });
  return wrapped;
}
