/** HTTP/2 connections: how they begin, what they share the port with, how they end. */
import { expect, test } from "bun:test";
import { RawClient } from "../../support/client";
import { type Hub, moduleSource, reuseHubs, shareHub } from "../../support/hub";
import {
  connectFrames,
  frame,
  framesIn,
  getFrame,
  goawayCodes,
  Http2Client,
  OPENING,
  PREFACE,
  repliesIn,
  waitForFrames,
  withHttp2,
} from "../../support/http2";
import { eventually } from "../../support/until";

const reused = reuseHubs();

const WEB = moduleSource(`{ routes: {
  "/hello": { fetch: () => new Response("hello") },
  "/slow": { fetch: async () => { console.log("began"); await Bun.sleep(400); return new Response("done"); } },
  "/slower": { fetch: async () => { await Bun.sleep(2500); return new Response("done"); } },
  "/hang": { fetch: (request) => { console.log("began"); return new Promise(() => {}); } },
  "/live": { fetch: () => new Response(new ReadableStream({ async pull(c) { c.enqueue("data: VERSION\\n\\n"); await Bun.sleep(20); } }),
    { headers: { "Content-Type": "text/event-stream" } }) },
  "/drip": { fetch: () => new Response(new ReadableStream({ async pull(c) { c.enqueue("VERSION "); await Bun.sleep(20); } })) },
  "PING": () => "PONG\\n",
} }`);
const FILES = { "modules/web.ts": WEB };
const withShared = shareHub(FILES);
const ASK = getFrame(1, "/hello");

/** Whether the reply to stream `stream` has ended. */
const isAnswered = (stream: number) => (frames: ReturnType<typeof framesIn>) =>
  frames.some((one) => one.stream === stream && one.type === 0 && (one.flags & 1) === 1);

async function isServed(hub: Hub): Promise<boolean> {
  return (await withHttp2(hub.url, (client) => client.ask("/hello"))).body.toString() === "hello";
}

test("the preface is known however it is split, and byte by byte with pauses", () =>
  withShared(async (hub) => {
    const bytes = Buffer.concat([OPENING, ASK]);
    for (let at = 1; at < OPENING.length + 12; at++) {
      const client = await connectFrames(hub.port, bytes.subarray(0, at));
      // A reply on another connection: what was sent so far has been read by then.
      if (at % 5 === 0) expect(await hub.ask("PING")).toBe("PONG\n");
      await client.send(bytes.subarray(at));
      await waitForFrames(client, isAnswered(1));
      client.close();
    }
    const slow = await hub.connect();
    for (const byte of bytes) {
      await slow.send(Uint8Array.of(byte));
      // Beyond what an unfinished command is waited for.
      if (byte === 0x52 || byte === 0x2a) await Bun.sleep(150);
      else await new Promise((resolve) => setImmediate(resolve));
    }
    await waitForFrames(slow, isAnswered(1));
  }));

test("the preface may stop at any byte for longer than an unfinished command is waited for", () =>
  reused({ ...FILES, "hrmr.json": '{ "timeouts": { "prefixWaitMs": 20 } }' }, [], async (hub) => {
    const bytes = Buffer.concat([OPENING, ASK]);
    const clients = [];
    for (let at = 1; at <= PREFACE.length; at++) clients.push(await connectFrames(hub.port, bytes.subarray(0, at)));
    // Commands that begin later, one behind the other, are not waited for any more.
    for (let count = 0; count < 3; count++) {
      const unfinished = await hub.connect();
      await unfinished.send("UNFINISHED");
      await unfinished.waitFor("ERR no module is bound");
    }
    for (const [at, client] of clients.entries()) {
      await client.send(bytes.subarray(at + 1));
      await waitForFrames(client, isAnswered(1));
      client.close();
    }
  }));

test("what only begins like the preface is answered as HTTP/1.1 does it", () =>
  withShared(async (hub) => {
    expect(await hub.ask("PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n")).toMatch(/^HTTP\/1\.1 505 /);
    expect(await hub.ask("PRI * HTTP/2.0\r\nHost: a\r\n\r\n")).toMatch(/^HTTP\/1\.1 505 /);
    expect(await hub.ask("PRI * HTTP/2.0\r\n\r\nSM")).toMatch(/^HTTP\/1\.1 505 /);
    expect(await hub.ask("PRICE 5\n")).toBe('ERR no module is bound to "PRICE 5"\n');
    expect(await hub.ask("PR")).toBe('ERR no module is bound to "PR"\n');
    expect(await isServed(hub)).toBe(true);
  }));

test("garbage behind the preface ends that connection, and no other", () =>
  withShared(async (hub) => {
    for (const garbage of [
      "GET / HTTP/1.1\r\n\r\n",
      "\0".repeat(9),
      "\xff".repeat(64),
      frame(1, 4, 2, "\x82"),
      frame(0, 0, 1, "x"),
      frame(5, 4, 1, "1234"),
    ]) {
      const client = await connectFrames(hub.port, PREFACE);
      await client.send(typeof garbage === "string" ? Buffer.from(garbage, "latin1") : garbage);
      await client.waitForEnd();
      client.close();
    }
    const tooLong = await connectFrames(hub.port);
    await tooLong.send(frame(0, 0, 1, Buffer.alloc(16_385)));
    await tooLong.waitForEnd();
    expect(await isServed(hub)).toBe(true);
    expect(await hub.ask("PING")).toBe("PONG\n");
  }));

test("with http2.enabled false the preface gets HTTP/1.1's 505, and TLS-less clients are told so", () =>
  reused({ ...FILES, "hrmr.json": '{ "http2": { "enabled": false } }' }, [], async (hub) => {
    const client = await connectFrames(hub.port);
    expect(await client.waitForEnd()).toMatch(/^HTTP\/1\.1 505 HTTP Version Not Supported\r\n/);
    client.close();
  }));

test("HTTP/1.1 and text commands share the port, also on a connection before its preface", () =>
  withShared(async (hub) => {
    const client = await hub.connect();
    await client.send("PING");
    await client.waitFor("PONG\n");
    await client.send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    await client.waitFor("hello");
    client.clear();
    await client.send(Buffer.concat([OPENING, ASK]));
    await waitForFrames(client, isAnswered(1));
    const [version1, version2] = await Promise.all([
      fetch(`${hub.url}/hello`).then((reply) => reply.text()),
      isServed(hub),
    ]);
    expect([version1, version2]).toEqual(["hello", true]);
  }));

test("600 connections opened at once are all served", () =>
  reused(FILES, [], async (hub) => {
    const clients = await Promise.all(Array.from({ length: 600 }, () => RawClient.connect(hub.port)));
    try {
      const all = Buffer.concat([OPENING, ASK]);
      await Promise.all(clients.map((client) => client.send(all)));
      await Promise.all(clients.map((client) => waitForFrames(client, isAnswered(1))));
      await eventually(async () => expect((await hub.status()).openConnections).toBe(601));
    } finally {
      for (const client of clients) client.close();
    }
    expect(await isServed(hub)).toBe(true);
  }));

test("each of many connections knows its own client", () =>
  reused(
    {
      "modules/web.ts": moduleSource(
        `{ routes: { "/port": { fetch: (request, { client }) => new Response(String(client.port)) } } }`,
      ),
    },
    [],
    async (hub) => {
      const clients = Array.from({ length: 80 }, () => new Http2Client(hub.url));
      try {
        for (let round = 0; round < 2; round++) {
          const ports = await Promise.all(clients.map(async (client) => Number((await client.ask("/port")).body)));
          expect(ports).toEqual(clients.map(({ session }) => session.socket.localPort ?? 0));
        }
      } finally {
        for (const client of clients) client.destroy();
      }
    },
  ));

test("an idle connection is closed with GOAWAY, one with a request under way is not", () =>
  reused({ ...FILES, "hrmr.json": '{ "timeouts": { "idleMs": 1000 } }' }, [], async (hub) => {
    const busy = await connectFrames(hub.port, Buffer.concat([OPENING, getFrame(1, "/slower")]));
    const idle = await connectFrames(hub.port, Buffer.concat([OPENING, ASK]));
    await idle.waitForEnd();
    expect(goawayCodes(idle.bytes)).toEqual([0]);
    expect(isAnswered(1)(framesIn(idle.bytes))).toBe(true);
    await waitForFrames(busy, isAnswered(1));
    await busy.waitForEnd();
    expect(goawayCodes(busy.bytes)).toEqual([0]);
    idle.close();
    busy.close();
  }));

test("SIGTERM sends GOAWAY, finishes the stream under way, and the server exits", () =>
  reused(FILES, [], async (hub) => {
    const idle = new Http2Client(hub.url);
    const busy = new Http2Client(hub.url);
    await idle.ask("/hello");
    const slow = busy.ask("/slow");
    await hub.program.waitFor("began");
    hub.program.signal("SIGTERM");
    await idle.closed;
    // One lets requests in that are on their way, and one names the last stream. A client may leave at the first.
    expect(new Set(idle.goaways)).toEqual(new Set([0]));
    expect((await slow).body.toString()).toBe("done");
    await busy.closed;
    expect(new Set(busy.goaways)).toEqual(new Set([0]));
    expect(await hub.program.exited).toBe(0);
  }));

test("a request that was on its way when the server began to shut down is still answered", () =>
  reused(FILES, [], async (hub) => {
    const client = await connectFrames(hub.port, Buffer.concat([OPENING, ASK]));
    await waitForFrames(client, isAnswered(1));
    hub.program.signal("SIGTERM");
    const lastStreams = (frames: ReturnType<typeof framesIn>): number[] =>
      frames.filter(({ type }) => type === 7).map(({ payload }) => payload.readUInt32BE(0));
    const warned = await waitForFrames(client, (frames) => lastStreams(frames).length > 0);
    expect(lastStreams(warned)).toEqual([0x7fffffff]);
    await client.send(getFrame(3, "/slow"));
    await hub.program.waitFor("began");
    // The answer to the server's PING: it knows the last stream now.
    const ping = (await waitForFrames(client, (frames) => frames.some(({ type }) => type === 6))).find(
      ({ type }) => type === 6,
    );
    await client.send(Buffer.concat([frame(6, 1, 0, ping?.payload), getFrame(5, "/hello")]));
    const frames = await waitForFrames(client, isAnswered(3));
    expect(lastStreams(frames)).toEqual([0x7fffffff, 3]);
    await client.waitForEnd();
    expect(repliesIn(framesIn(client.bytes)).get(5)).toMatchObject({ status: 0, end: 7 });
    expect(await hub.program.exited).toBe(0);
    client.close();
  }));

test("a stream that is still under way at drainMs is cut, and the server exits", () =>
  reused({ ...FILES, "hrmr.json": '{ "timeouts": { "drainMs": 300 } }' }, [], async (hub) => {
    const client = new Http2Client(hub.url);
    const never = client.ask("/hang").catch(() => "cut");
    await hub.program.waitFor("began");
    hub.program.signal("SIGTERM");
    expect(await never).toBe("cut");
    expect(await hub.program.exited).toBe(0);
    client.destroy();
  }));

test("an event stream goes on through reloads of another module; new requests get the new version", () =>
  reused(
    {
      ...FILES,
      "modules/other.ts": moduleSource(`{ routes: { "/other": { fetch: () => new Response("VERSION") } } }`),
    },
    [],
    (hub) =>
      withHttp2(hub.url, async (client) => {
        const live = client.begin("/live");
        live.end();
        let received = "";
        live.on("data", (part: Buffer) => (received += part.toString()));
        for (let version = 0; version < 10; version++) {
          hub.write(
            "modules/other.ts",
            moduleSource(`{ routes: { "/other": { fetch: () => new Response("${version}") } } }`),
          );
          expect(await hub.ask("RELOAD")).toMatch(/^OK/);
          expect((await client.ask("/other")).body.toString()).toBe(String(version));
        }
        const before = received.length;
        await new Promise((resolve) => live.once("data", resolve));
        expect(received.length).toBeGreaterThan(before);
        live.on("error", () => {});
        live.close(8);
      }),
  ));

test("a replaced version's endless reply is reset at drainMs, an event stream is not", () =>
  reused({ ...FILES, "hrmr.json": '{ "timeouts": { "drainMs": 200 } }' }, [], (hub) =>
    withHttp2(hub.url, async (client) => {
      const [live, drip] = [client.begin("/live"), client.begin("/drip")];
      let events = 0;
      live.on("data", () => events++);
      for (const stream of [live, drip]) stream.end();
      await Promise.all([live, drip].map((stream) => new Promise((resolve) => stream.once("data", resolve))));
      hub.write("modules/web.ts", WEB.replaceAll("VERSION", "NEXT"));
      const reset = new Promise((resolve) => drip.once("error", resolve));
      drip.resume();
      expect(await hub.ask("RELOAD")).toMatch(/^OK web v2/);
      await reset;
      expect(drip.rstCode).toBe(2);
      const before = events;
      await new Promise((resolve) => live.once("data", resolve));
      expect(events).toBeGreaterThan(before);
      live.on("error", () => {});
      live.close(8);
    }),
  ));
