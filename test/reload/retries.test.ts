/** Modules that fail at a start are tried again until they stand. */
import { afterEach, beforeEach, expect, setSystemTime, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Readiness } from "../../src/observe/snapshot";
import { Retries } from "../../src/supervise/retries";
import { moduleSource, withHub, type Hub } from "../support/hub";
import { SILENT_LOG } from "../support/module-fixture";
import { runProgram } from "../support/program";
import { servingPids } from "../support/supervised";
import { until } from "../support/until";

beforeEach(() => void setSystemTime(new Date("2026-01-01T00:00:00Z")));
afterEach(() => void setSystemTime());

test("the waits between tries are 1, 2, 5, 10 and 30 s, and 30 s from then on; a module that serves is not tried again", async () => {
  const failing = new Map([
    ["db", "no database"],
    ["queue", "no queue"],
  ]);
  const retries = new Retries({
    tryAgain: () => Promise.resolve(),
    failing: () => Promise.resolve(failing),
    log: SILENT_LOG,
  });
  try {
    retries.add(["db", "queue"]);
    const waits: number[] = [];
    for (let tries = 0; tries < 7; tries++) {
      waits.push(Date.parse(retries.nextTries()["db"] ?? "") - Date.now());
      await retries.reloaded();
    }
    expect(waits).toEqual([1000, 2000, 5000, 10_000, 30_000, 30_000, 30_000]);
    failing.delete("db");
    await retries.reloaded();
    expect(Object.keys(retries.nextTries())).toEqual(["queue"]);
    // The first failure stays known: it must not begin anew when a process fails with it again.
    retries.add(["db"]);
    expect(Date.parse(retries.nextTries()["db"] ?? "") - Date.now()).toBe(1000);
  } finally {
    retries.close();
  }
  expect(retries.nextTries()).toEqual({});
});

/** Fails as long as there is no file `up` in the project. */
const waiting = (where: "setup" | "check" | "top level", run = "inline"): string => {
  const mustBeUp = `const up = () => { if (!existsSync("up")) throw new Error("connection refused"); };`;
  const hook = where === "top level" ? "" : `${where}: () => { up(); },`;
  const route = `"GET /NAME": { run: "${run}", fetch: () => new Response("there") }`;
  return `import { existsSync } from "node:fs";\n${mustBeUp}\n${where === "top level" ? "up();\n" : ""}${moduleSource(`{ ${hook} routes: { ${route} } }`)}`;
};

const MODULES = Object.fromEntries(
  [
    ["setup", waiting("setup")],
    ["check", waiting("check")],
    ["top", waiting("top level")],
    ["pool", waiting("setup", "pool")],
    ["process", waiting("setup", "process")],
  ].map(([name = "", text = ""]) => [`modules/${name}.ts`, text.replace("NAME", name)]),
);
const NAMES = ["setup", "check", "top", "pool", "process"];

const ready = async (hub: Hub): Promise<Readiness> => (await (await fetch(`${hub.url}/ready`)).json()) as Readiness;

for (const processes of [1, 2]) {
  test(`a module that fails at the start is tried again, as /ready and the status say, until it serves, in ${processes} processes`, () =>
    withHub(
      { ...MODULES, "modules/taken.ts": moduleSource(`{ routes: { "STATUS": () => "" } }`) },
      ["-w", String(processes)],
      async (hub) => {
        await until("all of them to be waited for", async () => {
          const { modules } = await ready(hub);
          return NAMES.every((name) => modules.find((module) => module.name === name)?.nextTryAt !== undefined);
        });
        const { reasons } = await ready(hub);
        expect(reasons.find((reason) => reason.includes('"setup"'))).toMatch(
          /connection refused \(the next try is at 20\d\d-.*Z\)$/,
        );
        // Nobody's database stands between this one and its key.
        expect(reasons.find((reason) => reason.includes('"taken"'))).not.toContain("next try");
        const { modules } = await hub.status();
        expect(modules.find(({ name }) => name === "setup")?.nextTryAt).toMatch(/^20\d\d-.*Z$/);
        const shown = await runProgram(["status"], { cwd: hub.dir });
        expect(shown.stdout).toMatch(/setup was not loaded, nothing of it is served, tried again (in|now)/);
        writeFileSync(join(hub.dir, "up"), "");
        await until("all of them to serve", async () => {
          const states = (await ready(hub)).modules.filter(({ name }) => NAMES.includes(name));
          return states.every(({ state, generation }) => state === "serving" && generation === 1);
        });
        expect((await servingPids(hub)).length).toBe(processes);
        for (const name of NAMES) expect(await (await fetch(`${hub.url}/${name}`)).text()).toBe("there");
        // A try ends a moment after its version begins to serve.
        await until("no further try", async () =>
          (await ready(hub)).modules.every(({ nextTryAt }) => nextTryAt === undefined),
        );
      },
    ));
}

test("a RELOAD tries at once, and what it cannot mend is waited for on", () =>
  withHub({ "modules/setup.ts": MODULES["modules/setup.ts"] ?? "" }, [], async (hub) => {
    expect(await hub.ask("RELOAD")).toMatch(/^ERR .*\n  setup was not loaded: .*connection refused/);
    writeFileSync(join(hub.dir, "up"), "");
    expect(await hub.ask("RELOAD")).toStartWith("OK ");
    expect(await (await fetch(`${hub.url}/setup`)).text()).toBe("there");
    rmSync(join(hub.dir, "up"));
    hub.write("modules/setup.ts", `${(MODULES["modules/setup.ts"] ?? "").replace("there", "newer")}// newer\n`);
    expect(await hub.ask("RELOAD")).toMatch(/^ERR [^]*v1, loaded at .* goes on serving/);
    expect((await ready(hub)).modules.filter(({ nextTryAt }) => nextTryAt !== undefined)).toEqual([]);
  }));
