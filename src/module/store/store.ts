/** `context.store`, over a port: in the engine's thread, or on the way to it. */
import type { Collection, Store, StoreTransaction, TransactionOptions } from "../contract";
import { transact } from "./attempts";
import { StoreCollection } from "./collection";
import { StoreError } from "./error";
import { mustBeCollection } from "./names";
import type { SqlStatement, StorePort, StoreVersion } from "./port";

const MAX_COLLECTIONS = 1000;

export function storeFor(version: StoreVersion, port: StorePort): Store {
  const collections = new Map<string, StoreCollection<unknown>>();
  return Object.freeze({
    collection<T>(name: string): Collection<T> {
      const known = collections.get(name);
      if (known !== undefined) return known as StoreCollection<T>;
      const made = new StoreCollection<unknown>(mustBeCollection(name), port, version);
      // A name may come from a client.
      if (collections.size < MAX_COLLECTIONS) collections.set(name, made);
      return made as StoreCollection<T>;
    },
    transaction<R>(run: (tx: StoreTransaction) => R | Promise<R>, options?: TransactionOptions): Promise<Awaited<R>> {
      return transact(port, run, options);
    },
    async sql<Row>(parts: TemplateStringsArray, ...values: readonly unknown[]): Promise<Row[]> {
      return [...(await port.sql(statementOf(parts, values)))] as Row[];
    },
  });
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
