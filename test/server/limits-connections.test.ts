/**
 * limits.maxNewConnectionsPerSecond: how fast one address may connect. Loopback is never counted, so these clients come
 * by another address.
 */
import { expect, test } from "bun:test";
import { networkInterfaces } from "node:os";
import { ask, RawClient } from "../support/client";
import { type Hub, moduleSource, withHub } from "../support/hub";
import { eventually, until } from "../support/until";

const FILES = {
  "modules/own.ts": moduleSource(`{ routes: { "PING": () => "PONG\\n" } }`),
  "hrmr.json": '{ "limits": { "maxNewConnectionsPerSecond": 5 } }',
};

const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
const outer = addresses.find(({ internal, family }) => !internal && family === "IPv4")?.address ?? "";
/** Where there is none but loopback (a container without a network), nothing can be counted. */
const needsAddress = test.skipIf(outer === "");

/** @returns whether the connection is served; one that is refused is closed at once */
async function isServed(port: number): Promise<boolean> {
  let client: RawClient | null = null;
  try {
    client = await RawClient.connect({ hostname: outer, port });
    await client.send("PING");
    await client.waitFor("PONG\n");
    return true;
  } catch {
    return false;
  } finally {
    client?.close();
  }
}

const everywhere = async (run: (hub: Hub) => Promise<void>): Promise<void> =>
  withHub(FILES, ["--listen", "tcp://0.0.0.0:0"], run);

needsAddress(
  "of one address so many are served within a second, the others are closed, and the next second serves again",
  () =>
    everywhere(async (hub) => {
      const startedAt = performance.now();
      const served = [];
      for (let count = 0; count < 30; count++) served.push(await isServed(hub.port));
      const seconds = Math.floor((performance.now() - startedAt) / 1000);
      expect(served.slice(0, 5)).toEqual([true, true, true, true, true]);
      expect(served.filter(Boolean).length).toBeLessThanOrEqual(5 * (seconds + 2));
      expect(served).toContain(false);
      await until("the next second serves again", () => isServed(hub.port));
      await hub.program.waitFor(/connections refused: .*one address has too many, or opens them too fast/);
    }),
);

needsAddress("a storm of connections from one address leaves this machine's clients alone", () =>
  everywhere(async (hub) => {
    const storm = Array.from({ length: 300 }, () => isServed(hub.port));
    for (let count = 0; count < 50; count++) expect(await hub.ask("PING")).toBe("PONG\n");
    const served = (await Promise.all(storm)).filter(Boolean).length;
    expect(served).toBeGreaterThanOrEqual(5);
    expect(served).toBeLessThan(150);
    await eventually(async () => expect((await hub.status()).openConnections).toBe(1));
  }),
);

test("unix and loopback clients are not counted", async () => {
  const path = `/tmp/hrmr-rate-${process.pid}.sock`;
  await withHub(FILES, ["--listen", "tcp://127.0.0.1:0", "--listen", `unix://${path}`], async (hub) => {
    for (let count = 0; count < 20; count++) {
      expect(await ask(path, "PING")).toBe("PONG\n");
      expect(await hub.ask("PING")).toBe("PONG\n");
    }
  });
});
