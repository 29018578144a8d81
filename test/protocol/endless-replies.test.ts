/** Replies that always have a next piece: a client that takes them, or leaves in the middle, keeps nobody waiting. */
import { closeSync, openSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Socket } from "bun";
import { WriteTurns } from "../../src/protocol/turns";
import type { Dispatch } from "../../src/protocol/wire";
import { Sender } from "../../src/server/connection/sender";
import { Hub, makeProject, moduleSource } from "../support/hub";
import { startProgram } from "../support/program";
import { pairFiles, serverCertificate, TLS_FLAGS, TlsClient } from "../support/tls";
import { until } from "../support/until";

const source = moduleSource(`{ routes: {
  "PING": () => "PONG\\n",
  "CONNECTED": { async connect(connection) {
    try { for (;;) await connection.write("x".repeat(10_000)); } finally { console.log("left CONNECTED"); }
  } },
  "GENERATOR": async function* () { try { for (;;) yield "x".repeat(10_000); } finally { console.log("left GENERATOR"); } },
  "STREAM": () => new ReadableStream({ pull: (c) => c.enqueue("x".repeat(10_000)), cancel: () => console.log("left STREAM") }),
  "/generator": { fetch: () => new Response((async function* () {
    try { for (;;) yield "x".repeat(10_000); } finally { console.log("left /generator"); }
  })()) },
  "/stream": { fetch: () => new Response(new ReadableStream({
    pull: (c) => c.enqueue(new Uint8Array(10_000)), cancel: () => console.log("left /stream"),
  })) },
} }`);

let hub: Hub;
beforeAll(async () => {
  const dir = makeProject({ "modules/endless.ts": source, ...pairFiles(serverCertificate()) });
  hub = new Hub(dir, await startProgram(["--port", "0", ...TLS_FLAGS], { cwd: dir }));
});
afterAll(() => hub.stop());

async function mustServe(): Promise<void> {
  const client = await hub.connect();
  await client.send("PING");
  await client.waitFor("PONG\n");
  client.close();
}

/** Reads on as quickly as it can, and keeps nothing of it. */
async function takeAll(key: string): Promise<{ leave(): void }> {
  let received = 0;
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port: hub.port,
    socket: {
      data: (_, bytes) => void (received += bytes.length),
      open: (opened) => void opened.write(messageOf(key)),
    },
  });
  await until(`some of the reply to ${key}`, () => received > 200_000);
  return { leave: () => socket.terminate() };
}

const messageOf = (key: string) => (key.startsWith("/") ? `GET ${key} HTTP/1.1\r\nHost: a\r\n\r\n` : key);

/** How often a handler was told to end. */
const endsOf = (key: string) => hub.program.output().split(`left ${key}`).length - 1;

for (const key of ["CONNECTED", "GENERATOR", "STREAM", "/generator", "/stream"]) {
  test(`${key}: others are served while a client takes all that comes, and when it is gone its source is told`, async () => {
    const before = endsOf(key);
    for (let at = 0; at < 4; at++) {
      const client = await takeAll(key);
      await mustServe();
      client.leave();
      await mustServe();
    }
    const secure = await TlsClient.connect(hub.port);
    secure.socket.write(messageOf(key));
    secure.socket.resume();
    await until("some of the reply over TLS", () => secure.socket.bytesRead > 200_000);
    await mustServe();
    secure.socket.resetAndDestroy();
    await mustServe();
    await until(`five times "left ${key}"`, () => endsOf(key) - before === 5);
  });
}

/** A sender whose kernel takes `room` bytes and then says "closed", and that hears of no close event. */
function lostSender(room: number) {
  const dispatch = {
    limits: { maxWriteBufferBytes: 1000 },
    timeouts: { writeMs: 1000 },
    wheel: { arm() {}, disarm() {} },
  } as unknown as Dispatch;
  const calls = { writes: 0, pauses: 0, aborts: 0 };
  let left = room;
  const socket = {
    write(data: string | Uint8Array) {
      calls.writes++;
      const taken = left > 0 ? Math.min(left, data.length) : -1;
      left -= taken;
      return taken;
    },
    pause: () => void calls.pauses++,
    resume() {},
    fd: -1,
  };
  const sender: Sender = new Sender(
    dispatch,
    {
      abort() {
        calls.aborts++;
        sender.close();
      },
    },
    socket as unknown as Socket<unknown>,
  );
  return { sender, calls };
}

test("what writes to a socket that the kernel has closed waits until the connection is told, in a turn of its own", async () => {
  const { sender, calls } = lostSender(0);
  expect(sender.write("a")).toBe(false);
  expect(sender.write("a")).toBe(false);
  const waiting = sender.waitForDrain();
  await Promise.resolve();
  expect(calls).toEqual({ writes: 1, pauses: 0, aborts: 0 });
  await waiting;
  expect(calls).toEqual({ writes: 1, pauses: 0, aborts: 1 });
});

test("a socket that turns out to be closed at a drain event is told too, and nobody writes on", async () => {
  const { sender, calls } = lostSender(10);
  expect(sender.write("x".repeat(2000))).toBe(false);
  const waiting = sender.waitForDrain();
  expect(sender.flush()).toBe(false);
  expect(sender.write("more")).toBe(false);
  await waiting;
  expect(calls).toEqual({ writes: 2, pauses: 1, aborts: 1 });
});

test("a file is not read to its end for a socket that the kernel has closed", async () => {
  const { sender, calls } = lostSender(0);
  const fd = openSync("/dev/zero", "r");
  try {
    const sent = sender.sendFile(fd, 0, 2 ** 40, () => {});
    await sent;
    expect(calls).toEqual({ writes: 1, pauses: 0, aborts: 1 });
  } finally {
    closeSync(fd);
  }
});

test("a turn of the event loop has room for 256 pieces or a mebibyte", () => {
  const turns = new WriteTurns();
  const turnsIn = (count: number, bytes: number) =>
    Array.from({ length: count }, () => turns.count(bytes)).filter(Boolean).length;
  expect(turnsIn(1024, 1)).toBe(4);
  expect(turnsIn(255, 0)).toBe(0);
  expect(turnsIn(1, 0)).toBe(1);
  expect(turnsIn(4, 1_048_576)).toBe(4);
  expect(turnsIn(4, 524_288)).toBe(2);
});
