/** Frames that cost a client little: each flood ends its own connection, and the server goes on. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { type Hub, moduleSource, reuseHubs } from "../../support/hub";
import { blockOf, connectFrames, frame, getFrame, goawayCodes, OPENING, withHttp2 } from "../../support/http2";
import { eventually } from "../../support/until";

const reused = reuseHubs({ isMemoryMeasured: true });

const FILES = {
  "modules/web.ts": moduleSource(`{ routes: {
    "/hello": { fetch: () => new Response("hello") },
    "/wait": { fetch: async (request) => new Response(await request.bytes()) },
    "/large": { fetch: () => new Response(new Uint8Array(20_000_000)) },
  } }`),
};

const repeated = (one: Buffer, count: number): Buffer => Buffer.concat(Array.from({ length: count }, () => one));
const OPEN_STREAM = getFrame(1, "/wait", false);

/** By name: what opens the flood, and what it consists of. */
const FLOODS: Record<string, [opening: Buffer, flood: Buffer]> = {
  "empty DATA": [OPEN_STREAM, repeated(frame(0, 0, 1), 3000)],
  "DATA of nothing but padding": [OPEN_STREAM, repeated(frame(0, 8, 1, "\x04\0\0\0\0"), 3000)],
  PRIORITY: [OPEN_STREAM, repeated(frame(2, 0, 3, "\0\0\0\0\0"), 3000)],
  WINDOW_UPDATE: [OPEN_STREAM, repeated(frame(8, 0, 0, "\0\0\0\x01"), 3000)],
  "RST_STREAM of a closed stream": [
    Buffer.concat([OPEN_STREAM, frame(3, 0, 1, "\0\0\0\x08")]),
    repeated(frame(3, 0, 1, "\0\0\0\x08"), 3000),
  ],
  "HEADERS of a stream that was reset": [frame(1, 5, 1), repeated(frame(1, 5, 1), 3000)],
  PING: [Buffer.alloc(0), repeated(frame(6, 0, 0, "12345678"), 3000)],
  SETTINGS: [Buffer.alloc(0), repeated(frame(4, 0, 0), 3000)],
  "settings in frames of 16 KB": [Buffer.alloc(0), frame(4, 0, 0, "\0\x04\0\0\xff\xff".repeat(2730))],
  "DATA of a byte each": [OPEN_STREAM, repeated(frame(0, 0, 1, "x"), 3000)],
  "unknown frames": [Buffer.alloc(0), repeated(frame(0xbe, 0, 0, "x"), 3000)],
};

async function flood(hub: Hub, opening: Buffer, part: Buffer): Promise<number[]> {
  const client = await connectFrames(hub.port, Buffer.concat([OPENING, opening]));
  try {
    // A server that swallows it takes this in a second or two, and never ends the connection.
    for (let count = 0; count < 200 && !client.hasEnded; count++) await client.send(part).catch(() => undefined);
    await client.waitForEnd();
    return goawayCodes(client.bytes);
  } finally {
    client.close();
  }
}

const memoryOf = (hub: Hub): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${hub.program.pid}/status`, "utf8"))?.[1]);
const hello = (hub: Hub): Promise<string> =>
  withHttp2(hub.url, async (client) => (await client.ask("/hello")).body.toString());

for (const [name, [opening, part]] of Object.entries(FLOODS)) {
  test(`a flood of ${name} is cut with ENHANCE_YOUR_CALM`, () =>
    reused(FILES, [], async (hub) => {
      expect(await hello(hub)).toBe("hello");
      const before = memoryOf(hub);
      expect(await flood(hub, opening, part)).toEqual([11]);
      expect(await hello(hub)).toBe("hello");
      await hub.program.waitFor(
        /this HTTP\/2 client was cut: \d+ (frames without content|streams reset) within a second/,
      );
      await eventually(() => expect(memoryOf(hub) - before).toBeLessThan(60_000));
    }));
}

/** By what the client does: frames that make the server reset each stream, or that no limit by the second covers. */
const OFFENCES: Record<string, [part: (first: number) => Buffer, log: RegExp]> = {
  "makes the server reset streams, by window updates of 0": [
    (first) => each(first, (stream) => [getFrame(stream, "/wait", false), frame(8, 0, stream, "\0\0\0\0")]),
    /\d+ streams reset within a second/,
  ],
  "makes the server reset streams, by DATA behind their end": [
    (first) => each(first, (stream) => [getFrame(stream, "/wait"), frame(0, 0, stream, "x")]),
    /\d+ streams reset within a second/,
  ],
  "makes the server reset streams, by malformed requests": [
    (first) => each(first, (stream) => [frame(1, 5, stream, blockOf([["BAD", "x"]]))]),
    /\d+ streams reset within a second/,
  ],
  "opens streams above the limit": [
    (first) => each(first, (stream) => [getFrame(stream, "/wait", false)]),
    /\d+ streams reset within a second/,
  ],
  "sends CONTINUATIONs without end": [
    (first) => Buffer.concat([frame(1, 1, first, "\0"), repeated(frame(9, 0, first), 200)]),
    /\d+ frames of one header block/,
  ],
  "sends a header block without end": [
    (first) => Buffer.concat([frame(1, 1, first, "\0"), repeated(frame(9, 0, first, Buffer.alloc(16_384)), 20)]),
    /a header block of \d+ bytes/,
  ],
  "sends a bomb of table entries": [
    (first) =>
      Buffer.concat([
        frame(1, 5, first, Buffer.concat([Buffer.from([0x40, 1, 0x61, 0x7f, 0x80, 0x1e]), Buffer.alloc(3967, "x")])),
        frame(1, 5, first + 2, Buffer.alloc(16_000, 0xbe)),
      ]),
    /a header block that grows without bounds/,
  ],
};

const each = (first: number, frames: (stream: number) => Buffer[]): Buffer =>
  Buffer.concat(Array.from({ length: 1000 }, (_, at) => frames(first + at * 2)).flat());

for (const [what, [part, log]] of Object.entries(OFFENCES)) {
  test(`a client that ${what} is cut with ENHANCE_YOUR_CALM, and memory stays`, () =>
    reused(FILES, [], async (hub) => {
      expect(await hello(hub)).toBe("hello");
      const before = memoryOf(hub);
      for (let round = 0; round < 3; round++) {
        const client = await connectFrames(hub.port);
        for (let first = 1; first < 20_000 && !client.hasEnded; first += 2000)
          await client.send(part(first)).catch(() => undefined);
        await client.waitForEnd();
        expect(goawayCodes(client.bytes)).toEqual([11]);
        client.close();
      }
      expect(await hello(hub)).toBe("hello");
      await hub.program.waitFor(new RegExp(`this HTTP/2 client was cut: ${log.source}`));
      await eventually(() => expect(memoryOf(hub) - before).toBeLessThan(60_000));
      await eventually(async () =>
        expect((await hub.status()).modules.find(({ name }) => name === "web")?.inFlight).toBe(0),
      );
    }));
}

test("streams that are opened and reset at once are cut", () =>
  reused(FILES, [], async (hub) => {
    const pairs = Array.from({ length: 5000 }, (_, at) => {
      const stream = at * 2 + 1;
      return Buffer.concat([getFrame(stream, "/wait", false), frame(3, 0, stream, "\0\0\0\x08")]);
    });
    const codes = await flood(hub, Buffer.alloc(0), Buffer.concat(pairs));
    expect(codes.at(-1) ?? 11).toBe(11);
    expect(await hello(hub)).toBe("hello");
    await eventually(async () =>
      expect((await hub.status()).modules.find(({ name }) => name === "web")?.inFlight).toBe(0),
    );
  }));

test("a client with a small window that updates it for every frame is no flood", () =>
  reused({ ...FILES, "hrmr.json": '{ "http2": { "maxControlFramesPerSecond": 100 } }' }, [], async (hub) => {
    const client = await connectFrames(hub.port, Buffer.concat([OPENING, getFrame(1, "/large")]));
    let answered = 0;
    let read = 0;
    // Some hundreds of updates; the limit is 100 a second.
    const wanted = 5_000_000;
    while (read < wanted) {
      const bytes = await client.waitForBytes(answered + 1);
      const more = bytes.length - answered;
      answered = bytes.length;
      read += more;
      const size = Buffer.alloc(4);
      size.writeUInt32BE(more);
      // In four steps of each window.
      const quarter = Buffer.alloc(4);
      quarter.writeUInt32BE(Math.ceil(more / 2));
      await client.send(
        Buffer.concat([
          frame(8, 0, 0, quarter),
          frame(8, 0, 0, quarter),
          frame(8, 0, 1, quarter),
          frame(8, 0, 1, quarter),
        ]),
      );
    }
    expect(goawayCodes(client.bytes)).toEqual([]);
    client.close();
  }));

test("the limits can be set, and 0 is none", () =>
  reused(
    { ...FILES, "hrmr.json": '{ "http2": { "maxControlFramesPerSecond": 0, "maxResetsPerSecond": 10 } }' },
    [],
    async (hub) => {
      const client = await connectFrames(hub.port, Buffer.concat([OPENING, OPEN_STREAM]));
      await client.send(repeated(frame(8, 0, 0, "\0\0\0\x01"), 50_000));
      await client.send(frame(6, 0, 0, "are here"));
      await client.waitFor("are here");
      await client.send(repeated(frame(3, 0, 1, "\0\0\0\x08"), 11));
      await client.waitForEnd();
      expect(goawayCodes(client.bytes)).toEqual([11]);
      client.close();
    },
  ));
