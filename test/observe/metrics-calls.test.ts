/**
 * The counts of a whole server, as STATUS and /metrics tell it: calls on every way, what keeps a version, connections.
 */
import { expect, test } from "bun:test";
import { Http2Client, withHttp2 } from "../support/http2";
import { type Hub, moduleSource, reuseHubs, withHub } from "../support/hub";
import { readExposition } from "../support/exposition";
import { until } from "../support/until";

const reused = reuseHubs();

const WAIT = `(ms) => new Promise((done) => setTimeout(done, ms))`;
const ALL = `const wait = ${WAIT};\n${moduleSource(`{ routes: {
  "INLINE": { framing: "line", handle: () => "a\\n" },
  "LATER": { framing: "line", handle: async () => { await wait(30); return "b\\n"; } },
  "POOL": { framing: "line", run: "pool", handle: () => "c\\n" },
  "STREAM": { framing: "line", handle: async function* () { yield "d"; yield "e\\n"; } },
  "THROW": { framing: "line", handle: () => { throw new Error("no"); } },
  "LATE": { framing: "line", timeoutMs: 50, handle: () => new Promise(() => {}) },
  "/now": { fetch: () => new Response("f") },
  "/later": { fetch: async () => { await wait(30); return new Response("g"); } },
  "/pool": { run: "pool", fetch: () => new Response("h") },
  "/body": { fetch: async (request) => new Response(await request.text()) },
  "/stream": { fetch: () => new Response(new ReadableStream({ async start(c) { c.enqueue("i"); await wait(10); c.close(); } })) },
  "/throw": { fetch: () => { throw new Error("no"); } },
  "/later-throw": { fetch: async () => { await wait(5); throw new Error("no"); } },
  "/teapot": { fetch: () => new Response("", { status: 418 }) },
  "/broken": { fetch: () => new Response("", { status: 503 }) },
  "/late": { timeoutMs: 50, fetch: () => new Promise(() => {}) },
  "/pool-late": { run: "pool", timeoutMs: 50, fetch: () => new Promise(() => {}) },
  "/ws": { websocket: { message: async (socket, text) => {
    if (text === "throw") throw new Error("no");
    if (text === "later") await wait(30);
    socket.send("re " + text);
  } } },
} }`)}`;

async function figuresOf(hub: Hub, name = "all"): Promise<{ calls: number; errors: number; p99Ms: number }> {
  const found = (await hub.status()).modules.find((module) => module.name === name);
  return { calls: found?.calls ?? NaN, errors: found?.errors ?? NaN, p99Ms: found?.p99Ms ?? NaN };
}

/** The change of a module's figures by one action. */
async function added(hub: Hub, action: () => Promise<unknown>): Promise<[calls: number, errors: number]> {
  const before = await figuresOf(hub);
  await action();
  const after = await figuresOf(hub);
  return [after.calls - before.calls, after.errors - before.errors];
}

test("a call is counted once on each way it can come, and an error once however it came about", () =>
  reused({ "modules/all.ts": ALL, "hrmr.json": '{ "threads": 1 }' }, [], async (hub) => {
    for (const line of ["INLINE", "LATER", "POOL", "STREAM"])
      expect([line, ...(await added(hub, () => hub.ask(`${line}\n`)))]).toEqual([line, 1, 0]);
    expect(await added(hub, () => hub.ask("INLINE\n".repeat(5)))).toEqual([5, 0]);
    for (const line of ["THROW", "LATE"])
      expect([line, ...(await added(hub, () => hub.ask(`${line}\n`)))]).toEqual([line, 1, 1]);
    expect(await added(hub, () => hub.ask("nobody\n"))).toEqual([0, 0]);
    const good = ["/now", "/later", "/pool", "/stream", "/teapot"];
    const bad = ["/throw", "/later-throw", "/broken", "/late", "/pool-late"];
    const asHttp1 = (path: string, init: RequestInit = {}): Promise<unknown> =>
      fetch(`${hub.url}${path}`, init).then((reply) => reply.text());
    for (const path of good) expect([path, ...(await added(hub, () => asHttp1(path)))]).toEqual([path, 1, 0]);
    for (const path of bad) expect([path, ...(await added(hub, () => asHttp1(path)))]).toEqual([path, 1, 1]);
    expect(await added(hub, () => asHttp1("/body", { method: "POST", body: "x".repeat(100_000) }))).toEqual([1, 0]);
    expect(await added(hub, () => asHttp1("/nobody"))).toEqual([0, 0]);
    await withHttp2(hub.url, async (client) => {
      for (const path of good)
        expect(["h2", path, ...(await added(hub, () => client.ask(path)))]).toEqual(["h2", path, 1, 0]);
      for (const path of bad)
        expect(["h2", path, ...(await added(hub, () => client.ask(path)))]).toEqual(["h2", path, 1, 1]);
      expect(await added(hub, () => client.ask("/body", { body: "x".repeat(100_000) }))).toEqual([1, 0]);
    });
  }));

test("a WebSocket's opening and each of its messages are calls", () =>
  reused({ "modules/all.ts": ALL }, [], async (hub) => {
    let socket!: WebSocket;
    const open = (): Promise<unknown> =>
      new Promise((resolve) => ((socket = new WebSocket(`ws://127.0.0.1:${hub.port}/ws`)).onopen = resolve));
    const next = (): Promise<string> =>
      new Promise((resolve) => (socket.onmessage = ({ data }) => resolve(String(data))));
    const say = async (text: string): Promise<void> => {
      const reply = next();
      socket.send(text);
      expect(await reply).toBe(`re ${text}`);
    };
    expect(await added(hub, open)).toEqual([1, 0]);
    expect(await added(hub, () => say("hello"))).toEqual([1, 0]);
    expect(await added(hub, () => say("later"))).toEqual([1, 0]);
    expect((await figuresOf(hub)).p99Ms).toBeGreaterThan(25);
    const closed = new Promise((resolve) => (socket.onclose = resolve));
    expect(await added(hub, () => (socket.send("throw"), closed))).toEqual([1, 1]);
  }));

test("a slow call's latency is told, of calls that came together too", () =>
  reused({ "modules/all.ts": ALL }, [], async (hub) => {
    await hub.ask("INLINE\n".repeat(10));
    expect((await figuresOf(hub)).p99Ms).toBeLessThan(25);
    await hub.ask(`${"INLINE\n".repeat(3)}LATER\n`);
    const { p99Ms } = await figuresOf(hub);
    expect(p99Ms).toBeWithin(25, 250.1);
    const text = await (await fetch(`${hub.url}/metrics`)).text();
    const sums = readExposition(text)
      .get("hrmr_request_duration_seconds")
      ?.samples.filter(({ name }) => name.endsWith("_sum"));
    expect(sums?.find(({ labels }) => labels["module"] === "all" && labels["generation"] === "1")?.value).toBeWithin(
      0.03,
      5,
    );
  }));

test("the calls of a replaced version stay counted, as those of an old one", () =>
  withHub({ "modules/all.ts": ALL }, [], async (hub) => {
    await hub.ask("INLINE\n".repeat(7));
    hub.write("modules/all.ts", `${ALL}\nexport const more = 1;\n`);
    expect(await hub.ask("RELOAD\n")).toStartWith("OK ");
    await hub.ask("INLINE\n".repeat(2));
    expect(await figuresOf(hub)).toMatchObject({ calls: 9, errors: 0 });
    const metrics = readExposition(await (await fetch(`${hub.url}/metrics`)).text());
    const value = (name: string, labels: Record<string, string>): number | undefined =>
      metrics.get(name)?.samples.find((sample) => Bun.deepEquals(sample.labels, labels))?.value;
    expect(value("hrmr_requests_total", { module: "all", generation: "2" })).toBe(2);
    expect(value("hrmr_requests_total", { module: "all", generation: "old" })).toBe(7);
    expect(value("hrmr_requests_total", { module: "all", generation: "1" })).toBeUndefined();
    expect(value("hrmr_reloads_total", { result: "ok" })).toBe(2);
    expect(value("hrmr_live_generations", { module: "all" })).toBe(1);
    expect(value("hrmr_last_reload_ok", {})).toBe(1);
    hub.write("modules/all.ts", "export default 1 +;");
    expect(await hub.ask("RELOAD\n")).toStartWith("ERR ");
    const then = readExposition(await (await fetch(`${hub.url}/metrics`)).text());
    expect(then.get("hrmr_last_reload_ok")?.samples[0]?.value).toBe(0);
    expect((await hub.status()).reloads).toMatchObject({ ok: 2, failed: 1, last: { ok: false } });
  }));

const PINS = (version: number): string =>
  `export const version = ${version};\n${moduleSource(`{ routes: {
  "CALL": { framing: "line", handle: () => new Promise(() => {}) },
  "STREAM": { framing: "line", handle: async function* () { yield "begun\\n"; await new Promise(() => {}); } },
  "CONNECT": { connect: async (connection) => { await connection.write("taken\\n"); await new Promise((done) => connection.signal.addEventListener("abort", done)); } },
  "/sse": { fetch: () => new Response(new ReadableStream({ start: (c) => void c.enqueue("data: begun\\n\\n") }), { headers: { "Content-Type": "text/event-stream" } }) },
  "/ws": { websocket: { message: async (socket) => { socket.send("begun"); await new Promise(() => {}); } } },
} }`)}`;

test("STATUS tells what keeps an old version, by kind", () =>
  reused({ "modules/pins.ts": PINS(1) }, [], async (hub) => {
    const call = await (await hub.connect()).send("CALL\n");
    const stream = await (await hub.connect()).send("STREAM\n");
    const taken = await (await hub.connect()).send("CONNECT");
    await stream.waitFor("begun");
    await taken.waitFor("taken");
    const events = await fetch(`${hub.url}/sse`);
    const socket = new WebSocket(`ws://127.0.0.1:${hub.port}/ws`);
    await new Promise((resolve) => (socket.onopen = resolve));
    const begun = new Promise((resolve) => (socket.onmessage = resolve));
    socket.send("go");
    await begun;
    hub.write("modules/pins.ts", PINS(2));
    expect(await hub.ask("RELOAD\n")).toStartWith("OK ");
    const { byProtocol } = (await hub.status()).connections;
    expect(byProtocol).toMatchObject({ raw: 3, connect: 1, http1: 1, websocket: 1, http2: 0, new: 0, tls: 0 });
    const pins = (await hub.status()).modules.find(({ name }) => name === "pins");
    expect(pins?.old).toEqual([
      { generation: 1, inFlight: 5, pinnedBy: { call: 1, stream: 2, connection: 1, websocket: 1 } },
    ]);
    expect(pins).toMatchObject({ generation: 2, inFlight: 0, state: "serving" });
    for (const client of [call, stream, taken]) client.close();
    await events.body?.cancel();
    socket.close();
  }));

test("open connections are counted by what they speak, until they are gone", () =>
  reused({ "modules/all.ts": ALL }, [], async (hub) => {
    const silent = await hub.connect();
    const client = await (await hub.connect()).send("INLINE\n");
    await client.waitFor("a\n");
    const http2 = new Http2Client(hub.url);
    await http2.ask("/now");
    const counts = async (): Promise<Record<string, number>> => (await hub.status()).connections.byProtocol;
    // One raw is the one that asks.
    expect(await counts()).toMatchObject({ new: 1, raw: 2, http1: 0, http2: 1 });
    await (await client.clear().send("GET /now HTTP/1.1\r\nHost: x\r\n\r\n")).waitFor("\r\n\r\nf");
    // It speaks HTTP from now on.
    expect(await counts()).toMatchObject({ new: 1, raw: 1, http1: 1, http2: 1 });
    silent.close();
    client.close();
    http2.destroy();
    const alone = { new: 0, tls: 0, raw: 1, http1: 0, http2: 0, websocket: 0, connect: 0 };
    await until("the figures are those of the test's calls alone", async () => Bun.deepEquals(await counts(), alone));
    expect((await hub.status()).connections).toMatchObject({ open: 1, refused: 0 });
  }));
