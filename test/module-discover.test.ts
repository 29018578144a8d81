import { expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../src/config/user-error";
import { discoverModules } from "../src/module/discover";
import { rejection, withFixture } from "./support/module-fixture";

test("modules are files and folders with an index, sorted by name", async () => {
  const files = {
    "zeta.ts": "",
    "alpha.js": "",
    "mid.tsx": "",
    "folder/index.mjs": "",
    "folder/other.ts": "",
    "b.min.js": "",
    "native.c": "",
  };
  await withFixture(files, async ({ modules }) => {
    expect(await discoverModules(modules)).toEqual([
      { name: "alpha", file: join(modules, "alpha.js") },
      { name: "b.min", file: join(modules, "b.min.js") },
      { name: "folder", file: join(modules, "folder", "index.mjs") },
      { name: "mid", file: join(modules, "mid.tsx") },
      { name: "native", file: join(modules, "native.c") },
      { name: "zeta", file: join(modules, "zeta.ts") },
    ]);
  });
});

test("helpers, types, tests, packages and other files are no modules", async () => {
  const names = ["_helper.ts", ".hidden.ts", "types.d.ts", "a.test.ts", "lib.ts", "lib/index.ts", "node_modules/index.ts"];
  const more = [
    "_folder/index.ts",
    ".git/index.ts",
    "readme.md",
    "data.json",
    "page.html",
    "native.h",
    "_part.c",
    "lib.c",
    "noindex/main.ts",
    ".ts",
  ];
  await withFixture(Object.fromEntries([...names, ...more].map((name) => [name, ""])), async ({ modules }) => {
    mkdirSync(join(modules, "folder.ts"));
    expect(await discoverModules(modules)).toEqual([]);
  });
});

test.each([
  ["two suffixes", ["chat.ts", "chat.js"], ["chat.js", "chat.ts"]],
  ["a file and a folder", ["chat.ts", "chat/index.ts"], ["chat.ts", "chat/index.ts"]],
  ["two indexes", ["chat/index.js", "chat/index.ts"], ["chat/index.js", "chat/index.ts"]],
])("two files for one name are refused, naming both: %s", async (_, names, shown) => {
  await withFixture(Object.fromEntries(names.map((name) => [name, ""])), async ({ modules }) => {
    const error = await rejection(discoverModules(modules));
    expect(error).toBeInstanceOf(UserError);
    expect(error).toMatchObject({ code: "MODULE_NAME_TWICE", exitCode: 1 });
    for (const name of shown) expect(String(error)).toContain(join(modules, name));
  });
});

test("a missing folder and one that is a file are the user's to mend", async () => {
  await withFixture({ "file.ts": "" }, async ({ modules }) => {
    expect(await rejection(discoverModules(join(modules, "nowhere")))).toMatchObject({
      name: "UserError",
      code: "MODULES_DIR_MISSING",
      message: `Cannot read the modules folder ${join(modules, "nowhere")}: there is no such folder.`,
    });
    expect(await rejection(discoverModules(join(modules, "file.ts")))).toMatchObject({
      name: "UserError",
      code: "MODULES_DIR_NOT_A_FOLDER",
    });
  });
});
