/**
 * A client that reads nothing is cut after timeouts.writeMs, also if it goes on sending. HTTP/2: http2/stalls.test.ts.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { Hub, makeProject, moduleSource } from "../support/hub";
import { startProgram } from "../support/program";
import { pairFiles, serverCertificate, TLS_FLAGS, TlsClient } from "../support/tls";
import { binary, ping, pong, text, upgradeRequest } from "../support/websocket";
import { until } from "../support/until";

const routes = (run: string) => `
  "/${run}/stream": { run: "${run}", fetch: () => new Response(new ReadableStream({
    async pull(c) { await 0; c.enqueue(new Uint8Array(65536)); }, cancel() { console.log("${run} stream cancelled"); } })) },
  "/${run}/whole": { run: "${run}", fetch: () => new Response("w".repeat(16_000_000)) },
  "/${run}/file": { run: "${run}", fetch: () => new Response(Bun.file("big.bin")) },
  "${run.toUpperCase()} STREAM": { run: "${run}", handle: async function* () { for (;;) { await 0; yield "y".repeat(65536); } } },
  "${run.toUpperCase()} WHOLE": { run: "${run}", handle: () => "w".repeat(16_000_000) },`;

const MODULE = moduleSource(`{ routes: {${["inline", "pool", "process"].map(routes).join("")}
  "/socket": { websocket: { idleTimeoutMs: 60_000, maxQueuedBytes: 50_000_000, open(socket) { for (let i = 0; i < 200; i++) socket.send(new Uint8Array(200_000)); } } },
  "/echo": { websocket: { message: (socket, data) => socket.send(data) } },
  "/pongs": { websocket: {} },
  "CONNECT-TO ": { async connect(connection) { for (;;) await connection.write("z".repeat(65536)); } },
} }`);

let hub: Hub;
beforeAll(async () => {
  const dir = makeProject({
    "modules/m.ts": MODULE,
    "big.bin": "b".repeat(16_000_000),
    "static_html/big.bin": "b".repeat(16_000_000),
    ...pairFiles(serverCertificate()),
  });
  hub = new Hub(
    dir,
    await startProgram(["--port", "0", "--threads", "2", "--set", "timeouts.writeMs=400", ...TLS_FLAGS], { cwd: dir }),
  );
});
afterAll(() => hub.stop());

const descriptors = (): number => readdirSync(`/proc/${hub.program.pid}/fd`).length;
const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`;

/** The request of a client that does not read, and the bytes that it goes on sending. */
const CASES: [what: string, ask: string | Uint8Array, drip: string | Uint8Array][] = [
  ...["inline", "pool", "process"].flatMap((run): [string, string, string][] => [
    [`a stream, ${run}`, get(`/${run}/stream`), get("/health")],
    [`a large body, ${run}`, get(`/${run}/whole`), "\r\n"],
    [`a file by Bun.file, ${run}`, get(`/${run}/file`), get("/health")],
    [`a raw stream, ${run}`, `${run.toUpperCase()} STREAM`, "\n"],
    [`a large raw reply, ${run}`, `${run.toUpperCase()} WHOLE`, "STATUS\n"],
  ]),
  ["a static file", get("/big.bin"), get("/health")],
  ["pipelined files", get("/big.bin").repeat(20), "\r\n"],
  ["a WebSocket that is sent to, with pings", upgradeRequest("/socket"), ping("p")],
  ["a WebSocket that is sent to, with pongs", upgradeRequest("/socket"), pong("p")],
  ["a WebSocket that is sent to, with messages", upgradeRequest("/socket"), text("m")],
  ["a WebSocket of echoes", upgradeRequest("/echo"), binary(new Uint8Array(200_000))],
  ["a connection in a handler's hands", "CONNECT-TO it", "more"],
];

/** There the queued bytes are the same for all hosts. */
const TLS_CASES = CASES.filter(([what]) => !/pool|process|with pongs|with messages/.test(what));

for (const isSecure of [false, true]) {
  for (const [what, ask, drip] of isSecure ? TLS_CASES : CASES) {
    test(`a client that reads nothing of ${what} is cut${isSecure ? ", over TLS" : ""}, whatever it sends`, async () => {
      const before = descriptors();
      const open = (await hub.status()).connections.open;
      const client = isSecure ? await TlsClient.connect(hub.port) : await hub.connect();
      if (client instanceof TlsClient) client.socket.pause();
      else client.pause();
      let isOver = false;
      await client.send(ask);
      // All that it sends is no progress. Where nobody reads it any more it stays in the kernel, or here.
      const dripping = (async () => {
        while (!isOver) {
          try {
            await Promise.race([client.send(drip), Bun.sleep(20)]);
          } catch {
            return;
          }
          await Bun.sleep(20);
        }
      })();
      try {
        await until("the connection to be cut", async () => (await hub.status()).connections.open <= open);
        await until("its descriptors to be closed", () => descriptors() <= before);
        await until("nothing to be under way", async () =>
          (await hub.status()).modules.every(({ inFlight }) => inFlight === 0),
        );
      } finally {
        isOver = true;
        client.close();
        await dripping;
      }
      expect(await (await fetch(`${hub.url}/health`)).text()).toContain("ok");
    });
  }
}

test("a client that sends nothing but line ends is idle", async () => {
  const dir = makeProject({ "modules/m.ts": MODULE });
  const idle = new Hub(dir, await startProgram(["--port", "0", "--set", "timeouts.idleMs=400"], { cwd: dir }));
  try {
    for (const begin of ["", get("/health"), "STATUS\n"]) {
      const client = await idle.connect();
      if (begin !== "") await client.send(begin);
      await until("the connection to be closed", async () => {
        await client.send("\r\n").catch(() => undefined);
        return client.hasEnded;
      });
    }
    expect(await (await fetch(`${idle.url}/health`)).text()).toContain("ok");
  } finally {
    await idle.stop();
  }
});
