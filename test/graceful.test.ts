/** How a server ends, and what a SIGHUP changes: of one process and of several. */
import { expect, test } from "bun:test";
import { moduleSource, type Hub } from "./support/hub";
import { ask, RawClient } from "./support/client";
import { withHttp2 } from "./support/http2";
import { Askers, askWho, connectToEach, lives, servingPids, whoModule, withProcesses } from "./support/supervised";
import { RawWebSocket } from "./support/websocket";
import { until } from "./support/until";

const TALK = moduleSource(`{ routes: {
  "/socket": { websocket: { message(socket, data) { socket.send(data); } } },
  "CHAT": { async connect(c) { for await (const line of c.lines()) await c.write(line + "\\n"); await c.write("bye\\n"); } },
  "/events": { fetch: () => new Response(new ReadableStream({ start: (c) => c.enqueue("data: one\\n\\n") }), { headers: { "content-type": "text/event-stream" } }) },
} }`);

/** Process ids of the server, whoever serves. */
async function allPids(hub: Hub): Promise<number[]> {
  return [...new Set([hub.program.pid, ...(await servingPids(hub))])];
}

for (const processes of [1, 2]) {
  const server = processes === 1 ? "one process" : "several processes";

  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    test(`${signal} to ${server} under keep-alive load: no request fails`, () =>
      withProcesses(processes, async (hub) => {
        const pids = await allPids(hub);
        const askers = new Askers(hub.port, 4, ["http", "fresh"]);
        await askers.answers(200);
        hub.program.signal(signal);
        const { failures, refused } = await askers.ended();
        expect(failures).toEqual([]);
        // Each was told by Connection: close or by a FIN, and then found nobody.
        expect(refused).toBe(8);
        expect(await hub.program.exited).toBe(0);
        expect(pids.filter(lives)).toEqual([]);
      }));
  }

  test(`SIGTERM to ${server}: slow requests finish, WebSockets are closed with 1001, connect handlers are told, event streams end`, () =>
    withProcesses(
      processes,
      async (hub) => {
        const slow = Array.from({ length: 4 }, () => fetch(`${hub.url}/slow`));
        const line = await hub.connect();
        await line.send("SLOW\n");
        const chat = await hub.connect();
        await chat.send("CHAT\n");
        await chat.waitFor("CHAT\n");
        const socket = await RawWebSocket.open(hub.port, "/socket");
        const events = await hub.connect();
        await events.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
        await events.waitFor("data: one");
        await hub.program.waitFor(/(began[\s\S]*){5}/);
        hub.program.signal("SIGTERM");
        for (const response of slow) expect(await (await response).text()).toStartWith("v1 ");
        expect(await line.waitForEnd()).toStartWith("v1 ");
        expect(await chat.waitForEnd()).toBe("CHAT\nbye\n");
        expect((await socket.outcome()).code).toBe(1001);
        await events.waitForEnd();
        expect(await hub.program.exited).toBe(0);
        expect(hub.program.output()).not.toContain("were cut");
      },
      { "modules/talk.ts": TALK },
    ));

  test(`SIGTERM to ${server}: an HTTP/2 client gets the reply that it waits for, and GOAWAY`, () =>
    withProcesses(processes, (hub) =>
      withHttp2(hub.url, async (client) => {
        const reply = client.ask("/slow");
        await hub.program.waitFor("began");
        hub.program.signal("SIGTERM");
        expect((await reply).body.toString()).toStartWith("v1 ");
        await client.closed;
        expect(client.goaways).toContain(0);
        expect(await hub.program.exited).toBe(0);
      }),
    ));

  test(`SIGTERM to ${server}: a request that is on its way is answered`, () =>
    withProcesses(processes, async (hub) => {
      const half = await hub.connect();
      await half.send("GET /who HT");
      const raw = await hub.connect();
      await raw.send("WH");
      // Both are in the server's hands: another connection behind them has been answered by each process.
      await connectToEach(hub, await servingPids(hub));
      hub.program.signal("SIGTERM");
      await hub.program.waitFor("finishing what is under way");
      await half.send("TP/1.1\r\nHost: a\r\n\r\n");
      await raw.send("O\n");
      expect(await half.waitForEnd()).toMatch(/^HTTP\/1.1 200 [\s\S]*\r\n\r\nv1 \d+\n$/);
      expect(await raw.waitForEnd()).toMatch(/^v1 \d+\n$/);
      expect(await hub.program.exited).toBe(0);
    }));

  test(`what ${server} cut at drainMs is named in the log`, () =>
    withProcesses(
      processes,
      async (hub) => {
        const client = await RawClient.connect(hub.port);
        try {
          await client.send("NEVER\n");
          await hub.program.waitFor("began");
          hub.program.signal("SIGTERM");
          await client.waitForEnd();
          expect(await hub.program.exited).toBe(0);
          expect(hub.program.output()).toMatch(
            /SIGTERM, and 300 ms later: 1 open connections were cut: #\d+ 127\.0\.0\.1:\d+/,
          );
        } finally {
          client.close();
        }
      },
      { "hrmr.json": '{ "timeouts": { "drainMs": 300 } }' },
    ));

  test(`a second signal ends ${server} at once, whatever is under way`, () =>
    withProcesses(processes, async (hub) => {
      const pids = await allPids(hub);
      for (const client of (await connectToEach(hub, await servingPids(hub))).values()) await client.send("NEVER\n");
      await hub.program.waitFor("began");
      hub.program.signal("SIGTERM");
      await hub.program.waitFor("a second one ends at once");
      hub.program.signal("SIGTERM");
      expect(await hub.program.exited).toBe(143);
      await until("the end of all processes", () => !pids.some(lives));
    }));

  test(`during the drain of ${server} /ready is false, and new connections are refused`, () =>
    withProcesses(processes, async (hub) => {
      const client = await hub.connect();
      const slow = fetch(`${hub.url}/slow`);
      await hub.program.waitFor("began");
      hub.program.signal("SIGTERM");
      await until("503", async () => {
        await client.clear().send("GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n");
        return (await client.waitFor(/\r\n\r\n[\s\S]+/)).startsWith("HTTP/1.1 503 ");
      });
      expect(client.text).toContain("draining");
      expect(client.text).toMatch(/^connection: close\r$/im);
      await expect(RawClient.connect(hub.port)).rejects.toThrow();
      await client.waitForEnd();
      expect(await (await slow).text()).toStartWith("v1 ");
      expect(await hub.program.exited).toBe(0);
    }));

  test(`SIGHUP has ${server} read limits, log level and module settings anew`, () =>
    withProcesses(
      processes,
      async (hub) => {
        const clients = await connectToEach(hub, await servingPids(hub));
        hub.write(
          "hrmr.json",
          JSON.stringify({
            limits: { maxMessageBytes: 30 },
            log: { level: "debug" },
            modules: { told: { word: "two" } },
          }),
        );
        hub.program.signal("SIGHUP");
        await hub.program.waitFor(/SIGHUP: OK/);
        expect(hub.program.output()).toMatch(/told v2/);
        for (const client of clients.values()) {
          await client.clear().send("TOLD\n");
          expect(await client.waitFor("\n")).toBe("two\n");
          await client.clear().send("DEBUG\n");
          await client.waitFor("\n");
          await client.clear().send(`TOLD ${"x".repeat(100)}\n`);
          expect(await client.waitForEnd()).toBe("ERR message over 30 bytes\n");
        }
        expect(hub.program.output().match(/heard with debug/g)).toHaveLength(processes);
      },
      { "hrmr.json": JSON.stringify({ modules: { told: { word: "one" } } }), "modules/told.ts": TOLD },
    ));

  test(`SIGHUP to ${server} refuses by name what needs a restart, and changes nothing`, () =>
    withProcesses(
      null,
      async (hub) => {
        hub.write("modules/who.ts", whoModule(2));
        const config = {
          listen: ["tcp://127.0.0.1:0"],
          processes: 5,
          threads: 7,
          limits: { maxMessageBytes: 10 },
          pidFile: "other.pid",
        };
        hub.write("hrmr.json", JSON.stringify(config));
        hub.program.signal("SIGHUP");
        await hub.program.waitFor(/SIGHUP: ERR the configuration was not reloaded/);
        const line = /SIGHUP: ERR .*/.exec(hub.program.output())?.[0] ?? "";
        for (const name of ["processes", "threads", "pidFile"]) expect(line).toContain(name);
        expect(line).not.toContain("maxMessageBytes");
        for (const client of (await connectToEach(hub, await servingPids(hub))).values()) {
          expect((await askWho(client)).version).toBe(1);
          await client.clear().send("a line that is longer than ten bytes\n");
          expect(await client.waitFor("\n")).toStartWith("ERR no module is bound");
        }
        hub.write("hrmr.json", JSON.stringify({ processes }));
        expect(await ask(hub.port, "RELOAD\n")).toStartWith("OK who v2");
      },
      { "hrmr.json": JSON.stringify({ processes }) },
    ));

  test(`SIGHUP to ${server} with a config file that is broken tells the line, and changes nothing`, () =>
    withProcesses(
      null,
      async (hub) => {
        hub.write("hrmr.json", '{\n  "limits": { "maxMessageBytes": "many" }\n}');
        hub.program.signal("SIGHUP");
        await hub.program.waitFor(/SIGHUP: ERR[\s\S]*hrmr\.json:2/);
        expect(await ask(hub.port, "WHO\n")).toStartWith("v1 ");
      },
      { "hrmr.json": JSON.stringify({ processes }) },
    ));
}

const TOLD = moduleSource(`{ routes: {
  "TOLD": { framing: "line", handle: (_message, { config }) => config.word + "\\n" },
  "DEBUG": { framing: "line", handle: (_message, { log }) => { log.debug("heard with debug"); return "\\n"; } },
} }`);
