/** The server's part of `modules.NAME` in hrmr.json, where the modules run: in the main thread and on the pool. */
import { describe, expect, test } from "bun:test";
import { type Hub, moduleSource, reuseHubs } from "../support/hub";
import { until } from "../support/until";

const reused = reuseHubs();

/** A hub whose hrmr.json has these settings for its modules. */
function withSettings(
  files: Record<string, string>,
  modules: object,
  test: (hub: Hub) => Promise<void>,
): Promise<void> {
  const sources = Object.fromEntries(
    Object.entries(files).map(([name, definition]) => [`modules/${name}.ts`, moduleSource(definition)]),
  );
  return reused({ ...sources, "hrmr.json": JSON.stringify({ threads: 1, modules }) }, [], test);
}

async function get(hub: Hub, path: string): Promise<string> {
  const response = await fetch(hub.url + path);
  return `${response.status} ${await response.text()}`;
}

describe("run", () => {
  const where = `{ routes: {
    "SILENT": (message, context) => context.host + "\\n",
    "INLINE": { run: "inline", handle: (message, context) => context.host + "\\n" },
    "POOL": { run: "pool", handle: (message, context) => context.host + "\\n" },
    "/fetch": { fetch: (request, context) => new Response(String(context.host)) },
    "LOOP": { connect: async (connection) => { await connection.write("still here\\n"); } },
    "/ws": { websocket: { message() {} } },
  } }`;

  test('"pool" holds for routes that can run there and do not say where they run', () =>
    withSettings({ where }, { where: { run: "pool" } }, async (hub) => {
      expect([await hub.ask("SILENT"), await hub.ask("INLINE"), await hub.ask("POOL")]).toEqual([
        "1\n",
        "main\n",
        "1\n",
      ]);
      expect(await get(hub, "/fetch")).toBe("200 1");
      expect(await hub.ask("LOOP")).toBe("still here\n");
    }));

  test('without it, and with "inline", they run in the main thread', () =>
    withSettings({ where }, { where: { run: "inline" } }, async (hub) => {
      expect([await hub.ask("SILENT"), await hub.ask("INLINE"), await hub.ask("POOL")]).toEqual([
        "main\n",
        "main\n",
        "1\n",
      ]);
      expect(await get(hub, "/fetch")).toBe("200 main");
    }));

  test("a whole app can be put on the pool", () =>
    reused(
      {
        "modules/app.ts": `export default { fetch: (request, context) => new Response(String(context.host)) };`,
        "hrmr.json": JSON.stringify({ threads: 1, modules: { app: { run: "pool" } } }),
      },
      [],
      async (hub) => expect(await get(hub, "/any")).toBe("200 1"),
    ));
});

describe("reload", () => {
  const owner = (word: string, reload = ""): string => `{
    ${reload}
    setup() { console.log("setup ${word}"); },
    dispose() { console.log("disposed ${word}"); },
    routes: { "OWN": () => "${word}\\n" },
  }`;

  test.each([
    ["exclusive", "", ["setup one", "disposed one", "setup two"]],
    ["swap", 'reload: "exclusive",', ["setup one", "setup two", "disposed one"]],
  ])("%s in the settings counts, whatever the module says", (reload, said, order) =>
    withSettings({ owner: owner("one", said) }, { owner: { reload } }, async (hub) => {
      hub.write("modules/owner.ts", moduleSource(owner("two", said)));
      expect(await hub.ask("RELOAD")).toStartWith("OK owner v2 (was v1) swapped");
      expect(await hub.ask("OWN")).toBe("two\n");
      await hub.program.waitFor("disposed one");
      await hub.program.waitFor("setup two");
      const seen = [...hub.program.output().matchAll(/(?:setup|disposed) \w+/g)].map(String);
      expect(seen.slice(0, 3)).toEqual(order);
    }),
  );
});

describe("timeouts", () => {
  const hanging = `{ routes: {
    "HANG": () => new Promise(() => {}),
    "POOLED": { run: "pool", handle: () => new Promise(() => {}) },
    "OWN": { timeoutMs: 40, handle: () => new Promise(() => {}) },
    "/hang": { fetch: () => new Promise(() => {}) },
    "/pooled": { run: "pool", fetch: () => new Promise(() => {}) },
  } }`;

  test("handlerMs holds for the calls of this module's routes, on both kinds of threads, but for those with a timeoutMs", () =>
    withSettings({ hanging }, { hanging: { timeouts: { handlerMs: 120 } } }, async (hub) => {
      const askedMs = performance.now();
      const replies = await Promise.all([hub.ask("HANG"), hub.ask("POOLED"), get(hub, "/hang"), get(hub, "/pooled")]);
      const tookMs = performance.now() - askedMs;
      expect(replies.map((reply) => reply.slice(0, 3))).toEqual(["ERR", "ERR", "503", "503"]);
      expect(tookMs).toBeGreaterThan(100);
      expect(await hub.ask("OWN")).toStartWith("ERR");
      await hub.program.waitFor("did not answer within 120 ms");
      await hub.program.waitFor("did not answer within 40 ms");
    }));

  const late = (run: string): string => `{
    setup: () => new Promise((resolve) => setTimeout(resolve, 1500)),
    routes: { "LATE": { run: "${run}", handle: () => "late\\n" } },
  }`;

  test.each(["inline", "pool"])("loadMs holds for the setup of this module, with run: %s", (run) =>
    withSettings(
      { late: late(run), ping: `{ routes: { "PING": () => "PONG\\n" } }` },
      { late: { timeouts: { loadMs: 60 } } },
      async (hub) => {
        await hub.program.waitFor("setup did not finish within 60 ms");
        expect(await hub.ask("LATE\n")).toBe('ERR no module is bound to "LATE"\n');
        expect(await hub.ask("PING")).toBe("PONG\n");
      },
    ),
  );

  test.each(["inline", "pool"])("loadMs may be longer than the server's, with run: %s", (run) =>
    reused(
      {
        "modules/late.ts": moduleSource(late(run)),
        "hrmr.json": JSON.stringify({
          threads: 1,
          timeouts: { loadMs: 300 },
          modules: { late: { timeouts: { loadMs: 10_000 } } },
        }),
      },
      [],
      async (hub) => expect(await hub.ask("LATE")).toBe("late\n"),
    ),
  );

  test("a probe that does not end takes this module's loadMs, too", () =>
    reused(
      {
        "modules/stuck.ts": "for (;;) {}",
        "modules/ping.ts": moduleSource(`{ routes: { "PING": () => "PONG\\n" } }`),
        "hrmr.json": JSON.stringify({ modules: { stuck: { timeouts: { loadMs: 80 } } } }),
      },
      [],
      async (hub) => {
        await hub.program.waitFor("did not finish loading within 80 ms");
        expect(await hub.ask("PING")).toBe("PONG\n");
      },
    ));

  test("drainMs holds for what the old version of this module has under way", () => {
    const slow = (word: string): string => `{ routes: {
      "SLOW": { framing: "line", handle: () => { console.log("begun"); return new Promise(() => {}); } },
      "NOW": () => "${word}\\n",
    } }`;
    return withSettings({ slow: slow("one") }, { slow: { timeouts: { drainMs: 150 } } }, async (hub) => {
      const client = await hub.connect();
      await client.send("SLOW\n");
      await hub.program.waitFor("begun");
      hub.write("modules/slow.ts", moduleSource(slow("two")));
      expect(await hub.ask("RELOAD")).toStartWith("OK slow v2");
      expect(await client.waitFor("\n")).toBe('ERR "SLOW" failed\n');
      await hub.program.waitFor("still under way after 150 ms were cut");
      await until("the new version serves", async () => (await hub.ask("NOW")) === "two\n");
    });
  });
});

test("the module sees all of its settings, the server's part included", () =>
  withSettings(
    { own: `{ routes: { "OWN": (message, { config }) => JSON.stringify(config) + "\\n" } }` },
    { own: { run: "inline", reload: "swap", timeouts: { handlerMs: 500 }, colour: "blue" } },
    async (hub) =>
      expect(JSON.parse(await hub.ask("OWN"))).toEqual({
        run: "inline",
        reload: "swap",
        timeouts: { handlerMs: 500 },
        colour: "blue",
      }),
  ));
