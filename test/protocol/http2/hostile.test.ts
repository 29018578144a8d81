/** Sessions of HTTP/2 with random changes: no crash, no bug in the log, nothing left open, and others are served. */
import { expect, test } from "bun:test";
import { RawClient } from "../../support/client";
import { blockOf, type Fields, frame, getFrame, headersFrame, OPENING, withHttp2 } from "../../support/http2";
import { moduleSource, withHub } from "../../support/hub";
import { forSeeds } from "../../support/random";
import { text } from "../../support/websocket";
import { until } from "../../support/until";

const FILES = {
  "modules/web.ts": moduleSource(`{ routes: {
    "/hello": { fetch: () => new Response("hello") },
    "/late": { fetch: async () => { await Bun.sleep(1); return new Response("late"); } },
    "POST /echo": { fetch: (request) => new Response(request.body) },
    "POST /sum": { run: "pool", fetch: async (request, context) => {
      const length = (await request.text()).length;
      context.responseTrailers.set("x-sum", (await context.requestTrailers).get("x-sum") ?? "none");
      return new Response(String(length));
    } },
    "/parts": { fetch: () => new Response((async function* () { for (let i = 0; i < 20; i++) { await 1; yield "x".repeat(5000); } })()) },
    "/echo-socket": { websocket: { message: (socket, data) => socket.send(data) } },
  } }`),
};

const post = (path: string): Fields => [
  [":method", "POST"],
  [":scheme", "http"],
  [":authority", "localhost"],
  [":path", path],
];
const CONNECT: Fields = [
  [":method", "CONNECT"],
  [":protocol", "websocket"],
  [":scheme", "http"],
  [":authority", "localhost"],
  [":path", "/echo-socket"],
  ["sec-websocket-version", "13"],
];

/** One of all that a client may do. */
const SESSION = Buffer.concat([
  OPENING,
  getFrame(1, "/hello"),
  frame(2, 0, 3, "\0\0\0\x01\x10"),
  headersFrame(5, post("/echo"), false),
  frame(0, 8, 5, "\x02body\0\0"),
  frame(8, 0, 0, "\0\0\x10\0"),
  frame(0, 1, 5, "more"),
  headersFrame(7, post("/sum"), false),
  frame(0, 0, 7, "12345"),
  headersFrame(7, [["x-sum", "5"]]),
  headersFrame(9, CONNECT, false),
  frame(0, 0, 9, text("a message")),
  frame(1, 1, 11, blockOf(post("/late").slice(1))),
  frame(9, 4, 11, blockOf([])),
  frame(1, 5, 13, Buffer.concat([Buffer.from([0x40, 1, 0x61, 1, 0x62]), blockOf(post("/hello"))])),
  getFrame(15, "/parts"),
  frame(4, 0, 0, "\0\x04\0\0\x20\0"),
  frame(6, 0, 0, "12345678"),
  frame(3, 0, 15, "\0\0\0\x08"),
  getFrame(17, "/late"),
  frame(7, 0, 0, "\0\0\0\0\0\0\0\0"),
]);

test("sessions with changed, lost, doubled and random bytes cost nobody else anything", () =>
  withHub(
    { ...FILES, "hrmr.json": '{ "timeouts": { "bodyMs": 2000, "idleMs": 2000, "writeMs": 2000 } }' },
    [],
    async (hub) => {
      const sessions: Buffer[] = [SESSION];
      forSeeds(600, (random) => {
        const bytes = Buffer.from(SESSION);
        const from = random.below(4) === 0 ? 0 : OPENING.length;
        const at = (): number => from + random.below(bytes.length - from);
        switch (random.below(4)) {
          case 0:
            for (let count = random.below(8); count >= 0; count--) bytes[at()] = random.below(256);
            return void sessions.push(bytes);
          case 1: {
            const cut = at();
            return void sessions.push(Buffer.concat([bytes.subarray(0, cut), bytes.subarray(cut + random.below(20))]));
          }
          case 2: {
            const cut = at();
            return void sessions.push(
              Buffer.concat([bytes.subarray(0, cut), bytes.subarray(Math.max(from, cut - random.below(60)))]),
            );
          }
          default:
            return void sessions.push(
              Buffer.concat([bytes.subarray(0, at()), Buffer.from(random.list(200, () => random.below(256)))]),
            );
        }
      });
      for (let at = 0; at < sessions.length; at += 50) {
        const clients = await Promise.all(sessions.slice(at, at + 50).map(() => RawClient.connect(hub.port)));
        await Promise.all(
          clients.map((client, index) => client.send(sessions[at + index] as Buffer).catch(() => undefined)),
        );
        const { body } = await withHttp2(hub.url, (client) => client.ask("/late"));
        expect(body.toString()).toBe("late");
        for (const client of clients) client.close();
      }
      await until("all connections to be closed", async () => (await hub.status()).connections.open === 1);
      await until("nothing to be under way", async () =>
        (await hub.status()).modules.every(({ inFlight }) => inFlight === 0),
      );
      expect(hub.program.output()).not.toMatch(/a bug in hrmr|uncaught|unhandled/i);
      expect((await withHttp2(hub.url, (client) => client.ask("/hello"))).body.toString()).toBe("hello");
    },
  ));
