import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UserError } from "../../src/config/user-error";
import { openLibc } from "../../src/system/libc";
import { adoptLock, type FileLock, lockFile, lockText, pidText, readHolder } from "../../src/supervise/takeover/lock";

const LOCK_MODULE = join(import.meta.dir, "../../src/supervise/takeover/lock.ts");

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "hrmr-lock-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let count = 0;
const freshPath = (): string => join(folder, `lock${count++}`);

function take(path: string, text?: string): FileLock {
  const lock = lockFile(path, text);
  if ("holder" in lock) throw new Error(`${path} is held by ${lock.holder}`);
  return lock;
}

function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof UserError) return `${error.code} ${error.message}`;
    throw error;
  }
  return "nothing thrown";
}

/** As a user can who may read the file and nothing else: flock(2) on a descriptor for reading. */
function holdShared(path: string): number {
  const fd = openSync(path, "r");
  expect(openLibc({ flock: { args: ["i32", "i32"], returns: "i32" } })?.flock(fd, LOCK_SHARED_AT_ONCE)).toBe(0);
  return fd;
}

const LOCK_SHARED_AT_ONCE = 5;

/** @returns the id of a process that has ended */
async function endedPid(): Promise<number> {
  const child = Bun.spawn(["true"]);
  await child.exited;
  return child.pid;
}

interface Holder {
  readonly pid: number;
  /** The first line that it printed. */
  readonly said: string;
  /** Has it go on, and ends. */
  finish(): Promise<string>;
  kill(): Promise<void>;
}

/**
 * Another process that runs `script`, which has `lock` (the module) and `path`, prints a line, and waits for stdin to
 * end before it runs `then`.
 */
async function startHolder(path: string, script: string, then = "", descriptor?: number): Promise<Holder> {
  const source = `import * as lock from ${JSON.stringify(LOCK_MODULE)};
const path = ${JSON.stringify(path)};
${script}
await Bun.stdin.text();
${then}`;
  const child = Bun.spawn([process.execPath, "-e", source], {
    stdio: ["pipe", "pipe", "inherit", ...(descriptor === undefined ? [] : [descriptor])],
  });
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let said = "";
  while (!said.includes("\n")) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`The holder ended: ${await child.exited}`);
    said += value;
  }
  return {
    pid: child.pid,
    said: said.trim(),
    finish: async () => {
      await child.stdin.end();
      let rest = "";
      for (let piece = await reader.read(); !piece.done; piece = await reader.read()) rest += piece.value;
      expect(await child.exited).toBe(0);
      return rest.trim();
    },
    kill: async () => {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

const HOLD = "const held = lock.lockFile(path); console.log(JSON.stringify(held));";

describe("a lock file", () => {
  test("tells the holder's process and since when, and is gone after release", () => {
    const path = freshPath();
    const before = Date.now();
    const lock = take(path);
    const [pid, since] = readFileSync(path, "utf8").split("\n");
    expect(pid).toBe(String(process.pid));
    expect(Date.parse(since ?? "")).toBeGreaterThanOrEqual(before - 1000);
    expect(readHolder(path)).toBe(process.pid);
    lock.release();
    lock.release();
    expect(existsSync(path)).toBe(false);
    expect(readHolder(path)).toBeNull();
  });

  test("is refused to a second one, which changes nothing in it", () => {
    const path = freshPath();
    const lock = take(path, `${process.pid}\nmine\n`);
    try {
      expect(lockFile(path)).toMatchObject({ holder: `pid ${process.pid}`, endedPid: null });
      expect(readFileSync(path, "utf8")).toBe(`${process.pid}\nmine\n`);
    } finally {
      lock.release();
    }
  });

  test("is not readable for other users, and a public one only once it names its holder", () => {
    const path = freshPath();
    writeFileSync(path, "", { mode: 0o644 });
    const lock = take(path);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    lock.release();
    const open = freshPath();
    const other = lockFile(open, pidText(), "public");
    expect(statSync(open).mode & 0o777).toBe(0o644 & ~process.umask());
    if (!("holder" in other)) other.release();
  });

  test("that another program holds, while the server that it names has ended, is recognised", async () => {
    const path = freshPath();
    const dead = await endedPid();
    writeFileSync(path, `${dead}\n`, { mode: 0o600 });
    const stranger = holdShared(path);
    expect(lockFile(path)).toEqual({ holder: `pid ${dead}`, endedPid: dead });
    closeSync(stranger);
    take(path).release();
  });

  test("of a pid file is not kept by another user's lock once its server has ended", async () => {
    const path = freshPath();
    writeFileSync(path, `${await endedPid()}\n`, { mode: 0o644 });
    const stranger = holdShared(path);
    const lock = lockFile(path, pidText(), "public");
    if ("holder" in lock) throw new Error(`${path} is held by ${lock.holder}`);
    expect(readFileSync(path, "utf8")).toBe(pidText());
    expect(readHolder(path)).toBe(process.pid);
    closeSync(stranger);
    lock.release();
  });

  test("of another process names that process", async () => {
    const path = freshPath();
    const holder = await startHolder(path, HOLD, "held.release();");
    expect(lockFile(path)).toMatchObject({ holder: `pid ${holder.pid}`, endedPid: null });
    expect(readHolder(path)).toBe(holder.pid);
    await holder.finish();
    expect(existsSync(path)).toBe(false);
    take(path).release();
  });

  test("that a killed process left behind is no obstacle", async () => {
    const path = freshPath();
    const holder = await startHolder(path, HOLD);
    await holder.kill();
    expect(readFileSync(path, "utf8")).toContain(String(holder.pid));
    expect(readHolder(path)).toBeNull();
    const lock = take(path, pidText());
    // Nothing of the longer content is left behind the new one.
    expect(readFileSync(path, "utf8")).toBe(`${process.pid}\n`);
    lock.release();
  });

  test("with a living process's id in it, but unlocked, is no obstacle", () => {
    const path = freshPath();
    writeFileSync(path, "1\n");
    expect(readHolder(path)).toBeNull();
    take(path).release();
  });

  test("is not held by the children of its holder", async () => {
    const path = freshPath();
    const script = `const held = lock.lockFile(path);
const child = Bun.spawn(["sleep", "60"], { stdio: ["ignore", "ignore", "ignore"] });
console.log(child.pid);`;
    const holder = await startHolder(path, script);
    try {
      await holder.kill();
      take(path).release();
    } finally {
      process.kill(Number(holder.said), "SIGKILL");
    }
  });

  test("has one holder at a time, however many take, remove and make it anew at once", async () => {
    const path = freshPath();
    const script = `console.log("trying");
const { closeSync, openSync, unlinkSync } = require("node:fs");
let taken = 0, broken = 0;
for (const end = Date.now() + 400; Date.now() < end; ) {
  const held = lock.lockFile(path);
  if ("holder" in held) continue;
  taken++;
  try { closeSync(openSync(path + ".inside", "wx")); unlinkSync(path + ".inside"); } catch { broken++; }
  held.release();
}
console.log(taken > 0, broken);`;
    const holders = await Promise.all([1, 2, 3].map(() => startHolder(path, script)));
    expect(
      await Promise.all(holders.map((holder) => holder.finish().then((rest) => `${holder.said}\n${rest}`.trim()))),
    ).toEqual(Array(3).fill("trying\ntrue 0"));
  });

  test("asking for the holder while others take and release it never keeps one of them out", async () => {
    const path = freshPath();
    const asker = await startHolder(
      path,
      `console.log("asking"); const end = Date.now() + 400; while (Date.now() < end) lock.readHolder(path);`,
    );
    const end = Date.now() + 300;
    let rounds = 0;
    for (; Date.now() < end; rounds++) take(path).release();
    expect(rounds).toBeGreaterThan(10);
    await asker.finish();
  });
});

describe("a lock that is handed over", () => {
  test("stays held without a gap, is named after its new holder, and is the new one's to remove", async () => {
    const path = freshPath();
    const lock = take(path);
    const heir = await startHolder(
      path,
      "const held = lock.adoptLock(3, path); console.log(held.fd);",
      "held.release(); console.log(require('node:fs').existsSync(path));",
      lock.fd,
    );
    expect(readHolder(path)).toBe(heir.pid);
    lock.release();
    expect(lockFile(path)).toMatchObject({ holder: `pid ${heir.pid}`, endedPid: null });
    expect(await heir.finish()).toBe("false");
    take(path).release();
  });

  test("is not passed on to the new holder's own children", async () => {
    const path = freshPath();
    const lock = take(path);
    const heir = await startHolder(
      path,
      `lock.adoptLock(3, path);
const child = Bun.spawn(["sleep", "60"], { stdio: ["ignore", "ignore", "ignore"] });
console.log(child.pid);`,
      "",
      lock.fd,
    );
    lock.release();
    try {
      await heir.kill();
      take(path).release();
    } finally {
      process.kill(Number(heir.said), "SIGKILL");
    }
  });

  test("is the old holder's again when the new one died after it had adopted it", async () => {
    const path = freshPath();
    const lock = take(path);
    const heir = await startHolder(path, "lock.adoptLock(3, path); console.log('adopted');", "", lock.fd);
    await heir.kill();
    expect(readFileSync(path, "utf8")).toContain(String(heir.pid));
    lock.rewrite(lockText());
    expect(lockFile(path)).toMatchObject({ holder: `pid ${process.pid}`, endedPid: null });
    lock.release();
    expect(existsSync(path)).toBe(false);
  });

  test("is refused when the descriptor is another file", () => {
    const lock = take(freshPath());
    const other = take(freshPath());
    try {
      expect(() => adoptLock(lock.fd, other.path)).toThrow(`Descriptor ${lock.fd} is not ${other.path}.`);
    } finally {
      lock.release();
      other.release();
    }
  });
});

describe("what is in a lock file's place is told, and stays", () => {
  test("a folder", () => {
    const path = freshPath();
    mkdirSync(path);
    expect(codeOf(() => lockFile(path))).toBe(`CANNOT_LOCK Cannot lock ${path}: it is a folder.`);
  });

  test("a symbolic link, also to a file that could be locked", () => {
    const [path, target] = [freshPath(), freshPath()];
    writeFileSync(target, "precious\n");
    symlinkSync(target, path);
    expect(codeOf(() => lockFile(path))).toBe(`CANNOT_LOCK Cannot lock ${path}: it is a symbolic link.`);
    expect(readHolder(path)).toBeNull();
    expect(readFileSync(target, "utf8")).toBe("precious\n");
  });

  test("a pipe that nobody reads", () => {
    const path = freshPath();
    expect(Bun.spawnSync(["mkfifo", path]).exitCode).toBe(0);
    expect(codeOf(() => lockFile(path))).toBe(`CANNOT_LOCK Cannot lock ${path}: it is not a plain file.`);
    expect(readHolder(path)).toBeNull();
  });

  test("a folder that is missing", () => {
    const path = join(freshPath(), "deeper");
    expect(codeOf(() => lockFile(path))).toBe(`CANNOT_LOCK Cannot lock ${path}: its folder does not exist.`);
    expect(readHolder(path)).toBeNull();
  });
});
