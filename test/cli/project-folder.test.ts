/** The project that a command belongs to, from each folder of it. */
import { afterAll, expect, test } from "bun:test";
import { chownSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { projectFolder } from "../../src/cli/remote/project-folder";

const root = realpathSync(mkdtempSync(join(tmpdir(), "hrmr-project-")));
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Makes empty files; a name with / at its end is a folder. */
function tree(...names: string[]): string {
  const dir = mkdtempSync(join(root, "tree-"));
  for (const name of names) {
    mkdirSync(join(dir, name.endsWith("/") ? name : dirname(name)), { recursive: true });
    if (!name.endsWith("/")) writeFileSync(join(dir, name), "");
  }
  return dir;
}

const CASES: [what: string, names: string[], cwd: string, project: string][] = [
  ["a config file above", ["hrmr.json", "a/b/"], "a/b", "."],
  ["one of another format", ["hrmr.toml", "a/b/"], "a/b", "."],
  ["a server that was started above", [".hrmr/lock", "a/b/"], "a/b", "."],
  ["the modules folder of a project without a config file", ["modules/greet.ts"], "modules", "."],
  ["a folder in it", ["modules/chat/index.ts"], "modules/chat", "."],
  ["an upload's folder in modules", ["modules/.hrmr/upload-1/", "modules/a/"], "modules/a", "."],
  ["a project in a project", ["hrmr.json", "inner/hrmr.json", "inner/a/"], "inner/a", "inner"],
  ["a project that was not started yet, in a project", ["hrmr.json", "inner/modules/"], "inner", "inner"],
  ["the project's folder itself", ["hrmr.json", "modules/"], ".", "."],
  ["no project", ["a/b/"], "a/b", "a/b"],
  ["a folder with modules that the command is not run in", ["modules/", "a/"], "a", "a"],
];

test.each(CASES)("%s is found", (_what, names, cwd, project) => {
  const dir = tree(...names);
  expect(projectFolder(join(dir, cwd))).toBe(join(dir, project));
});

test.skipIf(process.getuid?.() !== 0)(
  "a stranger's config file above does not count, but that of the folder's owner does",
  () => {
    const dir = tree("hrmr.json", "mine/", "theirs/");
    chownSync(join(dir, "hrmr.json"), 4711, 4711);
    chownSync(join(dir, "theirs"), 4711, 4711);
    expect(projectFolder(join(dir, "mine"))).toBe(join(dir, "mine"));
    expect(projectFolder(join(dir, "theirs"))).toBe(dir);
  },
);
