/** The procedures `store.get`, `store.set` and their kin. A module that calls them as services may do all. */
import {
  type BatchWrite,
  type Collection,
  type FindOptions,
  type ServiceContext,
  type ServiceOptions,
  type SetOptions,
  type StoreEntry,
} from "hrmr";
import { type Action, mustBeAllowed, openFor } from "../access";
import { type Batch, namesIn } from "../batch";
import { type Page, pageByIndex, pageByKeys } from "../pages";
import { type JsonSchema, schemaOf } from "../schema";
import type { WatchGuards } from "../watch/guards";
import { type Asked, serviceError } from "./call";
import { DESCRIPTIONS, INPUTS, type Name, OUTPUTS } from "./schemas";
import { type WatchInput, watchParts } from "./watch";

/** The inputs of all procedures. Each has those that its schema asks for. */
interface Input extends SetOptions, Pick<FindOptions, "limit" | "reverse" | "equals" | "from" | "to"> {
  readonly collection: string;
  readonly key: string;
  readonly value: unknown;
  readonly index: string;
  readonly by?: number;
  readonly field?: string;
  readonly prefix?: string;
  readonly after?: string;
  readonly writes: readonly BatchWrite[];
}

/** A call, whose input fits its schema. */
interface Call {
  readonly input: Input;
  readonly context: Asked;
}

const CALLS: Readonly<Record<Name, (call: Call) => unknown>> = {
  get: async (call) => documentOf(await reading(call).get(call.input.key)),
  set: ({ input, context }) => {
    const { key, value, ...options } = rest(input);
    return writing({ input, context }).set(key, value, options);
  },
  patch: ({ input, context }) => {
    const { key, value, ...options } = rest(input);
    return writing({ input, context }).patch(key, value, options);
  },
  delete: (call) => {
    const { key, ...options } = rest(call.input);
    return writing(call).delete(key, options);
  },
  increment: (call) => {
    const { key, by = 1, ...options } = rest(call.input);
    return writing(call).increment(key, by, options);
  },
  expire: (call) => {
    const { key, ttlMs, ...options } = rest(call.input) as Omit<Input, "ttlMs"> & { readonly ttlMs: number | null };
    return writing(call).expire(key, ttlMs, options);
  },
  list: async (call) => pageOf(await pageByKeys(reading(call), rest(call.input))),
  find: async (call) => {
    const { index, ...range } = rest(call.input);
    return pageOf(await pageByIndex(reading(call), index, range));
  },
  batch: (call) => writing(call).batch(call.input.writes),
  transaction: async ({ input, context }) => {
    const { writes, checks = [] } = input as unknown as Batch;
    for (const name of namesIn(writes)) allow(context, name, "write");
    for (const name of namesIn(checks)) allow(context, name, "read");
    return { results: await context.store.batch(writes, { checks }) };
  },
  watch: ({ input, context }) => watchParts(input as unknown as WatchInput, context, reading({ input, context })),
};

/** By name. They are public unless `rpc` is false, and tools of AI agents if `mcp` is true. */
export const PROCEDURES = Object.fromEntries(
  Object.keys(CALLS).map((name): [string, ServiceOptions<{ readonly guards: WatchGuards }>] => [
    name,
    procedure(name as Name),
  ]),
) as Record<Name, ServiceOptions<{ readonly guards: WatchGuards }>>;

function procedure(name: Name): ServiceOptions<{ readonly guards: WatchGuards }> {
  const call = CALLS[name];
  return {
    description: DESCRIPTIONS[name],
    input: schemaOf(INPUTS[name] as JsonSchema),
    output: schemaOf(OUTPUTS[name], false),
    public: ({ rpc }) => rpc !== false,
    // A tool answers once.
    mcp: ({ mcp }) => mcp === true && name !== "watch",
    checksAccess: true,
    async call(input: unknown, context: ServiceContext<{ readonly guards: WatchGuards }>) {
      try {
        return await call({ input: input as Input, context });
      } catch (error) {
        throw serviceError(error);
      }
    },
  };
}

// ---- for `CALLS` ----

function reading({ input, context }: Call): Collection<string> {
  const { asker } = context;
  const name = input.collection;
  return asker === null
    ? context.store.collection(name, { text: true })
    : openFor(context, asker, { name, action: "read" });
}

function writing({ input, context }: Call): Collection<unknown> {
  const name = input.collection;
  const collection = context.store.collection(name);
  allow(context, name, "write");
  return collection;
}

/** @throws Refusal */
function allow({ access, asker }: Asked, name: string, action: Action): void {
  if (asker !== null) mustBeAllowed(access, asker, { name, action });
}

function rest(input: Input): Omit<Input, "collection"> {
  const { collection: _, ...others } = input;
  return others;
}

function documentOf<T extends { readonly value: string } | null>(document: T) {
  return document === null ? null : { ...document, value: JSON.parse(document.value) as unknown };
}

function pageOf({ entries, next }: Page) {
  return { entries: entries.map((entry: StoreEntry<string>) => documentOf(entry)), next };
}
