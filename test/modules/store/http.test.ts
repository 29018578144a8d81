/** The shipped module store: documents over HTTP. */
import { describe, expect, test } from "bun:test";
import { type Hub, shareHub } from "../../support/hub";
import { runOnStore, storeModule } from "../../support/store-module";

const MODULE = storeModule(`collections: { people: { indexes: ["age", "address.city"] } },`);
const onHub = shareHub({
  "modules/any.ts": MODULE,
  "hrmr.json": JSON.stringify({ modules: { store: {} }, store: { maxValueBytes: 10_000 } }),
});

interface Sent {
  readonly body?: string | Uint8Array<ArrayBuffer>;
  readonly headers?: Record<string, string>;
}

/** Asks with a body of JSON, unless the headers say otherwise. */
function ask(hub: Hub, method: string, path: string, { body, headers }: Sent = {}): Promise<Response> {
  const type = method === "PATCH" ? "application/merge-patch+json" : "application/json";
  const all = body === undefined ? headers : { "Content-Type": type, ...headers };
  return fetch(`${hub.url}${path}`, { method, body: body ?? null, ...(all === undefined ? null : { headers: all }) });
}

async function outcome(response: Promise<Response>): Promise<[status: number, body: unknown]> {
  const { status, text } = await response.then(async (each) => ({ status: each.status, text: await each.text() }));
  return [status, text === "" ? "" : JSON.parse(text)];
}

const refused = (code: string) => ({ error: { code, message: expect.any(String) } });

describe("a document over HTTP", () => {
  test("is made, read, changed and deleted, and modules see the same one", () =>
    onHub(async (hub) => {
      const made = await ask(hub, "PUT", "/store/pets/rex", { body: '{ "legs": 4,\n "tags": ["a"] }' });
      const { version } = (await made.json()) as { version: number };
      expect([made.status, made.headers.get("etag")]).toEqual([201, `"${version}"`]);
      const read = await ask(hub, "GET", "/store/pets/rex");
      expect(await read.text()).toBe('{"legs":4,"tags":["a"]}');
      expect(read.headers.get("content-type")).toStartWith("application/json");
      expect(read.headers.get("etag")).toBe(`"${version}"`);
      expect((await ask(hub, "PUT", "/store/pets/rex", { body: '{"legs":3,"name":"Rex"}' })).status).toBe(200);
      const patched = await ask(hub, "PATCH", "/store/pets/rex", { body: '{"name":null,"age":{"years":2}}' });
      expect([patched.status, await patched.text()]).toEqual([200, '{"legs":3,"age":{"years":2}}']);
      const seen = await runOnStore(hub, 'return await store.collection("pets").get("rex")');
      expect(seen.value).toMatchObject({ value: { legs: 3, age: { years: 2 } } });
      expect(patched.headers.get("etag")).toBe(`"${(seen.value as { version: number }).version}"`);
      expect((await ask(hub, "DELETE", "/store/pets/rex")).status).toBe(204);
      expect(await outcome(ask(hub, "GET", "/store/pets/rex"))).toEqual([404, refused("NOT_FOUND")]);
      expect(await outcome(ask(hub, "DELETE", "/store/pets/rex"))).toEqual([404, refused("NOT_FOUND")]);
    }));

  test("may be any JSON", () =>
    onHub(async (hub) => {
      for (const text of ["null", "true", "0", "-1.5e-9", '"tëxt 🎈"', "[]", "{}", '[1,{"a":[null]}]', '""']) {
        await ask(hub, "PUT", "/store/any/one", { body: text });
        expect(JSON.parse(await (await ask(hub, "GET", "/store/any/one")).text())).toEqual(JSON.parse(text));
      }
    }));

  test("has the same header fields for HEAD, without a body", () =>
    onHub(async (hub) => {
      await ask(hub, "PUT", "/store/heads/a", { body: '"four"' });
      const get = await ask(hub, "GET", "/store/heads/a");
      const head = await ask(hub, "HEAD", "/store/heads/a");
      expect([head.status, await head.text()]).toEqual([200, ""]);
      for (const field of ["etag", "content-type", "content-length", "cache-control"])
        expect(head.headers.get(field)).toBe(get.headers.get(field));
      expect((await ask(hub, "HEAD", "/store/heads/none")).status).toBe(404);
    }));

  test("is written only as If-Match and If-None-Match allow", () =>
    onHub(async (hub) => {
      const path = "/store/tags/a";
      const put = (headers: Record<string, string>) => ask(hub, "PUT", path, { body: "1", headers });
      expect(await outcome(put({ "If-Match": "*" }))).toEqual([412, refused("CONFLICT")]);
      const etag = (await put({ "If-None-Match": "*" })).headers.get("etag") as string;
      expect((await put({ "If-None-Match": "*" })).status).toBe(412);
      expect((await put({ "If-Match": '"0"' })).status).toBe(412);
      expect((await put({ "If-Match": `W/${etag}` })).status).toBe(412);
      const next = (await put({ "If-Match": `"0", ${etag}` })).headers.get("etag") as string;
      for (const [method, body] of [
        ["PATCH", "{}"],
        ["DELETE", undefined],
      ] as const)
        expect(
          (await ask(hub, method, path, { headers: { "If-Match": etag }, ...(body === undefined ? null : { body }) }))
            .status,
        ).toBe(412);
      expect((await ask(hub, "GET", path, { headers: { "If-None-Match": `W/${next}` } })).status).toBe(304);
      expect((await ask(hub, "GET", path, { headers: { "If-None-Match": etag } })).status).toBe(200);
      expect((await ask(hub, "GET", path, { headers: { "If-Match": etag } })).status).toBe(412);
      expect((await ask(hub, "DELETE", path, { headers: { "If-Match": next } })).status).toBe(204);
    }));

  test("is written once when many clients write it on the same condition", () =>
    onHub(async (hub) => {
      const wishes = Array.from({ length: 20 }, (_, at) =>
        ask(hub, "PUT", "/store/race/a", { body: String(at), headers: { "If-None-Match": "*" } }),
      );
      const statuses = (await Promise.all(wishes)).map(({ status }) => status);
      expect(statuses.filter((status) => status === 201)).toHaveLength(1);
      expect(statuses.filter((status) => status === 412)).toHaveLength(19);
    }));

  test.each(["?ttl=1h", "?ttl=3600", "header"])("is gone after its time: %s", (how) =>
    onHub(async (hub) => {
      const headers: Record<string, string> = how === "header" ? { TTL: "3600" } : {};
      const query = how === "header" ? "" : how;
      const soon = Date.now() + 3_500_000;
      expect((await ask(hub, "PUT", `/store/ttl/a${query}`, { body: "1", headers })).status).toBeLessThan(300);
      const at = (await ask(hub, "GET", "/store/ttl/a")).headers.get("x-expires-at") as string;
      expect(Date.parse(at)).toBeGreaterThan(soon);
      await ask(hub, "PUT", "/store/ttl/a?ttl=keep", { body: "2" });
      expect((await ask(hub, "GET", "/store/ttl/a")).headers.get("x-expires-at")).toBe(at);
      await ask(hub, "PUT", "/store/ttl/a", { body: "3" });
      expect((await ask(hub, "GET", "/store/ttl/a")).headers.get("x-expires-at")).toBeNull();
      await ask(hub, "PUT", "/store/ttl/a?ttl=1ms", { body: "4" });
      let status = 200;
      while (status === 200) status = (await ask(hub, "GET", "/store/ttl/a")).status;
      expect(status).toBe(404);
    }),
  );

  test("counts with POST", () =>
    onHub(async (hub) => {
      expect(await outcome(ask(hub, "POST", "/store/visits/home?increment"))).toEqual([201, 1]);
      expect(await outcome(ask(hub, "POST", "/store/visits/home?increment=41"))).toEqual([200, 42]);
      expect(await outcome(ask(hub, "POST", "/store/visits/ann?increment=-1.5&field=a.b"))).toEqual([201, -1.5]);
      expect(await outcome(ask(hub, "POST", "/store/visits/home?increment=1&field=x"))).toEqual([
        409,
        refused("NOT_A_NUMBER"),
      ]);
      expect(await outcome(ask(hub, "POST", "/store/visits/home"))).toEqual([400, refused("INVALID_VALUE")]);
      const added = await ask(hub, "POST", "/store/notes", { body: '{"text":"hi"}' });
      const { key } = (await added.json()) as { key: string };
      expect([added.status, added.headers.get("location")]).toEqual([201, `/store/notes/${key}`]);
      expect(await outcome(ask(hub, "GET", `/store/notes/${key}`))).toEqual([200, { text: "hi" }]);
    }));

  test.each([
    ["a slash", "a/b", "a%2Fb"],
    ["spaces and umlauts", "ä b+c%", "%C3%A4%20b+c%25"],
    ["letters above U+FFFF", "🎈", "%F0%9F%8E%88"],
    ["a NUL and a line end", "\0\n", "%00%0A"],
    ["U+FFFD itself", "\uFFFD", "%EF%BF%BD"],
    ["1,024 bytes", "k".repeat(1024), "k".repeat(1024)],
  ])("has a key with %s", (_, key, path) =>
    onHub(async (hub) => {
      for (const where of [`/store/keys/${path}`, `/store/keys?key=${path.replaceAll("+", "%2B")}`]) {
        // A path with such bytes is none for the router.
        if (key.includes("\0") && where.includes("/keys/")) continue;
        expect((await ask(hub, "PUT", where, { body: "7" })).status).toBeLessThan(202);
        expect(await outcome(ask(hub, "GET", where))).toEqual([200, 7]);
        const read = `return (await store.collection("keys").get(${JSON.stringify(key)})).value`;
        expect(await runOnStore(hub, read)).toEqual({ value: 7 });
        expect((await ask(hub, "DELETE", where)).status).toBe(204);
      }
    }),
  );

  test.each(["", ".", ".."])("has the key %p, by ?key=", (key) =>
    onHub(async (hub) => {
      await ask(hub, "PUT", `/store/dots?key=${key}`, { body: JSON.stringify(key) });
      expect(await outcome(ask(hub, "GET", `/store/dots?key=${key}`))).toEqual([200, key]);
    }),
  );

  test("is refused if it is no document", () =>
    onHub(async (hub) => {
      const put = (path: string, sent: Sent) => outcome(ask(hub, "PUT", path, sent));
      expect(await put("/store/bad/a", { body: "{" })).toEqual([400, refused("INVALID_VALUE")]);
      expect(await put("/store/bad/a", { body: "" })).toEqual([400, refused("INVALID_VALUE")]);
      expect(await put("/store/bad/a", { body: "1e999" })).toEqual([400, refused("INVALID_VALUE")]);
      expect(await put("/store/bad/a", { body: new Uint8Array([34, 255, 34]) })).toEqual([
        400,
        refused("INVALID_VALUE"),
      ]);
      const deep = "[".repeat(400_000) + "]".repeat(400_000);
      expect(await put("/store/bad/a", { body: deep })).toEqual([413, refused("TOO_LARGE")]);
      expect(await outcome(ask(hub, "POST", "/store", { body: deep }))).toEqual([413, refused("TOO_LARGE")]);
      expect(await put("/store/bad/a", { body: "[".repeat(300) + "]".repeat(300) })).toEqual([
        413,
        refused("TOO_LARGE"),
      ]);
      expect(await put("/store/bad/a", { body: `"${"x".repeat(9999)}"` })).toEqual([413, refused("TOO_LARGE")]);
      const form = { "Content-Type": "text/plain" };
      expect(await put("/store/bad/a", { body: "1", headers: form })).toEqual([415, refused("INVALID_VALUE")]);
      expect(await put("/store/b%20d/a", { body: "1" })).toEqual([400, refused("INVALID_NAME")]);
      expect(await put("/store/bad/%FF", { body: "1" })).toEqual([400, refused("INVALID_KEY")]);
      expect(await put("/store/bad?key=%FF", { body: "1" })).toEqual([400, refused("INVALID_VALUE")]);
      expect(await put(`/store/bad/${"k".repeat(1025)}`, { body: "1" })).toEqual([400, refused("INVALID_KEY")]);
      for (const ttl of ["0", "-1", "x", "1y", "", "1e3"])
        expect(await put(`/store/bad/a?ttl=${ttl}`, { body: "1" })).toEqual([400, refused("INVALID_VALUE")]);
      expect(await put("/store/bad/a?tll=5", { body: "1" })).toEqual([400, refused("INVALID_VALUE")]);
      const wrong = await ask(hub, "OPTIONS", "/store/bad/a");
      expect([wrong.status, wrong.headers.get("allow")]).toEqual([405, "GET, HEAD, PUT, PATCH, POST, DELETE"]);
      expect(await outcome(ask(hub, "GET", "/store/bad"))).toEqual([200, { entries: [], next: null }]);
    }));

  test("is refused to a page of another site", () =>
    onHub(async (hub) => {
      const headers = { Origin: "https://evil.example" };
      expect(await outcome(ask(hub, "GET", "/store/pets", { headers }))).toEqual([403, refused("FORBIDDEN")]);
      expect(await outcome(ask(hub, "POST", "/store/pets/a?increment", { headers }))).toEqual([
        403,
        refused("FORBIDDEN"),
      ]);
      expect((await ask(hub, "GET", "/store/pets", { headers: { Origin: hub.url } })).status).toBe(200);
      expect((await ask(hub, "GET", "/store/pets", { headers: { Host: "evil.example" } })).status).toBe(403);
    }));
});

describe("a listing over HTTP", () => {
  interface Page {
    readonly entries: readonly { readonly key: string; readonly value: unknown; readonly version: number }[];
    readonly next: string | null;
  }

  async function pages(hub: Hub, path: string): Promise<string[][]> {
    const all: string[][] = [];
    let after = "";
    for (;;) {
      const page = (await (await ask(hub, "GET", `${path}${after}`)).json()) as Page;
      all.push(page.entries.map(({ key }) => key));
      if (page.next === null) return all;
      after = `&after=${encodeURIComponent(page.next)}`;
    }
  }

  test("goes on from page to page, in both directions, and by prefix", () =>
    onHub(async (hub) => {
      for (const key of ["a", "b1", "b/2", "b ä", "c"])
        await ask(hub, "PUT", `/store/list/${encodeURIComponent(key)}`, { body: "{}" });
      expect(await pages(hub, "/store/list?limit=2")).toEqual([["a", "b ä"], ["b/2", "b1"], ["c"]]);
      expect(await pages(hub, "/store/list?limit=3&reverse")).toEqual([
        ["c", "b1", "b/2"],
        ["b ä", "a"],
      ]);
      expect(await pages(hub, "/store/list?limit=3&prefix=b")).toEqual([["b ä", "b/2", "b1"]]);
      for (const query of ["limit=0", "limit=1001", "limit=x", "reverse=2", "prefx=a", "limit=1&limit=2"])
        expect(await outcome(ask(hub, "GET", `/store/list?${query}`))).toEqual([400, refused("INVALID_VALUE")]);
      expect((await ask(hub, "DELETE", "/store/list")).status).toBe(405);
    }));

  test("has at most 1,000 documents, and ends earlier behind 4 MB", () =>
    onHub(async (hub) => {
      const fill = (collection: string, count: number, value: string) =>
        runOnStore(
          hub,
          `for (let at = 0; at < ${count}; at += 500) await store.collection("${collection}").batch(
            Array.from({ length: Math.min(500, ${count} - at) }, (_, n) => ({ set: String(at + n).padStart(5, "0"), value: ${value} })))`,
        );
      for (const [collection, count] of [
        ["thousand", 1000],
        ["more", 1001],
      ] as const) {
        await fill(collection, count, "1");
        const found = await pages(hub, `/store/${collection}?limit=1000`);
        expect(found.map(({ length }) => length)).toEqual(count === 1000 ? [1000] : [1000, 1]);
      }
      await fill("heavy", 1500, `"x".repeat(6000)`);
      const found = await pages(hub, "/store/heavy?limit=1000&reverse");
      expect(found.flat()).toHaveLength(1500);
      expect(found[0]?.length).toBeLessThan(1000);
      expect(new Set(found.flat()).size).toBe(1500);
    }));

  test("finds by an index, page by page", () =>
    onHub(async (hub) => {
      const people = { ann: [30, "Ulm"], bob: [30, "Bonn"], cid: ["30", "Ulm"], dot: [7, "Ulm"], eve: [null, "Köln"] };
      for (const [key, [age, city]] of Object.entries(people))
        await ask(hub, "PUT", `/store/people/${key}`, { body: JSON.stringify({ age, address: { city } }) });
      const find = (query: string) => pages(hub, `/store/people?index=${query}`);
      expect(await find("age&limit=2")).toEqual([["eve", "dot"], ["ann", "bob"], ["cid"]]);
      expect(await find("age&limit=2&reverse=true")).toEqual([["cid", "bob"], ["ann", "dot"], ["eve"]]);
      expect(await find("age&equals=30")).toEqual([["ann", "bob"]]);
      expect(await find('age&equals="30"')).toEqual([["cid"]]);
      expect(await find("age&equals=null")).toEqual([["eve"]]);
      expect(await find("age&from=8&to=30")).toEqual([["ann", "bob"]]);
      expect(await find("address.city&equals=Ulm&limit=2")).toEqual([["ann", "cid"], ["dot"]]);
      expect(await outcome(ask(hub, "GET", "/store/people?index=name"))).toEqual([400, refused("INDEX_MISSING")]);
      for (const query of ["age&after=x", "age&equals={}", "age&equals=1&from=1", "&equals=1"])
        expect((await ask(hub, "GET", `/store/people?index=${query}`)).status).toBe(400);
    }));
});

describe("a batch over HTTP", () => {
  const post = (hub: Hub, body: unknown) => outcome(ask(hub, "POST", "/store", { body: JSON.stringify(body) }));

  test("writes to several collections, all or none", () =>
    onHub(async (hub) => {
      const [status, body] = await post(hub, {
        writes: [
          { collection: "from", set: "ann", value: 90 },
          { collection: "to", increment: "bob", by: 10 },
          { collection: "log", patch: "last", value: { by: "ann" } },
          { collection: "log", delete: "none" },
        ],
      });
      const { results } = body as { results: { version: number; value?: unknown }[] };
      const first = results[0]?.version as number;
      expect([status, results]).toEqual([
        200,
        [
          { version: first },
          { version: first + 1, value: 10 },
          { version: first + 2, value: { by: "ann" } },
          { version: 0 },
        ],
      ]);
      const again = { collection: "from", set: "ann", value: 80, ifVersion: first + 99 };
      expect(await post(hub, { writes: [{ collection: "to", set: "bob", value: 0 }, again] })).toEqual([
        409,
        refused("CONFLICT"),
      ]);
      expect(await outcome(ask(hub, "GET", "/store/to/bob"))).toEqual([200, 10]);
    }));

  test("is a transaction with its checks", () =>
    onHub(async (hub) => {
      const version = ((await (await ask(hub, "PUT", "/store/checked/a", { body: "1" })).json()) as { version: number })
        .version;
      const checks = [
        { collection: "checked", key: "a", version },
        { collection: "checked", key: "b", version: 0 },
      ];
      const writes = [{ collection: "checked", set: "b", value: 2 }];
      expect((await post(hub, { checks, writes }))[0]).toBe(200);
      expect(await post(hub, { checks, writes })).toEqual([409, refused("CONFLICT")]);
      expect(await post(hub, { checks: checks.slice(0, 1), writes: [] })).toEqual([200, { results: [] }]);
    }));

  test.each([
    ["no list", {}],
    ["no object", 7],
    ["an unknown word", { writes: [{ collection: "a", put: "b", value: 1 }] }],
    ["no value", { writes: [{ collection: "a", set: "b" }] }],
    ["a name that is none", { writes: [{ collection: "a b", set: "b", value: 1 }] }],
    ["a version that is none", { writes: [], checks: [{ collection: "a", key: "b", version: -1 }] }],
    ["too many", { writes: Array.from({ length: 1001 }, () => ({ collection: "a", delete: "b" })) }],
  ])("is refused with %s", (_, body) =>
    onHub(async (hub) => {
      const [status, answer] = await post(hub, body);
      expect([status, answer]).toEqual([400, refused(expect.stringMatching(/^INVALID_/) as unknown as string)]);
    }),
  );
});
