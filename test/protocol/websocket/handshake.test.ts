/** The opening handshake (RFC 6455 section 4.2) and permessage-deflate (RFC 7692) against the whole server. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { constants, deflateRawSync, inflateRawSync } from "node:zlib";
import { Hub, makeProject, moduleSource } from "../../support/hub";
import { startProgram } from "../../support/program";
import { connectRaw, talk } from "../../support/raw-client";
import {
  ACCEPT,
  binary,
  close,
  KEY,
  more,
  PART,
  ping,
  RawWebSocket,
  text,
  upgradeRequest,
} from "../../support/websocket";
import { eventually } from "../../support/until";

const MODULE = moduleSource(`{
  routes: {
    "/echo": { websocket: { message: (socket, data) => socket.send(data) } },
    "/force": { websocket: { message: (socket, data) => socket.send(data, true) } },
    "/never": { websocket: { message: (socket, data) => socket.send(data, false) } },
    "/small": { websocket: { maxMessageBytes: 1000, message: (socket, data) => socket.send(data) } },
    "/plain": { websocket: { perMessageDeflate: false, message: (socket, data) => socket.send(data) } },
    "/protocols": { websocket: { protocols: ["v2", "v1"] } },
    "/GET": { fetch: () => new Response("fetch") },
    "GET /guarded/:room": {
      websocket: {
        upgrade(request, context) {
          const wish = new URL(request.url).searchParams.get("wish");
          if (wish === "refuse") return new Response("no entry", { status: 403, headers: { "x-why": "closed" } });
          if (wish === "late") return new Promise((resolve) => setTimeout(resolve, 20, { data: "late" }));
          if (wish === "late refuse") return new Promise((resolve) => setTimeout(resolve, 20, new Response("no", { status: 401 })));
          if (wish === "throw") throw new Error("upgrade broke");
          if (wish === "wrong") return 5;
          if (wish === "protocol") return { protocol: "mine" };
          return {
            data: context.params.room + " " + request.headers.get("x-token") + " " + context.client.address,
            headers: { "set-cookie": "a=1", "x-more": "y", connection: "close", "sec-websocket-accept": "x" },
          };
        },
        open: (socket) => socket.send(String(socket.data)),
        message: (socket, data) => socket.send(data),
      },
    },
  },
}`);

let hub: Hub;
beforeAll(async () => {
  const dir = makeProject({ "modules/echo.ts": MODULE });
  hub = new Hub(dir, await startProgram(["--port", "0"], { cwd: dir, isMemoryMeasured: true }));
});
afterAll(() => hub.stop());

const REQUEST = upgradeRequest("/echo");

async function statusOf(
  request: string,
  pieceBytes?: number,
): Promise<{ status: number; headers: Record<string, string>; body: string }> {
  const client = await connectRaw(hub.port);
  try {
    for (let at = 0; at < request.length; at += pieceBytes ?? request.length) {
      client.write(request.slice(at, at + (pieceBytes ?? request.length)));
      if (pieceBytes !== undefined) await new Promise((resolve) => setImmediate(resolve));
    }
    await client.waitFor("\r\n\r\n");
    const [head = "", body = ""] = client.received.split("\r\n\r\n");
    const headers: Record<string, string> = {};
    for (const line of head.split("\r\n").slice(1))
      headers[line.slice(0, line.indexOf(":")).toLowerCase()] = line.slice(line.indexOf(":") + 2);
    return { status: Number(head.slice(9, 12)), headers, body };
  } finally {
    client.terminate();
  }
}

test("an upgrade is answered with 101 and the key's hash", async () => {
  expect(await statusOf(REQUEST)).toEqual({
    status: 101,
    headers: { upgrade: "websocket", connection: "Upgrade", "sec-websocket-accept": ACCEPT },
    body: "",
  });
});

const changed: [string, string | RegExp, string, number][] = [
  ["byte order of Connection's list", "Connection: Upgrade", "Connection: keep-alive, Upgrade", 101],
  ["small letters", "Connection: Upgrade", "connection: upgrade", 101],
  ["Connection in two fields", "Connection: Upgrade", "Connection: keep-alive\r\nConnection: upgrade", 101],
  ["large letters of WebSocket", "Upgrade: websocket", "Upgrade: WebSocket", 101],
  ["other protocols in Upgrade", "Upgrade: websocket", "Upgrade: h2c, websocket", 101],
  ["no Upgrade", "Upgrade: websocket\r\n", "", 426],
  ["another Upgrade", "Upgrade: websocket", "Upgrade: h2c", 426],
  ["HTTP/1.0", "HTTP/1.1", "HTTP/1.0", 426],
  ["no Connection", "Connection: Upgrade\r\n", "", 400],
  ["another Connection", "Connection: Upgrade", "Connection: keep-alive", 400],
  ["a POST", "GET /echo", "POST /echo", 400],
  ["a body", "Upgrade: websocket", "Content-Length: 2\r\nUpgrade: websocket", 400],
  ["no key", `Sec-WebSocket-Key: ${KEY}\r\n`, "", 400],
  ["an empty key", KEY, "", 400],
  ["a key of 15 bytes", KEY, "AAAAAAAAAAAAAAAAAAAA", 400],
  ["a key of 17 bytes", KEY, "AAAAAAAAAAAAAAAAAAAAAAA=", 400],
  ["a key that is no base64", KEY, "dGhlIHNhbXBsZSBub25jZ!==", 400],
  ["a key with stray bits", KEY, "dGhlIHNhbXBsZSBub25jZR==", 400],
  ["two keys", `Sec-WebSocket-Key: ${KEY}\r\n`, `Sec-WebSocket-Key: ${KEY}\r\nSec-WebSocket-Key: ${KEY}\r\n`, 400],
  ["no version", "Sec-WebSocket-Version: 13\r\n", "", 400],
  ["version 12", "Version: 13", "Version: 12", 426],
  ["version 14", "Version: 13", "Version: 14", 426],
  ["version 013", "Version: 13", "Version: 013", 426],
  ["two versions", "Sec-WebSocket-Version: 13\r\n", "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 8\r\n", 400],
  ["no Host", "Host: 127.0.0.1\r\n", "", 400],
  [
    "a protocol that is no name",
    "Sec-WebSocket-Version: 13\r\n",
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: a b\r\n",
    400,
  ],
  [
    "a protocol that stands there twice",
    "Sec-WebSocket-Version: 13\r\n",
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: a, a\r\n",
    400,
  ],
  [
    "malformed extensions",
    "Sec-WebSocket-Version: 13\r\n",
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: a b; =\r\n",
    400,
  ],
  [
    "an unknown extension",
    "Sec-WebSocket-Version: 13\r\n",
    'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: x-a; b="c,d", y\r\n',
    101,
  ],
];
test.each(changed)("a handshake with %s is answered as the RFC says", async (_name, from, to, status) => {
  const request = REQUEST.replace(from, to);
  expect(request).not.toBe(REQUEST);
  const reply = await statusOf(request);
  expect(reply.status).toBe(status);
  if (status === 426) expect(reply.headers).toMatchObject({ upgrade: "websocket", "sec-websocket-version": "13" });
  // In one read or in many: the same answer.
  expect((await statusOf(request, 7)).status).toBe(status);
  expect((await statusOf(REQUEST)).status).toBe(101);
});

test("a plain request on a WebSocket route is told to upgrade, and the connection goes on", async () => {
  const replies = await talk(
    hub.port,
    "GET /echo HTTP/1.1\r\nHost: a\r\n\r\nGET /GET HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
  );
  expect(replies.map(({ status }) => status)).toEqual([426, 200]);
  expect(replies[0]?.headers).toMatchObject({ upgrade: "websocket", connection: "Upgrade" });
});

test("an upgrade request on a fetch route stays a plain request", async () => {
  expect(await statusOf(upgradeRequest("/GET"))).toMatchObject({ status: 200, body: "fetch" });
});

test("an upgrade request where nothing is bound gets a 404", async () => {
  expect((await statusOf(upgradeRequest("/none"))).status).toBe(404);
});

test("a WebSocket behind pipelined requests is opened", async () => {
  const client = await connectRaw(hub.port);
  try {
    client.write(Buffer.concat([Buffer.from(`GET /GET HTTP/1.1\r\nHost: a\r\n\r\n${REQUEST}`), text("hello")]));
    await client.waitFor("\x81\x05hello");
    expect(client.received).toMatch(/^HTTP\/1\.1 200 OK[^]*fetchHTTP\/1\.1 101 /);
  } finally {
    client.terminate();
  }
});

test.each([1, 2, 13, 100])("a handshake and frames in pieces of %i bytes are the same", async (pieceBytes) => {
  const client = await connectRaw(hub.port);
  try {
    const bytes = Buffer.concat([Buffer.from(REQUEST), text("hello"), ping("p")]);
    for (let at = 0; at < bytes.length; at += pieceBytes) {
      client.write(bytes.subarray(at, at + pieceBytes));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await client.waitFor("\x81\x05hello\x8a\x01p");
  } finally {
    client.terminate();
  }
});

test("upgrade sees the request and its path, and says what the socket is", async () => {
  const socket = await RawWebSocket.open(hub.port, "/guarded/blue", "X-Token: t1\r\n");
  try {
    expect(await socket.sync()).toEqual(["text:blue t1 127.0.0.1"]);
    expect(socket.head).toContain("set-cookie: a=1\r\n");
    expect(socket.head).toContain("x-more: y\r\n");
    // A module must not set the fields of the handshake.
    expect(socket.head.match(/^connection:/gim)).toHaveLength(1);
    expect(socket.head.match(/^sec-websocket-accept:/gim)).toHaveLength(1);
  } finally {
    socket.close();
  }
});

test("upgrade refuses with a Response", async () => {
  expect(await statusOf(upgradeRequest("/guarded/a?wish=refuse"))).toMatchObject({
    status: 403,
    headers: { "x-why": "closed" },
    body: "no entry",
  });
  expect(await statusOf(upgradeRequest("/guarded/a?wish=late%20refuse"))).toMatchObject({ status: 401, body: "no" });
});

test("an upgrade that waits holds what the client sends meanwhile", async () => {
  const socket = await RawWebSocket.open(
    hub.port,
    "/guarded/a?wish=late",
    "",
    Buffer.concat([text("early"), ping("p")]),
  );
  try {
    expect(await socket.sync()).toEqual(["text:late", "text:early", "pong:p"]);
  } finally {
    socket.close();
  }
});

test.each(["throw", "wrong", "protocol"])("an upgrade that fails (%s) is a 500", async (wish) => {
  expect((await statusOf(upgradeRequest(`/guarded/a?wish=${wish}`))).status).toBe(500);
  expect((await statusOf(REQUEST)).status).toBe(101);
});

const choices: [string, string, string | null][] = [
  ["", "nothing", null],
  ["v1, v2", "the client's first", "v1"],
  ["v3, v2", "the first that is spoken", "v2"],
  ["v3", "none", null],
  ["V1", "none, since names are exact,", null],
];
test.each(choices)("of the protocols %p %s is chosen", async (offered, _, chosen) => {
  const extra = offered === "" ? "" : `Sec-WebSocket-Protocol: ${offered}\r\n`;
  const socket = await RawWebSocket.open(hub.port, "/protocols", extra);
  socket.close();
  expect(/^sec-websocket-protocol: (.*)\r$/im.exec(socket.head)?.[1] ?? null).toBe(chosen);
});

test("a protocol that upgrade names is told to a client that offers it", async () => {
  const socket = await RawWebSocket.open(
    hub.port,
    "/guarded/a?wish=protocol",
    "Sec-WebSocket-Protocol: other\r\nSec-WebSocket-Protocol: mine\r\n",
  );
  socket.close();
  expect(socket.head).toContain("Sec-WebSocket-Protocol: mine\r\n");
});

// ---- permessage-deflate: what is agreed on ----

const ANSWER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
const offers: [offer: string, answer: string | null][] = [
  ["permessage-deflate", ANSWER],
  ["permessage-deflate; client_max_window_bits", ANSWER],
  ["permessage-deflate; client_max_window_bits=10", ANSWER],
  ['permessage-deflate; client_max_window_bits="8"', ANSWER],
  ["permessage-deflate; client_max_window_bits=15", ANSWER],
  ["permessage-deflate;server_no_context_takeover ;client_no_context_takeover", ANSWER],
  ["permessage-deflate; server_max_window_bits=15", `${ANSWER}; server_max_window_bits=15`],
  ["permessage-deflate; server_max_window_bits=9", `${ANSWER}; server_max_window_bits=9`],
  ["permessage-deflate; server_max_window_bits=8", `${ANSWER}; server_max_window_bits=8`],
  ["permessage-deflate; server_max_window_bits", null],
  ["permessage-deflate; server_max_window_bits=7", null],
  ["permessage-deflate; server_max_window_bits=16", null],
  ["permessage-deflate; server_max_window_bits=08", null],
  ["permessage-deflate; client_max_window_bits=7", null],
  ["permessage-deflate; client_max_window_bits=16", null],
  ["permessage-deflate; client_max_window_bits=x", null],
  ["permessage-deflate; server_no_context_takeover=1", null],
  ["permessage-deflate; client_no_context_takeover=true", null],
  ["permessage-deflate; unknown", null],
  ["permessage-deflate; client_max_window_bits; client_max_window_bits", null],
  ["permessage-deflate; server_no_context_takeover; server_no_context_takeover", null],
  ["permessage-deflate; unknown, permessage-deflate", ANSWER],
  [
    "permessage-deflate; server_max_window_bits=99, permessage-deflate; server_max_window_bits=12",
    `${ANSWER}; server_max_window_bits=12`,
  ],
  ["x-other, permessage-deflate", ANSWER],
  ["x-webkit-deflate-frame", null],
  [", permessage-deflate,", ANSWER],
];
test.each(offers)("the offer %p is answered with %p", async (offer, answer) => {
  const socket = await RawWebSocket.open(hub.port, "/echo", `Sec-WebSocket-Extensions: ${offer}\r\n`);
  try {
    expect(/^sec-websocket-extensions: (.*)\r$/im.exec(socket.head)?.[1] ?? null).toBe(answer);
    await socket.send(text("a"));
    expect(await socket.sync()).toEqual(["text:a"]);
  } finally {
    socket.close();
  }
});

test("offers in two fields are one list", async () => {
  const extra = "Sec-WebSocket-Extensions: x-other\r\nSec-WebSocket-Extensions: permessage-deflate\r\n";
  const socket = await RawWebSocket.open(hub.port, "/echo", extra);
  socket.close();
  expect(socket.head).toContain(`Sec-WebSocket-Extensions: ${ANSWER}\r\n`);
});

test("a route without compression agrees on none", async () => {
  const socket = await RawWebSocket.open(hub.port, "/plain", "Sec-WebSocket-Extensions: permessage-deflate\r\n");
  try {
    expect(socket.head.toLowerCase()).not.toContain("extensions");
    await socket.send(text(pack("a"), { rsv: 4 }));
    expect(await socket.outcome()).toMatchObject({ code: 1002 });
  } finally {
    socket.close();
  }
});

// ---- permessage-deflate: messages ----

const TAIL = Buffer.from([0, 0, 255, 255]);
const RSV1 = { rsv: 4 };

function pack(data: string | Uint8Array, windowBits = 15): Buffer {
  return deflateRawSync(data, { finishFlush: constants.Z_SYNC_FLUSH, windowBits }).subarray(0, -4);
}

function unpack(payload: Uint8Array, windowBits = 15): Buffer {
  return inflateRawSync(Buffer.concat([payload, TAIL]), { finishFlush: constants.Z_SYNC_FLUSH, windowBits });
}

async function openPacked(path: string, parameters = ""): Promise<RawWebSocket> {
  return RawWebSocket.open(hub.port, path, `Sec-WebSocket-Extensions: permessage-deflate${parameters}\r\n`);
}

const long = JSON.stringify(Array.from({ length: 300 }, (_, i) => ({ id: i, name: `user ${i}` })));
const packed: [name: string, path: string, sent: Buffer[], frames: string[], code?: number][] = [
  ["a compressed text", "/never", [text(pack("Hello"), RSV1)], ["text:Hello"]],
  ["the RFC's example in one block", "/never", [text(Buffer.from("f248cdc9c90700", "hex"), RSV1)], ["text:Hello"]],
  [
    "the RFC's example without compression",
    "/never",
    [text(Buffer.from("000500faff48656c6c6f00", "hex"), RSV1)],
    ["text:Hello"],
  ],
  ["the RFC's example with BFINAL", "/never", [text(Buffer.from("f348cdc9c9070000", "hex"), RSV1)], ["text:Hello"]],
  [
    "the RFC's example in two blocks",
    "/never",
    [text(Buffer.from("f248050000 00ffffcac9c90700".replace(" ", ""), "hex"), RSV1)],
    ["text:Hello"],
  ],
  [
    "the RFC's example in two fragments",
    "/never",
    [text(Buffer.from("f248cd", "hex"), { rsv: 4, fin: false }), more(Buffer.from("c9c90700", "hex"))],
    ["text:Hello"],
  ],
  ["an empty compressed text", "/never", [text(Buffer.from([0]), RSV1)], ["text:"]],
  ["compressed binary", "/never", [binary(pack(Buffer.from([1, 2, 3])), RSV1)], ["binary:010203"]],
  ["compressed umlauts", "/never", [text(pack("äöü"), RSV1)], ["text:äöü"]],
  ["a long compressed text", "/never", [text(pack(long), RSV1)], [`text:${long}`]],
  [
    "two messages of which each stands alone",
    "/never",
    [text(pack(long), RSV1), text(pack(long), RSV1)],
    [`text:${long}`, `text:${long}`],
  ],
  [
    "plain and compressed in turn",
    "/never",
    [text("a"), text(pack("b"), RSV1), text("c")],
    ["text:a", "text:b", "text:c"],
  ],
  ["a small window", "/never", [text(pack(long, 9), RSV1)], [`text:${long}`]],
  [
    "a ping between compressed fragments",
    "/never",
    [text(pack("ab").subarray(0, 1), { rsv: 4, fin: false }), ping("p"), more(pack("ab").subarray(1))],
    ["pong:p", "text:ab"],
  ],
  [
    "RSV1 on a continuation",
    "/never",
    [text(pack("a").subarray(0, 1), { rsv: 4, fin: false }), more("b", RSV1)],
    [],
    1002,
  ],
  ["RSV1 on a continuation of plain text", "/never", [text("a", PART), more("b", RSV1)], [], 1002],
  ["RSV1 on a ping", "/never", [ping("x", RSV1)], [], 1002],
  ["RSV1 on a close", "/never", [close(1000, "", RSV1)], [], 1002],
  ["RSV2", "/never", [text(pack("a"), { rsv: 2 })], [], 1002],
  ["RSV1 and RSV3", "/never", [text(pack("a"), { rsv: 5 })], [], 1002],
  ["what is no DEFLATE", "/never", [text(Buffer.from("ffffffffff", "hex"), RSV1)], [], 1007],
  ["compressed bytes that are no text", "/never", [text(pack(Buffer.from([0xff])), RSV1)], [], 1007],
  [
    "a message that inflates to exactly the limit",
    "/small",
    [text(pack("a".repeat(1000)), RSV1)],
    [`text:${"a".repeat(1000)}`],
  ],
  ["a message that inflates beyond the limit", "/small", [text(pack("a".repeat(1001)), RSV1)], [], 1009],
  ["a bomb", "/echo", [binary(pack(Buffer.alloc(64 << 20)), RSV1)], [], 1009],
];
test.each(
  packed.map(([name, path, sent, frames, code]) => [name, { path, sent, frames, code: code ?? null }] as const),
)("with compression agreed on: %s", async (_name, { path, sent, frames, code }) => {
  const socket = await openPacked(path);
  try {
    await socket.send(Buffer.concat(sent));
    if (code === null) expect(await socket.sync()).toEqual(frames);
    else expect(await socket.outcome()).toMatchObject({ frames, code });
  } finally {
    socket.close();
  }
  expect((await statusOf(REQUEST)).status).toBe(101);
});

test("a bomb of 64 MB does not cost its size", async () => {
  const before = rssOf(hub.program.pid);
  for (let i = 0; i < 8; i++) {
    const socket = await openPacked("/echo");
    await socket.send(binary(pack(Buffer.alloc(64 << 20)), RSV1));
    expect(await socket.outcome()).toMatchObject({ code: 1009 });
    socket.close();
  }
  await eventually(() => expect(rssOf(hub.program.pid) - before).toBeLessThan(100_000));
});

test("a long text goes out compressed, a short one and binary do not", async () => {
  const socket = await openPacked("/echo");
  try {
    await socket.send(Buffer.concat([text(long), text("short"), binary(long)]));
    await socket.sync();
    const [first, second, third] = socket.raw;
    expect(first).toMatchObject({ opcode: 1, rsv: 4 });
    expect(unpack(first?.payload ?? TAIL).toString()).toBe(long);
    expect(first?.payload.length).toBeLessThan(long.length / 2);
    expect(second).toMatchObject({ opcode: 1, rsv: 0 });
    expect(third).toMatchObject({ opcode: 2, rsv: 0 });
  } finally {
    socket.close();
  }
});

test("send(data, true) compresses binary, send(data, false) nothing", async () => {
  for (const [path, rsv] of [
    ["/force", 4],
    ["/never", 0],
  ] as const) {
    const socket = await openPacked(path);
    try {
      await socket.send(Buffer.concat([binary(long), text(long)]));
      await socket.sync();
      expect(socket.raw.slice(0, 2).map((frame) => frame.rsv)).toEqual([rsv, rsv]);
    } finally {
      socket.close();
    }
  }
});

test("what does not become smaller goes out as it is", async () => {
  const socket = await openPacked("/force");
  try {
    const random = crypto.getRandomValues(new Uint8Array(2000));
    await socket.send(binary(random));
    expect(await socket.sync()).toEqual([`binary:${Buffer.from(random).toString("hex")}`]);
    expect(socket.raw[0]?.rsv).toBe(0);
  } finally {
    socket.close();
  }
});

test.each([9, 10, 12, 15])("a window of %i bits is kept to", async (bits) => {
  const socket = await openPacked("/echo", `; server_max_window_bits=${bits}`);
  try {
    await socket.send(text(long));
    await socket.sync();
    expect(socket.raw[0]?.rsv).toBe(4);
    expect(unpack(socket.raw[0]?.payload ?? TAIL, bits).toString()).toBe(long);
  } finally {
    socket.close();
  }
});

test("a window of 8 bits, which zlib cannot write, is kept to by sending as it is", async () => {
  const socket = await openPacked("/echo", "; server_max_window_bits=8");
  try {
    await socket.send(Buffer.concat([text(long), text(pack(long), RSV1)]));
    expect(await socket.sync()).toEqual([`text:${long}`, `text:${long}`]);
  } finally {
    socket.close();
  }
});

function rssOf(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
}
