import { expect, test } from "bun:test";
import { join } from "node:path";
import { Probe } from "../../src/module/probe/probe";
import { rejection, withFixture } from "../support/module-fixture";

const GOOD =
  'export default { routes: { A: () => "a" }, setup() { throw new Error("setup must not run in the probe"); } };\n';

test("a good version passes without its setup, and a bad one is told as a load would tell it", async () => {
  const probe = new Probe({ loadTimeoutMs: 20_000 });
  await withFixture(
    { "m.ts": GOOD, "bad.ts": 'const a = 1;\nthrow new Error("no");\n', "empty.ts": "export default {};\n" },
    async (fixture) => {
      try {
        await probe.check(fixture.spec(await fixture.build("m")));
        const bad = fixture.spec(await fixture.build("bad"));
        expect(await rejection(probe.check(bad))).toMatchObject({
          name: "ModuleError",
          module: "bad",
          message: "no",
          file: join(fixture.modules, "bad.ts"),
          line: 2,
          frame: expect.stringContaining('2 | throw new Error("no");'),
        });
        expect(await rejection(probe.check(fixture.spec(await fixture.build("empty"))))).toMatchObject({
          message: expect.stringContaining('"routes" is missing'),
        });
        await probe.check(fixture.spec(await fixture.build("m")));
      } finally {
        probe.close();
      }
    },
  );
});

test("an endless loop is ended at the deadline, and the next check has a thread again", async () => {
  const probe = new Probe({ loadTimeoutMs: 100 });
  await withFixture(
    { "m.ts": GOOD, "loop.ts": "for (;;);\n", "wait.ts": "await new Promise(() => undefined);\n" },
    async (fixture) => {
      try {
        const loop = probe.check(fixture.spec(await fixture.build("loop")));
        // Asked for meanwhile: takes its turn, and is not the loop's victim.
        const next = probe.check(fixture.spec(await fixture.build("m")));
        expect(await rejection(loop)).toMatchObject({
          name: "ModuleError",
          message: "did not finish loading within 100 ms: an endless loop, or a top-level await that never settles",
        });
        await next;
        expect(await rejection(probe.check(fixture.spec(await fixture.build("wait"))))).toMatchObject({
          message: "did not finish loading within 100 ms (top-level await?)",
        });
        await probe.check(fixture.spec(await fixture.build("m")));
      } finally {
        probe.close();
      }
    },
  );
});

test("what would end the process is the module's error, and the thread goes on", async () => {
  const files = {
    "m.ts": GOOD,
    "exit.ts": "const code = 3;\nprocess.exit(code);\n",
    "late.ts": `await new Promise((done) => setTimeout(() => { done(1); throw new Error("stray"); }, 1));\n${GOOD}`,
  };
  const probe = new Probe({ loadTimeoutMs: 20_000 });
  await withFixture(files, async (fixture) => {
    try {
      const exit = await rejection(probe.check(fixture.spec(await fixture.build("exit"))));
      expect(exit).toMatchObject({
        name: "ModuleError",
        line: 2,
        message: "process.exit(3) was called: a module cannot end the server",
      });
      const late = await rejection(probe.check(fixture.spec(await fixture.build("late"))));
      expect(late).toMatchObject({ name: "ModuleError", message: "while loading: stray" });
      await probe.check(fixture.spec(await fixture.build("m")));
    } finally {
      probe.close();
    }
  });
});

test("a thread that ends by itself is the module's error, and is replaced", async () => {
  await withFixture({ "m.ts": GOOD }, async (fixture) => {
    // Stands for code that gets around the guards: ends at the first request, as a native crash of the thread alone
    // would.
    const worker = fixture.write("_worker.js", "postMessage('ready'); onmessage = () => process.exit(7);\n");
    const probe = new Probe({ loadTimeoutMs: 20_000, workerUrl: Bun.pathToFileURL(worker).href });
    try {
      const spec = fixture.spec(await fixture.build("m"));
      const message = "ended its thread while loading, with exit code 7 (process.exit?)";
      expect(await rejection(probe.check(spec))).toMatchObject({ name: "ModuleError", message });
      expect(await rejection(probe.check(spec))).toMatchObject({ name: "ModuleError", message });
    } finally {
      probe.close();
    }
  });
});

test("a thread that never begins is given up, each time it is wanted", async () => {
  await withFixture({ "m.ts": GOOD }, async (fixture) => {
    const worker = fixture.write("_worker.js", "onmessage = () => {};\n");
    const probe = new Probe({ startMs: 200, workerUrl: Bun.pathToFileURL(worker).href });
    try {
      const spec = fixture.spec(await fixture.build("m"));
      for (let time = 0; time < 2; time++) {
        expect(await rejection(probe.check(spec))).toMatchObject({
          name: "Error",
          message: "Cannot start the probe thread: it did not begin within 200 ms",
        });
      }
    } finally {
      probe.close();
    }
  });
});

test("a thread that cannot start, and a closed probe, are not the module's fault", async () => {
  await withFixture({ "m.ts": GOOD }, async (fixture) => {
    const spec = fixture.spec(await fixture.build("m"));
    const probe = new Probe({ workerUrl: Bun.pathToFileURL(join(fixture.root, "nowhere.ts")).href });
    expect(await rejection(probe.check(spec))).toMatchObject({
      name: "Error",
      message: expect.stringContaining("Cannot start the probe thread"),
    });
    probe.close();
    expect(await rejection(probe.check(spec))).toMatchObject({ name: "Error", message: "The probe is closed" });
  });
});

test("the thread keeps no process alive, and an awaited answer does", async () => {
  await withFixture({ "m.ts": GOOD }, async (fixture) => {
    const spec = JSON.stringify(fixture.spec(await fixture.build("m")));
    const script = join(fixture.root, "script.ts");
    const source = join(import.meta.dir, "../../src/module/probe/probe.ts");
    await Bun.write(
      script,
      `import { Probe } from ${JSON.stringify(source)};\nnew Probe({ loadTimeoutMs: 0 }).check(${spec}).then(() => console.log("passed"));\n`,
    );
    await using child = Bun.spawn([process.execPath, script], { stdout: "pipe", stderr: "inherit", timeout: 10_000 });
    expect(await child.stdout.text()).toBe("passed\n");
    expect(await child.exited).toBe(0);
  });
});
