/**
 * Server-sent events over reloads, of their own module and of others: examples/sse.ts as it is, but for its interval.
 */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Hub, moduleSource, reuseHubs } from "../../support/hub";
import type { RawClient } from "../../support/client";
import { until } from "../../support/until";

const reused = reuseHubs();

const SSE = readFileSync(join(import.meta.dir, "../../../examples/sse.ts"), "utf8").replace(
  "INTERVAL_MS = 1000",
  "INTERVAL_MS = 40",
);
const page = (version: number) => moduleSource(`{ routes: { "/page": { fetch: () => new Response("v${version}") } } }`);

const STREAMS = 100;
/** More of them: npm run test:long. */
const RELOADS = Number(process.env["HRMR_TEST_RELOADS"] ?? 8);

/** The id of the newest whole event; 0: none came yet. */
function lastId(client: RawClient): number {
  return Number([...client.text.matchAll(/id: (\d+)\nevent: tick\ndata: .*\n\n/g)].at(-1)?.[1] ?? 0);
}

async function openStreams(hub: Hub, count: number): Promise<RawClient[]> {
  const clients = await Promise.all(Array.from({ length: count }, () => hub.connect()));
  for (const client of clients)
    await client.send("GET /events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n");
  for (const client of clients) await client.waitFor("id: 1\n");
  return clients;
}

/** Every stream has a new event, and none was lost on the way. */
async function goOn(clients: RawClient[]): Promise<void> {
  for (const client of clients) {
    const before = lastId(client);
    await client.waitFor(`id: ${before + 2}\n`);
    expect(client.hasEnded).toBe(false);
    const ids = [...client.text.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id));
    expect(ids).toEqual(Array.from({ length: ids.length }, (_, at) => at + 1));
  }
}

test(`${STREAMS} event streams stay open through ${RELOADS} reloads of their own module and of another, and go on receiving`, () =>
  reused(
    // Without the exemption of event streams the drain deadline would cut them.
    { "modules/sse.ts": SSE, "modules/page.ts": page(1), "hrmr.json": '{ "timeouts": { "drainMs": 100 } }' },
    [],
    async (hub) => {
      const clients = await openStreams(hub, STREAMS);
      for (let reload = 2; reload <= RELOADS + 1; reload++) {
        hub.write("modules/page.ts", page(reload));
        if (reload % 2 === 0) hub.write("modules/sse.ts", `${SSE}\nexport const version = ${reload};\n`);
        const verdict = await hub.ask("RELOAD\n");
        expect(verdict).toStartWith("OK ");
        expect(verdict).toContain("0 connections dropped");
        expect(await (await fetch(`${hub.url}/page`)).text()).toBe(`v${reload}`);
      }
      await goOn(clients);
      const sse = (await hub.status()).modules.find((module) => module.name === "sse");
      expect(sse?.draining).toEqual([{ generation: 1, inFlight: STREAMS, pinnedBy: { stream: STREAMS } }]);
      // New ones come from the newest version; those that leave free the old one.
      const [late] = await openStreams(hub, 1);
      for (const client of clients) client.close();
      await drained(hub);
      if (late !== undefined) await goOn([late]);
    },
  ));

test("a stream that comes back says where it was, and gets what follows", () =>
  reused({ "modules/sse.ts": SSE }, [], async (hub) => {
    const client = await hub.connect();
    await client.send("GET /events?count=2 HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 41\r\n\r\n");
    await client.waitFor("\r\n0\r\n\r\n");
    expect([...client.text.matchAll(/^id: (\d+)$/gm)].map(([, id]) => id)).toEqual(["42", "43"]);
  }));

async function drained(hub: Hub): Promise<void> {
  await until("the old versions have drained", async () => {
    const draining = (await hub.status()).modules.find((module) => module.name === "sse")?.draining ?? [];
    return draining.length === 0;
  });
}

test("a shutdown ends event streams whole and at once, over HTTP/1.1 and HTTP/2, and does not wait for drainMs", () =>
  reused({ "modules/events.ts": SSE, "hrmr.json": `{ "timeouts": { "drainMs": 600000 } }` }, [], async (hub) => {
    const [client] = await openStreams(hub, 1);
    const child = Bun.spawn(["curl", "-sN", "--http2-prior-knowledge", `${hub.url}/events`], {
      stdout: "pipe",
      stderr: "ignore",
    });
    try {
      const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
      for (let text = ""; !text.includes("id: 1\n");) {
        const part = await reader.read();
        if (part.done) throw new Error(`curl ended before an event came: ${text}`);
        text += part.value;
      }
      hub.program.signal("SIGTERM");
      expect(await client?.waitForEnd()).toEndWith("\r\n0\r\n\r\n");
      expect(await child.exited).toBe(0);
      let exitCode: number | undefined;
      void hub.program.exited.then((code) => (exitCode = code));
      await until("the server has ended, long before its drainMs", () => exitCode !== undefined);
      expect(exitCode).toBe(0);
    } finally {
      child.kill();
    }
  }));
