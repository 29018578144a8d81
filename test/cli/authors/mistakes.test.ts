/** Starting hrmr wrongly: two lines, the right exit code, no stack. What cli-*.test.ts has is not repeated here. */
import { expect, test } from "bun:test";
import { chmodSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { makeProject, moduleSource, withHub } from "../../support/hub";
import { type ProgramResult, runProgram } from "../../support/program";

const PING = moduleSource('{ routes: { "PING": () => "PONG\\n" } }');

async function start(
  files: Record<string, string>,
  args: string[],
  prepare: (dir: string) => void = () => {},
): Promise<ProgramResult> {
  const dir = makeProject(files);
  try {
    prepare(dir);
    return await runProgram(["--port", "0", ...args], { cwd: dir });
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function expectTwoLines({ exitCode, stdout, stderr }: ProgramResult, ...patterns: RegExp[]): void {
  expect([exitCode, stdout]).toEqual([1, ""]);
  expect(stderr.trimEnd().split("\n").length).toBe(2);
  for (const pattern of patterns) expect(stderr).toMatch(pattern);
}

test("a modules folder that was named and is not there", async () => {
  expectTwoLines(await start({}, ["--modules", "nowhere"]), /nowhere does not exist/, /hrmr init/);
});

test("a modules folder that was named and is empty", async () => {
  expectTwoLines(
    await start({}, ["--modules", "empty"], (dir) => mkdirSync(join(dir, "empty"))),
    /empty is empty/,
    /hrmr new/,
  );
});

test("a modules folder that is a file", async () => {
  expectTwoLines(await start({ "modules.ts": PING }, ["--modules", "modules.ts"]), /modules\.ts/);
});

test.skipIf(process.getuid?.() === 0)("a modules folder that may not be read (root may read all)", async () => {
  expectTwoLines(
    await start({ "modules/ping.ts": PING }, [], (dir) => chmodSync(join(dir, "modules"), 0)),
    /modules/,
    /EACCES|permission/,
  );
});

const LEFT_OUT: [string, Record<string, string>, string, RegExp][] = [
  [
    "two modules on one prefix",
    { "modules/apple.ts": PING },
    "ping",
    /modules\/ping\.ts claims .*"PING.*which modules\/apple\.ts has already/,
  ],
  [
    "a key that is a command",
    { "modules/reload.ts": moduleSource('{ routes: { "RELOAD ": () => "" } }') },
    "reload",
    /built-in command/,
  ],
  [
    "two files with one name",
    { "modules/a.ts": PING, "modules/a/index.ts": PING },
    "a",
    /Two files claim .*modules\/a\/index\.ts and modules\/a\.ts/,
  ],
];

test.each(LEFT_OUT)(
  "%s: that module is left out by name, at the start and at a RELOAD, and the others serve",
  (_, files, name, reason) =>
    withHub({ "modules/ping.ts": PING, ...files }, [], async (hub) => {
      expect(await hub.ask("PING")).toBe("PONG\n");
      await hub.program.waitFor(new RegExp(`Module "${name}" was not loaded: .*${reason.source}`));
      const ready = await fetch(`${hub.url}/ready`);
      expect(ready.status).toBe(503);
      expect(await ready.text()).toMatch(reason);
      const validated = await runProgram(["validate"], { cwd: hub.dir });
      expect(validated.exitCode).toBe(1);
      expect(validated.stdout + validated.stderr).toMatch(reason);
      expect(validated.stdout + validated.stderr).toContain("A start would leave it out and serve the others.");
      expect(await hub.ask("RELOAD")).toMatch(
        new RegExp(`^ERR 1 module failed[^]*${name} was not loaded: .*${reason.source}`),
      );
      expect(await hub.ask("PING")).toBe("PONG\n");
    }),
);

test("a static folder that was named and is not there", async () => {
  expectTwoLines(await start({ "modules/a.ts": PING }, ["--static", "nowhere"]), /nowhere/);
});

test("a broken module is told with file and line, and the others are served", () =>
  withHub(
    { "modules/ping.ts": PING, "modules/broken.ts": "export default {\n  routes: {\n    'X': () => ,\n  }\n};\n" },
    [],
    async (hub) => {
      expect(await hub.ask("PING")).toBe("PONG\n");
      await hub.program.waitFor(/"broken" was not loaded: modules\/broken\.ts:3:\d+/);
      hub.write("modules/broken.ts", moduleSource('{ routes: { "X": () => "mended\\n" } }'));
      expect(await hub.ask("RELOAD")).toStartWith("OK ");
      expect(await hub.ask("X")).toBe("mended\n");
    },
  ));

test("a project made while the server runs is taken in by RELOAD", () =>
  withHub({}, [], async (hub) => {
    await runProgram(["init", "."], { cwd: hub.dir });
    expect(await hub.ask("RELOAD")).toStartWith("OK ");
    expect(await hub.ask("HELLO")).toBe("Hello from hrmr\n");
  }));
