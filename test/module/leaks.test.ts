/**
 * The things that a version leaves behind are named: in the answer to the reload where it is known by then, else in the
 * log and in the status.
 */
import { expect, test } from "bun:test";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { endGraph } from "../../src/module/graph/load";
import { GraphTimers } from "../../src/module/graph/timers";
import { type LeftBehind, leftBehindText, NOTHING_LEFT } from "../../src/module/graph/leaks";
import { Mark } from "../../src/module/graph/marks";
import type { LeakSnapshot } from "../../src/observe/snapshot";
import { conductLines } from "../../src/cli/screen/status-screen";
import { STATUS } from "../support/control-fixture";
import { type Hub, moduleSource, shareHub, withHub } from "../support/hub";
import { withFixture } from "../support/module-fixture";
import { until } from "../support/until";

/** One server for what needs none of its own: each test has a module, keys and names on globalThis of its own. */
const withShared = shareHub({ "modules/idle.ts": moduleSource(`{ routes: { "IDLE": () => "" } }`) });

/** Each number changes the file, so that each is another version. */
const numbered = (number: number, code: string, definition: string): string =>
  `const number = ${number};\n${code}\nexport default ${definition};\n`;

/** Keeps a function of its own in the table of another module: nothing can free it. */
const marker = (number: number, name = "kept"): string =>
  numbered(
    number,
    "",
    `{
      async setup({ shared }) { (await shared.global.open("${name}", () => [])).push(() => number); },
      routes: { "MARKER-${name}": () => "" },
    }`,
  );

async function reload(hub: Hub, files: Record<string, string>): Promise<string> {
  for (const [name, text] of Object.entries(files)) hub.write(`modules/${name}.ts`, text);
  return hub.ask("RELOAD\n");
}

async function leaked(hub: Hub): Promise<readonly LeakSnapshot[]> {
  return (await hub.status()).leaked;
}

/**
 * Waits until a version that cannot be freed is known to be one: whatever was disposed before it has been looked at as
 * often.
 */
async function leaksOnceKnown(hub: Hub, module: string, generation: number): Promise<readonly LeakSnapshot[]> {
  return await until(`${module} v${generation} is told`, async () => {
    const found = await leaked(hub);
    return found.some((leak) => leak.module === module && leak.generation === generation) ? found : null;
  });
}

const LEAVING: [string, string, RegExp][] = [
  ["a listener on process", `process.on("SIGUSR1", () => number);`, /left 1 listener on process \(SIGUSR1; removed\)/],
  [
    "two listeners by node:process",
    `import p from "node:process"; p.on("SIGWINCH", () => number); p.once("SIGWINCH", () => number);`,
    /left 2 listeners on process \(SIGWINCH; removed\)/,
  ],
  ["an interval", `setInterval(() => number, 1000);`, /left 1 timer \(stopped\)/],
  ["a timeout that would come in an hour", `setTimeout(() => number, 3_600_000);`, /left 1 timer \(stopped\)/],
  [
    "a server",
    `Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() });`,
    /left 1 open socket or file \(closed\)/,
  ],
  [
    "a socket",
    `Bun.listen({ port: 0, hostname: "127.0.0.1", socket: { data() {} } });`,
    /left 1 open socket or file \(closed\)/,
  ],
  ["a name on globalThis", `globalThis.leftByTest = number;`, /left globalThis\.leftByTest \(stays\)/],
];

test.each(LEAVING)("the verdict tells of %s", (what, code, told) =>
  withShared(async (hub) => {
    const name = what.replaceAll(/\W/g, "-");
    const version = (number: number, code: string): Promise<string> =>
      reload(hub, { [name]: numbered(number, code, `{ routes: { "${name}.": () => "${number}" } }`) });
    expect(await version(1, code)).toStartWith("OK");
    expect(await version(2, "")).toMatch(told);
    expect(await version(3, "")).not.toContain(" left ");
  }),
);

test("of what closes meanwhile, other threads' sources, folders and looks at /proc are not put down to the version", async () => {
  await withFixture({ "m.ts": "", "data.db": "" }, async ({ modules }) => {
    const endOf = (...paths: string[]): LeftBehind => {
      const opened = paths.map((path) => openSync(path, "r"));
      const graph = { dispose: () => opened.forEach((each) => closeSync(each)) } as unknown as Bun.ModuleGraph;
      const mark = new Mark({ module: "m", generation: 1 });
      return endGraph({ graph, mark, timers: new GraphTimers(mark) }, true);
    };
    expect(endOf("/proc/self/statm", join(modules, "m.ts"), modules)).toEqual(NOTHING_LEFT);
    expect(endOf("/proc/self/statm", join(modules, "data.db"), "/dev/null").descriptors).toBe(2);
  });
});

test("what setup and a handler open is told as what the top level does, and of a module that is taken away too", () =>
  withShared(async (hub) => {
    await reload(hub, {
      bad: numbered(
        1,
        "",
        `{
          setup() { setInterval(() => number, 1000); globalThis.setBySetup = {}; },
          routes: { "BAD": () => { setInterval(() => number, 1000); process.on("SIGUSR1", () => number); return "done"; } },
        }`,
      ),
    });
    expect(await hub.ask("BAD")).toBe("done");
    hub.remove("modules/bad.ts");
    const answer = await hub.ask("RELOAD\n");
    expect(answer).toStartWith("OK bad unloaded (was v1)");
    expect(answer).toContain(
      "v1 left 1 listener on process (SIGUSR1; removed), 2 timers (stopped), globalThis.setBySetup (stays)",
    );
  }));

test("what dispose puts away is not told", () =>
  withShared(async (hub) => {
    await reload(hub, { tidy: tidy(1) });
    expect(await reload(hub, { tidy: tidy(2) })).toMatch(
      /^OK tidy v2 \(was v1\) swapped in \d+ ms, 0 connections dropped; \d+ modules? unchanged\n$/,
    );
  }));

function tidy(number: number): string {
  return numbered(
    number,
    `const listener = () => number;`,
    `{
      setup() {
        process.on("SIGUSR1", listener);
        globalThis.tidy = number;
        return { timer: setInterval(listener, 1000), server: Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() }) };
      },
      async dispose({ timer, server }) {
        clearInterval(timer);
        process.off("SIGUSR1", listener);
        delete globalThis.tidy;
        await server.stop(true);
      },
      routes: { "TIDY": async () => { await new Promise((done) => setTimeout(done, 1)); return String(number); } },
    }`,
  );
}

test("what a version leaves that had to drain first is in the log", () =>
  withShared(async (hub) => {
    await reload(hub, { slow: waiting(1) });
    const slow = hub.ask("SLOW");
    await hub.program.waitFor("slow v1 begun");
    expect(await reload(hub, { slow: waiting(2) })).toContain("v1 drains, 1 under way");
    expect(await hub.ask("GO")).toBe("gone");
    expect(await slow).toBe("1");
    await hub.program.waitFor(/warn +slow v1 left 1 timer \(stopped\)/);
  }));

function waiting(number: number): string {
  return numbered(
    number,
    `const key = "waiting";`,
    `{
      setup: async ({ shared }) => { setInterval(() => number, 1000); return shared.open(key, () => Promise.withResolvers()); },
      routes: {
        "SLOW": async (_message, { state, log }) => { log.info("begun"); await state.promise; return String(number); },
        "GO": (_message, { state }) => { state.resolve(); return "gone"; },
      },
    }`,
  );
}

test("a version that another module keeps a function of is told in the log and in the status, with what may hold it", () =>
  withShared(async (hub) => {
    for (const number of [1, 2, 3]) await reload(hub, { marker: marker(number) });
    const [leak, ...others] = (await leaksOnceKnown(hub, "marker", 2)).filter(({ module }) => module === "marker");
    // The first one opened the table, which is meant to stay.
    expect(others).toEqual([]);
    expect(leak?.why).toBe(
      'another module, or context.shared.global "kept", holds a function or an object of it: keep plain data there, or remove it in dispose',
    );
    expect(Math.abs(Date.parse(leak?.since ?? "") - Date.now())).toBeLessThan(60_000);
    await hub.program.waitFor(
      /warn +marker v2 was disposed and cannot be freed: another module, or context\.shared\.global "kept"/,
    );
    await reload(hub, { marker: forgetting(4, "kept") });
  }));

const forgetting = (number: number, name: string): string =>
  numbered(
    number,
    "",
    `{ async setup({ shared }) { await shared.global.close("${name}"); }, routes: { "FORGET-${name}": () => "" } }`,
  );

test("a version that is let go of later is no longer told", () =>
  withShared(async (hub) => {
    for (const number of [1, 2, 3]) await reload(hub, { held: marker(number, "for-a-while") });
    await leaksOnceKnown(hub, "held", 2);
    await reload(hub, { held: forgetting(4, "for-a-while") });
    await until("no version is told any more", async () =>
      (await leaked(hub)).every(({ module }) => module !== "held"),
    );
  }));

test("a global that holds a function of a version is what is named", () =>
  withShared(async (hub) => {
    const version = (number: number, code: string): Promise<string> =>
      reload(hub, { glob: numbered(number, code, `{ routes: { "GLOB": () => "${number}" } }`) });
    await version(1, `globalThis.heldByTest = () => number;`);
    await version(2, "");
    const leak = (await leaksOnceKnown(hub, "glob", 1)).find(({ module }) => module === "glob");
    expect(leak?.why).toBe("globalThis.heldByTest may hold something of it: delete it in dispose");
  }));

/** Of each kind of route and library. */
const CLEAN: Record<string, (number: number) => string> = {
  text: (number) =>
    numbered(
      number,
      "",
      `{ routes: { "TEXT": async (_m, { log }) => { await Bun.sleep(1); log.debug("x"); return "t" + number; } } }`,
    ),
  web: (number) =>
    numbered(
      number,
      "",
      `{
        setup: () => ({ a: 1 }),
        use: [async (request, context, next) => next()],
        routes: {
          "GET /web": { fetch: async (_request, { requestId }) => { await Bun.sleep(1); return new Response("w" + number + requestId); } },
          "POST /web": { fetch: async (request) => new Response(await request.text()) },
          "GET /stream": { fetch: () => new Response(new ReadableStream({ async start(c) { c.enqueue("a"); await Bun.sleep(2); c.close(); } })) },
        },
      }`,
    ),
  hono: (number) =>
    `import { Hono } from "hono";\nconst app = new Hono();\napp.get("/hono", (c) => c.text("h${number}"));\nexport default app;\n`,
  socket: (number) =>
    numbered(
      number,
      "",
      `{ routes: { "GET /ws": { websocket: { open(s) { s.subscribe("x"); }, message(s) { s.send(String(number)); } } } } }`,
    ),
  connect: (number) =>
    numbered(
      number,
      "",
      `{ routes: { "CONN": { async connect(c) { for await (const line of c.lines()) await c.write(line + number + "\\n"); } } } }`,
    ),
  failing: (number) =>
    numbered(
      number,
      "",
      `{ routes: { "THROW": () => { throw new Error("x" + number); }, "REJECT": async () => { await 1; throw new Error("y" + number); } } }`,
    ),
  pooled: (number) =>
    numbered(
      number,
      "",
      `{ setup: () => ({ a: [number] }), routes: { "POOL": { run: "pool", handle: () => "p" + number } } }`,
    ),
  opener: (number) =>
    numbered(
      number,
      `import { Database } from "bun:sqlite";`,
      `{
        async setup({ shared }) {
          const db = await shared.open("db", () => new Database(":memory:"), (open) => open.close());
          return { db, cache: await shared.open("cache", async () => new Map([[number, { deep: [number] }]])) };
        },
        routes: { "OPENER": (_m, { state }) => { state.cache.set(number, { number }); return JSON.stringify(state.db.query("SELECT 1 AS one").get()); } },
      }`,
    ),
  // A class of the module's own: its first version stays as long as the object is open.
  client: (number) =>
    numbered(
      number,
      `class Client { close() {} ask() { return "c" + number; } }`,
      `{
        setup: async ({ shared }) => ({ client: await shared.open("client", () => new Client(), (client) => client.close()) }),
        routes: { "CLIENT": (_m, { state }) => state.client.ask() },
      }`,
    ),
  // Its registry stands on globalThis, and is of the code of the version that was first.
  zod: (number) =>
    `import { z } from "zod";\nconst Name = z.string().meta({ title: "n${number}" });\n` +
    `export default { routes: { "ZOD": (message) => Name.parse(message.text) + ${number} } };\n`,
  symbol: (number) =>
    numbered(
      number,
      `globalThis[Symbol.for("some.library")] ??= { api: () => number };`,
      `{ routes: { "SYMBOL": () => "s" + number } }`,
    ),
  tidy,
};

const sources = (number: number): Record<string, string> =>
  Object.fromEntries(Object.entries(CLEAN).map(([name, make]) => [name, make(number)]));

const RELOADS = Number(process.env["HRMR_TEST_RELOADS"] ?? 8);

test("reloads of modules that put away what they open leave nothing behind, also with connections that stay open over all of them", () =>
  withHub(
    Object.fromEntries(
      Object.entries({ ...sources(0), marker: marker(0) }).map(([name, text]) => [`modules/${name}.ts`, text]),
    ),
    [],
    async (hub) => {
      const socket = new WebSocket(`ws://127.0.0.1:${hub.port}/ws`);
      await new Promise((resolve) => (socket.onopen = resolve));
      const connection = await hub.connect();
      connection.send("CONN\n");
      const keepAlive = await hub.connect();
      try {
        for (let number = 1; number <= RELOADS; number++) {
          for (const key of ["TEXT", "THROW", "REJECT", "POOL", "OPENER", "CLIENT", "ZOD", "SYMBOL", "TIDY"])
            await hub.ask(key);
          for (const path of ["/web", "/stream", "/hono"]) await (await fetch(hub.url + path)).text();
          await (await fetch(`${hub.url}/web`, { method: "POST", body: "x".repeat(100) })).text();
          keepAlive.send("GET /web HTTP/1.1\r\nHost: x\r\n\r\n");
          const echoed = new Promise((resolve) => (socket.onmessage = resolve));
          socket.send("x");
          await echoed;
          const answer = await reload(hub, sources(number));
          expect(answer).toStartWith("OK");
          expect(answer).not.toContain(" left ");
        }
        await reload(hub, { marker: marker(1) });
        await reload(hub, { marker: marker(2) });
        expect(
          (await leaksOnceKnown(hub, "marker", 2)).map(({ module, generation }) => `${module} v${generation}`),
        ).toEqual(["marker v2"]);
        expect(hub.program.output()).not.toMatch(/cannot be freed(?!.*"kept")/);
      } finally {
        socket.close();
      }
    },
  ));

test("a module on the pool is told of by the first thread", () =>
  withHub({ "modules/pooled.ts": pooled(1) }, [], async (hub) => {
    await reload(hub, { pooled: pooled(2) });
    await reload(hub, { pooled: pooled(3) });
    await hub.program.waitFor(/warn +pooled v1 on pool thread 1: it left 1 timer \(stopped\)/);
    await hub.program.waitFor(
      /warn +pooled v2 on pool thread 1: was disposed and cannot be freed: another module, or context\.shared "kept" of pooled, holds/,
    );
    expect(hub.program.output()).not.toContain("on pool thread 2");
  }));

function pooled(number: number): string {
  return numbered(
    number,
    "",
    `{
      async setup({ shared }) { setInterval(() => number, 1000); (await shared.open("kept", () => [])).push(() => number); },
      routes: { "POOL": { run: "pool", handle: () => "p" + number } },
    }`,
  );
}

test("what is left is told in a few words, and nothing as nothing", () => {
  const left = (given: Partial<LeftBehind>): string | null =>
    leftBehindText({ listeners: [], globals: [], timers: 0, requests: 0, descriptors: 0, ...given });
  expect(left({})).toBeNull();
  expect(left({ globals: ["__zod_globalRegistry"] })).toBeNull();
  expect(left({ timers: 2, requests: 1, descriptors: 3, listeners: ["exit", "exit"], globals: ["a", "b"] })).toBe(
    "2 listeners on process (exit; removed), 2 timers (stopped), 1 request of node:http (cut), 3 open sockets or files (closed), globalThis.a, globalThis.b (stays)",
  );
});

test("hrmr status tells of blocks, of versions that stay and of what is kept open", () => {
  const since = "2026-01-01T00:00:00.000Z";
  const status = {
    ...STATUS,
    blocked: [
      { module: "slow", count: 2, longestMs: 4210, totalMs: 5000 },
      { module: null, count: 1, longestMs: 1000, totalMs: 1000 },
    ],
    leaked: [{ module: "chat", generation: 3, since, why: "globalThis.rooms may hold something of it" }],
    shared: [
      { name: "db", module: "guests", openedBy: { module: "guests", generation: 1 }, since, isOpen: true },
      { name: "bus", module: null, openedBy: { module: "chat", generation: 2 }, since, isOpen: false },
    ],
  };
  expect(conductLines(status, (text) => text, Date.parse(since) + 90_000)).toEqual([
    "slow blocked the event loop 2 times, for 4.2 s at most",
    "something blocked the event loop 1 time, for 1.0 s at most",
    "chat v3 was disposed 1 min 30 s ago and is still in memory: globalThis.rooms may hold something of it",
    'guests: "db" is open, by guests v1, 1 min 30 s ago',
    'all modules: "bus" is being opened, by chat v2, 1 min 30 s ago',
  ]);
  expect(conductLines(STATUS, (text) => text, 0)).toEqual([]);
});
