/** `context.store`, over a port: in the engine's thread, or on the way to it. */
import type {
  Collection,
  Store,
  StoreBatchOptions,
  StoreCheck,
  StoreTransaction,
  StoreWrite,
  StoreWritten,
  TransactionOptions,
  ValueForm,
} from "../contract";
import { transact } from "./attempts";
import { commit, mustBeBatch, mutationOf, StoreCollection } from "./collection";
import { StoreError } from "./error";
import { mustBeCollection, mustBeKey } from "./names";
import type { Check, SqlStatement, StorePort, StoreVersion } from "./port";
import { AS_TEXTS, AS_VALUES, ifVersionOf } from "./values";

const MAX_COLLECTIONS = 1000;

export function storeFor(version: StoreVersion, port: StorePort): Store {
  const values = new Map<string, StoreCollection<unknown>>();
  const texts: typeof values = new Map();
  return Object.freeze({
    collection<T>(name: string, form?: ValueForm): Collection<T> {
      const isText = form?.text === true;
      const collections = isText ? texts : values;
      const known = collections.get(name);
      if (known !== undefined) return known as StoreCollection<T>;
      const checked = mustBeCollection(name);
      const made = new StoreCollection<unknown>(checked, port, version, isText ? AS_TEXTS : AS_VALUES);
      // A name may come from a client.
      if (collections.size < MAX_COLLECTIONS) collections.set(name, made);
      return made as StoreCollection<T>;
    },
    async batch(writes: readonly StoreWrite[], { checks = [] }: StoreBatchOptions = {}): Promise<StoreWritten[]> {
      mustBeBatch(writes);
      mustBeBatch(checks);
      const mutations = writes.map((write) => mutationOf(mustBeCollection(write.collection), write));
      const mutated = await commit(port, { checks: checks.map(checkOf), mutations });
      return mutated.map(({ version: at, text }) => ({
        version: at,
        ...(text === null ? null : { value: JSON.parse(text) }),
      }));
    },
    transaction<R>(run: (tx: StoreTransaction) => R | Promise<R>, options?: TransactionOptions): Promise<Awaited<R>> {
      return transact(port, run, options);
    },
    async sql<Row>(parts: TemplateStringsArray, ...values: readonly unknown[]): Promise<Row[]> {
      return [...(await port.sql(statementOf(parts, values)))] as Row[];
    },
  });
}

function checkOf({ collection, key, version }: StoreCheck): Check {
  const expected = ifVersionOf({ ifVersion: version });
  if (expected === null) throw new StoreError("INVALID_VALUE", 'a check has no "version"');
  return { kind: "key", collection: mustBeCollection(collection), key: mustBeKey(key), version: expected };
}

function statementOf(parts: TemplateStringsArray, values: readonly unknown[]): SqlStatement {
  if (!Array.isArray(parts) || !Object.hasOwn(parts, "raw"))
    throw new StoreError("INVALID_VALUE", "sql is a tag: write store.sql`SELECT 1`, without parentheses");
  return { parts: [...parts], values: values.map(sqlValue) };
}

function sqlValue(value: unknown): SqlStatement["values"][number] {
  if (value === undefined || value === null) return null;
  if (["boolean", "number", "bigint", "string"].includes(typeof value)) return value as string;
  if (value instanceof Uint8Array) return value;
  if (value instanceof Date) return value.toISOString();
  throw new StoreError("INVALID_VALUE", `sql takes no ${Bun.inspect(value, { depth: 0 })}: encode it, as JSON for one`);
}
