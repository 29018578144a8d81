/** The shipped module store: the procedures store.*. */
import { describe, expect, test } from "bun:test";
import { type Hub, shareHub } from "../../support/hub";
import { runOnStore, storeModule } from "../../support/store-module";
import { addToken, revokeToken } from "../../support/tokens";
import { eventually, until } from "../../support/until";

const MODULE = storeModule(`collections: { people: { indexes: ["age"] } },`);
const settingsOf = (store: object): string => JSON.stringify({ modules: { store }, store: { maxValueBytes: 2000 } });
const onHub = shareHub({
  "modules/any.ts": MODULE,
  "hrmr.json": settingsOf({ mcp: true }),
});

interface Answer {
  readonly result?: unknown;
  readonly error?: { readonly code: number; readonly message: string; readonly data?: { readonly code: string } };
}

/** Sends one line of JSON-RPC. */
async function call(hub: Hub, method: string, params: object): Promise<Answer> {
  return JSON.parse(await hub.ask(`${JSON.stringify({ jsonrpc: "2.0", id: 1, method, params })}\n`)) as Answer;
}

async function resultOf(hub: Hub, name: string, params: object): Promise<unknown> {
  const { result, error } = await call(hub, `store.${name}`, params);
  expect(error).toBeUndefined();
  return result;
}

const codeOf = async (hub: Hub, name: string, params: object) =>
  (await call(hub, `store.${name}`, params)).error?.data?.code;

describe("the procedures", () => {
  const at = { collection: "rpc", key: "a" };

  test("write and read documents, which modules see", () =>
    onHub(async (hub) => {
      expect(await resultOf(hub, "get", at)).toBeNull();
      const version = (await resultOf(hub, "set", { ...at, value: { n: 1 } })) as number;
      expect(await resultOf(hub, "get", at)).toEqual({ value: { n: 1 }, version, expiresAt: null });
      expect(await resultOf(hub, "patch", { ...at, value: { m: 2 }, ifVersion: version })).toMatchObject({
        value: { n: 1, m: 2 },
      });
      expect(await codeOf(hub, "set", { ...at, value: 1, ifVersion: version })).toBe("CONFLICT");
      expect(await resultOf(hub, "increment", { ...at, by: 4, field: "n" })).toBe(5);
      expect(await resultOf(hub, "expire", { ...at, ttlMs: 1_000_000 })).toBe(true);
      expect(((await resultOf(hub, "get", at)) as { expiresAt: number }).expiresAt).toBeGreaterThan(Date.now());
      const seen = await runOnStore(hub, 'return (await store.collection("rpc").get("a")).value');
      expect(seen).toEqual({ value: { n: 5, m: 2 } });
      expect(await resultOf(hub, "delete", at)).toBe(true);
      expect(await resultOf(hub, "delete", at)).toBe(false);
    }));

  test("list and find, page by page", () =>
    onHub(async (hub) => {
      const writes = [7, 30, 30, "x"].map((age, n) => ({ set: `p${n}`, value: { age } }));
      expect(await resultOf(hub, "batch", { collection: "people", writes })).toBeArrayOfSize(4);
      const keys = async (name: string, params: object): Promise<string[][]> => {
        const pages: string[][] = [];
        for (let after: string | null = ""; after !== null;) {
          const wish = { collection: "people", limit: 2, ...params, ...(after === "" ? null : { after }) };
          const page = (await resultOf(hub, name, wish)) as { entries: { key: string }[]; next: string | null };
          pages.push(page.entries.map(({ key }) => key));
          after = page.next;
        }
        return pages;
      };
      expect(await keys("list", { prefix: "p" })).toEqual([
        ["p0", "p1"],
        ["p2", "p3"],
      ]);
      expect(await keys("find", { index: "age", from: 30 })).toEqual([["p1", "p2"], ["p3"]]);
      expect(await keys("find", { index: "age", equals: 7, reverse: true })).toEqual([["p0"]]);
      expect(await codeOf(hub, "find", { collection: "people", index: "name" })).toBe("INDEX_MISSING");
    }));

  test("write several documents if the checks hold", () =>
    onHub(async (hub) => {
      const version = await resultOf(hub, "set", { ...at, value: 1 });
      const checks = [{ ...at, version }];
      const writes = [
        { collection: "rpc", increment: "a", by: 1 },
        { collection: "other", set: "b", value: 2 },
      ];
      expect(await resultOf(hub, "transaction", { checks, writes })).toEqual({
        results: [{ version: expect.any(Number), value: 2 }, { version: expect.any(Number) }],
      });
      expect(await codeOf(hub, "transaction", { checks, writes })).toBe("CONFLICT");
    }));

  test.each([
    ["get", { collection: "rpc" }, "INVALID_INPUT"],
    ["get", { collection: "rpc", key: 7 }, "INVALID_INPUT"],
    ["get", { collection: "r p c", key: "a" }, "INVALID_NAME"],
    ["set", { collection: "rpc", key: "k".repeat(1025), value: 1 }, "INVALID_KEY"],
    ["set", { collection: "rpc", key: "a", value: 1, ttl: 7 }, "INVALID_INPUT"],
    ["set", { collection: "rpc", key: "a", value: "x".repeat(2000) }, "TOO_LARGE"],
    ["set", { collection: "hrmr.migrations", key: "a", value: 1 }, "FORBIDDEN"],
    ["list", { collection: "rpc", limit: 0 }, "INVALID_INPUT"],
    ["increment", { collection: "rpc", key: "a", by: "1" }, "INVALID_INPUT"],
    ["transaction", { writes: [{ set: "a", value: 1 }] }, "INVALID_INPUT"],
    ["watch", { collection: "rpc", after: -1 }, "INVALID_INPUT"],
  ])("%s is refused: %#", (name, params, code) =>
    onHub(async (hub) => {
      expect(await codeOf(hub, name, params)).toBe(code);
    }),
  );

  test("are described to clients, and to AI agents if the settings say so", () =>
    onHub(async (hub) => {
      const { methods } = (await call(hub, "rpc.discover", {})).result as {
        methods: { name: string; params: unknown[] }[];
      };
      const names = methods.map(({ name }) => name);
      for (const name of [
        "get",
        "set",
        "patch",
        "delete",
        "increment",
        "list",
        "find",
        "batch",
        "transaction",
        "watch",
      ])
        expect(names).toContain(`store.${name}`);
      expect(methods.find(({ name }) => name === "store.get")?.params).toMatchObject([
        { name: "collection", required: true, schema: { type: "string" } },
        { name: "key", required: true },
      ]);
      const openapi = (await (await fetch(`${hub.url}/openapi.json`)).json()) as { paths: Record<string, unknown> };
      expect(Object.keys(openapi.paths)).toContain("/rpc/store.transaction");
      expect(await toolsOf(hub)).toContain("store.get");
      expect(await toolsOf(hub)).not.toContain("store.watch");
      hub.write("hrmr.json", settingsOf({}));
      expect(await hub.ask("RELOAD\n")).toStartWith("OK");
      expect(await toolsOf(hub)).toEqual([]);
      hub.write("hrmr.json", settingsOf({ rpc: false }));
      expect(await hub.ask("RELOAD\n")).toStartWith("OK");
      // No module has procedures any more: the line is none of JSON-RPC.
      expect(await hub.ask('{"jsonrpc":"2.0","id":1,"method":"store.get"}\n')).not.toContain("result");
      hub.write("hrmr.json", settingsOf({ mcp: true }));
      expect(await hub.ask("RELOAD\n")).toStartWith("OK");
    }));
});

async function toolsOf(hub: Hub): Promise<string[]> {
  const ask = (body: object) =>
    fetch(`${hub.url}/mcp`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json, text/event-stream" },
      body: JSON.stringify({ jsonrpc: "2.0", id: 1, ...body }),
    });
  const text = await (await ask({ method: "tools/list", params: {} })).text();
  return [...text.matchAll(/"name":"(store\.\w+)"/g)].map(([, name = ""]) => name);
}

describe("store.watch", () => {
  test("streams changes, on a raw connection and over HTTP, until the client cancels it", () =>
    onHub(async (hub) => {
      const client = await hub.connect();
      const params = { collection: "watched", full: true };
      await client.send(`${JSON.stringify({ jsonrpc: "2.0", id: "w", method: "store.watch", params })}\n`);
      await client.waitFor('"kind":"ready"');
      const leave = new AbortController();
      const response = await fetch(`${hub.url}/rpc/store.watch`, {
        method: "POST",
        headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
        body: JSON.stringify({ collection: "watched", key: "a" }),
        signal: leave.signal,
      });
      let text = "";
      const read = (async () => {
        for await (const part of response.body ?? []) text += Buffer.from(part).toString();
      })().catch(() => undefined);
      await until("it has begun", () => text.includes('"ready"'));
      for (const key of ["a", "b"]) await resultOf(hub, "set", { collection: "watched", key, value: { [key]: 1 } });
      await client.waitFor('"value":{"b":1}');
      expect(client.text).toContain(
        '{"jsonrpc":"2.0","method":"$/next","params":{"id":"w","value":{"kind":"set","key":"a"',
      );
      await until("the change", () => text.includes('"value":{"a":1}'));
      expect(text).not.toContain('{"b":1}');
      leave.abort();
      await read;
      await client.send(`${JSON.stringify({ jsonrpc: "2.0", method: "$/cancelRequest", params: { id: "w" } })}\n`);
      await client.waitFor('"CANCELLED"');
      await noWatches(hub);
    }));
});

async function noWatches(hub: Hub): Promise<void> {
  await eventually(async () => {
    const { store } = (await hub.status()) as unknown as { store: { watches: number } };
    expect(store.watches).toBe(0);
  });
}

describe("where tokens are needed", () => {
  const config = JSON.stringify({ access: { required: true }, modules: { store: {} } });
  const onGuarded = shareHub({
    "modules/any.ts": storeModule(
      `services: { mine: { public: true, call: (input, { services }) => services.store.get(input) } },`,
    ),
    "hrmr.json": config,
  });

  async function post(hub: Hub, token: string, name: string, input: object): Promise<[number, string | undefined]> {
    const response = await fetch(`${hub.url}/rpc/${name}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${token}` },
      body: JSON.stringify(input),
    });
    const body = (await response.json()) as { error?: { data?: { code: string } } } | null;
    return [response.status, body?.error?.data?.code];
  }

  test("the scopes of the store count, and those of procedures do not", () =>
    onGuarded(async (hub) => {
      const at = { collection: "scores", key: "a" };
      expect(await codeOf(hub, "get", at)).toBe("UNAUTHENTICATED");
      const reader = await addToken(hub, "eye", "store:scores:read");
      expect(await post(hub, reader, "store.get", at)).toEqual([200, undefined]);
      expect(await post(hub, reader, "store.set", { ...at, value: 1 })).toEqual([403, "FORBIDDEN"]);
      expect(await post(hub, reader, "store.list", { collection: "other" })).toEqual([403, "FORBIDDEN"]);
      expect(await post(hub, reader, "any.mine", at)).toEqual([403, "FORBIDDEN"]);
      const caller = await addToken(hub, "bot", "rpc:*");
      expect(await post(hub, caller, "store.get", at)).toEqual([403, "FORBIDDEN"]);
      // The module does it, for a client that may call the module.
      expect(await post(hub, caller, "any.mine", at)).toEqual([200, undefined]);
      const writer = await addToken(hub, "pen", "store:scores:write");
      const checks = [{ ...at, version: 0 }];
      const writes = [{ collection: "scores", set: "a", value: 1 }];
      expect(await post(hub, writer, "store.transaction", { writes, checks })).toEqual([403, "FORBIDDEN"]);
      expect(await post(hub, writer, "store.transaction", { writes })).toEqual([200, undefined]);
      expect(await post(hub, "hrmr_wrong", "store.get", at)).toEqual([401, "UNAUTHENTICATED"]);
    }));

  test("a streamed watch ends when the token is revoked", () =>
    onGuarded(async (hub) => {
      const token = await addToken(hub, "leaver", "store:scores:read");
      const client = await hub.connect();
      await client.send(`AUTH ${token}\n`);
      await client.waitFor("OK leaver");
      const params = { collection: "scores" };
      await client.send(`${JSON.stringify({ jsonrpc: "2.0", id: 7, method: "store.watch", params })}\n`);
      await client.waitFor('"kind":"ready"');
      revokeToken(hub, "leaver");
      await client.waitFor('"UNAUTHENTICATED"');
      await noWatches(hub);
    }));
});
