/** The steps of `Lives` in one process, with modules that note them. */
import { expect, test } from "bun:test";
import { BackgroundRole } from "../../../src/module/background";
import type { Verdict } from "../../../src/reload/verdict/verdict";
import { type Fixture, withFixture } from "../../support/module-fixture";
import { TestProcess } from "../../support/registry";
import { until } from "../../support/until";

/** Where the modules of this thread note their steps, by the test's key. */
const NOTES = ((globalThis as Record<string, unknown>)["__lives"] ??= {}) as Record<string, string[]>;
let tests = 0;

/** A server whose modules have `note(step)`; `steps` has them all. */
class Bench extends TestProcess {
  readonly key = `t${++tests}`;
  readonly steps: string[] = (NOTES[this.key] = []);
  readonly role: BackgroundRole;
  readonly #fixture: Fixture;

  constructor(fixture: Fixture, role = new BackgroundRole(), loadMs = 20_000) {
    super(fixture, { background: role, loadMs });
    this.#fixture = fixture;
    this.role = role;
    Reflect.deleteProperty(globalThis, "nothing");
  }

  /** @param definition its fields, in which `note` notes a step with the module's name and version */
  module(name: string, definition: string): void {
    this.#fixture.write(
      `${name}.ts`,
      `const note = (step) => void globalThis.__lives.${this.key}.push("${name} " + step);\nexport default { routes: { "${name.toUpperCase()}": () => "${name}" }, ${definition} };\n`,
    );
  }

  /** With start and stop, that note themselves. */
  living(name: string, options = ""): void {
    this.module(
      name,
      `start(c) { note("start v" + c.generation) }, stop(c, why) { note("stop v" + c.generation + " " + why) }, ${options}`,
    );
  }

  reload(): Promise<Verdict> {
    return this.registry.reload();
  }

  /** The steps since the last call. */
  take(): string[] {
    return this.steps.splice(0);
  }

  async close(): Promise<void> {
    await this.registry.lives.close("shutdown");
    await this.registry.close();
    Reflect.deleteProperty(NOTES, this.key);
  }
}

async function withBench(use: (bench: Bench) => Promise<void>, loadMs?: number): Promise<void> {
  await withFixture({}, async (fixture) => {
    const bench = new Bench(fixture, new BackgroundRole(), loadMs);
    try {
      await use(bench);
    } finally {
      await bench.close();
    }
  });
}

const notesOf = ({ modules }: Verdict, name: string) => modules.find((module) => module.name === name)?.notes;

test("nothing starts before its process serves, and what is done once waits for the background process", () =>
  withBench(async (bench) => {
    bench.living("once");
    bench.living("each", `background: "process",`);
    await bench.reload();
    expect(bench.take()).toEqual([]);
    bench.registry.lives.begin();
    expect(bench.take()).toEqual(["each start v1"]);
    bench.role.take();
    expect(bench.take()).toEqual(["once start v1"]);
    await bench.role.release("moved");
    expect(bench.take()).toEqual(["once stop v1 moved"]);
    // It has left for good.
    bench.role.take();
    await bench.registry.lives.close("shutdown");
    expect(bench.take()).toEqual(["each stop v1 shutdown"]);
  }));

test("the old version stops before the new one starts, and is disposed after its stop", () =>
  withBench(async (bench) => {
    const stopping = (version: string) =>
      bench.module(
        "slow",
        `check() { note("check ${version}") }, start() { note("start ${version}") }, async stop() { note("stop ${version}"); await Bun.sleep(30); note("stopped ${version}") }, dispose() { note("dispose ${version}") }`,
      );
    stopping("a");
    bench.role.take();
    await bench.reload();
    stopping("b");
    const verdict = await bench.reload();
    expect(notesOf(verdict, "slow")).toEqual([]);
    await until("the old version to be disposed", () => bench.steps.includes("slow dispose a"));
    expect(bench.take().filter((step) => !step.startsWith("slow dispose"))).toEqual([
      "slow check a",
      "slow start a",
      "slow check b",
      "slow stop a",
      "slow stopped a",
      "slow start b",
    ]);
  }));

test("a version that is refused never starts, and the one that serves is not stopped", () =>
  withBench(async (bench) => {
    bench.living("gate");
    bench.role.take();
    await bench.reload();
    bench.living("gate", `check: () => false,`);
    expect((await bench.reload()).ok).toBe(false);
    bench.living("gate", `setup() { throw new Error("no") },`);
    expect((await bench.reload()).ok).toBe(false);
    expect(bench.take()).toEqual(["gate start v1"]);
  }));

test("modules start behind those that they need, and stop before them", () =>
  withBench(async (bench) => {
    bench.living("app", `needs: ["kv"],`);
    bench.living("kv", `needs: ["zdb"],`);
    bench.living("zdb");
    bench.role.take();
    await bench.reload();
    expect(bench.take()).toEqual(["zdb start v1", "kv start v1", "app start v1"]);
    for (const [name, needs] of [
      ["app", "kv"],
      ["kv", "zdb"],
    ] as const)
      bench.living(name, `needs: ["${needs}"], unavailable: "x",`);
    await bench.reload();
    expect(bench.take()).toEqual(["app stop v1 replaced", "kv stop v1 replaced", "kv start v2", "app start v2"]);
    await bench.role.release("moved");
    expect(bench.take()).toEqual(["app stop v2 moved", "kv stop v2 moved", "zdb stop v1 moved"]);
  }));

test("a module stops when the stop of those that need it has ended", () =>
  withBench(async (bench) => {
    bench.living("kv");
    bench.module("app", `needs: ["kv"], start() {}, async stop() { await Bun.sleep(20); note("stopped") },`);
    bench.role.take();
    await bench.reload();
    await bench.role.release("moved");
    expect(bench.take()).toEqual(["kv start v1", "app stopped", "kv stop v1 moved"]);
  }));

test("a module waits for the start of what it needs, and starts when that succeeds", () =>
  withBench(async (bench) => {
    bench.module("kv", `start() { note("start"); if (globalThis.nothing !== 1) throw new Error("no disk") }`);
    bench.living("app", `needs: ["kv"],`);
    bench.role.take();
    await bench.reload();
    expect(new Set(bench.take())).toEqual(new Set(["kv start"]));
    expect(bench.registry.lives.facts("kv")).toMatchObject({
      state: "failed",
      error: expect.stringContaining("no disk"),
    });
    expect(bench.registry.lives.facts("app")?.state).toBe("waiting");
    Reflect.set(globalThis, "nothing", 1);
    // A reload tries at once.
    await bench.reload();
    await until("the start of app", () => bench.steps.includes("app start v1"));
    expect(bench.take().filter((step) => step !== "kv start")).toEqual(["app start v1"]);
    expect(bench.registry.lives.facts("kv")).toEqual({ state: "started", error: null, nextTryAt: null });
    Reflect.deleteProperty(globalThis, "nothing");
  }));

test("a start that fails is tried again by itself, the version serves meanwhile, and is not stopped", () =>
  withBench(async (bench) => {
    bench.module("gate", `start() { note("start"); throw new RangeError("no gateway") }, stop() { note("stop") }`);
    bench.role.take();
    const verdict = await bench.reload();
    expect(verdict.ok).toBe(true);
    expect(notesOf(verdict, "gate")).toEqual([
      expect.stringMatching(/^its start is tried again: .*gate\.ts.*no gateway/),
    ]);
    expect(bench.ask("GATE")).toBe("gate");
    const next = bench.registry.lives.facts("gate")?.nextTryAt ?? "";
    expect(Date.parse(next)).toBeGreaterThan(0);
    await until("the next try", () => bench.steps.length >= 2);
    // A reload tries at once, and tells of it.
    expect(notesOf(await bench.reload(), "gate")).toEqual([expect.stringContaining("no gateway")]);
    bench.living("gate");
    await bench.reload();
    expect(bench.steps.length).toBeGreaterThan(3);
    expect(new Set(bench.take())).toEqual(new Set(["gate start", "gate start v2"]));
    expect(bench.logged.filter((line) => line.includes("no gateway")).length).toBeGreaterThan(1);
  }));

test("a start that does not end counts as failed at its deadline, and its successor does not wait for it", () =>
  withBench(async (bench) => {
    bench.module("gate", `start() { note("start"); return new Promise(() => {}) }, stop() { note("stop") }`);
    bench.role.take();
    await bench.reload();
    await until("the deadline", () => bench.registry.lives.facts("gate")?.state === "failed");
    expect(bench.registry.lives.facts("gate")?.error).toContain("start did not finish within 1500 ms");
    bench.living("gate");
    await bench.reload();
    await until("the start of v2", () => bench.steps.includes("gate start v2"));
    expect(bench.take().filter((step) => step !== "gate start")).toEqual(["gate start v2"]);
  }, 1500));

test("a stop that fails or does not end is logged, and the next version starts", () =>
  withBench(async (bench) => {
    bench.module("bad", `start() { note("start a") }, stop() { throw new Error("cannot stop") }`);
    bench.module("late", `start() { note("start a") }, stop() { return new Promise(() => {}) }`);
    bench.role.take();
    await bench.reload();
    bench.living("bad");
    bench.living("late");
    await bench.reload();
    await until("both starts", () => bench.steps.includes("bad start v2") && bench.steps.includes("late start v2"));
    expect(bench.logged.join("")).toContain("stop failed: cannot stop");
    expect(bench.logged.join("")).toContain("stop did not finish within 1500 ms");
  }, 1500));

test("a module that is removed is stopped, and those that need it are named", () =>
  withBench(async (bench) => {
    bench.living("kv");
    bench.living("app", `needs: ["kv"],`);
    bench.role.take();
    await bench.reload();
    await Bun.file(`${bench.registry.options.modulesDir}/kv.ts`).delete();
    expect(notesOf(await bench.reload(), "kv")).toContain("needed by app");
    expect(bench.take()).toEqual(["kv start v1", "app start v1", "kv stop v1 removed"]);
    expect(bench.registry.lives.facts("kv")).toBeNull();
  }));

test("an exclusive module stops before it is disposed, and the version that comes back starts again", () =>
  withBench(async (bench) => {
    const exclusive = (more = "") =>
      bench.living("gate", `reload: "exclusive", dispose() { note("dispose") }, ${more}`);
    exclusive();
    bench.role.take();
    await bench.reload();
    exclusive(`setup() { throw new Error("port in use") },`);
    expect((await bench.reload()).ok).toBe(false);
    await until("the start of the version that came back", () => bench.steps.length === 4);
    expect(bench.take()).toEqual(["gate start v1", "gate stop v1 replaced", "gate dispose", "gate start v1"]);
  }));

test("a module without routes serves from the start on, and gets none", () =>
  withBench(async (bench) => {
    bench.module("bare", `start() { note("start") }`);
    const file = `${bench.registry.options.modulesDir}/bare.ts`;
    await Bun.write(file, (await Bun.file(file).text()).replace(/routes: .*?}, /, ""));
    bench.role.take();
    expect((await bench.reload()).ok).toBe(true);
    expect(bench.versions).toEqual(["bare v1"]);
    expect(bench.take()).toEqual(["bare start"]);
  }));
