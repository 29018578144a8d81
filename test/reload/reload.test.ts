/** Reload over real sockets: changed, unchanged and refused modules. */
import { expect, test } from "bun:test";
import { moduleSource, withHub, type Hub } from "../support/hub";
import { until } from "../support/until";

const greet = (word: string) =>
  moduleSource(`{ routes: { "GREET ": { framing: "line", handle: (m) => "${word}, " + m.text.slice(6) + "\\n" } } }`);
const ping = moduleSource(`{ routes: { "PING": () => "PONG\\n" } }`);

test("RELOAD swaps what was edited, leaves the rest alone, and tells versions and time in one line", () =>
  withHub({ "modules/greet.ts": greet("Hello"), "modules/ping.ts": ping }, [], async (hub) => {
    expect(await hub.ask("GREET bob\n")).toBe("Hello, bob\n");
    hub.write("modules/greet.ts", greet("Goodbye"));
    expect(await hub.ask("RELOAD")).toMatch(
      /^OK greet v2 \(was v1\) swapped in [\d.]+ ms, 0 connections dropped; 2 modules unchanged\n$/,
    );
    expect(await hub.ask("GREET bob\n")).toBe("Goodbye, bob\n");
    expect(await hub.ask("RELOAD\n")).toMatch(/^OK 3 modules unchanged \([\d.]+ ms\)\n$/);
  }));

test("RELOAD NAME looks at that module only, and an unknown name is an error", () =>
  withHub({ "modules/greet.ts": greet("Hello"), "modules/ping.ts": ping }, [], async (hub) => {
    hub.write("modules/greet.ts", greet("Goodbye"));
    expect(await hub.ask("RELOAD ping\n")).toStartWith("OK 1 module unchanged");
    expect(await hub.ask("GREET bob\n")).toBe("Hello, bob\n");
    expect(await hub.ask("RELOAD greet")).toStartWith("OK greet v2 (was v1) swapped");
    const unknown = await hub.ask("RELOAD nobody\n");
    expect(unknown).toStartWith("ERR 1 module failed");
    expect(unknown).toContain('there is no module "nobody"');
  }));

test("a module that is deleted, reloaded, put back and reloaded serves again", () =>
  withHub({ "modules/greet.ts": greet("Hello"), "modules/ping.ts": ping }, [], async (hub) => {
    hub.remove("modules/ping.ts");
    expect(await hub.ask("RELOAD")).toStartWith("OK ping unloaded (was v1)");
    expect(await hub.ask("PING\n")).toBe('ERR no module is bound to "PING"\n');
    hub.write("modules/ping.ts", ping);
    expect(await hub.ask("RELOAD")).toStartWith("OK ping v1 loaded");
    expect(await hub.ask("PING\n")).toBe("PONG\n");
  }));

test("an edited dependency, text or JSON reloads the module that imports it", () =>
  withHub(
    {
      "modules/a.ts": `import { word } from "./lib/word"; import data from "./lib/data.json";\n${moduleSource(`{ routes: { "A": () => word + data.n + "\\n" } }`)}`,
      "modules/lib/word.ts": `export const word = "one";`,
      "modules/lib/data.json": `{ "n": 1 }`,
    },
    [],
    async (hub) => {
      expect(await hub.ask("A")).toBe("one1\n");
      hub.write("modules/lib/word.ts", `export const word = "two";`);
      expect(await hub.ask("RELOAD")).toStartWith("OK a v2");
      hub.write("modules/lib/data.json", `{ "n": 22 }`);
      expect(await hub.ask("RELOAD")).toStartWith("OK a v3");
      expect(await hub.ask("A")).toBe("two22\n");
    },
  ));

const BROKEN: [string, string, RegExp][] = [
  [
    "a syntax error",
    `import { defineModule } from "hrmr";\nexport default defineModule({\n  routes: { "GREET ": oops oops },\n});\n`,
    /greet\.ts:3:\d+: .*\n.*3 \|/s,
  ],
  ["a throw at top level", `throw new Error("no database");\nexport default {};\n`, /greet\.ts:1:\d+: no database/],
  [
    "a missing import",
    `import x from "./missing";\nexport default { routes: { "X": () => x } };\n`,
    /greet\.ts:1:\d+: .*missing/,
  ],
  [
    "a missing export",
    `import { nothing } from "./lib/there";\nexport default { routes: { "X": () => nothing } };\n`,
    /greet\.ts:1:\d+/,
  ],
  ["no default export", `export const routes = {};\n`, /default export/],
  ["a wrong shape", `export default { routes: { "GREET ": { handle: 5 } } };\n`, /GREET /],
  ["an unknown option", `export default { routes: { "GREET ": { handle: () => "x", frame: "line" } } };\n`, /frame/],
  [
    "a failing check",
    `export default { routes: { "GREET ": () => "x" }, check() { throw new Error("table is missing"); } };\n`,
    /table is missing/,
  ],
  [
    "a failing setup",
    `export default { routes: { "GREET ": () => "x" }, async setup() { throw new Error("no disk"); } };\n`,
    /no disk/,
  ],
  [
    "a top-level await that never settles",
    `await new Promise(() => {});\nexport default { routes: { "GREET ": () => "x" } };\n`,
    /did not finish loading/,
  ],
  [
    "an endless loop at top level",
    `for (;;) {}\nexport default { routes: { "GREET ": () => "x" } };\n`,
    /did not finish loading/,
  ],
  [
    "process.exit at top level",
    `process.exit(3);\nexport default { routes: { "GREET ": () => "x" } };\n`,
    /process\.exit/,
  ],
  [
    "somebody else's key",
    `export default { routes: { "PING": () => "x" } };\n`,
    /greet\.ts claims the prefix "PING", which modules\/ping\.ts has already/,
  ],
  ["a built-in command's key", `export default { routes: { "RELOAD": () => "x" } };\n`, /built-in command/],
];

test("a broken version never takes traffic: the verdict says where, the old version serves, and a mended file loads", () =>
  withHub(
    {
      "modules/greet.ts": greet("Hello"),
      "modules/ping.ts": ping,
      "modules/lib/there.ts": "export const here = 1;",
      "hrmr.json": '{ "timeouts": { "loadMs": 700 } }',
    },
    [],
    async (hub) => {
      const open = await hub.connect();
      for (const [what, source, expected] of BROKEN) {
        hub.write("modules/greet.ts", source);
        const verdict = await hub.ask("RELOAD\n");
        expect(verdict, what).toStartWith("ERR 1 module failed, 2 modules unchanged");
        expect(verdict, what).toMatch(expected);
        expect(verdict, what).toContain("v1, loaded at");
        open.clear();
        await open.send("GREET bob\n");
        expect(await open.waitFor("bob\n"), what).toBe("Hello, bob\n");
        expect(await hub.ask("PING")).toBe("PONG\n");
      }
      hub.write("modules/greet.ts", greet("Mended"));
      expect(await hub.ask("RELOAD")).toStartWith("OK greet v2 (was v1) swapped");
      expect(await hub.ask("GREET bob\n")).toBe("Mended, bob\n");
    },
  ));

test("undoing a broken edit is no new version", () =>
  withHub({ "modules/greet.ts": greet("Hello") }, [], async (hub) => {
    hub.write("modules/greet.ts", "not typescript at all");
    expect(await hub.ask("RELOAD")).toStartWith("ERR");
    hub.write("modules/greet.ts", greet("Hello"));
    expect(await hub.ask("RELOAD")).toStartWith("OK 2 modules unchanged");
    expect((await hub.status()).modules.find((m) => m.name === "greet")).toMatchObject({
      generation: 1,
      state: "serving",
    });
  }));

test("a message under way finishes on the version that it began on", () =>
  withHub({ "modules/slow.ts": slow("one") }, [], async (hub) => {
    const client = await hub.connect();
    await client.send("SLOW\n");
    await started(hub);
    hub.write("modules/slow.ts", slow("two"));
    expect(await hub.ask("RELOAD")).toContain("v1 drains, 1 under way");
    expect(await hub.ask("NOW\n")).toBe("two\n");
    await hub.ask("RELEASE\n");
    await client.send("NOW\n");
    expect(await client.waitFor("two\n")).toBe("one\ntwo\n");
    await freed(hub, "slow");
  }));

test("what is still under way at drainMs is cut by name, and the old version is freed", () =>
  withHub({ "modules/slow.ts": slow("one"), "hrmr.json": '{ "timeouts": { "drainMs": 200 } }' }, [], async (hub) => {
    const client = await hub.connect();
    await client.send("SLOW\n");
    await started(hub);
    hub.write("modules/slow.ts", slow("two"));
    await hub.ask("RELOAD");
    expect(await client.waitFor("\n")).toBe('ERR "SLOW" failed\n');
    await hub.program.waitFor("slow v1 1 still under way after 200 ms were cut");
    await freed(hub, "slow");
  }));

test("at most three versions of a module are live: a client that never leaves loses the oldest", () =>
  withHub({ "modules/stream.ts": endless(1) }, [], async (hub) => {
    const clients = [];
    for (let version = 1; version <= 4; version++) {
      const client = await hub.connect();
      await client.send("TICKS\n");
      await client.waitFor(`v${version}\n`);
      clients.push(client);
      hub.write("modules/stream.ts", endless(version + 1));
      expect(await hub.ask("RELOAD")).toContain(`stream v${version + 1} (was v${version}) swapped`);
    }
    await clients[0]?.waitForEnd();
    await clients[1]?.waitForEnd();
    expect(clients[2]?.hasEnded).toBe(false);
    expect(clients[3]?.hasEnded).toBe(false);
    const { draining } = (await hub.status()).modules.find((m) => m.name === "stream") ?? { draining: [] };
    expect(draining.map((old) => old.generation)).toEqual([3, 4]);
  }));

test("setup, handoff and dispose: state goes from version to version, refused state is told", () =>
  withHub({ "modules/counter.ts": counter("a", "state.n") }, [], async (hub) => {
    expect(await hub.ask("COUNT")).toBe("a 1\n");
    expect(await hub.ask("COUNT")).toBe("a 2\n");
    hub.write("modules/counter.ts", counter("b", "state.n"));
    await hub.ask("RELOAD");
    expect(await hub.ask("COUNT")).toBe("b 3\n");
    await hub.program.waitFor("disposed a");
    hub.write("modules/counter.ts", counter("c", "() => 5"));
    await hub.ask("RELOAD");
    hub.write("modules/counter.ts", counter("d", "state.n"));
    expect(await hub.ask("RELOAD")).toContain("its state was not handed over");
    expect(await hub.ask("COUNT")).toBe("d 1\n");
  }));

test("an exclusive module's old version is disposed before the new one's setup", () =>
  withHub({ "modules/owner.ts": exclusive("one") }, [], async (hub) => {
    expect(await hub.ask("OWN")).toBe("one\n");
    hub.write("modules/owner.ts", exclusive("two"));
    expect(await hub.ask("RELOAD")).toStartWith("OK owner v2 (was v1) swapped");
    expect(await hub.ask("OWN")).toBe("two\n");
    await hub.program.waitFor(/setup one[\s\S]*disposed one[\s\S]*setup two/);
    hub.write("modules/owner.ts", exclusive("three").replace("setup() {", `setup() { throw new Error("port taken");`));
    expect(await hub.ask("RELOAD")).toContain("port taken");
    expect(await hub.ask("OWN")).toBe("two\n");
  }));

test("who asks while an exclusive module is replaced gets a 503 over HTTP, else the module's own bytes or that same HTTP message", () =>
  withHub(
    {
      "modules/owner.ts": held("one", "back soon\\n"),
      "modules/plain.ts": held("one", "").replaceAll("OWN", "PLAIN").replaceAll('"/', '"/plain/'),
    },
    [],
    async (hub) => {
      for (const [name, path, key, reply] of [
        ["owner", "/hold", "OWN", "back soon\n"],
        ["plain", "/plain/hold", "PLAIN", "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n"],
      ] as const) {
        const under = fetch(hub.url + path);
        await until(
          `${name} has a call under way`,
          async () => (await hub.status()).modules.find((m) => m.name === name)?.inFlight === 1,
        );
        hub.write(
          `modules/${name}.ts`,
          held("two", name === "owner" ? "back soon\\n" : "")
            .replaceAll("OWN", key)
            .replaceAll('"/', name === "owner" ? '"/' : '"/plain/'),
        );
        const reloading = hub.ask(`RELOAD ${name}\n`);
        await until("a reload has swapped", async () => (await hub.ask(key)) !== "one\n");
        expect(await hub.ask(key)).toStartWith(reply);
        const refused = await fetch(hub.url + path);
        expect(refused.status).toBe(503);
        expect(refused.headers.get("retry-after")).toBe("1");
        expect(await refused.text()).toContain(name);
        hub.write("release", "");
        expect(await (await under).text()).toBe("one");
        expect(await reloading).toStartWith(`OK ${name} v2 (was v1) swapped`);
        expect(await hub.ask(key)).toBe("two\n");
        hub.remove("release");
      }
    },
  ));

test("reloads asked for at once are one reload and one more, and everybody gets a verdict", () =>
  withHub({ "modules/greet.ts": greet("Hello") }, [], async (hub) => {
    hub.write("modules/greet.ts", greet("Goodbye"));
    const verdicts = await Promise.all(Array.from({ length: 30 }, () => hub.ask("RELOAD\n")));
    expect(verdicts.every((verdict) => verdict.startsWith("OK"))).toBe(true);
    expect(verdicts.filter((verdict) => verdict.includes("greet v2 (was v1)")).length).toBeGreaterThan(0);
    expect((await hub.status()).modules.find((m) => m.name === "greet")?.generation).toBe(2);
  }));

test("--watch reloads what was saved, in place or by rename", () =>
  withHub({ "modules/greet.ts": greet("Hello") }, ["--watch"], async (hub) => {
    hub.write("modules/greet.ts", greet("Watched"));
    await hub.program.waitFor("greet v2 (was v1) swapped");
    expect(await hub.ask("GREET bob\n")).toBe("Watched, bob\n");
    hub.write("modules/greet.ts.tmp", greet("Renamed"));
    Bun.spawnSync(["mv", `${hub.dir}/modules/greet.ts.tmp`, `${hub.dir}/modules/greet.ts`]);
    await hub.program.waitFor("greet v3 (was v2) swapped");
    expect(await hub.ask("GREET bob\n")).toBe("Renamed, bob\n");
  }));

test("what a module opens is its own: timers of an old version no longer tick", () =>
  withHub({ "modules/ticker.ts": ticker("one") }, [], async (hub) => {
    await until("the timer ticks", async () => Number(await hub.ask("TICKS")) > 0);
    hub.write("modules/ticker.ts", ticker("two"));
    await hub.ask("RELOAD");
    expect(await hub.ask("TICKS")).toMatch(/^\d+\n$/);
    await until("the timer goes on ticking", async () => Number(await hub.ask("TICKS")) > 3);
    const ticks = [...hub.program.output().matchAll(/tick \w+/g)].map(String);
    expect(ticks.lastIndexOf("tick one")).toBeLessThan(ticks.indexOf("tick two"));
  }));

test("a handler's late throw from a timer is logged under the module's name and nothing else happens", () =>
  withHub(
    {
      "modules/late.ts": moduleSource(
        `{ routes: { "LATE": () => { setTimeout(() => { throw new Error("too late"); }, 1); return "ok\\n"; } } }`,
      ),
    },
    [],
    async (hub) => {
      expect(await hub.ask("LATE")).toBe("ok\n");
      await hub.program.waitFor("too late");
      expect(await hub.ask("LATE")).toBe("ok\n");
    },
  ));

// ---- the modules ----

function slow(word: string): string {
  return `import { existsSync, writeFileSync } from "node:fs";
let release;
const gate = new Promise((resolve) => (release = resolve));
${moduleSource(`{
    routes: {
      "SLOW": { framing: "line", async handle() { globalThis.slowStarted = 1; globalThis.slowRelease = release; await gate; return "${word}\\n"; } },
      "STARTED": { framing: "line", handle: () => String(globalThis.slowStarted ?? 0) + "\\n" },
      "RELEASE": { framing: "line", handle: () => { globalThis.slowRelease(); return "released\\n"; } },
      "NOW": { framing: "line", handle: () => "${word}\\n" },
    },
  }`)}`;
}

async function started(hub: Hub): Promise<void> {
  await until("the handler has begun", async () => (await hub.ask("STARTED\n")) === "1\n");
}

async function freed(hub: Hub, name: string): Promise<void> {
  await until(
    `the old version of ${name} has drained`,
    async () => (await hub.status()).modules.find((m) => m.name === name)?.draining.length === 0,
  );
}

function endless(version: number): string {
  return moduleSource(
    `{ routes: { "TICKS": { framing: "line", handle: async function* () { yield "v${version}\\n"; await new Promise(() => {}); } } } }`,
  );
}

function counter(word: string, handed: string): string {
  return moduleSource(`{
    setup: (context, handoff) => ({ n: typeof handoff === "number" ? handoff : 0 }),
    handoff: (state) => (${handed}),
    dispose: () => { console.log("disposed ${word}"); },
    routes: { "COUNT": (message, context) => "${word} " + ++context.state.n + "\\n" },
  }`);
}

function exclusive(word: string): string {
  return moduleSource(`{
    reload: "exclusive",
    setup() { console.log("setup ${word}"); },
    dispose() { console.log("disposed ${word}"); },
    routes: { "OWN": () => "${word}\\n" },
  }`);
}

/** An exclusive module with a request that takes until a file named "release" is there. */
function held(word: string, unavailable: string): string {
  return `import { existsSync } from "node:fs";
${moduleSource(`{
    reload: "exclusive",
    ${unavailable === "" ? "" : `unavailable: "${unavailable}",`}
    routes: {
      "OWN": () => "${word}\\n",
      "/hold": { async fetch() { while (!existsSync("release")) await Bun.sleep(5); return new Response("${word}"); } },
    },
  }`)}`;
}

function ticker(word: string): string {
  return moduleSource(`{
    setup() { const state = { n: 0 }; setInterval(() => { state.n++; console.log("tick ${word}"); }, 5); return state; },
    routes: { "TICKS": (message, context) => context.state.n + "\\n" },
  }`);
}

test("deadlines go on after the version whose handler was on the stack when the first of them was armed is gone", () =>
  withHub(
    { "modules/big.ts": big(1), "hrmr.json": '{ "timeouts": { "writeMs": 500, "requestMs": 300 } }' },
    [],
    async (hub) => {
      // The write that does not fit into the kernel arms a near deadline from within the module's code.
      const deaf = await hub.connect();
      deaf.pause();
      await deaf.send("BIG\n");
      await hub.program.waitFor("wrote");
      hub.write("modules/big.ts", big(2));
      expect(await hub.ask("RELOAD")).toStartWith("OK big v2");
      await until(
        "the old version has drained",
        async () => (await hub.status()).modules.find((m) => m.name === "big")?.draining.length === 0,
      );
      const partial = await hub.connect();
      await partial.send("LINE without an end");
      expect(await partial.waitForEnd()).toBe("ERR message incomplete after 300 ms\n");
    },
  ));

function big(version: number): string {
  return moduleSource(`{ routes: {
    "BIG": { async connect(c) { await c.readUntil("\\n"); void c.write("x".repeat(8_000_000)).catch(() => {}); console.log("wrote ${version}"); await c.readUntil("never"); } },
    "LINE ": { framing: "line", handle: () => "line\\n" },
  } }`);
}
