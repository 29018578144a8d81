/** A server that ends finishes the TLS handshakes that it has accepted. */
import { describe, expect, test } from "bun:test";
import type { ConnectionOptions } from "node:tls";
import { halfRecord, HeldLink, oneRecord } from "../../support/held-link";
import type { Hub } from "../../support/hub";
import { runProgram } from "../../support/program";
import { connectToEach, lives, processesIn, servingPids, withProcesses } from "../../support/supervised";
import { pairFiles, serverCertificate, TLS_FLAGS, TlsClient } from "../../support/tls";
import { until } from "../../support/until";

const FILES = pairFiles(serverCertificate("localhost"));
const HALVES = { "with half of its ClientHello sent": halfRecord, "that waits for the client's Finished": oneRecord };
const QUESTIONS = {
  "a text command": ["WHO\n", /^v1 \d+\n$/],
  "an HTTP request": [
    "GET /who HTTP/1.1\r\nHost: a\r\n\r\n",
    /^HTTP\/1\.1 200 [\s\S]*\r\nconnection: close\r\n[\s\S]*v1 \d+\n$/i,
  ],
} as const;

/** Clients in their handshake when `end` has every process drain; each then goes on, and asks. */
async function finishLate(hub: Hub, port: number, end: () => unknown, options: ConnectionOptions = {}): Promise<void> {
  const plain = [...(await connectToEach(hub, await servingPids(hub))).values()];
  const links: HeldLink[] = [];
  try {
    const clients = Object.values(HALVES).flatMap((half) =>
      Object.values(QUESTIONS).map(([question, answer]) => {
        const link = new HeldLink(port, half);
        links.push(link);
        const said = TlsClient.connect(link.port, options).then(async (client) => {
          const text = await client.send(question).waitForEnd();
          client.close();
          return text;
        });
        return { said, answer };
      }),
    );
    for (const link of links) await link.holds;
    await until(
      "all handshakes to have begun",
      async () => (await hub.status()).connections.byProtocol.tls === clients.length,
    );
    await end();
    // An idle connection is closed when its process drains.
    for (const client of plain) await client.waitForEnd();
    for (const link of links) link.release();
    for (const { said, answer } of clients) expect(await said).toMatch(answer);
  } finally {
    for (const link of links) link[Symbol.dispose]();
    for (const client of plain) client.close();
  }
}

function tlsPort(hub: Hub): number {
  return Number(/:(\d+)$/.exec(hub.program.listening.find((url) => url.startsWith("tls://")) ?? "")?.[1]);
}

describe("a TLS handshake that was accepted is finished and its client answered", () => {
  for (const processes of [1, 2]) {
    test(`when ${processes} process(es) get SIGTERM`, () =>
      withProcesses(
        processes,
        async (hub) => {
          await finishLate(hub, hub.port, () => hub.program.signal("SIGTERM"));
          expect(await hub.program.exited).toBe(0);
          expect(hub.program.output()).not.toContain("were cut");
        },
        FILES,
        TLS_FLAGS,
      ));
  }

  test("on a tls:// listener, and for a client that prefers HTTP/2", () =>
    withProcesses(
      1,
      async (hub) => {
        await finishLate(hub, tlsPort(hub), () => hub.program.signal("SIGTERM"), {
          ALPNProtocols: ["h2", "http/1.1"],
          maxVersion: "TLSv1.2",
        });
        expect(await hub.program.exited).toBe(0);
      },
      FILES,
      ["--listen", "tcp://127.0.0.1:0", "--listen", "tls://127.0.0.1:0", ...TLS_FLAGS],
    ));

  test("when a new process takes over", () =>
    withProcesses(
      1,
      async (hub) => {
        await finishLate(hub, hub.port, () => runProgram(["upgrade"], { cwd: hub.dir }));
        await until("the old process to end", () => !lives(hub.program.pid));
        await runProgram(["stop"], { cwd: hub.dir });
        await until("the new process to end", () => processesIn(hub.dir).length === 0);
      },
      FILES,
      TLS_FLAGS,
    ));

  test("when processes are replaced one after another", () =>
    withProcesses(
      2,
      async (hub) => {
        await finishLate(hub, hub.port, () => runProgram(["restart"], { cwd: hub.dir }));
        expect((await hub.status()).processes).toHaveLength(2);
      },
      FILES,
      TLS_FLAGS,
    ));
});

test("a client of a tls:// listener that stays silent does not hold up the end of the server", () =>
  withProcesses(
    1,
    async (hub) => {
      const silent = new HeldLink(tlsPort(hub), () => 0);
      try {
        const connecting = TlsClient.connect(silent.port).catch((error: Error) => error.message);
        await silent.holds;
        await until(
          "the server to have accepted it",
          async () => (await hub.status()).connections.byProtocol.tls === 1,
        );
        hub.program.signal("SIGTERM");
        expect(await hub.program.exited).toBe(0);
        expect(await connecting).toMatch(/closed|disconnected/);
        expect(hub.program.output()).not.toContain("were cut");
      } finally {
        silent[Symbol.dispose]();
      }
    },
    FILES,
    ["--listen", "tcp://127.0.0.1:0", "--listen", "tls://127.0.0.1:0", ...TLS_FLAGS],
  ));
