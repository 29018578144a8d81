import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { callProgram } from "../support/call-program";
import { program, type ProgramResult, runProgram, startProgram } from "../support/program";

const FILES = [
  ".gitignore",
  "hrmr-test.d.ts",
  "hrmr.d.ts",
  "hrmr.json",
  "hrmr.schema.json",
  "modules",
  "static_html",
  "tsconfig.json",
  "types",
];

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "hrmr-init-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** An empty folder of its own. */
function emptyFolder(): string {
  return mkdtempSync(join(root, "project-"));
}

/** `bun check` in `cwd`, by the binary as bun if there is one. */
function checkTypes(cwd: string): { exitCode: number; output: string } {
  const { exitCode, stdout, stderr } = Bun.spawnSync([program()[0] ?? "", "check"], {
    cwd,
    env: { ...process.env, BUN_BE_BUN: "1", NO_COLOR: "1" },
  });
  return { exitCode, output: `${stdout.toString()}${stderr.toString()}` };
}

describe("hrmr init", () => {
  test("writes a project into a folder that it makes, and says what next", async () => {
    const cwd = emptyFolder();
    const { exitCode, stdout, stderr } = await runProgram(["init", "my/hub"], { cwd });
    expect(stderr).toBe("");
    expect(exitCode).toBe(0);
    expect(readdirSync(join(cwd, "my/hub")).sort()).toEqual(FILES);
    expect(readdirSync(join(cwd, "my/hub/modules")).length).toBeGreaterThanOrEqual(3);
    expect(stdout).toContain(`wrote  ${join("my/hub", "hrmr.json")}\n`);
    expect(stdout).toContain("cd my/hub && hrmr ");
  });

  test("the project starts, answers what init says to try, and takes in a new module by RELOAD", async () => {
    const cwd = emptyFolder();
    await callProgram(["init", "."], { cwd });
    const server = await startProgram(["--port", "0"], { cwd });
    try {
      const address = `127.0.0.1:${server.port}`;
      expect((await callProgram(["send", address, "HELLO"])).stdout).toBe("Hello from hrmr\n");
      expect((await runProgram(["new", "wave"], { cwd })).exitCode).toBe(0);
      expect((await callProgram(["send", address, "RELOAD"])).stdout).toStartWith("OK");
      expect((await callProgram(["send", address, "WAVE bob"])).stdout).toBe("Hello, bob\n");
    } finally {
      await server.stop();
    }
  });

  test("a second time keeps every file, and names each", async () => {
    const cwd = emptyFolder();
    await callProgram(["init", "."], { cwd });
    writeFileSync(join(cwd, "hrmr.json"), "{ /* mine */ }");
    rmSync(join(cwd, "tsconfig.json"));
    const { exitCode, stdout } = await callProgram(["init", "."], { cwd });
    expect(readFileSync(join(cwd, "hrmr.json"), "utf8")).toBe("{ /* mine */ }");
    expect(stdout).toContain("kept   hrmr.json (it was there already)\n");
    expect(stdout.match(/^wrote /gm)).toEqual(["wrote "]);
    expect(existsSync(join(cwd, "tsconfig.json"))).toBe(true);
    expect(exitCode).toBe(0);
  });

  test("a file in the place of a folder is refused and left alone", async () => {
    const cwd = emptyFolder();
    writeFileSync(join(cwd, "hub"), "a file");
    const { exitCode, stderr } = await callProgram(["init", "hub"], { cwd });
    expect(stderr).toContain(`Cannot write ${join(cwd, "hub")}`);
    expect(readFileSync(join(cwd, "hub"), "utf8")).toBe("a file");
    expect(exitCode).toBe(1);
  });
});

describe("the types of a project", () => {
  const USES = `import { readFileSync } from "node:fs";
import { $ } from "bun";
import { Database } from "bun:sqlite";
import { defineModule } from "hrmr";
const db = new Database(":memory:");
export default defineModule({
  routes: {
    DB: async () => Buffer.from(readFileSync("/x", "utf8") + process.version + String(db.query("select 1").get()) + (await $\`ls\`.text())),
    "/w": { fetch: async () => new Response((await fetch("http://x/")).body) },
  },
});
`;
  const page = readFileSync(join(import.meta.dir, "../../docs/start.md"), "utf8");
  const sample = /```ts\n([\s\S]*?)```/.exec(page)?.[1] ?? "";
  let cwd: string;
  let made: ProgramResult;
  let right: ReturnType<typeof checkTypes>;
  let wrong: ReturnType<typeof checkTypes>;

  /** One check of all that is right, and one of all that is wrong. */
  beforeAll(async () => {
    cwd = emptyFolder();
    await callProgram(["init", "."], { cwd });
    made = await callProgram(["new", "wave"], { cwd });
    writeFileSync(join(cwd, "modules/sample.ts"), sample);
    writeFileSync(join(cwd, "modules/uses.ts"), USES);
    right = checkTypes(cwd);
    writeFileSync(
      join(cwd, "modules/wrong.ts"),
      'import { defineModule } from "hrmr";\nexport default defineModule({ routes: { PING: () => 3 } });\n',
    );
    writeFileSync(
      join(cwd, "modules/uses.ts"),
      `${USES}export const n: number = readFileSync("/x", "utf8");\nexport const m: string = Bun.hash("x");\n`,
    );
    wrong = checkTypes(cwd);
  });

  test("check without any package, and catch a mistake", () => {
    expect(right).toEqual({ exitCode: 0, output: expect.stringContaining("No type errors in") });
    expect(wrong.output).toContain("modules/wrong.ts(2,");
    expect(wrong.exitCode).toBe(1);
  });

  test("the first module of docs/start.md and the APIs of Bun and Node pass the check without a download", () => {
    expect(sample).toContain("Bun.hash(");
    expect(right.exitCode).toBe(0);
    // They are types, and not `any`.
    expect(wrong.output.match(/modules\/uses\.ts\(\d+,\d+\): error TS2322/g)).toHaveLength(2);
  });

  test("a module that hrmr new adds to the project's folder passes the check", () => {
    expect(made.stdout).toContain(`wrote  ${join("modules", "wave.ts")}\n`);
    expect(made.exitCode).toBe(0);
    expect(readFileSync(join(cwd, "modules/wave.ts"), "utf8")).toContain('"WAVE "');
    expect(right.exitCode).toBe(0);
    expect(wrong.output).not.toContain("wave.ts");
  });
});

describe("hrmr new", () => {
  test("looks for the folder in hrmr.json, and --modules names another", async () => {
    const cwd = emptyFolder();
    mkdirSync(join(cwd, "mods"));
    mkdirSync(join(cwd, "others"));
    writeFileSync(join(cwd, "hrmr.json"), '{ "modulesDir": "mods" }');
    await callProgram(["new", "one"], { cwd });
    await callProgram(["new", "two", "--modules", "others"], { cwd });
    expect([readdirSync(join(cwd, "mods")), readdirSync(join(cwd, "others"))]).toEqual([["one.ts"], ["two.ts"]]);
  });

  test.each(["wave.ts", "wave.js", "Wave.ts", "wave/"])("is refused while there is %s", async (entry) => {
    const cwd = emptyFolder();
    mkdirSync(join(cwd, "modules", entry.endsWith("/") ? entry : ""), { recursive: true });
    if (!entry.endsWith("/")) writeFileSync(join(cwd, "modules", entry), "mine");
    const before = readdirSync(join(cwd, "modules"));
    const { exitCode, stderr } = await callProgram(["new", "wave"], { cwd });
    expect(stderr).toContain('There is a module "wave" already');
    expect(readdirSync(join(cwd, "modules"))).toEqual(before);
    expect(exitCode).toBe(1);
  });

  test.each(["lib", "_x", "1st", "a.b", "a/b", "", "ä", "get", "Post", "CONNECT", "reload", "Status", "rpc"])(
    "refuses the name %j",
    async (name) => {
      const { exitCode, stderr } = await callProgram(["new", "--", name], { cwd: emptyFolder() });
      expect(stderr).toContain(`${JSON.stringify(name)} cannot be a module's name`);
      expect(exitCode).toBe(2);
    },
  );

  test("says what to do where there is no project", async () => {
    const { exitCode, stderr } = await callProgram(["new", "wave"], { cwd: emptyFolder() });
    expect(stderr).toContain("There is no modules folder");
    expect(stderr).toContain("hrmr init DIR");
    expect(exitCode).toBe(1);
  });
});
