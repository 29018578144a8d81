/** Inline code that keeps the event loop for itself is named in the log while it does. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Block, StallClock } from "../../src/host/watchdog/look";
import { NO_ROUTE, ROUTE, MARKS } from "../../src/module/graph/marks";
import { type Hub, shareHub, withHub } from "../support/hub";
import { until } from "../support/until";

/** How long the code blocks, and the configured limit. */
const SPIN_MS = 500;
const BLOCKED_MS = 150;
const ARGS = ["--set", `timeouts.blockedMs=${BLOCKED_MS}`];

/** Spins for so much of a processor's time: on a busy machine a second by the clock may be a tenth of it. */
const SPIN = `const usedMs = () => { const { user, system } = process.cpuUsage(); return (user + system) / 1000; };
const spin = (ms = ${SPIN_MS}) => { for (const end = usedMs() + ms; usedMs() < end;); };\n`;
const LONG_ENOUGH = /for (0\.[3-9]|[1-9]\d*\.\d) s/;

const FS = 'import { existsSync } from "node:fs";\n';

const slow = (routes: string, rest = "", imports = ""): string =>
  `${imports}${SPIN}export default { ${rest} routes: { ${routes} } };\n`;

/**
 * @returns the first line of the log that `pattern` is in. Others may come before: on a busy machine the server itself
 * is told, too.
 */
async function logged(hub: Hub, pattern: RegExp): Promise<string> {
  return await until(`the log says ${pattern}`, () =>
    hub.program
      .output()
      .split("\n")
      .find((line) => pattern.test(line)),
  );
}

/** Of the tests' modules alone: on a busy machine others are told, too. */
async function blockedModules(hub: Hub) {
  return (await hub.status()).blocked.filter(({ module }) => module === "slow" || module === "stuck");
}

test("while a handler blocks, the log says which, and that it cannot be stopped; then how long it took, and status counts it", () =>
  withHub(
    { "modules/slow.ts": slow(`"SLOW ": () => { while (!existsSync("release")); return "done"; }`, "", FS) },
    ARGS,
    async (hub) => {
      let isAnswered = false;
      const answer = hub.ask("SLOW 1").then((text) => {
        isAnswered = true;
        return text;
      });
      const line = await logged(hub, /slow v1 .* has been blocking/);
      expect(isAnswered).toBe(false);
      expect(line).toMatch(
        /^\S+Z error slow v1 "SLOW " has been blocking the event loop for \d+\.\d s, and nobody is answered meanwhile\. It cannot be stopped here: /,
      );
      expect(line).toContain('run: "pool" or run: "process"');
      hub.write("release", "");
      expect(await answer).toBe("done");
      await logged(hub, /warn +slow v1 "SLOW " blocked the event loop for \d+\.\d s$/);
      const { modules } = await hub.status();
      const module = modules.find(({ name }) => name === "slow");
      expect(module?.blockedCount).toBe(1);
      expect(module?.longestBlockedMs).toBeGreaterThan(BLOCKED_MS);
      expect(await blockedModules(hub)).toEqual([
        { module: "slow", count: 1, longestMs: module?.longestBlockedMs ?? 0, totalMs: module?.longestBlockedMs ?? 0 },
      ]);
      const metrics = await (await fetch(`${hub.url}/metrics`)).text();
      expect(metrics).toMatch(/^hrmr_event_loop_blocked_seconds_total\{module="slow",slot="0"\} \d+\.\d+$/m);
    },
  ));

const OTHERS: [string, string, (hub: Hub) => Promise<unknown>, string][] = [
  [
    "an HTTP handler",
    slow(`"GET /slow": { fetch() { spin(); return new Response(); } }`),
    (hub) => fetch(`${hub.url}/slow`),
    '"GET /slow"',
  ],
  [
    "a handler of a WebSocket",
    slow(`"GET /ws": { websocket: { message(socket) { spin(); socket.send("done"); } } }`),
    (hub) => {
      const socket = new WebSocket(`ws://127.0.0.1:${hub.port}/ws`);
      socket.onopen = () => socket.send("go");
      return new Promise((resolve) => (socket.onmessage = resolve)).finally(() => socket.close());
    },
    '"GET /ws"',
  ],
  [
    "a connect handler",
    slow(`"CONN": { async connect(connection) { spin(); await connection.write("done"); } }`),
    (hub) => hub.ask("CONN"),
    '"CONN"',
  ],
  [
    "middleware of a module",
    slow(`"GET /m": { fetch: () => new Response() }`, `use: [(request, context, next) => { spin(); return next(); }],`),
    (hub) => fetch(`${hub.url}/m`),
    '"GET /m"',
  ],
  [
    "a timer",
    slow(`"ARM": () => { setTimeout(spin, 20, ${SPIN_MS}); return "armed"; }`),
    (hub) => hub.ask("ARM"),
    "a timer",
  ],
  [
    "an interval",
    slow(`"EVERY": () => { const t = setInterval(() => { spin(); clearInterval(t); }, 20); return "armed"; }`),
    (hub) => hub.ask("EVERY"),
    "a timer",
  ],
  [
    "a handler that went on",
    slow(`"LATER": async () => { await Bun.sleep(20); spin(); return "done"; }`),
    (hub) => hub.ask("LATER"),
    "a handler that went on after an await, it seems,",
  ],
];

const others = shareHub(Object.fromEntries(OTHERS.map(([, source], at) => [`modules/slow${at}.ts`, source])), ARGS);

test.each(OTHERS.map(([what, , ask, named], at) => ({ what, ask, named, at })))(
  "$what that blocks is named",
  ({ ask, named, at }) =>
    others(async (hub) => {
      await ask(hub);
      await logged(hub, new RegExp(` error slow${at} v1 ${RegExp.escape(named)} has been blocking`));
      expect(await logged(hub, new RegExp(` slow${at} v1 ${RegExp.escape(named)} blocked`))).toMatch(LONG_ENOUGH);
    }),
);

test.each([
  "setup() { spin(); return {}; },",
  "async setup() { await Bun.sleep(1); spin(); },",
  "check() { spin(); },",
  "dispose() { spin(); },",
])("a module that blocks in %s is named", (part) =>
  withHub({ "modules/slow.ts": slow(`"X": () => "x"`, part) }, ARGS, async (hub) => {
    const named = / error slow v\d+ its (code|top level, setup, check, handoff or dispose) has been blocking/;
    let edits = 0;
    // On a busy machine the server itself may have blocked right before, and is told alone: then it is loaded again.
    await until("the module to be named", async () => {
      if (named.test(hub.program.output())) return true;
      hub.write("modules/slow.ts", slow(`"X": () => "x"`, part) + `export const edits = ${++edits};\n`);
      await hub.ask("RELOAD\n");
      return named.test(hub.program.output());
    });
  }),
);

test("what runs without a handler on the stack is told, with what it may be", () =>
  withHub(
    {
      "modules/slow.ts": slow(
        `"FRAMED": { framing: (bytes) => { spin(); return bytes.length; }, handle: () => "done" }`,
      ),
    },
    ARGS,
    async (hub) => {
      await hub.ask("FRAMED");
      await logged(
        hub,
        / error something that is no handler \(a framing function or a listener of a module, or.* has been blocking/,
      );
      await logged(hub, /something that is no handler.* blocked the event loop for/);
      await until("it is counted for nobody", async () =>
        (await hub.status()).blocked.some(({ module }) => module === null),
      );
    },
  ));

test("of several that may have gone on after an await, all are named, and none is counted", () => {
  const later = (key: string, what: string): string =>
    slow(`"${key}": async () => { await Bun.sleep(20); ${what} return "done"; }`);
  return withHub(
    { "modules/a.ts": later("AAA", "spin();"), "modules/b.ts": later("BBB", "await Bun.sleep(2000);") },
    ARGS,
    async (hub) => {
      const waiting = hub.ask("BBB");
      await hub.ask("AAA");
      await logged(hub, / error a handler that went on after an await, of a v1 or b v1, it seems, has been blocking/);
      await waiting;
      await until("it is counted for nobody", async () =>
        (await hub.status()).blocked.some(({ module }) => module === null),
      );
      const { modules } = await hub.status();
      expect(modules.filter(({ name }) => name === "a" || name === "b")).toMatchObject([
        { blockedCount: 0 },
        { blockedCount: 0 },
      ]);
    },
  );
});

test("the line goes to the log file in the log's format, though the main thread cannot write", () =>
  withHub(
    { "modules/slow.ts": slow(`"SLOW": () => { while (!existsSync("release")); return "done"; }`, "", FS) },
    [...ARGS, "--log-format", "json", "--log-file", "hrmr.log"],
    async (hub) => {
      const answer = hub.ask("SLOW");
      // On a busy machine the server itself may have been told before.
      const line = await until("the log file says it", () =>
        readFileSync(join(hub.dir, "hrmr.log"), "utf8")
          .split("\n")
          .slice(0, -1)
          .map((text) => JSON.parse(text) as Record<string, unknown>)
          .find(({ level, module }) => level === "error" && module === "slow"),
      );
      hub.write("release", "");
      expect(await answer).toBe("done");
      expect(line).toMatchObject({
        generation: 1,
        pid: hub.program.pid,
        msg: expect.stringContaining("has been blocking"),
      });
      expect(hub.program.output()).not.toContain("has been blocking");
    },
  ));

test("what blocks for less is not told, 0 switches it off, and a reload changes the time", () =>
  withHub(
    {
      "hrmr.json": `{ "timeouts": { "blockedMs": 0 } }`,
      "modules/slow.ts": slow(`"SLOW ": (m) => { spin(Number(m.text.slice(5))); return "done"; }`),
    },
    [],
    async (hub) => {
      await hub.ask("SLOW 1300");
      hub.write("hrmr.json", `{ "timeouts": { "blockedMs": ${BLOCKED_MS} } }`);
      expect(await hub.ask("RELOAD\n")).toStartWith("OK");
      await hub.ask("SLOW 60");
      await hub.ask(`SLOW ${SPIN_MS}`);
      expect(await logged(hub, /slow v1 .* blocked the event loop for/)).toMatch(LONG_ENOUGH);
      expect(await blockedModules(hub)).toMatchObject([{ module: "slow", count: 1 }]);
    },
  ));

test("a process that was stopped and goes on has not been blocked by anybody", () =>
  withHub({ "modules/slow.ts": slow(`"SLOW": () => { spin(); return "done"; }`) }, ARGS, async (hub) => {
    hub.program.signal("SIGSTOP");
    // The time is what this test is about: it is longer than a handler may block, by far.
    const stoppedAt = performance.now();
    await until("it was stopped for a while", () => performance.now() - stoppedAt > 3 * BLOCKED_MS);
    hub.program.signal("SIGCONT");
    await hub.ask("STATUS\n");
    await hub.ask("SLOW");
    await logged(hub, /"SLOW" blocked the event loop for/);
    expect(await blockedModules(hub)).toMatchObject([{ count: 1 }]);
  }));

test("each of several processes is watched by itself, and its lines have its number", () =>
  withHub(
    { "modules/slow.ts": slow(`"SLOW": () => { spin(); return "done"; }`) },
    [...ARGS, "--processes", "2"],
    async (hub) => {
      await hub.ask("SLOW");
      await logged(hub, / error \[[12]\] slow v1 "SLOW" has been blocking/);
      await logged(hub, / warn +\[[12]\] slow v1 "SLOW" blocked/);
    },
  ));

test("who blocks a thread of the pool or a process of its own blocks nobody else, and is no block of the event loop", () => {
  const route = (key: string, run: string): string =>
    `"${key}": { run: "${run}", handle: () => { spin(); return "done"; } }`;
  return withHub(
    { "modules/slow.ts": slow(`${route("POOL", "pool")}, ${route("PROC", "process")}, "HI": () => "hi"`) },
    ARGS,
    async (hub) => {
      const slowOnes = [hub.ask("POOL"), hub.ask("PROC")];
      expect(await hub.ask("HI")).toBe("hi");
      expect(await Promise.all(slowOnes)).toEqual(["done", "done"]);
      // On a busy machine HI may have taken too long. The others would have taken longer.
      expect((await blockedModules(hub)).filter(({ longestMs }) => longestMs >= SPIN_MS)).toEqual([]);
    },
  );
});

test("who is killed at the deadline is named in the log, on the pool and in a process, and its errors and restarts are counted", () => {
  const route = (key: string, run: string): string =>
    `"${key}": { run: "${run}", timeoutMs: 200, handle: () => { for (;;); } }`;
  return withHub(
    { "modules/stuck.ts": slow(`${route("POOL", "pool")}, ${route("PROC", "process")}`) },
    ["--threads", "1"],
    async (hub) => {
      expect(await hub.ask("POOL")).toStartWith('ERR "POOL" did not answer within 200 ms');
      expect(await hub.ask("PROC")).toStartWith('ERR "PROC" did not answer within 200 ms');
      await hub.program.waitFor(/ warn +stuck v1 pool thread 1: a handler did not give the thread back/);
      await hub.program.waitFor(/ warn +stuck v1 its process was lost: a handler did not give the thread back/);
      const { modules, pool } = await hub.status();
      expect(modules.find(({ name }) => name === "stuck")).toMatchObject({ errors: 2, processes: [{ restarts: 1 }] });
      expect(pool.workers).toMatchObject([{ restarts: 1 }]);
      expect(await blockedModules(hub)).toEqual([]);
    },
  );
});

describe("the clock", () => {
  const looks = (beats: [beat: number, elapsedMs: number, waitedMs?: number][]): number[] => {
    const clock = new StallClock();
    return beats.map(([beat, elapsedMs, waitedMs = 0]) => clock.look(beat, elapsedMs, 100, waitedMs));
  };

  test("does not count the time for which the main thread waited for a processor", () => {
    expect(
      looks([
        [1, 100],
        [1, 100, 100],
        [1, 100, 95],
        [1, 150, 50],
        [1, 100],
      ]),
    ).toEqual([0, 0, 0, 5, 105]);
  });

  test("counts from the second look without a beat, since the next one was not due before", () => {
    expect(
      looks([
        [1, 100],
        [1, 100],
        [1, 100],
        [1, 105],
        [2, 100],
        [2, 100],
      ]),
    ).toEqual([0, 0, 100, 205, 0, 0]);
  });

  test("takes a look that is late for a machine that stood still", () => {
    expect(
      looks([
        [1, 100],
        [1, 100],
        [1, 60_000],
        [1, 100],
      ]),
    ).toEqual([0, 0, 200, 300]);
  });
});

describe("a block", () => {
  const culprit = (module: string | null) => ({
    module,
    generation: 1,
    what: module === null ? "" : "x",
    candidates: [],
  });
  const [server, slow] = [culprit(null), culprit("slow")];

  test("that goes on by other code is told again, and each has its own time", () => {
    const block = new Block(server, 100);
    expect([block.isDue(190, 100), block.isDue(200, 100)]).toEqual([false, true]);
    expect(block.next(server, 200)).toEqual({ ended: null, isNew: false });
    expect(block.next(slow, 300)).toEqual({ ended: { culprit: server, ms: 200 }, isNew: true });
    expect(block.end(350)).toEqual({ culprit: slow, ms: 150 });
  });

  test("tells of each culprit once, however often they take turns", () => {
    const block = new Block(slow, 100);
    const turns = [server, slow, server, slow].map((next, index) => block.next(next, 200 + 100 * index));
    expect(turns.map(({ isNew }) => isNew)).toEqual([true, false, false, false]);
    expect(turns.map(({ ended }) => ended?.ms)).toEqual([100, 100, 100, 100]);
  });
});

test("a call leaves nothing in the memory that others read", () => {
  expect(MARKS[0]).toBe(0);
  expect(MARKS[ROUTE]).toBe(NO_ROUTE);
});
