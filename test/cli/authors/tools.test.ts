import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { callProgram } from "../../support/call-program";
import { runProgram } from "../../support/program";

/** A project of these files; removed behind `use`. */
async function withProject(files: Record<string, string>, use: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "hrmr-project-"));
  try {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), text);
    }
    await use(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const GREET = `import { defineModule } from "hrmr";
export default defineModule({ routes: { "GREET ": { framing: "line", handle: (message) => "Hello, " + message.text.slice(6) + "\\n" } } });
`;

test("hrmr test runs a module's tests against a server of its own, and imports the module itself", () =>
  withProject(
    {
      "modules/greet.ts": GREET,
      "modules/greet.test.ts": `import { expect, test } from "bun:test";
import { startTestServer } from "hrmr/test";
import greet from "./greet";

test("is routed, reloaded and served over HTTP", async () => {
  expect(Object.keys(greet.routes)).toEqual(["GREET "]);
  await using server = await startTestServer({ config: { limits: { maxMessageBytes: 100 } } });
  expect(await server.send("GREET bob\\nGREET eve\\n")).toBe("Hello, bob\\nHello, eve\\n");
  expect(await server.send("GREET " + "x".repeat(200) + "\\n")).toStartWith("ERR message over 100 bytes");
  expect((await server.fetch("/health")).status).toBe(200);
  expect(await server.reload()).toStartWith("OK");
});

test("takes modules as text, and a server that does not start says why", async () => {
  const server = await startTestServer({ modules: { "ping.ts": "export default { routes: { PING: () => 'PONG' } }" } });
  expect(await server.send("PING")).toBe("PONG");
  await expect(startTestServer({ args: ["--prot"] })).rejects.toThrow("no flag --prot");
});
`,
    },
    async (folder) => {
      const { exitCode, stdout, stderr } = await runProgram(["test"], { cwd: folder });
      expect(stdout + stderr).toContain(" 2 pass");
      expect(exitCode).toBe(0);
    },
  ));

test("the test that docs/modules.md shows is green in the project that hrmr init writes", () =>
  withProject({}, async (folder) => {
    const page = readFileSync(join(import.meta.dir, "../../..", "docs", "modules.md"), "utf8");
    const [, shown = ""] = /^```typescript\n(\/\/ modules\/greet\.test\.ts[^]*?)^```$/m.exec(page) ?? [];
    expect((await callProgram(["init", "."], { cwd: folder })).exitCode).toBe(0);
    writeFileSync(join(folder, "modules", "greet.test.ts"), shown);
    const { exitCode, stdout, stderr } = await runProgram(["test"], { cwd: folder });
    expect(stdout + stderr).toContain(" 1 pass");
    expect(exitCode).toBe(0);
  }));

test("hrmr test is red over a module that does not load, with the place and the reason, unless the test says that it may fail", () =>
  withProject(
    {
      "modules/greet.ts": GREET,
      "modules/broken.ts": "export default {\n  routes: { X: () => , },\n};\n",
      "modules/greet.test.ts": `import { expect, test } from "bun:test";
import { startTestServer } from "hrmr/test";
test("greets", async () => {
  await using server = await startTestServer();
  expect(await server.send("GREET bob\\n")).toBe("Hello, bob\\n");
});
test("greets beside a broken one", async () => {
  await using server = await startTestServer({ mayFail: true });
  expect(await server.send("GREET bob\\n")).toBe("Hello, bob\\n");
});
`,
    },
    async (folder) => {
      const { exitCode, stdout, stderr } = await runProgram(["test"], { cwd: folder });
      expect(stdout + stderr).toContain(" 1 pass");
      expect(stdout + stderr).toContain(" 1 fail");
      expect(stdout + stderr).toMatch(/Module "broken" was not loaded: .*broken\.ts:2:/);
      expect(exitCode).toBe(1);
      // The modules run in another process: there would be nothing of them in it.
      expect((await runProgram(["test", "--coverage"], { cwd: folder })).exitCode).toBe(2);
    },
  ));

test("hrmr test exits with 1 when a test fails, and when there is none", () =>
  withProject(
    {
      "modules/greet.ts": GREET,
      "bad.test.ts": `import { expect, test } from "bun:test";\ntest("fails", () => expect(1).toBe(2));\n`,
    },
    async (folder) => {
      const failed = await runProgram(["test"], { cwd: folder });
      expect([failed.exitCode, failed.stderr]).toEqual([1, expect.stringContaining("1 fail")]);
      expect((await runProgram(["test", "no-such-file"], { cwd: folder })).exitCode).toBe(1);
    },
  ));

test("hrmr add installs a package that modules can import", () =>
  withProject(
    {
      "package/package.json": '{ "name": "shout", "version": "1.0.0", "main": "index.js" }',
      "package/index.js": "exports.shout = (text) => text.toUpperCase();",
    },
    async (folder) => {
      // From a folder: no registry is asked.
      const { exitCode, stderr } = await runProgram(["add", "./package"], { cwd: folder });
      expect([exitCode, stderr]).toEqual([0, expect.any(String)]);
      writeFileSync(
        join(folder, "use.test.ts"),
        `import { expect, test } from "bun:test";\nimport { shout } from "shout";\ntest("shouts", () => expect(shout("a")).toBe("A"));\n`,
      );
      expect((await runProgram(["test"], { cwd: folder })).exitCode).toBe(0);
    },
  ));

test("hrmr add says what is missing", async () => {
  expect((await runProgram(["add"])).exitCode).toBe(2);
  const { exitCode, stderr } = await callProgram(["add", "hono", "--dir", "/no/such/folder"]);
  expect([exitCode, stderr]).toEqual([
    1,
    "There is no folder /no/such/folder.\nMake a project with `hrmr init DIR`.\n",
  ]);
});
