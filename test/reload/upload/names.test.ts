import { describe, expect, test } from "bun:test";
import { UserError } from "../../../src/config/user-error";
import { checkModuleName, checkPath, layOut } from "../../../src/reload/upload/names";

function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof UserError) return error.code;
    throw error;
  }
  return "taken";
}

const sent = (...paths: string[]) => paths.map((path) => ({ path, bytes: Buffer.from(path) }));

describe("a module's name", () => {
  test.each(["greet", "a", "Greet2", "my-module", "my_module", "v1.2", "x".repeat(64)])("may be %s", (name) => {
    expect(codeOf(() => checkModuleName(name))).toBe("taken");
  });

  test.each([
    "",
    ".",
    "..",
    "../greet",
    "a/b",
    "/etc",
    "a\\b",
    "a\0",
    "a b",
    "a\n",
    "-a",
    "_helper",
    ".hidden",
    "a.",
    "lib",
    "node_modules",
    "con",
    "NUL",
    "com1",
    "aux.x",
    "constructor",
    "toString",
    "hasOwnProperty",
    "greet.ts",
    "greet.js",
    "greet.test",
    "greet.d",
    "größe",
    "a%2fb",
    "x".repeat(65),
  ])("is not %j", (name) => {
    expect(codeOf(() => checkModuleName(name))).toBe("UPLOAD_NAME");
  });
});

describe("a file's path", () => {
  test.each([
    "index.ts",
    "lib/words.json",
    "a/b/c/d.txt",
    "[id].ts",
    "ü.ts",
    "a b.ts",
    "package.json",
    "..a/x.ts".slice(2),
  ])("may be %s", (path) => expect(codeOf(() => checkPath(path))).toBe("taken"));

  test.each([
    "",
    "/etc/passwd",
    "../x.ts",
    "lib/../../x.ts",
    "lib/./x.ts",
    "./x.ts",
    "lib//x.ts",
    "lib/",
    "..\\x.ts",
    "lib\\x.ts",
    "C:\\x.ts",
    "C:x.ts",
    "x.ts\0.png",
    "a\nb.ts",
    "a\u009b.ts",
    ".env",
    "lib/.git/config",
    "node_modules/p/index.js",
    "Node_Modules/p/index.js",
    "con",
    "lib/nul.txt",
    "COM1.ts",
    "x.ts.",
    "x.ts ",
    " x.ts",
    "a*.ts",
    "a?.ts",
    "a|b",
    "u\u0308.ts",
    `${"a/".repeat(12)}x.ts`,
    "x".repeat(201),
    `${"x".repeat(190)}/${"x".repeat(190)}/${"x".repeat(190)}`,
  ])("is not %j", (path) => {
    expect(codeOf(() => checkPath(path))).toBe("UPLOAD_PATH");
  });
});

describe("what was sent", () => {
  const laidOut = (name: string, ...paths: string[]) => {
    const { entry, isFolder, files } = layOut(name, sent(...paths));
    return [entry, isFolder, files.map(({ path }) => path)];
  };

  test("is a file of the module's name, with any ending of a module", () => {
    expect(laidOut("greet", "greet.ts")).toEqual(["greet.ts", false, ["greet.ts"]]);
    expect(laidOut("greet", "greet.mjs")).toEqual(["greet.mjs", false, ["greet.mjs"]]);
    expect(laidOut("v1.2", "v1.2.ts")).toEqual(["v1.2.ts", false, ["v1.2.ts"]]);
  });

  test("is a folder if there is an index, with or without the folder's name before the paths", () => {
    const expected = ["chat", true, ["chat/index.ts", "chat/lib/words.json"]];
    expect(laidOut("chat", "index.ts", "lib/words.json")).toEqual(expected);
    expect(laidOut("chat", "chat/index.ts", "chat/lib/words.json")).toEqual(expected);
    expect(laidOut("chat", "index.tsx")).toEqual(["chat", true, ["chat/index.tsx"]]);
    // A file of the same name beside the index is one of the folder's.
    expect(laidOut("chat", "index.ts", "chat/x.ts")).toEqual(["chat", true, ["chat/index.ts", "chat/chat/x.ts"]]);
  });

  test.each([
    ["nothing", []],
    ["another module's file", ["hello.ts"]],
    ["a file that is not a module", ["greet.txt"]],
    ["a type declaration", ["greet.d.ts"]],
    ["a folder without an index", ["a.ts", "b.ts"]],
    ["an index that lies too deep", ["lib/index.ts"]],
    ["two of them", ["index.ts", "index.js"]],
    ["one file twice", ["index.ts", "a.json", "a.json"]],
    ["two files that are one where case does not count", ["index.ts", "A.json", "a.json"]],
    ["two folders that are one where case does not count", ["index.ts", "Lib/a.json", "lib/b.json"]],
    ["a file that would have to be a folder", ["index.ts", "lib", "lib/a.json"]],
    ["the same, in another spelling", ["index.ts", "LIB", "lib/a.json"]],
    ["a file module with something beside it", ["greet.ts", "words.json"]],
  ])("is refused when it is %s", (_, paths) => {
    expect(codeOf(() => layOut("greet", sent(...paths)))).toBe("UPLOAD_SHAPE");
  });

  test("is refused when a path in it leaves the folder, even by the name that all begin with", () => {
    expect(codeOf(() => layOut("greet", sent("index.ts", "../greet.ts")))).toBe("UPLOAD_PATH");
    expect(codeOf(() => layOut("greet", sent("greet/index.ts", "greet/../../x")))).toBe("UPLOAD_PATH");
    expect(codeOf(() => layOut("..", sent("../index.ts")))).toBe("UPLOAD_NAME");
  });
});
