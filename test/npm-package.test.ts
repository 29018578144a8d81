/**
 * The npm package, as `npm install` lays it out: `npx hrmr` runs by the Bun that npm installed beside it, with none on
 * the PATH.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import {
  cpSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { dependencies, version } from "../package.json";
import { ask } from "./support/client";
import { startProgram } from "./support/program";

const ROOT = resolve(import.meta.dir, "..");
const PACKAGES = join(ROOT, "node_modules");
const NODE = Bun.which("node") ?? "";

let root: string;
let app: string;
let env: Record<string, string>;

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "hrmr-npm-"));
  app = join(root, "app");
  mkdirSync(join(app, "node_modules/.bin"), { recursive: true });
  const tools = join(root, "tools");
  mkdirSync(tools);
  for (const tool of ["node", "npm", "npx", "sh"]) symlinkSync(Bun.which(tool) ?? "", join(tools, tool));
  env = { PATH: tools, HOME: root, npm_config_update_notifier: "false", npm_config_audit: "false", NO_COLOR: "1" };
  expect(Bun.which("bun", { PATH: tools })).toBeNull();

  const [tarball = ""] = run(["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", root], ROOT)
    .stdout.trim()
    .split("\n");
  const unpacked = Bun.spawnSync(["tar", "-xzf", join(root, tarball), "-C", root]);
  expect(unpacked.exitCode).toBe(0);
  cpSync(join(root, "package"), join(app, "node_modules/hrmr"), { recursive: true });
  // The packages that npm would fetch are here already.
  for (const name of [...Object.keys(dependencies), "@oven"]) {
    const link = join(app, "node_modules", name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(join(PACKAGES, name), link);
  }
  symlinkSync("../hrmr/bin/hrmr.js", join(app, "node_modules/.bin/hrmr"));
  writeFileSync(join(app, "package.json"), '{ "private": true }\n');
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function run(command: string[], cwd: string): { exitCode: number; stdout: string; stderr: string } {
  const { exitCode, stdout, stderr } = Bun.spawnSync(command, { cwd, env, stdin: "ignore" });
  return { exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
}

test("npx hrmr prints the version, and passes on the exit code of a mistake", () => {
  expect(run(["npx", "--offline", "hrmr", "--version"], app)).toEqual({
    exitCode: 0,
    stdout: `hrmr ${version}\n`,
    stderr: "",
  });
  const wrong = run([NODE, "node_modules/.bin/hrmr", "start", "--prot", "1"], app);
  expect([wrong.exitCode, wrong.stderr]).toEqual([2, "hrmr start has no flag --prot.\nDid you mean --port?\n"]);
});

test("it makes a project, serves it, and ends by SIGTERM when what is under way is done", async () => {
  expect(run(["npx", "--offline", "hrmr", "init", "hub"], app).exitCode).toBe(0);
  const command = [NODE, join(app, "node_modules/.bin/hrmr")];
  const program = await startProgram(["start", "--port", "0"], { cwd: join(app, "hub"), env, command });
  try {
    expect(await ask(program.port, "HELLO")).toBe("Hello from hrmr\n");
  } finally {
    expect(await program.stop()).toBe(0);
  }
});

test("where npm may not run install scripts, the platform's package is found", () => {
  const bun = join(app, "node_modules/bun");
  const [platform = ""] = readdirSync(join(PACKAGES, "@oven"));
  expect(lstatSync(bun).isSymbolicLink()).toBe(true);
  unlinkSync(bun);
  mkdirSync(join(bun, "bin"), { recursive: true });
  writeFileSync(join(bun, "package.json"), '{ "name": "bun" }\n');
  writeFileSync(join(bun, "bin/bun.exe"), "the placeholder\n", { mode: 0o755 });
  // As npm unpacks it. The install script moves the program from there to the other package.
  const ofPlatform = join(app, "node_modules/@oven", platform);
  unlinkSync(join(app, "node_modules/@oven"));
  mkdirSync(join(ofPlatform, "bin"), { recursive: true });
  cpSync(join(PACKAGES, "@oven", platform, "package.json"), join(ofPlatform, "package.json"));
  symlinkSync(join(PACKAGES, "bun/bin/bun.exe"), join(ofPlatform, "bin/bun"));
  expect(run([NODE, "node_modules/.bin/hrmr", "-v"], app)).toEqual({
    exitCode: 0,
    stdout: `hrmr ${version}\n`,
    stderr: "",
  });
  rmSync(ofPlatform, { recursive: true });
  const without = run([NODE, "node_modules/.bin/hrmr", "-v"], app);
  expect(without.stderr).toStartWith("hrmr cannot find Bun, which npm installs with it (@oven/bun-");
  expect(without.exitCode).toBe(1);
});

test("the package holds what it needs and no tests", () => {
  const at = (path: string) => lstatSync(join(app, "node_modules/hrmr", path), { throwIfNoEntry: false });
  for (const path of [
    "bin/hrmr.js",
    "src/main.ts",
    "modules/echo.ts",
    "examples/init/gitignore",
    "README.md",
    "LICENSE",
  ])
    expect(at(path)?.isFile()).toBe(true);
  expect(at("test")).toBeUndefined();
  expect(dirname(Bun.resolveSync("bun/package.json", ROOT))).toEndWith("node_modules/bun");
});
