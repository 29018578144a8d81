/**
 * New settings in a running registry: which modules are loaded again for them, and which versions stay if they do not
 * work.
 */
import { expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { EVERYTHING, orderFor } from "../../src/reload/order";
import type { LoadSettings } from "../../src/reload/module-set";
import { readShape } from "../../src/module/shape/shape";
import { identityOf, isSameSettings } from "../../src/module/shape/settings";
import { rejection, withFixture, type Fixture } from "../support/module-fixture";
import { answering, DEFAULT_SETTINGS, TestProcess, TestRound, TestServer, told } from "../support/registry";

/** Answers with the word of its settings, and refuses the word "bad". */
const WORDY = `export default {
  check(context) { if (context.config.word === "bad") throw new Error("no such word"); },
  routes: { WORD: (message, context) => String(context.config.word) },
};`;
const GUARD = `${answering("guard 1")}export const middleware = (request, context, next) => next();`;

function settings(modules: LoadSettings["settings"], rest: Partial<LoadSettings> = {}): LoadSettings {
  return { ...DEFAULT_SETTINGS, ...rest, settings: modules };
}

async function withProcess(fixture: Fixture, test: (process: TestProcess) => Promise<void>): Promise<void> {
  const process = new TestProcess(fixture);
  try {
    await process.registry.reload();
    await test(process);
  } finally {
    await process.registry.close();
  }
}

test("a module is loaded anew for its new settings though its file is the same, and only that one", () =>
  withFixture({ "word.ts": WORDY, "ping.ts": answering("ping 1") }, (fixture) =>
    withProcess(fixture, async (process) => {
      const verdict = await process.registry.reload(EVERYTHING, settings({ word: { word: "one" } }));
      expect(told(verdict)).toEqual(["ping unchanged v1", "word swapped v2"]);
      expect(verdict.modules.find(({ name }) => name === "word")?.notes).toEqual(["its settings changed"]);
      expect(process.ask("WORD")).toBe("one");
      expect(told(await process.registry.reload())).toEqual(["ping unchanged v1", "word unchanged v2"]);
      // RELOAD NAME with new settings is about all modules.
      expect(told(await process.registry.reload(orderFor(["ping"]), settings({ word: { word: "two" } })))[1]).toBe(
        "word swapped v3",
      );
    }),
  ));

test("settings that are the same in another order change nothing", () =>
  withFixture({ "word.ts": WORDY }, (fixture) =>
    withProcess(fixture, async (process) => {
      await process.registry.reload(
        EVERYTHING,
        settings({ word: { word: "one", more: { a: [1, { b: 2, c: 3 }], d: null } } }),
      );
      const same = settings({ word: { more: { d: null, a: [1, { c: 3, b: 2 }] }, word: "one" }, nobody: { x: 1 } });
      expect(told(await process.registry.reload(EVERYTHING, same))).toEqual(["word unchanged v2"]);
      expect(isSameSettings({ a: [1, 2] }, { a: [2, 1] })).toBeFalse();
      expect(isSameSettings({ a: 1, b: undefined }, { a: 1 })).toBeTrue();
      expect([identityOf("hash", {}), identityOf("hash", { a: 1, b: 2 })]).toEqual([
        "hash",
        identityOf("hash", { b: 2, a: 1 }),
      ]);
      expect(identityOf("hash", { a: 1 })).not.toBe(identityOf("hash", { a: 2 }));
    }),
  ));

test("a module that fails with its new settings keeps its old version and settings, the others move on, and it is tried again", () =>
  withFixture({ "word.ts": WORDY, "other.ts": WORDY.replaceAll("WORD", "OTHER") }, (fixture) =>
    withProcess(fixture, async (process) => {
      await process.registry.reload(EVERYTHING, settings({ word: { word: "one" }, other: { word: "one" } }));
      const verdict = await process.registry.reload(
        EVERYTHING,
        settings({ word: { word: "bad" }, other: { word: "two" } }),
      );
      expect(told(verdict)).toEqual(["other swapped v3", expect.stringMatching(/^word failed v2: .*no such word/)]);
      expect([process.ask("WORD"), process.ask("OTHER")]).toEqual(["one", "two"]);
      // The file is mended in the meantime; the settings that were wanted still are.
      fixture.write("word.ts", WORDY.replace("bad", "worse"));
      expect(told(await process.registry.reload())).toEqual(["other unchanged v3", "word swapped v3"]);
      expect(process.ask("WORD")).toBe("bad");
    }),
  ));

test("going back to the settings that serve mends a module that failed with others", () =>
  withFixture({ "word.ts": WORDY }, (fixture) =>
    withProcess(fixture, async (process) => {
      await process.registry.reload(EVERYTHING, settings({ word: { word: "one" } }));
      await process.registry.reload(EVERYTHING, settings({ word: { word: "bad" } }));
      expect(process.registry.entries.get("word")?.error).toContain("no such word");
      expect(told(await process.registry.reload(EVERYTHING, settings({ word: { word: "one" } })))).toEqual([
        "word unchanged v2",
      ]);
      expect(process.registry.entries.get("word")?.error).toBeNull();
    }),
  ));

test("enabled switches a module off and on, also one that ships with hrmr", () =>
  withFixture({ "word.ts": WORDY, "_shipped.ts": answering("ship 1") }, (fixture) =>
    withProcess(fixture, async (process) => {
      const shipped = [{ name: "ship", file: `${fixture.modules}/_shipped.ts`, isImplicit: false }];
      const off = await process.registry.reload(EVERYTHING, settings({ word: { enabled: false } }, { shipped }));
      expect(told(off)).toEqual(["ship loaded v1", "word unloaded vnull"]);
      expect([process.ask("WORD"), process.ask("SHIP")]).toEqual([null, "ship 1"]);
      const on = await process.registry.reload(EVERYTHING, settings({ word: { enabled: true, word: "back" } }));
      // Numbers go on: v1 was another version of it.
      expect(told(on)).toEqual(["ship unloaded vnull", "word loaded v2"]);
      expect([process.ask("WORD"), process.ask("SHIP")]).toEqual(["back", null]);
    }),
  ));

test("settings say what the routes don't, where it is possible at all", () => {
  const nothing = (): void => undefined;
  const routes = {
    A: nothing,
    B: { run: "inline", timeoutMs: 5, handle: nothing },
    C: { connect: nothing },
    "/d": { fetch: nothing },
  };
  const app = new (class App {
    fetch(): Response {
      return new Response("");
    }
  })();
  const definition = { routes: { ...routes, "/e": { websocket: {} }, "/f": app } };
  const config = { run: "pool", timeouts: { handlerMs: 9 } };
  const specs = readShape("m", definition, undefined, config).routes.map(
    ({ spec }) => `${spec.key} ${spec.run} ${spec.timeoutMs}`,
  );
  expect(specs).toEqual(["A pool 9", "B inline 5", "C inline 9", "/d pool 9", "/e inline 9", "/f pool 9"]);
  const unsaid = readShape("m", definition).routes.map(({ spec }) => `${spec.run} ${spec.timeoutMs}`);
  expect(unsaid).toEqual(["inline undefined", "inline 5", ...Array<string>(4).fill("inline undefined")]);
  expect(readShape("m", { routes, reload: "exclusive" }, undefined, { reload: "swap" }).reload).toBe("swap");
  // A value that the check of the configuration refuses counts as missing.
  expect(readShape("m", { routes }, undefined, { run: "pond", reload: 1, timeouts: { handlerMs: "9" } })).toMatchObject(
    { reload: "swap" },
  );
});

test("times and the number of versions are the new ones from then on", () =>
  withFixture({ "word.ts": WORDY }, (fixture) =>
    withProcess(fixture, async (process) => {
      await process.registry.reload(EVERYTHING, settings({}, { loadMs: 40, drainMs: 7, maxLiveGenerations: 9 }));
      expect(process.registry.current).toMatchObject({ loadMs: 40, drainMs: 7, maxLiveGenerations: 9 });
      fixture.write("word.ts", answering("word 2", "setup: () => new Promise(() => {}),"));
      expect(told(await process.registry.reload())[0]).toContain("setup did not finish within 40 ms");
      const own = settings({ word: { timeouts: { loadMs: 20 } } }, { loadMs: 60_000 });
      expect(told(await process.registry.reload(EVERYTHING, own))[0]).toContain("setup did not finish within 20 ms");
    }),
  ));

// ---- http.use ----

test("a module with middleware can be put before everything and taken away again", () =>
  withFixture({ "guard.ts": GUARD }, (fixture) =>
    withProcess(fixture, async (process) => {
      expect(told(await process.registry.reload(EVERYTHING, settings({}, { use: ["guard"] })))).toEqual([
        "guard unchanged v1",
      ]);
      expect(await process.unmatchedStatus()).toBe(404);
      await process.registry.reload(EVERYTHING, settings({}));
      expect(await process.unmatchedStatus()).toBeNull();
    }),
  ));

test.each<[string, string[], LoadSettings["settings"], string]>([
  ["has no middleware", ["guard", "still"], {}, 'Module "still" cannot be used: it has no middleware'],
  ["has none in its new version either", ["guard", "ping"], {}, "ping.ts: http.use names it, and it has no middleware"],
  ["is not there", ["nobody"], {}, 'Module "nobody" cannot be used: there is no such module'],
  [
    "is switched off",
    ["guard"],
    { guard: { enabled: false } },
    'Module "guard" cannot be used: modules.guard.enabled is false',
  ],
  ["does not load", ["broken"], {}, 'Module "broken" cannot be used: '],
])(
  "http.use with a module that %s is refused as a whole: no setting and no file is taken over",
  (_, use, modules, reason) =>
    withFixture(
      {
        "guard.ts": GUARD,
        "ping.ts": answering("ping 1"),
        "word.ts": WORDY,
        "still.ts": answering("still 1"),
        "broken.ts": "export default 7;",
      },
      (fixture) =>
        withProcess(fixture, async (process) => {
          fixture.write("ping.ts", answering("ping 2"));
          const next = settings({ word: { word: "new" }, ...modules }, { use, drainMs: 1 });
          const refused = await rejection(process.registry.reload(EVERYTHING, next));
          expect(refused).toMatchObject({ code: "MIDDLEWARE_MISSING", message: expect.stringContaining(reason) });
          expect([process.ask("PING"), process.ask("WORD")]).toEqual(["ping 1", "undefined"]);
          expect(await process.unmatchedStatus()).toBeNull();
          expect(process.registry.current.drainMs).toBe(DEFAULT_SETTINGS.drainMs);
          const { ok, failed, last } = process.registry.totals.snapshot();
          expect([ok, failed, last?.text.slice(0, 11)]).toEqual([0, 2, "ERR Module "]);
          const after = told(await process.registry.reload());
          expect(after).toContain("ping swapped v2");
          expect([process.ask("GUARD"), process.ask("WORD")]).toEqual(["guard 1", "undefined"]);
        }),
    ),
);

test("a guard that is taken away while http.use still names it stays, and the other modules are reloaded", () =>
  withFixture({ "guard.ts": GUARD, "ping.ts": answering("ping 1") }, (fixture) =>
    withProcess(fixture, async (process) => {
      await process.registry.reload(EVERYTHING, settings({}, { use: ["guard"] }));
      fixture.write("ping.ts", answering("ping 2"));
      rmSync(`${fixture.modules}/guard.ts`);
      const gone = await process.registry.reload(EVERYTHING, settings({}, { use: ["guard"] }));
      expect(told(gone)).toEqual([expect.stringMatching(/^guard failed v1: its file is gone/), "ping swapped v2"]);
      fixture.write("guard.ts", GUARD);
      const off = await process.registry.reload(
        EVERYTHING,
        settings({ guard: { enabled: false } }, { use: ["guard"] }),
      );
      expect(told(off)).toEqual([
        expect.stringMatching(/^guard failed v1: modules.guard.enabled is false/),
        "ping unchanged v2",
      ]);
      expect(await process.unmatchedStatus()).toBe(404);
    }),
  ));

// ---- several processes ----

test("new settings that fail in one process are taken over in none", () =>
  withFixture(
    {
      "word.ts": `${WORDY.replace("check(context) {", 'check(context) { if (context.config.word === "new" && globalThis.testTaken++ === 1) throw new Error("taken");')}\nglobalThis.testTaken ??= 0;`,
      "ping.ts": WORDY.replaceAll("WORD", "PING"),
    },
    async (fixture) => {
      const server = new TestServer(fixture, 2);
      await server.reload();
      const verdicts = await server.reload(null, settings({ word: { word: "new" }, ping: { word: "new" } }));
      expect(verdicts.map((verdict) => told(verdict)[0])).toEqual(["ping swapped v2", "ping swapped v2"]);
      const reasons = verdicts.map((verdict) => told(verdict)[1]);
      expect(reasons).toContainEqual(expect.stringMatching(/^word failed v1: .*taken/));
      expect(reasons).toContainEqual(expect.stringMatching(/^word failed v1: process [12]: .*taken/));
      expect(server.processes.map((process) => [process.ask("WORD"), process.ask("PING")])).toEqual(
        Array(2).fill(["undefined", "new"]),
      );
      await server.close();
    },
  ));

test("a process that refuses the new settings as a whole has all of them keep the old ones", () =>
  withFixture({ "word.ts": WORDY }, async (fixture) => {
    // Only the second process is told of a guard that is not there.
    const server = new TestServer(fixture, 2);
    await server.reload();
    const next = settings({ word: { word: "new" } });
    const [one, two] = server.processes;
    server.round = new TestRound(2);
    const outcomes = [
      one?.registry.reload(EVERYTHING, next),
      two?.registry.reload(EVERYTHING, { ...next, use: ["nobody"] }),
    ];
    const reasons = await Promise.all(
      outcomes.map(async (outcome) => (outcome === undefined ? "" : String(await rejection(outcome)))),
    );
    expect(reasons[0]).toContain('Nothing was reloaded: process 2: Module "nobody" cannot be used');
    expect(reasons[1]).toContain('Module "nobody" cannot be used');
    expect(server.processes.map((process) => process.ask("WORD"))).toEqual(["undefined", "undefined"]);
    expect(server.processes.map(({ registry }) => registry.current.settings)).toEqual([{}, {}]);
    await server.close();
  }));

test("the same bundle with other settings is another version to the other processes", () =>
  withFixture({ "word.ts": WORDY }, async (fixture) => {
    const server = new TestServer(fixture, 2);
    await server.reload();
    const [one, two] = server.processes;
    server.round = new TestRound(2);
    const outcomes = await Promise.all([
      one?.registry.reload(EVERYTHING, settings({ word: { word: "a" } })),
      two?.registry.reload(EVERYTHING, settings({ word: { word: "b" } })),
    ]);
    expect(outcomes.map((outcome) => told(outcome)[0])).toEqual(
      Array(2).fill("word failed v1: its files changed while it was being loaded; reload again"),
    );
    await server.close();
  }));
