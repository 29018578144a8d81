/** The ways to the store of a server, for clients whose calls become a history. */
import type { Hub } from "../hub";
import { RawClient } from "../client";
import type { Face } from "./history-clients";

const COLLECTION = "7";
type Write = { readonly key: string; readonly value: string };

/** A module with `context.store` behind procedures. */
export const HISTORY_MODULE = `
  import { defineModule, StoreError } from "hrmr";
  const number = (document) => (document === null ? null : Number(document.value));
  export default defineModule({ services: {
    get: { public: true, call: async ([key], { store }) => number(await store.collection("${COLLECTION}").get(key)) },
    set: { public: true, call: ([key, value], { store }) => store.collection("${COLLECTION}").set(key, value) },
    remove: { public: true, call: ([key], { store }) => store.collection("${COLLECTION}").delete(key) },
    increment: { public: true, call: ([key], { store }) => store.transaction(async (tx) => {
      const documents = tx.collection("${COLLECTION}");
      const next = (number(await documents.get(key)) ?? 0) + 1;
      await documents.set(key, next);
      return next;
    }) },
    transact: { public: true, call: ([reads, writes, isSlow], { store }) => store.transaction(async (tx) => {
      const documents = tx.collection("${COLLECTION}");
      const values = [];
      for (const key of reads) values.push((await documents.get(key)).value);
      // It does not run alone any more.
      if (isSlow) await new Promise((resolve) => setTimeout(resolve, 1));
      for (const { key, value } of writes) await documents.set(key, value);
      return values;
    }) },
    log: { public: true, call: async (_, { store }) => {
      const last = await store.collection("${COLLECTION}").set("end", "end");
      const changes = [];
      for await (const change of store.collection("${COLLECTION}").watch({ after: 0 })) {
        if (change.version === last) return changes;
        changes.push(change);
      }
    } },
  } });
`;

/** JSON-RPC on a raw connection: the module above. */
export async function rpcFace(hub: Pick<Hub, "port">, module = "history"): Promise<Face> {
  const client = await RawClient.connect(hub.port);
  let id = 0;
  const call = async <T>(name: string, params: unknown): Promise<T> => {
    client.clear();
    await client.send(`${JSON.stringify({ jsonrpc: "2.0", method: `${module}.${name}`, params, id: ++id })}\n`);
    await client.waitFor("\n");
    const answer = JSON.parse(client.text) as { result: T; error?: { message: string } };
    if (answer.error !== undefined) throw new Error(`${name}: ${answer.error.message}`);
    return answer.result;
  };
  return {
    name: module,
    get: (key) => call("get", [key]),
    set: (key, value) => call("set", [key, value]),
    increment: (key) => call("increment", [key]),
    remove: (key) => call("remove", [key]),
    transact: async (reads, writes) => {
      const values = await call<string[]>("transact", [reads, writes, id % 4 === 0]);
      return { values, isDone: true };
    },
    close: () => client.close(),
  };
}

export async function respFace(hub: Pick<Hub, "port">): Promise<Face> {
  const client = new Bun.RedisClient(`redis://127.0.0.1:${hub.port}/${COLLECTION}`, { autoReconnect: false });
  await client.connect();
  const send = <T>(command: string, ...args: string[]): Promise<T> => client.send(command, args) as Promise<T>;
  /** Reads, or writes, all at once: these cannot be refused. */
  const oneKind = async (reads: readonly string[], writes: readonly Write[]) => {
    if (writes.length === 0)
      return { values: reads.length === 0 ? [] : await send<string[]>("MGET", ...reads), isDone: true };
    await send("MSET", ...writes.flatMap(({ key, value }) => [key, value]));
    return { values: [], isDone: true };
  };
  return {
    name: "resp",
    get: async (key) => {
      const text = await send<string | null>("GET", key);
      return text === null ? null : Number(text);
    },
    set: (key, value) => send("SET", key, String(value)),
    increment: (key) => send("INCR", key),
    remove: async (key) => Boolean(await send("DEL", key)),
    transact: async (reads, writes) => {
      if (reads.length === 0 || writes.length === 0) return oneKind(reads, writes);
      await send("WATCH", ...reads);
      const values: string[] = [];
      for (const key of reads) values.push(await send<string>("GET", key));
      await send("MULTI");
      for (const { key, value } of writes) await send("SET", key, value);
      return { values, isDone: (await send("EXEC")) !== null };
    },
    close: () => client.close(),
  };
}

/** @returns a client over HTTP, which reads, and writes if nobody has written meanwhile */
export function httpFace({ url }: Pick<Hub, "url">): Face {
  const at = (key: string): string => `${url}/store/${COLLECTION}/${encodeURIComponent(key)}`;
  const json = { "content-type": "application/json" };
  const read = async (key: string): Promise<{ value: unknown; version: number }> => {
    const response = await fetch(at(key));
    if (response.status === 404) return { value: null, version: 0 };
    return { value: await response.json(), version: Number(response.headers.get("etag")?.replaceAll('"', "")) };
  };
  const put = async (key: string, value: unknown, headers: Record<string, string> = {}): Promise<boolean> => {
    const response = await fetch(at(key), {
      method: "PUT",
      body: JSON.stringify(value),
      headers: { ...json, ...headers },
    });
    if (!response.ok && response.status !== 412) throw new Error(await response.text());
    return response.ok;
  };
  return {
    name: "http",
    get: async (key) => {
      const { value } = await read(key);
      return value === null ? null : Number(value);
    },
    set: (key, value) => put(key, value),
    increment: async (key) => {
      for (;;) {
        const { value, version } = await read(key);
        const next = Number(value ?? 0) + 1;
        if (await put(key, next, version === 0 ? { "if-none-match": "*" } : { "if-match": `"${version}"` }))
          return next;
      }
    },
    remove: async (key) => (await fetch(at(key), { method: "DELETE" })).status === 204,
    transact: async (reads, writes) => {
      const found: { value: unknown; version: number }[] = [];
      for (const key of reads) found.push(await read(key));
      const checks = reads.map((key, index) => ({ collection: COLLECTION, key, version: found[index]?.version }));
      const body = JSON.stringify({
        writes: writes.map(({ key, value }) => ({ collection: COLLECTION, set: key, value })),
        checks,
      });
      const response = await fetch(`${url}/store`, { method: "POST", body, headers: json });
      if (!response.ok && response.status !== 409) throw new Error(await response.text());
      return { values: found.map(({ value }) => String(value)), isDone: response.ok };
    },
    close: () => {},
  };
}

/** The changes of all of it, in order. */
export async function logOf(hub: Pick<Hub, "url">): Promise<{ version: number; key: string; value: unknown }[]> {
  const response = await fetch(`${hub.url}/rpc/history.log`, {
    method: "POST",
    body: "[]",
    headers: { "content-type": "application/json" },
  });
  return (await response.json()) as { version: number; key: string; value: unknown }[];
}

export async function writeFirst(face: Face, writes: readonly Write[]): Promise<void> {
  await face.transact([], writes);
}
