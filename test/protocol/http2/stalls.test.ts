/** Clients that begin something and do not go on: each loses its stream or its connection, in the server's time. */
import { readdirSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { RawClient } from "../../support/client";
import { Hub, makeProject, moduleSource, withHub } from "../../support/hub";
import {
  blockOf,
  connectFrames,
  frame,
  framesIn,
  getFrame,
  goawayCodes,
  OPENING,
  repliesIn,
  waitForFrames,
  withHttp2,
} from "../../support/http2";
import { startProgram } from "../../support/program";
import { eventually, until } from "../../support/until";

const routes = (run: string) => `
  "/${run}/stream": { run: "${run}", fetch: () => new Response(new ReadableStream({
    async pull(c) { await 0; c.enqueue(new Uint8Array(65536)); }, cancel() { console.log("${run} stream cancelled"); } })) },
  "/${run}/whole": { run: "${run}", fetch: () => new Response("w".repeat(3_000_000)) },
  "/${run}/file": { run: "${run}", fetch: () => new Response(Bun.file("big.bin")) },`;

let hub: Hub;
beforeAll(async () => {
  const dir = makeProject({
    "modules/m.ts": moduleSource(`{ routes: {${["inline", "pool", "process"].map(routes).join("")}
      "/hello": { fetch: () => new Response("hello") },
      "POST /length": { fetch: async (request) => new Response(String((await request.bytes()).length)) },
    } }`),
    "big.bin": "b".repeat(5_000_000),
    "static_html/big.bin": "b".repeat(5_000_000),
    "hrmr.json": JSON.stringify({ timeouts: { writeMs: 400, bodyMs: 400, headMs: 400, idleMs: 1500 } }),
  });
  hub = new Hub(dir, await startProgram(["--port", "0", "--threads", "2"], { cwd: dir, isMemoryMeasured: true }));
});
afterAll(() => hub.stop());

/** A client whose windows are 0. */
const CLOSED = Buffer.concat([OPENING, frame(4, 0, 0, "\0\x04\0\0\0\0")]);
const PING = frame(6, 0, 0, "12345678");
/** In KB. */
const memoryOf = (): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${hub.program.pid}/status`, "utf8"))?.[1]);
const descriptors = (): number => readdirSync(`/proc/${hub.program.pid}/fd`).length;

/** Sends PINGs until the client is over. */
async function goOnPinging(client: RawClient, isOver: () => boolean): Promise<void> {
  while (!isOver()) {
    await client.send(PING).catch(() => undefined);
    await Bun.sleep(20);
  }
}

async function isServed(): Promise<void> {
  expect((await withHttp2(hub.url, (client) => client.ask("/hello"))).body.toString()).toBe("hello");
}

const PATHS = ["inline", "pool", "process"].flatMap((run) =>
  ["stream", "whole", "file"].map((what) => `/${run}/${what}`),
);

for (const path of [...PATHS, "/big.bin"]) {
  test(`a stream whose client opens no window is reset, and PINGs do not keep it: ${path}`, async () => {
    const before = descriptors();
    const client = await connectFrames(hub.port, Buffer.concat([CLOSED, getFrame(1, path)]));
    let isOver = false;
    const pinging = goOnPinging(client, () => isOver);
    try {
      const frames = await waitForFrames(client, (all) => repliesIn(all).get(1)?.end != null);
      expect(repliesIn(frames).get(1)).toMatchObject({ status: 200, body: "", end: 8 });
      // The connection goes on.
      await client.send(frame(4, 0, 0, "\0\x04\0\0\xff\xff"));
      await client.send(getFrame(3, "/hello"));
      await waitForFrames(client, (all) => repliesIn(all).get(3)?.body === "hello");
    } finally {
      isOver = true;
      client.close();
      await pinging;
    }
    await until("its descriptors to be closed", () => descriptors() <= before);
    await until("nothing to be under way", async () =>
      (await hub.status()).modules.every(({ inFlight }) => inFlight === 0),
    );
    await isServed();
  });
}

test("a file whose client opens its window later arrives whole", async () => {
  for (const path of ["/big.bin", "/inline/file", "/pool/file"]) {
    const client = await connectFrames(hub.port, Buffer.concat([CLOSED, getFrame(1, path), PING]));
    await waitForFrames(client, (all) => all.some(({ type }) => type === 1) && all.some(({ type }) => type === 6));
    await client.send(Buffer.concat([frame(8, 0, 0, "\x3f\xff\0\0"), frame(8, 0, 1, "\x3f\xff\0\0")]));
    const frames = await waitForFrames(client, (all) => all.some(({ type, flags }) => type === 0 && (flags & 1) === 1));
    const body = frames.filter(({ type }) => type === 0).map(({ payload }) => payload);
    expect([path, Buffer.concat(body).equals(Buffer.alloc(5_000_000, "b"))]).toEqual([path, true]);
    client.close();
  }
});

test("several streams without a window end their connection with ENHANCE_YOUR_CALM, and leave nothing open", async () => {
  const before = descriptors();
  const memory = memoryOf();
  const clients = await Promise.all(
    Array.from({ length: 4 }, () =>
      connectFrames(
        hub.port,
        Buffer.concat([CLOSED, ...Array.from({ length: 200 }, (_, at) => getFrame(at * 2 + 1, "/big.bin"))]),
      ),
    ),
  );
  let isOver = false;
  const pinging = Promise.all(clients.map((client) => goOnPinging(client, () => isOver)));
  try {
    for (const client of clients) {
      await client.waitForEnd();
      expect(goawayCodes(client.bytes)).toEqual([11]);
    }
    // 800 parts of files would be 200 MB.
    await eventually(() => expect(memoryOf() - memory).toBeLessThan(80_000));
  } finally {
    isOver = true;
    for (const client of clients) client.close();
    await pinging;
  }
  await hub.program.waitFor(/this HTTP\/2 client was cut: 3 replies were not taken in time/);
  await until("the files to be closed", () => descriptors() <= before);
  await isServed();
});

test("a window that opens byte by byte is no progress", async () => {
  const client = await connectFrames(hub.port, Buffer.concat([CLOSED, getFrame(1, "/big.bin")]));
  let isOver = false;
  const trickling = (async () => {
    while (!isOver) {
      await client.send(frame(8, 0, 1, "\0\0\0\x01")).catch(() => undefined);
      await Bun.sleep(20);
    }
  })();
  try {
    const frames = await waitForFrames(client, (all) => repliesIn(all).get(1)?.end != null);
    expect(repliesIn(frames).get(1)?.end).toBe(8);
  } finally {
    isOver = true;
    client.close();
    await trickling;
  }
  await isServed();
});

test("a body that comes byte by byte, or not at all, gets a 408; the connection goes on", async () => {
  for (const part of [frame(0, 0, 1, "x"), PING]) {
    const client = await connectFrames(hub.port, Buffer.concat([OPENING, getFrame(1, "/length", false)]));
    let isOver = false;
    const trickling = (async () => {
      while (!isOver) {
        await client.send(part).catch(() => undefined);
        await Bun.sleep(20);
      }
    })();
    try {
      const frames = await waitForFrames(client, (all) => repliesIn(all).get(1)?.status === 408);
      expect(repliesIn(frames).get(1)?.body).toBe("The request did not arrive in time.\n");
      await client.send(getFrame(3, "/hello"));
      await waitForFrames(client, (all) => repliesIn(all).get(3)?.body === "hello");
    } finally {
      isOver = true;
      client.close();
      await trickling;
    }
  }
  await isServed();
});

test("a header block that does not end costs its client the connection", async () => {
  const get = blockOf([[":method", "GET"]]);
  for (const begun of [
    frame(1, 1, 1, get),
    frame(1, 5, 1, get).subarray(0, 12),
    Buffer.concat([getFrame(1, "/inline/stream"), frame(1, 1, 3, get)]),
  ]) {
    const client = await connectFrames(hub.port, Buffer.concat([OPENING, begun]));
    await client.waitForEnd();
    expect(goawayCodes(client.bytes)).toEqual([11]);
    client.close();
  }
  await isServed();
});

test("a client that only sends PINGs, settings and window updates is idle", async () => {
  const client = await connectFrames(hub.port, Buffer.concat([OPENING, getFrame(1, "/hello")]));
  let isOver = false;
  const pinging = (async () => {
    while (!isOver) {
      const idle = Buffer.concat([
        PING,
        frame(4, 0, 0),
        frame(8, 0, 0, "\0\0\0\x01"),
        frame(2, 0, 1, "\0\0\0\x03\x10"),
      ]);
      await client.send(idle).catch(() => undefined);
      await Bun.sleep(20);
    }
  })();
  try {
    await client.waitForEnd();
    expect(goawayCodes(client.bytes)).toEqual([0]);
    expect(repliesIn(framesIn(client.bytes)).get(1)?.body).toBe("hello");
  } finally {
    isOver = true;
    client.close();
    await pinging;
  }
});

test("while many replies wait for a client, its other requests wait too, and are answered when it takes them", () =>
  withHub(
    {
      "modules/m.ts": moduleSource(`{ setup: () => ({ calls: 0 }), routes: {
        "/large": { fetch: (request, { state }) => { state.calls++; return new Response("x".repeat(100_000)); } },
        "/calls": { fetch: (request, { state }) => new Response(String(state.calls)) },
      } }`),
    },
    [],
    async (quiet) => {
      const calls = async (): Promise<number> => Number(await (await fetch(`${quiet.url}/calls`)).text());
      const asks = Array.from({ length: 100 }, (_, at) => getFrame(at * 2 + 1, "/large"));
      const client = await connectFrames(quiet.port, Buffer.concat([CLOSED, ...asks, PING]));
      try {
        await waitForFrames(client, (all) => all.some(({ type }) => type === 6));
        expect(await calls()).toBeLessThan(20);
        // A few that wait hold up nobody: the other client has a paused one.
        const paused = await connectFrames(quiet.port, Buffer.concat([CLOSED, ...asks.slice(0, 4)]));
        await paused.send(Buffer.concat([frame(4, 0, 0, "\0\x04\0\0\0\x09"), getFrame(1001, "/calls")]));
        await waitForFrames(paused, (all) => repliesIn(all).get(1001)?.end === "whole");
        paused.close();
        await client.send(Buffer.concat([frame(8, 0, 0, "\x3f\xff\0\0"), frame(4, 0, 0, "\0\x04\x3f\xff\0\0")]));
        const whole = (all: ReturnType<typeof framesIn>): number =>
          all.filter(({ type, flags }) => type === 0 && (flags & 1) === 1).length;
        await waitForFrames(client, (all) => whole(all) === 100);
        expect(await calls()).toBe(104);
      } finally {
        client.close();
      }
    },
  ));
