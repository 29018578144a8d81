/** Tests of a server's end, and of SIGHUP: with one process and with several. */
import { expect, test } from "bun:test";
import { moduleSource, type Hub } from "./hub";
import { ask, RawClient } from "./client";
import { withHttp2 } from "./http2";
import { Askers, askWho, connectToEach, lives, servingPids, whoModule, withProcesses } from "./supervised";
import { RawWebSocket } from "./websocket";
import { until } from "./until";

/**
 * HOLD and /hold answer once there is a file "go" in the project, and say first that they hold.
 *
 * PROBE has connections to its own process: a silent one, and two that have sent half a message. A draining server
 * closes such a connection after 300 ms, in which a client on a loaded machine may not get its turn; so the handler
 * itself, which is told of the drain, sends the rest, and gives its client what was answered.
 */
const TALK = moduleSource(`{ routes: {
  "HOLD": { framing: "line", handle: held },
  "/hold": { fetch: async () => new Response(await held()) },
  "/socket": { websocket: { message(socket, data) { socket.send(data); } } },
  "CHAT": { async connect(c) { for await (const line of c.lines()) await c.write(line + "\\n"); await c.write("bye\\n"); } },
  "/events": { fetch: () => new Response(new ReadableStream({ start: (c) => c.enqueue("data: one\\n\\n") }), { headers: { "content-type": "text/event-stream" } }) },
  "PROBE ": { async connect(c) {
    const lines = c.lines();
    const { value } = await lines.next();
    const own = [];
    for (const half of ["", "GET /who HT", "WH"]) own.push(await connectToSelf(Number(value.slice(6)), half));
    await c.write("probes\\n");
    await lines.next();
    const rests = ["GET /ready HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n", "TP/1.1\\r\\nHost: a\\r\\n\\r\\n", "O\\n"];
    await c.write(JSON.stringify(await Promise.all(own.map((finish, at) => finish(rests[at])))));
  } },
} }`).concat(`
async function held() {
  console.log("held");
  while (!(await Bun.file("go").exists())) await Bun.sleep(5);
  return "let go\\n";
}

async function connectToSelf(port, half) {
  for (;;) {
    let text = "";
    const answered = Promise.withResolvers();
    const ended = Promise.withResolvers();
    const data = (_, bytes) => { text += bytes; answered.resolve(); };
    const socket = await Bun.connect({ hostname: "127.0.0.1", port, socket: { data, close: ended.resolve, end: ended.resolve } });
    socket.write("WHO\\n");
    await answered.promise;
    if (text.endsWith(" " + process.pid + "\\n")) {
      text = "";
      socket.write(half);
      return async (rest) => { socket.write(rest); await ended.promise; return text; };
    }
    socket.terminate();
  }
}
`);

/** So long that no wait of the server ends between two steps of a test on a loaded machine. */
const PATIENT = JSON.stringify({
  timeouts: { drainMs: 60_000, requestMs: 60_000, handlerMs: 60_000, prefixWaitMs: 60_000, idleMs: 60_000 },
});

/** The process ids of the server. */
async function allPids(hub: Hub): Promise<number[]> {
  return [...new Set([hub.program.pid, ...(await servingPids(hub))])];
}

/** Defines the tests of one file: the end of a server of so many processes, and SIGHUP. */
export function testGraceful(processes: number): void {
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

  test(`SIGTERM to ${server}: nobody new is let in, and /ready is false; slow requests and those on their way are answered, HTTP/2 clients get GOAWAY, WebSockets 1001, connect handlers are told, event streams end`, () =>
    withProcesses(
      processes,
      (hub) =>
        withHttp2(hub.url, async (client) => {
          const pids = await allPids(hub);
          const probes = [...(await connectToEach(hub, await servingPids(hub))).values()];
          for (const probe of probes) {
            await probe.clear().send(`PROBE ${hub.port}\n`);
            await probe.waitFor("probes\n");
          }
          const line = await hub.connect();
          await line.send("HOLD\n");
          const slow = Array.from({ length: 4 }, () => fetch(`${hub.url}/hold`).then((response) => response.text()));
          const reply = client.ask("/hold");
          const chat = await hub.connect();
          await chat.send("CHAT\n");
          await chat.waitFor("CHAT\n");
          const socket = await RawWebSocket.open(hub.port, "/socket");
          const events = await hub.connect();
          await events.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
          await events.waitFor("data: one");
          await hub.program.waitFor(/(held[\s\S]*){6}/);
          hub.program.signal("SIGTERM");
          for (const probe of probes) {
            const [ready, half, raw] = JSON.parse((await probe.waitForEnd()).replace("probes\n", "")) as string[];
            expect(ready).toMatch(/^HTTP\/1\.1 503 [\s\S]*\r\nconnection: close\r\n[\s\S]*draining/i);
            expect(half).toMatch(/^HTTP\/1.1 200 [\s\S]*\r\n\r\nv1 \d+\n$/);
            expect(raw).toMatch(/^v1 \d+\n$/);
          }
          await expect(RawClient.connect(hub.port)).rejects.toThrow();
          expect(await chat.waitForEnd()).toBe("CHAT\nbye\n");
          expect((await socket.outcome()).code).toBe(1001);
          await events.waitForEnd();
          expect(lives(hub.program.pid)).toBe(true);
          hub.write("go", "");
          expect(await Promise.all(slow)).toEqual(slow.map(() => "let go\n"));
          expect(await line.waitForEnd()).toBe("let go\n");
          expect((await reply).body.toString()).toBe("let go\n");
          await client.closed;
          expect(client.goaways).toContain(0);
          expect(await hub.program.exited).toBe(0);
          expect(hub.program.output()).not.toContain("were cut");
          expect(pids.filter(lives)).toEqual([]);
        }),
      { "modules/talk.ts": TALK, "hrmr.json": PATIENT },
    ));

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
          await hub.program.waitFor(/SIGTERM, and 300 ms later: 1 open connections were cut: #\d+ 127\.0\.0\.1:\d+/);
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

  test(`SIGHUP to ${server} with a config file that is broken, or with what needs a restart, tells the line or the names, and changes nothing; limits, log level and module settings are read anew`, () =>
    withProcesses(
      null,
      async (hub) => {
        hub.write("hrmr.json", '{\n  "limits": { "maxMessageBytes": "many" }\n}');
        hub.program.signal("SIGHUP");
        await hub.program.waitFor(/SIGHUP: ERR[\s\S]*hrmr\.json:2/);
        expect(await ask(hub.port, "WHO\n")).toStartWith("v1 ");

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
        await hub.program.waitFor(/SIGHUP: ERR the configuration was not reloaded: .*pidFile/);
        const line = /SIGHUP: ERR .*pidFile.*/.exec(hub.program.output())?.[0] ?? "";
        for (const name of ["processes", "threads", "pidFile"]) expect(line).toContain(name);
        expect(line).not.toContain("maxMessageBytes");
        const clients = await connectToEach(hub, await servingPids(hub));
        for (const client of clients.values()) {
          expect((await askWho(client)).version).toBe(1);
          await client.clear().send("a line that is longer than ten bytes\n");
          expect(await client.waitFor("\n")).toStartWith("ERR no module is bound");
          await client.clear().send("TOLD\n");
          expect(await client.waitFor("\n")).toBe("one\n");
        }
        hub.write("hrmr.json", JSON.stringify({ processes, threads: 2, modules: { told: { word: "one" } } }));
        expect(await ask(hub.port, "RELOAD\n")).toStartWith("OK who v2");

        hub.write(
          "hrmr.json",
          JSON.stringify({
            processes,
            threads: 2,
            limits: { maxMessageBytes: 30 },
            log: { level: "debug" },
            modules: { told: { word: "two" } },
          }),
        );
        hub.program.signal("SIGHUP");
        await hub.program.waitFor(/SIGHUP: OK/);
        await hub.program.waitFor(/told v2/);
        for (const client of clients.values()) {
          await client.clear().send("TOLD\n");
          expect(await client.waitFor("\n")).toBe("two\n");
          await client.clear().send("DEBUG\n");
          await client.waitFor("\n");
          await client.clear().send(`TOLD ${"x".repeat(100)}\n`);
          expect(await client.waitForEnd()).toBe("ERR message over 30 bytes\n");
        }
        await until("each process has logged with debug", () => debugLines(hub) === processes);
      },
      {
        "hrmr.json": JSON.stringify({ processes, threads: 2, modules: { told: { word: "one" } } }),
        "modules/told.ts": TOLD,
      },
    ));
}

const debugLines = (hub: Hub) => hub.program.output().split("heard with debug").length - 1;

const TOLD = moduleSource(`{ routes: {
  "TOLD": { framing: "line", handle: (_message, { config }) => config.word + "\\n" },
  "DEBUG": { framing: "line", handle: (_message, { log }) => { log.debug("heard with debug"); return "\\n"; } },
} }`);
