/** WebSockets on streams of HTTP/2 (RFC 8441): the same handlers, checks and limits as over HTTP/1.1. */
import { expect, test } from "bun:test";
import type { RawClient } from "../../support/client";
import {
  connectFrames,
  type Fields,
  frame,
  type Frame,
  framesIn,
  getFrame,
  headersFrame,
  OPENING,
  repliesIn,
  waitForFrames,
} from "../../support/http2";
import { type Hub, moduleSource, reuseHubs, shareHub } from "../../support/hub";
import { join } from "node:path";
import { TOKENS_FILE, writeTokens } from "../../../src/hub/access/token-file";
import { hashOf, makeToken } from "../../../src/hub/access/tokens";
import { close as closeFrame, ping, text } from "../../support/websocket";
import { until } from "../../support/until";

const reused = reuseHubs();

const MODULE = (version: string): string =>
  moduleSource(`{ routes: {
    "/hello": { fetch: () => new Response("hello") },
    "/echo": { websocket: {
      protocols: ["chat"],
      upgrade: (request, context) => ({ data: { id: context.requestId, method: request.method, url: request.url }, headers: { "x-up": "1" } }),
      open: (socket) => socket.send("open ${version} " + JSON.stringify([socket.data.method, socket.data.url])),
      message: (socket, data) => socket.send("${version} " + data),
      close: (socket, code) => console.log("closed", code),
    } },
    "/who": { websocket: { open: (socket) => socket.send("I am " + socket.session.identity) } },
    "/topic": { websocket: { open: (socket) => socket.subscribe("all"), message: (socket, data) => socket.publish("all", data) } },
    "/large": { websocket: { open: (socket) => { for (let i = 0; i < 40; i++) socket.send("x".repeat(50_000)); } } },
    "/refuses": { websocket: { upgrade: () => new Response("not you", { status: 403 }) } },
    "/throws": { websocket: { upgrade: () => { throw new Error("oh no"); } } },
  } }`);
const FILES = { "modules/web.ts": MODULE("1") };
const withShared = shareHub(FILES);

const connectFields = (path: string, more: Fields = []): Fields => [
  [":method", "CONNECT"],
  [":protocol", "websocket"],
  [":scheme", "http"],
  [":path", path],
  [":authority", "localhost"],
  ["sec-websocket-version", "13"],
  ...more,
];

async function open(hub: Hub, path: string, more: Fields = []): Promise<RawClient> {
  return connectFrames(hub.port, Buffer.concat([OPENING, headersFrame(1, connectFields(path, more), false)]));
}

const received = (frames: Frame[], stream = 1): Buffer =>
  Buffer.concat(frames.filter((one) => one.type === 0 && one.stream === stream).map(({ payload }) => payload));
const has =
  (what: string | Uint8Array, stream = 1) =>
  (frames: Frame[]): boolean =>
    received(frames, stream).includes(what as Buffer);
const data = (payload: Uint8Array, flags = 0, stream = 1): Buffer => frame(0, flags, stream, payload);

test("a server says in its settings that WebSockets may begin on a stream", () =>
  withShared(async (hub) => {
    const client = await connectFrames(hub.port);
    const [settings] = await waitForFrames(client, (frames) => frames.length > 0);
    expect(settings?.payload.includes(Buffer.from([0, 8, 0, 0, 0, 1]))).toBe(true);
    client.close();
  }));

test("a client shows a token by a header or a subprotocol, which no reply repeats", () =>
  withShared(async (hub) => {
    const token = makeToken();
    const record = { name: "page", hash: hashOf(token).toString("hex"), scopes: ["http"] };
    const file = join(hub.dir, "data", TOKENS_FILE);
    writeTokens(file, [{ ...record, created: new Date().toISOString(), expires: null }]);
    const ways: [Fields, string | undefined][] = [
      [[["authorization", `Bearer ${token}`]], undefined],
      [[["sec-websocket-protocol", `hrmr, hrmr.token.${token}`]], "hrmr"],
    ];
    for (const [fields, protocol] of ways) {
      const client = await open(hub, "/who", fields);
      await waitForFrames(client, has("I am page"));
      const reply = repliesIn(framesIn(client.bytes).filter(({ type }) => type === 1)).get(1);
      expect([reply?.status, reply?.fields["sec-websocket-protocol"]]).toEqual([200, protocol]);
      client.close();
    }
    const stranger = await open(hub, "/who");
    await waitForFrames(stranger, has("I am null"));
    stranger.close();
  }));

test("a socket is opened, talks, is pinged and is closed, beside requests on the same connection", () =>
  withShared(async (hub) => {
    const client = await open(hub, "/echo", [
      ["sec-websocket-protocol", "other, chat"],
      ["origin", "http://localhost"],
    ]);
    await waitForFrames(client, has('open 1 ["GET"'));
    const { status, fields } = repliesIn(framesIn(client.bytes).filter(({ type }) => type === 1)).get(1) ?? {};
    expect(status).toBe(200);
    expect(fields).toMatchObject({ "sec-websocket-protocol": "chat", "x-up": "1" });
    expect(fields?.["sec-websocket-accept"]).toBeUndefined();
    expect(received(framesIn(client.bytes)).toString()).toContain('"http://localhost/echo"');
    await client.send(data(text("first")));
    await waitForFrames(client, has("1 first"));
    // A frame may be cut anywhere, also between frames of HTTP/2.
    const second = text("the second");
    await client.send(Buffer.concat([...second].map((byte) => data(Uint8Array.of(byte)))));
    await waitForFrames(client, has("1 the second"));
    await client.send(Buffer.concat([getFrame(3, "/hello"), data(ping("p"))]));
    await waitForFrames(
      client,
      (frames) => repliesIn(frames.filter(({ stream }) => stream === 3)).get(3)?.end === "whole",
    );
    await waitForFrames(client, has(Buffer.from([0x8a, 1, 0x70])));
    await client.send(data(closeFrame(1000)));
    await waitForFrames(client, (frames) =>
      frames.some((one) => one.type === 0 && one.stream === 1 && (one.flags & 1) === 1),
    );
    await client.send(Buffer.concat([data(Buffer.alloc(0), 1), getFrame(5, "/hello")]));
    await waitForFrames(
      client,
      (frames) => repliesIn(frames.filter(({ stream }) => stream === 5)).get(5)?.end === "whole",
    );
    client.close();
  }));

test("sockets of one connection and of HTTP/1.1 share topics", () =>
  withShared(async (hub) => {
    const client = await open(hub, "/topic");
    await client.send(headersFrame(3, connectFields("/topic"), false));
    const other = new WebSocket(`ws://127.0.0.1:${hub.port}/topic`);
    const heard = new Promise((resolve) => other.addEventListener("message", (event) => resolve(event.data)));
    await new Promise((resolve) => other.addEventListener("open", resolve));
    await waitForFrames(client, (frames) => frames.filter(({ type }) => type === 1).length === 2);
    await client.send(data(text("to all")));
    await waitForFrames(client, has("to all", 3));
    expect(await heard).toBe("to all");
    other.close();
    client.close();
  }));

test("what is sent waits for the client's windows, and arrives whole and in order", () =>
  withShared(async (hub) => {
    const client = await open(hub, "/large");
    await waitForFrames(client, (frames) => received(frames).length === 65_535);
    await client.send(Buffer.concat([frame(8, 0, 0, "\x00\x7f\0\0"), frame(8, 0, 1, "\x00\x7f\0\0")]));
    const frames = await waitForFrames(client, (all) => received(all).length >= 40 * 50_004);
    const bytes = received(frames);
    for (let at = 0; at < 40; at++) {
      const message = bytes.subarray(at * 50_004, (at + 1) * 50_004);
      expect([message.readUInt16BE(0), message.readUInt16BE(2)]).toEqual([0x817e, 50_000]);
      expect(message.subarray(4).every((byte) => byte === 0x78)).toBe(true);
    }
    client.close();
  }));

test("refusals are those of HTTP/1.1", () =>
  withShared(async (hub) => {
    const cases: [what: string, fields: Fields, status: number, body: string][] = [
      ["a foreign page", connectFields("/echo", [["origin", "http://evil.example"]]), 403, "Pages of this Origin"],
      ["no version", connectFields("/echo").slice(0, -1), 400, "exactly one Sec-WebSocket-Version"],
      ["another version", [...connectFields("/echo").slice(0, -1), ["sec-websocket-version", "8"]], 400, "13"],
      [
        "no list of protocols",
        connectFields("/echo", [["sec-websocket-protocol", "a b"]]),
        400,
        "Sec-WebSocket-Protocol",
      ],
      [
        "another protocol",
        connectFields("/echo").map(([n, v]) => [n, n === ":protocol" ? "connect-udp" : v]),
        501,
        ":protocol",
      ],
      ["a path of the static site", connectFields("/nothing"), 400, "does not speak WebSocket"],
      ["a path of HTTP", connectFields("/hello"), 400, "does not speak WebSocket"],
      ["the module's refusal", connectFields("/refuses"), 403, "not you"],
      ["the module's error", connectFields("/throws"), 500, "Internal Server Error"],
    ];
    for (const [what, fields, status, body] of cases) {
      const client = await connectFrames(hub.port, Buffer.concat([OPENING, headersFrame(1, fields, false)]));
      const frames = await waitForFrames(client, (all) => repliesIn(all).get(1)?.end === "whole");
      const reply = repliesIn(frames).get(1);
      expect([what, reply?.status, reply?.body.includes(body)]).toEqual([what, status, true]);
      client.close();
    }
    const malformed = await connectFrames(
      hub.port,
      Buffer.concat([
        OPENING,
        headersFrame(
          1,
          connectFields("/echo").filter(([name]) => name !== ":scheme"),
          false,
        ),
      ]),
    );
    const frames = await waitForFrames(malformed, (all) => repliesIn(all).get(1)?.end != null);
    expect(repliesIn(frames).get(1)?.end).toBe(1);
    malformed.close();
  }));

test("a socket stays open over reloads, and ends with its stream, its connection or the server", () =>
  reused(FILES, [], async (hub) => {
    const client = await open(hub, "/echo");
    await waitForFrames(client, has("open 1"));
    hub.write("modules/web.ts", MODULE("2"));
    expect(await hub.ask("RELOAD")).toMatch(/^OK web v2/);
    await client.send(data(text("again")));
    await waitForFrames(client, has("2 again"));
    // The stream is reset by its client.
    await client.send(Buffer.concat([frame(3, 0, 1, "\0\0\0\x08"), headersFrame(3, connectFields("/echo"), false)]));
    await hub.program.waitFor("closed 1006");
    await waitForFrames(client, has("open 2", 3));
    client.close();
    await hub.program.waitFor(/closed 1006[^]*closed 1006/);
    const last = await open(hub, "/echo");
    await waitForFrames(last, has("open 2"));
    hub.program.signal("SIGTERM");
    // 1001: the server goes away.
    await waitForFrames(last, has(Buffer.from([0x03, 0xe9])));
    await last.send(data(closeFrame(1001), 1));
    await last.waitForEnd();
    expect(await hub.program.exited).toBe(0);
    last.close();
  }));

test("many small messages are no flood, and a broken frame ends the socket, not the connection", () =>
  reused({ ...FILES, "hrmr.json": '{ "http2": { "maxControlFramesPerSecond": 100 } }' }, [], async (hub) => {
    const client = await open(hub, "/topic");
    await waitForFrames(client, (frames) => frames.some(({ type }) => type === 1));
    await client.send(Buffer.concat(Array.from({ length: 2000 }, () => data(text("x")))));
    await client.send(Buffer.concat([getFrame(3, "/hello")]));
    await waitForFrames(
      client,
      (frames) => repliesIn(frames.filter(({ stream }) => stream === 3)).get(3)?.body === "hello",
    );
    // Not masked: a client must mask (RFC 6455 section 5.1).
    await client.send(data(Buffer.from([0x81, 1, 0x61])));
    await waitForFrames(client, has(Buffer.from([0x03, 0xea])));
    await client.send(getFrame(5, "/hello"));
    await waitForFrames(
      client,
      (frames) => repliesIn(frames.filter(({ stream }) => stream === 5)).get(5)?.body === "hello",
    );
    client.close();
    await until("nothing to be under way", async () =>
      (await hub.status()).modules.every(({ inFlight }) => inFlight === 0),
    );
  }));
