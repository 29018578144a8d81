import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { UserError } from "../../../src/config/user-error";
import { readFiles } from "../../../src/reload/upload/read-files";
import { Exchange, recoverExchange } from "../../../src/reload/upload/staging";
import { layOut } from "../../../src/reload/upload/names";

let root: string;
let modulesDir: string;
let folders: { modulesDir: string; stateDir: string };

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "hrmr-staging-"));
  modulesDir = join(root, "modules");
  folders = { modulesDir, stateDir: join(root, "state") };
  mkdirSync(modulesDir);
  mkdirSync(folders.stateDir);
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** By path in the modules folder. Old enough that a new file's time is another one. */
function put(files: Record<string, string>, mode = 0o640): void {
  for (const [path, text] of Object.entries(files)) {
    const file = join(modulesDir, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
    chmodSync(file, mode);
  }
  for (const entry of readdirSync(modulesDir, { recursive: true }))
    utimesSync(join(modulesDir, String(entry)), 1_600_000_000, 1_600_000_123.5);
}

/** All that is in the modules folder: kind, rights, time, and content or number of each file. */
function everything(): Record<string, string> {
  const entries = readdirSync(modulesDir, { recursive: true }).map(String).sort();
  return Object.fromEntries(
    entries.map((entry) => {
      const { mode, mtimeMs, ino } = lstatSync(join(modulesDir, entry));
      const isFile = lstatSync(join(modulesDir, entry)).isFile();
      return [
        entry,
        `${mode.toString(8)} ${mtimeMs} ${ino} ${isFile ? readFileSync(join(modulesDir, entry), "utf8") : ""}`,
      ];
    }),
  );
}

function texts(): Record<string, string> {
  const entries = readdirSync(modulesDir, { recursive: true }).map(String).sort();
  const files = entries.filter((entry) => lstatSync(join(modulesDir, entry)).isFile());
  return Object.fromEntries(files.map((entry) => [entry, readFileSync(join(modulesDir, entry), "utf8")]));
}

function prepare(name: string, files: Record<string, string> | null): Promise<Exchange> {
  const content = Object.entries(files ?? {}).map(([path, text]) => ({ path, bytes: Buffer.from(text) }));
  return Exchange.prepare(folders, name, files === null ? null : layOut(name, content));
}

async function codeOf(act: () => unknown): Promise<string> {
  try {
    await act();
  } catch (error) {
    if (error instanceof UserError) return error.code;
    throw error;
  }
  return "done";
}

/** The files before, the sent files (null: it is removed), and the files after. */
const CASES: [string, Record<string, string>, Record<string, string> | null, Record<string, string>][] = [
  ["a new file", {}, { "m.ts": "new" }, { "m.ts": "new" }],
  ["a file over a file", { "m.ts": "old" }, { "m.ts": "new" }, { "m.ts": "new" }],
  ["a file over one with another ending", { "m.js": "old" }, { "m.ts": "new" }, { "m.ts": "new" }],
  ["a new folder", {}, { "index.ts": "new", "lib/a.json": "1" }, { "m/index.ts": "new", "m/lib/a.json": "1" }],
  ["a folder over a folder", { "m/index.ts": "old", "m/gone.ts": "x" }, { "index.ts": "new" }, { "m/index.ts": "new" }],
  [
    "a folder over one with packages",
    { "m/index.ts": "old", "m/node_modules/p/index.js": "p", "m/.env": "secret" },
    { "index.ts": "new" },
    { "m/index.ts": "new", "m/node_modules/p/index.js": "p" },
  ],
  ["a folder over a file", { "m.ts": "old" }, { "index.ts": "new" }, { "m/index.ts": "new" }],
  ["a file over a folder", { "m/index.ts": "old", "m/b.ts": "b" }, { "m.ts": "new" }, { "m.ts": "new" }],
  [
    "a file beside what it keeps in a folder",
    { "m.ts": "old", "m/part.ts": "x" },
    { "m.ts": "new" },
    { "m.ts": "new", "m/part.ts": "x" },
  ],
  ["the removal of a file", { "m.ts": "old" }, null, {}],
  ["the removal of a folder", { "m/index.ts": "old", "m/node_modules/p/index.js": "p" }, null, {}],
];
const OTHERS = { "other.ts": "o", "_m.ts": "helper", "lib/m.ts": "l" };

describe("an exchange of a module's files", () => {
  test.each(CASES)("puts %s in place, and nothing else is changed", async (_, before, sent, after) => {
    put({ ...OTHERS, ...before });
    const exchange = await prepare("m", sent);
    expect(texts()).toMatchObject({ ...OTHERS, ...before });
    exchange.apply();
    await exchange.close();
    expect(texts()).toEqual({ ...OTHERS, ...after });
    expect(readdirSync(folders.stateDir)).toEqual([]);
    expect(existsSync(join(modulesDir, ".hrmr"))).toBe(false);
  });

  test.each(CASES)("of %s is undone: the very same files, with their rights and times", async (_, before, sent) => {
    put({ ...OTHERS, ...before });
    const was = everything();
    const exchange = await prepare("m", sent);
    exchange.apply();
    exchange.undo();
    await exchange.close();
    expect(everything()).toEqual(was);
    expect(readdirSync(folders.stateDir)).toEqual([]);
  });

  test.each(CASES)("of %s that was cut short before its end is undone at the next start", async (_, before, sent) => {
    put({ ...OTHERS, ...before });
    const was = everything();
    (await prepare("m", sent)).apply();
    expect(recoverExchange(folders)).toBe("m");
    expect(everything()).toEqual(was);
    expect(recoverExchange(folders)).toBeNull();
    expect(readdirSync(folders.stateDir)).toEqual([]);
  });

  test.each(CASES)("of %s that was cut short before its first step changes nothing", async (_, before, sent) => {
    put({ ...OTHERS, ...before });
    const was = everything();
    await prepare("m", sent);
    expect(recoverExchange(folders)).toBe("m");
    expect(everything()).toEqual(was);
  });

  /** The steps of `apply`, by hand: one less each time, and each half of the way back as well. */
  describe("is undone at the next start whatever step it was cut short behind", () => {
    const staging = () => join(modulesDir, ".hrmr", readdirSync(join(modulesDir, ".hrmr"))[0] ?? "");
    const aside = (entry: string) => renameSync(join(modulesDir, entry), join(staging(), "old", entry));
    const link = (entry: string) => linkSync(join(modulesDir, entry), join(staging(), "old", entry));
    const enter = (entry: string) => renameSync(join(staging(), "new", entry), join(modulesDir, entry));
    const carry = () => renameSync(join(staging(), "old/m/node_modules"), join(staging(), "new/m/node_modules"));
    const leave = (entry: string) => renameSync(join(modulesDir, entry), join(staging(), "new", entry));
    const uncarry = () => renameSync(join(staging(), "new/m/node_modules"), join(staging(), "old/m/node_modules"));
    const FOLDER = { "m/index.ts": "old", "m/node_modules/p/index.js": "p" };

    const step = (name: string, act: () => void) => ({ name, act });
    const paths: [
      string,
      Record<string, string>,
      Record<string, string> | null,
      { name: string; act: () => void }[],
    ][] = [
      [
        "file over file",
        { "m.ts": "old" },
        { "m.ts": "new" },
        [step("link", () => link("m.ts")), step("enter", () => enter("m.ts"))],
      ],
      [
        "file over file, without links",
        { "m.ts": "old" },
        { "m.ts": "new" },
        [step("aside", () => aside("m.ts")), step("enter", () => enter("m.ts"))],
      ],
      [
        "folder over folder, and back",
        FOLDER,
        { "index.ts": "new" },
        [
          step("aside", () => aside("m")),
          step("carry", carry),
          step("enter", () => enter("m")),
          step("leave", () => leave("m")),
          step("uncarry", uncarry),
        ],
      ],
      [
        "folder over file",
        { "m.ts": "old" },
        { "index.ts": "new" },
        [step("aside", () => aside("m.ts")), step("enter", () => enter("m"))],
      ],
      [
        "file over folder",
        FOLDER,
        { "m.ts": "new" },
        [step("aside", () => aside("m")), step("enter", () => enter("m.ts"))],
      ],
      ["removal", FOLDER, null, [step("aside", () => aside("m"))]],
    ];
    for (const [what, before, sent, steps] of paths) {
      for (let count = 1; count <= steps.length; count++) {
        test(`${what}: ${steps
          .slice(0, count)
          .map(({ name }) => name)
          .join(", ")}`, async () => {
          put({ ...OTHERS, ...before });
          const was = everything();
          await prepare("m", sent);
          for (const { act } of steps.slice(0, count)) act();
          expect(recoverExchange(folders)).toBe("m");
          expect(everything()).toEqual(was);
        });
      }
    }
  });

  test("that was ended by its close counts, also when what was moved aside could not be deleted any more", async () => {
    put({ "m.ts": "old" });
    const exchange = await prepare("m", { "m.ts": "new" });
    exchange.apply();
    // The first thing that the end of it does.
    rmSync(join(folders.stateDir, "upload.json"));
    expect(recoverExchange(folders)).toBeNull();
    expect(texts()).toEqual({ "m.ts": "new" });
  });

  test("keeps the rights of the file that is replaced, in a folder too", async () => {
    put({ "m.ts": "old", "n/index.ts": "old" }, 0o600);
    for (const [name, files] of [
      ["m", { "m.ts": "new" }],
      ["n", { "index.ts": "new", "more.ts": "x" }],
    ] as const) {
      const exchange = await prepare(name, files);
      exchange.apply();
      await exchange.close();
    }
    const mode = (path: string) => (statSync(join(modulesDir, path)).mode & 0o777).toString(8);
    expect([mode("m.ts"), mode("n/index.ts"), mode("n/more.ts")]).toEqual(["600", "600", "644"]);
  });

  test("makes the modules folder where there is none", async () => {
    rmSync(modulesDir, { recursive: true });
    const exchange = await prepare("m", { "m.ts": "new" });
    exchange.apply();
    await exchange.close();
    expect(texts()).toEqual({ "m.ts": "new" });
  });

  test("of another server that shares the modules folder is left alone", async () => {
    put({ "a.ts": "old" });
    const mine = await prepare("a", { "a.ts": "new" });
    const state = join(root, "other");
    mkdirSync(state);
    expect(recoverExchange({ modulesDir, stateDir: state })).toBeNull();
    mine.apply();
    mine.undo();
    await mine.close();
    expect(texts()).toEqual({ "a.ts": "old" });
  });
});

describe("what is in the way", () => {
  test.each([
    ["a symbolic link to a file", "m", () => symlinkSync("/etc/hostname", join(modulesDir, "m.ts"))],
    ["a symbolic link with another ending", "m", () => symlinkSync("/etc/hostname", join(modulesDir, "m.js"))],
    ["a symbolic link to a folder", "m", () => symlinkSync("/etc", join(modulesDir, "m"))],
    ["a link that leads nowhere", "m", () => symlinkSync("/nowhere", join(modulesDir, "m.ts"))],

    ["a module whose name differs in case", "m", () => put({ "M.ts": "x" })],
    ["a folder whose name differs in case", "m", () => put({ "M/index.ts": "x" })],
  ])("is %s: nothing is touched", async (_, name, make) => {
    make();
    const was = everything();
    expect(await codeOf(() => prepare(name, { "m.ts": "new" }))).toBe("UPLOAD_TARGET");
    expect(await codeOf(() => prepare(name, { "index.ts": "new" }))).toBe("UPLOAD_TARGET");
    expect(everything()).toEqual(was);
    expect(readdirSync(folders.stateDir)).toEqual([]);
  });

  test("is a folder with the file's very name", async () => {
    put({ "m.ts/x.txt": "mine" });
    expect(await codeOf(() => prepare("m", { "m.ts": "new" }))).toBe("UPLOAD_TARGET");
    expect(await codeOf(() => prepare("m", { "index.ts": "new" }))).toBe("done");
  });

  test("is a folder that is not a module, for a module in a folder", async () => {
    put({ "m/notes.txt": "mine" });
    expect(await codeOf(() => prepare("m", { "index.ts": "new" }))).toBe("UPLOAD_TARGET");
    expect(await codeOf(() => prepare("m", { "m.ts": "new" }))).toBe("done");
  });
});

describe("another user of the modules folder puts a link in place of", () => {
  const outside = (): string => {
    const dir = join(root, "outside");
    mkdirSync(dir, { recursive: true });
    writeFileSync(join(dir, "theirs.txt"), "theirs");
    return dir;
  };
  /** The staging folder, by its name. */
  const staging = (): string => join(modulesDir, ".hrmr", readdirSync(join(modulesDir, ".hrmr"))[0] ?? "");

  test("the folder of uploads: it is refused, and nothing is written where the link leads", async () => {
    const target = outside();
    symlinkSync(target, join(modulesDir, ".hrmr"));
    expect(await codeOf(() => prepare("m", { "m.ts": "new" }))).toBe("UPLOAD_TARGET");
    expect(readdirSync(target)).toEqual(["theirs.txt"]);
    expect(readdirSync(folders.stateDir)).toEqual([]);
  });

  test("the folder of this upload before it begins: the same", async () => {
    const target = outside();
    const first = await prepare("m", { "m.ts": "new" });
    const named = staging();
    await first.close();
    mkdirSync(join(modulesDir, ".hrmr"));
    symlinkSync(target, named);
    // Remains are looked for first. What they are cannot be told.
    expect(await codeOf(() => prepare("m", { "m.ts": "new" }))).toBe("UPLOAD_STUCK");
    expect(readdirSync(target)).toEqual(["theirs.txt"]);
  });

  test.each([["done"], ["undone"]])(
    "the folder of this upload while it runs: it is %s with the files of the opened folder",
    async (end) => {
      put({ "m.ts": "old" });
      const target = outside();
      mkdirSync(join(target, "new"));
      writeFileSync(join(target, "new/m.ts"), "theirs");
      const exchange = await prepare("m", { "m.ts": "new" });
      const named = staging();
      renameSync(named, `${named}-aside`);
      symlinkSync(target, named);
      exchange.apply();
      expect(readFileSync(join(modulesDir, "m.ts"), "utf8")).toBe("new");
      if (end === "undone") exchange.undo();
      expect(readFileSync(join(modulesDir, "m.ts"), "utf8")).toBe(end === "done" ? "new" : "old");
      await exchange.close();
      expect(readFileSync(join(target, "new/m.ts"), "utf8")).toBe("theirs");
      expect(existsSync(join(target, "old"))).toBe(false);
    },
  );

  test("the module's folder: nothing changes where the link leads, and the link is back", async () => {
    put({ "m/index.ts": "old" });
    const target = outside();
    mkdirSync(join(target, "node_modules"));
    const exchange = await prepare("m", { "index.ts": "new" });
    rmSync(join(modulesDir, "m"), { recursive: true });
    symlinkSync(target, join(modulesDir, "m"));
    expect(await codeOf(() => exchange.apply())).toBe("UPLOAD_UNWRITABLE");
    await exchange.close();
    expect(lstatSync(join(modulesDir, "m")).isSymbolicLink()).toBe(true);
    expect(readdirSync(target).sort()).toEqual(["node_modules", "theirs.txt"]);
    expect(statSync(target).mtimeMs).not.toBe(1_600_000_123_500);
  });

  test("a file, over and over, while it is read for a pull: never what the link leads to", async () => {
    put({ "m/index.ts": "mine", "m/lib/a.ts": "mine" });
    const secret = join(outside(), "secret");
    mkdirSync(join(secret, "lib"), { recursive: true });
    for (const file of ["index.ts", "lib/a.ts"]) writeFileSync(join(secret, file), "secret");
    const flipper = Bun.spawn(
      [
        process.execPath,
        "-e",
        `const { renameSync, symlinkSync } = require("node:fs"); const [m, secret] = process.argv.slice(1);
         symlinkSync(secret + "/index.ts", m + "/link"); symlinkSync(secret + "/lib", m + "/libs");
         for (const end = Date.now() + 60_000; Date.now() < end; ) {
           for (const [name, link] of [["index.ts", "link"], ["lib", "libs"]]) {
             renameSync(m + "/" + name, m + "/aside"); renameSync(m + "/" + link, m + "/" + name);
             renameSync(m + "/" + name, m + "/" + link); renameSync(m + "/aside", m + "/" + name);
           } }`,
        join(modulesDir, "m"),
        secret,
      ],
      { stdio: ["ignore", "inherit", "inherit"] },
    );
    try {
      const seen = { read: 0, skipped: 0 };
      // Both ways often enough. The flipper ends by itself.
      for (let at = 0; at < 200_000 && (seen.read < 500 || seen.skipped < 500) && flipper.exitCode === null; at++) {
        try {
          const { files, skipped } = readFiles(modulesDir, "m", { maxBytes: 1000, maxFiles: 100 });
          for (const { bytes } of files) expect(Buffer.from(bytes).toString()).toBe("mine");
          seen.read += files.length;
          seen.skipped += skipped.length;
        } catch (error) {
          // It was away for a moment.
          if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
        }
      }
      expect(seen.read).toBeGreaterThan(0);
      expect(seen.skipped).toBeGreaterThan(0);
    } finally {
      flipper.kill("SIGKILL");
      await flipper.exited;
    }
  });
});
