/** A process that is started in place of a lost one serves what the others serve, whatever lies on the disk. */
import { expect, test } from "bun:test";
import { mkdirSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pruneBundles } from "../../../src/module/build/build";
import { EVERYTHING } from "../../../src/reload/order";
import { withFixture, type Fixture } from "../../support/module-fixture";
import { answering, DEFAULT_SETTINGS, TestProcess, told } from "../../support/registry";
import { until } from "../../support/until";

/** A process that serves, and one that is to take the place of another. */
async function withPair(
  fixture: Fixture,
  test: (old: TestProcess, fresh: TestProcess) => Promise<void>,
): Promise<void> {
  const probe = { check: () => Promise.reject(new Error("what serves elsewhere needs no probe")) };
  const [old, fresh] = [new TestProcess(fixture), new TestProcess(fixture, { probe })];
  try {
    await test(old, fresh);
  } finally {
    await old.registry.close();
    await fresh.registry.close();
  }
}

/** As they come from another process, or from a file. */
function carried<T>(value: T): T {
  const json = JSON.parse(JSON.stringify(value)) as T;
  expect(structuredClone(value)).toEqual(json);
  return json;
}

async function swapped(process: TestProcess, fixture: Fixture, count: number): Promise<void> {
  for (let number = 1; number <= count; number++) {
    fixture.write("greet.ts", answering(`greet ${number}`));
    await process.registry.reload();
  }
}

test.each<[string, (fixture: Fixture) => void]>([
  ["newer", (fixture) => fixture.write("greet.ts", answering("greet 99"))],
  ["broken", (fixture) => fixture.write("greet.ts", "export default {")],
  ["gone", (fixture) => rmSync(join(fixture.modules, "greet.ts"))],
])("a new process serves the others' version under its number while the file is %s", (_, spoil) =>
  withFixture({ "greet.ts": answering("greet 0"), "ping.ts": answering("ping 1") }, (fixture) =>
    withPair(fixture, async (old, fresh) => {
      await swapped(old, fixture, 3);
      spoil(fixture);
      const verdict = await fresh.registry.load(carried(old.registry.approved()));
      expect(told(verdict)).toEqual(["greet loaded v3", "ping loaded v1"]);
      expect([fresh.ask("GREET"), fresh.ask("PING")]).toEqual(["greet 3", "ping 1"]);
      expect(fresh.versions).toEqual(old.versions);
    }),
  ),
);

test("its next reload finds the same as the others': nothing to do, or the same next version", () =>
  withFixture({ "greet.ts": answering("greet 0") }, (fixture) =>
    withPair(fixture, async (old) => {
      await swapped(old, fixture, 2);
      const fresh = new TestProcess(fixture);
      await fresh.registry.load(carried(old.registry.approved()));
      expect(told(await fresh.registry.reload())).toEqual(["greet unchanged v2"]);
      fixture.write("greet.ts", answering("greet 3"));
      expect([told(await fresh.registry.reload()), told(await old.registry.reload())]).toEqual(
        Array(2).fill(["greet swapped v3"]),
      );
      expect(fresh.registry.approved()).toEqual(old.registry.approved());
      await fresh.registry.close();
    }),
  ));

test("what failed elsewhere is known to have failed: the good version serves, and readiness can name the reason", () =>
  withFixture({ "greet.ts": answering("greet 1"), "bad.ts": "export default 7;" }, (fixture) =>
    withPair(fixture, async (old, fresh) => {
      await old.registry.reload();
      fixture.write("greet.ts", "export default {");
      await old.registry.reload();
      const verdict = await fresh.registry.load(carried(old.registry.approved()));
      expect([verdict.ok, told(verdict)]).toEqual([true, ["bad unchanged vnull", "greet loaded v1"]]);
      const errors = ({ registry }: TestProcess): unknown[] =>
        [...registry.entries.values()].map(({ name, error }) => [name, error]);
      expect(errors(fresh)).toEqual(errors(old));
      expect(errors(fresh)).toContainEqual(["greet", expect.stringContaining("greet.ts")]);
    }),
  ));

test("a version is started with the settings that it serves with elsewhere", () => {
  const module = `export default { setup: (context) => context.config.word, check: (context) => context.state !== "bad", routes: { GREET: (message, context) => context.state } };`;
  return withFixture({ "greet.ts": module }, (fixture) =>
    withPair(fixture, async (old) => {
      const settings = (word: string): typeof DEFAULT_SETTINGS => ({
        ...DEFAULT_SETTINGS,
        settings: { greet: { word } },
      });
      await old.registry.reload(EVERYTHING, settings("good"));
      await old.registry.reload(EVERYTHING, settings("bad"));
      const fresh = new TestProcess(fixture, settings("bad"));
      await fresh.registry.load(carried(old.registry.approved()));
      expect([old.ask("GREET"), fresh.ask("GREET")]).toEqual(["good", "good"]);
      await fresh.registry.close();
    }),
  );
});

test.each<[string, (file: string) => void]>([
  ["gone", (file) => rmSync(file)],
  ["damaged", (file) => writeFileSync(file, "export default 7;")],
  ["damaged and of the right size", (file) => writeFileSync(file, "x".repeat(statSync(file).size))],
])("a bundle that is %s is built again from the file, and the verdict says so", (_, spoil) =>
  withFixture({ "greet.ts": answering("greet 1") }, (fixture) =>
    withPair(fixture, async (old, fresh) => {
      await old.registry.reload();
      const approved = carried(old.registry.approved());
      const file = approved[0]?.version?.file ?? "";
      spoil(file);
      const verdict = await fresh.registry.load(approved);
      expect([told(verdict), verdict.modules[0]?.notes]).toEqual([
        ["greet loaded v1"],
        ["its bundle was gone and was built again"],
      ]);
      expect(fresh.registry.approved()).toEqual(approved);

      spoil(file);
      fixture.write("greet.ts", answering("greet 2"));
      const other = new TestProcess(fixture);
      const changed = await other.registry.load(approved);
      expect(changed.modules[0]).toMatchObject({
        version: 2,
        notes: ["its bundle was gone and was built again, from files that have changed since"],
      });
      expect(other.ask("GREET")).toBe("greet 2");
      await other.registry.close();
    }),
  ),
);

test("a version that cannot be started here fails, and the others are served", () =>
  withFixture(
    {
      "greet.ts": answering("greet 1"),
      "once.ts": answering(
        "once 1",
        `setup() { if (globalThis.testOnce) throw new Error("taken"); globalThis.testOnce = true; },`,
      ),
    },
    (fixture) =>
      withPair(fixture, async (old, fresh) => {
        await old.registry.reload();
        const verdict = await fresh.registry.load(old.registry.approved());
        expect(verdict.ok).toBeFalse();
        expect(verdict.modules.map(({ name, outcome }) => `${name} ${outcome}`)).toEqual([
          "greet loaded",
          "once failed",
        ]);
        expect([fresh.ask("GREET"), fresh.ask("ONCE")]).toEqual(["greet 1", null]);
      }),
  ));

// ---- the bundles' folder ----

function bundlesOf(fixture: Fixture): string[] {
  const names = readdirSync(join(fixture.stateDir, "bundles", "greet"));
  return names.filter((name) => name !== "inputs.json").sort();
}

test("the newest five bundles are kept, and those that are in use however old", () =>
  withFixture({}, async (fixture) => {
    const folder = join(fixture.stateDir, "bundles", "greet");
    mkdirSync(folder, { recursive: true });
    for (let age = 1; age <= 9; age++) {
      const file = join(folder, `hash${age}.js`);
      writeFileSync(file, "");
      utimesSync(file, new Date(2026, 0, 30 - age), new Date(2026, 0, 30 - age));
    }
    writeFileSync(join(folder, "notes.txt"), "");
    await pruneBundles(fixture.stateDir, "greet", new Set(["hash8", "hash2"]));
    expect(bundlesOf(fixture)).toEqual([
      "hash1.js",
      "hash2.js",
      "hash3.js",
      "hash4.js",
      "hash5.js",
      "hash8.js",
      "notes.txt",
    ]);
  }));

test("processes that clean one folder at once don't stumble over each other", () =>
  withFixture({}, async (fixture) => {
    const folder = join(fixture.stateDir, "bundles", "greet");
    for (let round = 0; round < 5; round++) {
      mkdirSync(folder, { recursive: true });
      for (let at = 0; at < 60; at++) writeFileSync(join(folder, `hash${at}.js`), "");
      await Promise.all(Array.from({ length: 8 }, () => pruneBundles(fixture.stateDir, "greet", new Set(["hash7"]))));
      expect(bundlesOf(fixture)).toContain("hash7.js");
      expect(bundlesOf(fixture).length).toBeLessThanOrEqual(6);
    }
    rmSync(folder, { recursive: true });
    await pruneBundles(fixture.stateDir, "greet", new Set());
  }));

test("many versions leave few bundles behind", () =>
  withFixture({ "greet.ts": answering("greet 0") }, async (fixture) => {
    const process = new TestProcess(fixture);
    await swapped(process, fixture, 12);
    await until("at most five bundles are left", () => bundlesOf(fixture).length <= 5);
    expect(process.ask("GREET")).toBe("greet 12");
    await process.registry.close();
  }));
