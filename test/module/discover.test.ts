import { expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { discoverModules } from "../../src/module/build/discover";
import { rejection, withFixture } from "../support/module-fixture";

const namesIn = async (dir: string): Promise<string[]> => (await discoverModules(dir)).modules.map(({ name }) => name);

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
    expect((await discoverModules(modules)).modules).toEqual([
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
  const names = [
    "_helper.ts",
    ".hidden.ts",
    "types.d.ts",
    "a.test.ts",
    "lib.ts",
    "lib/index.ts",
    "node_modules/index.ts",
  ];
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
    expect(await discoverModules(modules)).toEqual({ modules: [], refused: [], overlooked: [] });
  });
});

test("every suffix of TypeScript and JavaScript makes a module", async () => {
  const names = [
    "a.ts",
    "b.tsx",
    "c.mts",
    "d.cts",
    "e.js",
    "f.jsx",
    "g.mjs",
    "h.cjs",
    "i/index.cts",
    "j/index.jsx",
    "k.c",
  ];
  await withFixture(Object.fromEntries(names.map((name) => [name, ""])), async ({ modules }) => {
    expect(await namesIn(modules)).toEqual([..."abcdefghijk"]);
  });
});

test.each([
  ["two suffixes", ["chat.ts", "chat.js"], ["chat.js", "chat.ts"]],
  ["a file and a folder", ["chat.ts", "chat/index.ts"], ["chat.ts", "chat/index.ts"]],
  ["two indexes", ["chat/index.js", "chat/index.ts"], ["chat/index.js", "chat/index.ts"]],
])(
  "two files for one name: that module is refused, naming both, and the others are found: %s",
  async (_, names, shown) => {
    await withFixture(Object.fromEntries(["other.ts", ...names].map((name) => [name, ""])), async ({ modules }) => {
      const found = await discoverModules(modules);
      expect(found.modules.map(({ name }) => name)).toEqual(["other"]);
      expect(found.refused.map(({ name }) => name)).toEqual(["chat"]);
      const error = found.refused[0]?.error;
      expect(error).toMatchObject({ name: "UserError", code: "MODULE_NAME_TWICE", exitCode: 1 });
      for (const name of shown) expect(String(error)).toContain(join(modules, name));
    });
  },
);

test("C++ and libraries are no modules, and are told with the way: all but those that a module in C links", async () => {
  const files = {
    "a.ts": "",
    "fast.cpp": "",
    "libfast.so.2": "",
    "x.dll": "",
    "_y.cpp": "",
    "used.cc": "",
    "libused.so": "",
  };
  await withFixture({ ...files, "u.c": '#pragma hrmr link "./libused.so"\n' }, async ({ modules }) => {
    const { overlooked } = await discoverModules(modules);
    expect(overlooked.map((text) => text.split(" ")[0])).toEqual(
      ["fast.cpp", "libfast.so.2", "x.dll"].map((name) => join(modules, name)),
    );
    for (const text of overlooked) expect(text).toMatch(/extern "C".*#pragma hrmr link "/);
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

test("names that differ only in case, and names that an import cannot have, are refused by name; odd ones are modules", async () => {
  const odd = [
    "constructor.ts",
    "toString.mts",
    "ünï.ts",
    "with space.ts",
    "emoji😀.ts",
    "per%cent.ts",
    "quote\"'x.ts",
    `${"x".repeat(250)}.ts`,
  ];
  const bad = ["UPPER.ts", "upper.ts", "new\nline.ts", "que?st.ts", "back\\slash.ts", "ha#sh.ts"];
  await withFixture(Object.fromEntries([...odd, ...bad].map((name) => [name, ""])), async ({ modules }) => {
    writeFileSync(Buffer.concat([Buffer.from(`${modules}/bad`), Buffer.from([0xff]), Buffer.from(".ts")]), "");
    const found = await discoverModules(modules);
    expect(found.modules.map(({ name }) => name).sort()).toEqual(odd.map((name) => name.replace(/\.m?ts$/, "")).sort());
    const said = Object.fromEntries(found.refused.map(({ name, error }) => [name, error.message]));
    expect(Object.keys(said).sort()).toEqual(bad.map((name) => name.replace(/\.ts$/, "")).sort());
    expect(said["UPPER"]).toContain("differ only in upper and lower case");
    expect(said["que?st"]).toContain("cannot be a module");
    expect(found.overlooked.join()).toContain("not UTF-8");
  });
});
