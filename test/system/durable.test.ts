/** A change that was answered OK survives a power cut: the order of fsync(2) and rename(2), as the kernel sees it. */
import { expect, test } from "bun:test";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { replaceFile } from "../../src/system/files/durable";
import { type Hub, moduleSource, withHub } from "../support/hub";
import { program, runProgram } from "../support/program";
import { canTrace, traceFiles } from "../support/strace";

const v = (text: string): string => moduleSource(`{ routes: { "V": () => ${JSON.stringify(`${text}\n`)} } }`);
const folderOf = (text: string): Record<string, string> => ({
  "next/f/index.ts": `import { word } from "./lib/word";\n${moduleSource('{ routes: { "F": () => word + "\\n" } }')}`,
  "next/f/lib/word.ts": `export const word = ${JSON.stringify(text)};\n`,
});

/** Where `call` (its beginning, or a pattern) stands at or behind `from`. */
function at(calls: readonly string[], call: string | RegExp, from = 0): number {
  const found = calls.findIndex(
    (each, index) => index >= from && (typeof call === "string" ? each === call : call.test(each)),
  );
  if (found === -1)
    throw new Error(`${String(call)} is not behind ${calls[from - 1] ?? "the begin"} in:\n${calls.join("\n")}`);
  return found;
}

/** Each behind the one before. */
function inOrder(calls: readonly string[], ...wanted: (string | RegExp)[]): void {
  let from = 0;
  for (const call of wanted) from = at(calls, call, from) + 1;
}

async function hrmr(hub: Hub, ...args: string[]): Promise<void> {
  const { exitCode, stdout, stderr } = await runProgram(args, { cwd: hub.dir });
  expect(`${exitCode} ${exitCode === 0 ? "" : stdout + stderr}`).toBe("0 ");
}

/** The serving versions are written down so that a start with --resume finds them. */
const APPROVED = [/^fsync \.hrmr\/approved\.json\.\S+\.tmp$/, /^rename \S+ \.hrmr\/approved\.json$/, "fsync .hrmr"];

test.skipIf(!canTrace())(
  "a push is on the disk when it is answered, and undone whole if power fails before: it needs strace",
  async () => {
    await withHub({ "modules/v.ts": v("1"), "next/v.ts": v("2") }, [], async (hub) => {
      const traced = await traceFiles(hub.program.pid, hub.dir, () => hrmr(hub, "push", "next/v.ts"));
      const staging = `modules/.hrmr/${/upload-\w+/.exec(traced.join("\n"))?.[0]}`;
      // The server reaches the folder by its descriptor.
      const calls = traced.map((call) => call.replaceAll(/\/proc\/self\/fd\/\d+/g, staging));
      // The new file, its name, and the way there; then the journal, which needs them.
      inOrder(
        calls,
        `fsync ${staging}/new/v.ts`,
        `fsync ${staging}/new`,
        `fsync ${staging}`,
        "fsync modules/.hrmr",
        "fsync modules",
      );
      inOrder(
        calls,
        "fsync modules",
        "fsync .hrmr/upload.json.new",
        "rename .hrmr/upload.json.new .hrmr/upload.json",
        "fsync .hrmr",
      );
      // Nothing is moved before the journal is on the disk, and the journal stays until the moves are.
      const journal = at(calls, "rename .hrmr/upload.json.new .hrmr/upload.json");
      const isJournal = at(calls, "fsync .hrmr", journal);
      inOrder(
        calls.slice(isJournal),
        `link modules/v.ts ${staging}/old/v.ts`,
        `rename ${staging}/new/v.ts modules/v.ts`,
      );
      expect(at(calls, `rename ${staging}/new/v.ts modules/v.ts`)).toBeGreaterThan(isJournal);
      inOrder(
        calls.slice(isJournal),
        `rename ${staging}/new/v.ts modules/v.ts`,
        "fsync modules",
        "unlink .hrmr/upload.json",
        "fsync .hrmr",
      );
      inOrder(calls.slice(isJournal), ...APPROVED);
      const [, kept = ""] = /link \S+ (\.hrmr\/versions\/v\/\w+\.js)/.exec(calls.join("\n")) ?? [];
      for (const call of [`fsync ${kept}`, "fsync .hrmr/versions/v", "fsync .hrmr/versions"]) {
        expect(at(calls, call)).toBeLessThan(at(calls, APPROVED[1] as RegExp));
      }
      expect(at(calls, "fsync .hrmr/versions/v/index.json")).toBeLessThan(at(calls, APPROVED[1] as RegExp));
    });
  },
);

test.skipIf(!canTrace())(
  "so is a push of a folder, and one that is refused and put back: it needs strace",
  async () => {
    await withHub(
      { "modules/v.ts": v("1"), ...folderOf("one"), "bad/f/index.ts": "export default 1;\n" },
      [],
      async (hub) => {
        const calls = await traceFiles(hub.program.pid, hub.dir, () => hrmr(hub, "push", "next/f"));
        inOrder(
          calls,
          /^fsync \S+\/new\/f\/lib\/word\.ts$/,
          /^fsync \S+\/new\/f\/lib$/,
          /^fsync \S+\/new\/f$/,
          "fsync .hrmr/upload.json.new",
        );
        inOrder(calls, /^rename \S+\/new\/f modules\/f$/, "fsync modules", "unlink .hrmr/upload.json", "fsync .hrmr");
        const undone = await traceFiles(hub.program.pid, hub.dir, async () => {
          expect((await runProgram(["push", "bad/f"], { cwd: hub.dir })).exitCode).toBe(1);
        });
        inOrder(undone, /^rename \S+\/old\/f modules\/f$/, "fsync modules", "unlink .hrmr/upload.json", "fsync .hrmr");
        expect(await hub.ask("F")).toBe("one\n");
      },
    );
  },
);

test.skipIf(!canTrace())("a rollback is on the disk when it is answered: it needs strace", async () => {
  await withHub({ "modules/v.ts": v("1"), "next/v.ts": v("2") }, [], async (hub) => {
    await hrmr(hub, "push", "next/v.ts");
    const calls = await traceFiles(hub.program.pid, hub.dir, () => hrmr(hub, "rollback", "v"));
    inOrder(calls, ...APPROVED);
  });
});

test.skipIf(!canTrace())("a certificate is on the disk with its name when its command ends: it needs strace", () => {
  const dir = realpathSync(mkdtempSync(join(tmpdir(), "hrmr-durable-")));
  try {
    const traced = [
      "strace",
      "-f",
      "-y",
      "-e",
      "trace=fsync",
      "-o",
      join(dir, "out"),
      ...program(),
      "cert",
      "--out",
      dir,
    ];
    expect(Bun.spawnSync(traced, { stdout: "ignore", stderr: "ignore" }).exitCode).toBe(0);
    const text = readFileSync(join(dir, "out"), "utf8");
    for (const file of ["key.pem", "cert.pem"]) expect(text).toContain(`<${dir}/${file}>`);
    expect(text).toContain(`<${dir}>`);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test("a file that replaces another is never half, and has its rights", () => {
  const dir = mkdtempSync(join(tmpdir(), "hrmr-durable-"));
  try {
    const path = join(dir, "file");
    writeFileSync(path, "old", { mode: 0o640 });
    const inode = statSync(path).ino;
    replaceFile(path, "new", 0o600);
    expect([readFileSync(path, "utf8"), statSync(path).mode & 0o777, statSync(path).ino === inode]).toEqual([
      "new",
      0o640,
      false,
    ]);
    mkdirSync(join(dir, "folder"));
    expect(() => replaceFile(join(dir, "folder"), "x", 0o600)).toThrow();
    expect(readdirSync(dir).sort()).toEqual(["file", "folder"]);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
