/** Request bodies in chunks of one byte cost memory near their size, in every way of reading them. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "bun:test";
import { GatheredBytes } from "../../../src/protocol/http1/gathered";
import { Hub, makeProject, moduleSource } from "../../support/hub";
import { startProgram } from "../../support/program";
import { binary, more, PART, RawWebSocket } from "../../support/websocket";

const BODY_BYTES = 1_000_000;
const CONNECTIONS = 4;
/**
 * Of the server and its modules' processes, for all of the connections: the collector is given some room. An object for
 * each byte takes 400 MB.
 */
const MAX_GROWTH_KB = 120_000;

const MODULE = moduleSource(`{
  routes: {
    "POST /bytes": { fetch: async (request) => new Response(String((await request.bytes()).length)) },
    "POST /seen": { fetch: async (request) => { void request.body; return new Response(String((await request.text()).length)); } },
    "POST /clone": { fetch: async (request) => {
      const copy = request.clone();
      const read = (await request.arrayBuffer()).byteLength;
      return new Response((await copy.text()).length === read ? String(read) : "the copy differs");
    } },
    "POST /stream": { fetch: async (request) => { let n = 0; for await (const part of request.body) n += part.length; return new Response(String(n)); } },
    "POST /late": { fetch: async (request) => { await Bun.sleep(50); return new Response(String((await request.bytes()).length)); } },
    "POST /pool": { run: "pool", fetch: async (request) => new Response(String((await request.bytes()).length)) },
    "GET /socket": { websocket: { message: (socket, data) => socket.send(String(data.length)) } },
    "LENGTH ": { framing: "line", handle: (message) => String(message.bytes.length) + "\\n" },
    "POST /process": { run: "process", fetch: async (request) => new Response(String((await request.bytes()).length)) },
  },
}`);

let hub: Hub;
beforeAll(async () => {
  const dir = makeProject({ "modules/bodies.ts": MODULE });
  hub = new Hub(dir, await startProgram(["--port", "0", "--set", "limits.maxMessageBytes=2000000"], { cwd: dir }));
});
afterAll(() => hub.stop());

/** The most memory that the server and its children have had, in KB. */
function peakKb(): number {
  const { pid } = hub.program;
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean);
  return [String(pid), ...children].reduce(
    (sum, one) => sum + Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${one}/status`, "utf8"))?.[1]),
    0,
  );
}

/** Sends the bytes on several connections at once and returns what each is answered. */
async function sendOnAll(head: string, body: Uint8Array): Promise<string[]> {
  return await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      const client = await hub.connect();
      await client.send(head);
      await client.send(body);
      return (await client.waitForEnd()).split("\r\n\r\n")[1] ?? "";
    }),
  );
}

const ONE_BYTE_CHUNKS = Buffer.from(`${"1\r\nX\r\n".repeat(BODY_BYTES)}0\r\n\r\n`);

for (const path of ["/bytes", "/seen", "/clone", "/stream", "/late", "/pool", "/process"]) {
  test(`a body of one-byte chunks to ${path} costs memory near its size`, async () => {
    const head = `POST ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n`;
    expect(await sendOnAll(head, Buffer.from("1\r\nX\r\n0\r\n\r\n"))).toEqual(Array(CONNECTIONS).fill("1"));
    const before = peakKb();
    expect(await sendOnAll(head, ONE_BYTE_CHUNKS)).toEqual(Array(CONNECTIONS).fill(String(BODY_BYTES)));
    expect(peakKb() - before).toBeLessThan(MAX_GROWTH_KB);
    expect(await (await fetch(`${hub.url}/health`)).text()).toContain("ok");
  });
}

test("a WebSocket message in fragments of one byte costs memory near its size", async () => {
  const before = peakKb();
  const fragments = Buffer.concat([binary("a", PART), ...Array.from({ length: 999 }, () => more("a", PART))]);
  const next = Buffer.concat(Array.from({ length: 1000 }, () => more("a", PART)));
  await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      const socket = await RawWebSocket.open(hub.port, "/socket");
      await socket.send(fragments);
      for (let sent = 1000; sent < BODY_BYTES; sent += 1000) await socket.send(next);
      await socket.send(more(""));
      expect(await socket.waitForFrames(1)).toEqual([`text:${BODY_BYTES}`]);
      socket.close();
    }),
  );
  expect(peakKb() - before).toBeLessThan(MAX_GROWTH_KB);
});

test("a raw message that comes in small pieces costs memory near its size", async () => {
  const before = peakKb();
  const client = await hub.connect();
  await client.send("LENGTH ");
  for (let sent = 0; sent < BODY_BYTES; sent += 50) await client.send("x".repeat(50));
  await client.send("\n");
  expect(await client.waitFor("\n")).toBe(`${BODY_BYTES + "LENGTH ".length}\n`);
  expect(peakKb() - before).toBeLessThan(MAX_GROWTH_KB);
});

test("a chunk's size with zeros in front without end is refused", async () => {
  const client = await hub.connect();
  await client.send("POST /bytes HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0000000000000001\r\nX\r\n");
  await client.send("0".repeat(17));
  expect(await client.waitForEnd()).toStartWith("HTTP/1.1 400 ");
  expect(await (await fetch(`${hub.url}/health`)).text()).toContain("ok");
});

test("what is gathered comes out whole and in order, however it was cut", () => {
  const whole = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7 + (i >> 8)) & 255));
  for (const sizes of [[1], [4096], [3, 5000, 1, 100], [70_000, 1], [65_536], [255, 1, 256]]) {
    const gathered = new GatheredBytes();
    for (let at = 0, turn = 0; at < whole.length; turn++) {
      const size = sizes[turn % sizes.length] as number;
      gathered.add(new Uint8Array(whole.subarray(at, at + size)));
      at = Math.min(whole.length, at + size);
      expect(gathered.length).toBe(at);
    }
    expect(Buffer.compare(gathered.take(), whole)).toBe(0);
    expect(gathered.length).toBe(0);
    expect(gathered.take().length).toBe(0);
  }
});

test("a request that waits behind another is held in memory near its size, sent byte by byte", async () => {
  const client = await hub.connect();
  await client.send("POST /late HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
  const next = `POST /bytes HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2000\r\n\r\n${"y".repeat(2000)}`;
  for (const byte of next) await client.send(byte);
  expect((await client.waitForEnd()).split("\r\n\r\n").at(-1)).toBe("2000");
});
