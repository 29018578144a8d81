import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  appendFileSync,
  chmodSync,
  closeSync,
  existsSync,
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
import { basename, dirname, join, resolve } from "node:path";
import type { UserError } from "../../../src/config/user-error";
import { createLog, type ProcessLog } from "../../../src/observe/log/log";
import { LogFile } from "../../../src/observe/log/file";
import { until } from "../../support/until";

const LOG_SOURCE = resolve(import.meta.dir, "../../../src/observe/log/log.ts");

let dir: string;
let path: string;
let closers: (() => void)[];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "hrmr-log-"));
  path = join(dir, "hrmr.log");
  closers = [];
});

afterEach(() => {
  for (const close of closers) close();
  rmSync(dir, { recursive: true, force: true });
});

function open(options: Parameters<typeof createLog>[0] = {}): ProcessLog {
  const log = createLog({ file: path, isTty: false, ...options });
  closers.push(() => log.close());
  return log;
}

/** @returns the messages of a file of text lines, in their order */
function messages(file = path): string[] {
  const text = readFileSync(file, "utf8");
  expect(text === "" || text.endsWith("\n")).toBe(true);
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => /^\S{24} (?:info |warn |error) (.*)$/.exec(line)?.[1] ?? `not a line: ${line}`);
}

/** Logs in a process of its own. `log` is its log. */
function spawnLogger(code: string, options: Parameters<typeof createLog>[0] = {}) {
  const setup = JSON.stringify({ file: path, isTty: false, ...options });
  const source = `import { createLog } from ${JSON.stringify(LOG_SOURCE)};\nconst log = createLog(${setup});\n${code}`;
  return Bun.spawn([process.execPath, "-e", source], { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
}

type LogFileParameters = ConstructorParameters<typeof LogFile>;

/** A LogFile whose clock stands still, with the events that it hands on. */
function openAt(startMs: number, settings: Partial<LogFileParameters[0]> = {}) {
  const seen = { nowMs: startMs, fallen: [] as string[], told: [] as string[], rotated: 0 };
  let wake = Promise.withResolvers<void>();
  const owner: LogFileParameters[1] = {
    now: () => seen.nowMs,
    fallback: (text) => seen.fallen.push(text),
    tell: (level, text) => seen.told.push(`${level} ${text}`),
    rotated: () => {
      seen.rotated++;
      wake.resolve();
      wake = Promise.withResolvers<void>();
    },
  };
  const file = new LogFile({ path, role: "owner", maxFileBytes: 0, maxFiles: 3, rotate: "never", ...settings }, owner);
  closers.push(() => file.close());
  return { seen, file, nextRotation: () => wake.promise };
}

const NOON = Date.UTC(2026, 10, 20, 12, 0, 0);
const HOUR_MS = 3_600_000;

describe("a log file", () => {
  test("is appended to, and readable by its user and group; in a folder that only its user may enter, by its user alone", () => {
    writeFileSync(path, "2026-01-01T00:00:00.000Z info  from before\n");
    open().info("here");
    expect(messages()).toEqual(["from before", "here"]);
    rmSync(path);
    open().info("new");
    expect(statSync(path).mode & 0o777).toBe(0o600);
    rmSync(path);
    chmodSync(dirname(path), 0o750);
    open().info("for the group");
    expect(statSync(path).mode & 0o777).toBe(0o640);
  });

  test("has every line of a process that is killed right behind the last", async () => {
    const child = spawnLogger(
      `for (let at = 0; at < 500; at++) log.info("line " + at);\nprocess.kill(process.pid, "SIGKILL");`,
    );
    await child.exited;
    expect(child.signalCode).toBe("SIGKILL");
    expect(messages()).toEqual(Array.from({ length: 500 }, (_, at) => `line ${at}`));
  });

  test("is in JSON if asked for, one whole object a line", () => {
    const log = open({ format: "json" });
    log.withFields({ module: "greet" }).info("a\nb");
    log.info("c");
    const lines = readFileSync(path, "utf8").trimEnd().split("\n");
    expect(lines.map((line) => (JSON.parse(line) as { msg: string }).msg)).toEqual(["a\nb", "c"]);
  });

  test("never has colours", () => {
    open({ isTty: true }).error("plain", { a: 1 });
    expect(readFileSync(path, "utf8")).not.toContain("\u001b");
  });

  test.each([
    ["whose folder is missing", () => join(dir, "no", "hrmr.log"), "its folder does not exist (ENOENT)"],
    ["that is a folder", () => dir, "that is a folder (EISDIR)"],
    ["behind a file", () => join(path, "x"), "what should be its folder is a file (ENOTDIR)"],
    ["that is a device", () => "/dev/full", "that is no regular file (ENXIO)"],
  ])("%s is the user's mistake, told with its path", (_name, where, reason) => {
    writeFileSync(path, "");
    const log = open();
    for (const attempt of [() => createLog({ file: where() }), () => log.reconfigure({ file: where() })]) {
      let error: UserError | undefined;
      try {
        attempt();
      } catch (thrown) {
        error = thrown as UserError;
      }
      expect(error).toMatchObject({ name: "UserError", code: "LOG_FILE", exitCode: 1 });
      expect(error?.message).toBe(`Cannot open the log file ${where()}: ${reason}.`);
      expect(error?.hint).toContain("log.file");
    }
    log.info("as before");
    expect(messages()).toEqual(["as before"]);
  });
});

describe("reopening", () => {
  test("writes a new file under the name after logrotate has moved the old one, and no line is lost", () => {
    const log = open();
    log.info("before");
    renameSync(path, `${path}.1`);
    log.info("meanwhile");
    log.reopen();
    log.info("after");
    expect([messages(`${path}.1`), messages()]).toEqual([["before", "meanwhile"], ["after"]]);
  });

  test("a file that was moved or removed without a word is followed within a second", () => {
    const { seen, file } = openAt(NOON);
    file.write("a\n");
    renameSync(path, `${path}.1`);
    seen.nowMs += 1000;
    file.write("b\n");
    rmSync(path);
    seen.nowMs += 1000;
    file.write("c\n");
    expect(readFileSync(`${path}.1`, "utf8") + readFileSync(path, "utf8")).toBe("a\nc\n");
    expect(seen.fallen).toEqual([]);
  });
});

describe("a log file that fails later", () => {
  test("costs no line: they go to stderr, told once, until the file can be opened again", () => {
    const folder = join(dir, "logs");
    mkdirSync(folder);
    path = join(folder, "hrmr.log");
    const { seen, file } = openAt(NOON);
    file.write("a\n");
    rmSync(folder, { recursive: true });
    for (const line of ["b\n", "c\n"]) {
      seen.nowMs += 1000;
      file.write(line);
    }
    expect(seen.fallen).toEqual(["b\n", "c\n"]);
    expect(seen.told).toEqual([
      `warn Cannot write to the log file ${path}: its folder does not exist (ENOENT). The log goes to stderr until it can.`,
    ]);
    mkdirSync(folder);
    seen.nowMs += 1000;
    file.write("d\n");
    expect(seen.fallen).toEqual(["b\n", "c\n", "d\n"]);
    seen.nowMs += 30_000;
    file.write("e\n");
    expect(readFileSync(path, "utf8")).toBe("e\n");
    expect(seen.told.slice(1)).toEqual([`info The log goes to ${path} again.`]);
  });

  test("is tried at once when it is reopened", () => {
    const folder = join(dir, "logs");
    mkdirSync(folder);
    path = join(folder, "hrmr.log");
    const { seen, file } = openAt(NOON);
    rmSync(folder, { recursive: true });
    seen.nowMs += 1000;
    file.write("a\n");
    mkdirSync(folder);
    file.reopen();
    file.write("b\n");
    expect([seen.fallen, readFileSync(path, "utf8")]).toEqual([["a\n"], "b\n"]);
  });

  test("because its descriptor was closed under it, is opened anew", () => {
    const { seen, file } = openAt(NOON);
    const descriptor = readdirSync("/proc/self/fd").find((fd) => isLinkTo(`/proc/self/fd/${fd}`));
    closeSync(Number(descriptor));
    file.write("a\n");
    seen.nowMs += 30_000;
    file.write("b\n");
    expect([seen.fallen, readFileSync(path, "utf8"), seen.told.length]).toEqual([["a\n"], "b\n", 2]);
  });

  function isLinkTo(link: string): boolean {
    const [here, there] = [statSync(link, { throwIfNoEntry: false }), statSync(path)];
    return here?.ino === there.ino && here.dev === there.dev;
  }
});

describe("rotation", () => {
  test("at the size: the newest is .1, as many as wanted are kept, and no line between is lost", async () => {
    const log = open({ maxFileBytes: 1000, maxFiles: 3 });
    let rotations = 0;
    let wake = Promise.withResolvers<void>();
    log.onRotate(() => {
      rotations++;
      wake.resolve();
    });
    let count = 0;
    while (rotations < 6) {
      wake = Promise.withResolvers<void>();
      while (statSync(path).size < 1000) log.info(`line ${count++}`);
      await wake.promise;
    }
    log.info(`line ${count++}`);
    expect(readdirSync(dir).sort()).toEqual(["hrmr.log", "hrmr.log.1", "hrmr.log.2", "hrmr.log.3"]);
    const kept = [`${path}.3`, `${path}.2`, `${path}.1`, path].flatMap((file) => messages(file));
    expect(kept.length).toBeGreaterThan(60);
    expect(kept).toEqual(Array.from({ length: kept.length }, (_, at) => `line ${count - kept.length + at}`));
  });

  test("the owner's moves what several processes write, and each line of theirs is there once and whole", async () => {
    const owner = open({ maxFileBytes: 20_000, maxFiles: 1000 });
    let rotations = 0;
    owner.onRotate(() => rotations++);
    const enough = join(dir, "..", `${basename(dir)}-enough`);
    const code = (name: string) =>
      `const { existsSync } = require("node:fs");
       let at = 0;
       for (; at < 100_000 && !existsSync(${JSON.stringify(enough)}); at++) {
         log.info("${name} " + at + " " + "x".repeat(at % 500));
         if (at % 20 === 0) { await Bun.sleep(1); log.reopen(); }
       }
       log.info("${name} " + at + " last");`;
    const children = ["a", "b"].map((name) => spawnLogger(code(name), { role: "shared" }));
    const ended = Promise.all(children.map((child) => child.exited));
    // The owner learns what the others wrote once a second, and they are told of a rotation; here all look more often
    // by themselves.
    const ticking = setInterval(() => {
      owner.reopen();
      owner.info("owner");
    }, 5);
    try {
      await until("the file was rotated four times", () => rotations > 3);
    } finally {
      writeFileSync(enough, "");
      expect(await ended).toEqual([0, 0]);
      clearInterval(ticking);
      rmSync(enough);
    }
    const all = readdirSync(dir).flatMap((name) => messages(join(dir, name)));
    expect(all.filter((message) => message.startsWith("not a line"))).toEqual([]);
    for (const name of ["a", "b"]) {
      const theirs = all.filter((message) => message.startsWith(`${name} `));
      const numbers = theirs.map((message) => Number(message.split(" ")[1]));
      expect(numbers.sort((one, other) => one - other)).toEqual(Array.from({ length: theirs.length }, (_, at) => at));
      expect(theirs).toContain(`${name} ${theirs.length - 1} last`);
    }
  });

  test("is not for those that share the file, who reopen it when they are told", async () => {
    const shared = open({ role: "shared", maxFileBytes: 100 });
    for (let at = 0; at < 50; at++) shared.info(`line ${at}`);
    const owner = open({ maxFileBytes: 100, maxFiles: 1 });
    const rotated = Promise.withResolvers<void>();
    owner.onRotate(() => {
      shared.reopen();
      rotated.resolve();
    });
    expect(existsSync(`${path}.1`)).toBe(false);
    owner.info("full");
    await rotated.promise;
    shared.info("after");
    expect(messages(`${path}.1`)).toEqual([...Array.from({ length: 50 }, (_, at) => `line ${at}`), "full"]);
    expect(messages()).toEqual(["after"]);
  });

  test("of a file whose neighbour has put it aside already happens once", async () => {
    const first = openAt(NOON, { maxFileBytes: 10 });
    const second = openAt(NOON, { maxFileBytes: 10 });
    first.file.write("a long line\n");
    await first.nextRotation();
    second.file.write("another\n");
    second.file.write("third\n");
    expect(readdirSync(dir).sort()).toEqual(["hrmr.log", "hrmr.log.1"]);
    expect(readFileSync(`${path}.1`, "utf8") + readFileSync(path, "utf8")).toBe("a long line\nanother\nthird\n");
  });

  test("with none to keep empties the file, for those too that share it", () => {
    const owner = openAt(NOON, { maxFileBytes: 20, maxFiles: 0 });
    const shared = openAt(NOON, { role: "shared" });
    shared.file.write("of the other\n");
    owner.file.write("of the owner\n");
    owner.seen.nowMs += 1000;
    owner.file.check();
    shared.file.write("next\n");
    expect([readdirSync(dir), readFileSync(path, "utf8")]).toEqual([["hrmr.log"], "next\n"]);
  });

  test.each([
    ["hourly", NOON + HOUR_MS - 1, NOON + HOUR_MS],
    ["daily", NOON + 12 * HOUR_MS - 1, NOON + 12 * HOUR_MS],
  ] as const)(
    "%s: at the turn of it (UTC) the file is put aside, also when nothing is logged",
    async (rotate, lastMs, nextMs) => {
      const { seen, file, nextRotation } = openAt(NOON, { rotate });
      file.write("a\n");
      utimesSync(path, NOON / 1000, NOON / 1000);
      seen.nowMs = lastMs;
      file.check();
      expect(readdirSync(dir)).toEqual(["hrmr.log"]);
      seen.nowMs = nextMs;
      const rotation = nextRotation();
      file.check();
      await rotation;
      expect([readFileSync(`${path}.1`, "utf8"), readFileSync(path, "utf8")]).toEqual(["a\n", ""]);
      // An empty file is not worth a place among those that are kept.
      seen.nowMs += 25 * HOUR_MS;
      file.check();
      expect(seen.rotated).toBe(1);
    },
  );

  test("a file that was left behind on another day is put aside by the next server", async () => {
    appendFileSync(path, "yesterday\n");
    utimesSync(path, NOON / 1000 - 86_400, NOON / 1000 - 86_400);
    const { file, nextRotation } = openAt(NOON, { rotate: "daily" });
    const rotation = nextRotation();
    file.check();
    await rotation;
    file.write("today\n");
    expect([readFileSync(`${path}.1`, "utf8"), readFileSync(path, "utf8")]).toEqual(["yesterday\n", "today\n"]);
  });

  test("through a symbolic link moves the file and leaves the link", async () => {
    const real = join(dir, "real.log");
    writeFileSync(real, "old\n");
    symlinkSync(real, path);
    const { file, nextRotation } = openAt(NOON, { maxFileBytes: 1 });
    const rotation = nextRotation();
    file.check();
    await rotation;
    file.write("new\n");
    expect([readFileSync(`${real}.1`, "utf8"), readFileSync(path, "utf8")]).toEqual(["old\n", "new\n"]);
  });

  test("that fails is told, and the file grows on without a line lost", async () => {
    mkdirSync(`${path}.1/in the way`, { recursive: true });
    const { seen, file } = openAt(NOON, { maxFileBytes: 5, maxFiles: 1 });
    file.write("a line\n");
    await until("the failure is told", () => seen.told.length > 0);
    file.write("b\n");
    expect(seen.told).toEqual([
      expect.stringMatching(/^warn Cannot put the log file .*hrmr\.log aside: .*\. It grows on\.$/),
    ]);
    expect([readFileSync(path, "utf8"), seen.fallen]).toEqual(["a line\nb\n", []]);
  });
});

describe("new settings at run time", () => {
  test("level, format and file change, and what was logged stays where it is", () => {
    const log = open();
    const child = log.withFields({ module: "greet", generation: 2 });
    child.info("in text");
    const other = join(dir, "other.log");
    log.reconfigure({ file: other, format: "json", level: "warn" });
    child.info("not told");
    child.warn("in JSON");
    expect(messages()).toEqual(["greet v2 in text"]);
    const [line = "", ...more] = readFileSync(other, "utf8").trimEnd().split("\n");
    expect(JSON.parse(line)).toMatchObject({ level: "warn", msg: "in JSON", module: "greet", generation: 2 });
    expect(more).toEqual([]);
  });

  test("the rules of rotation change for the open file; who shares it goes on sharing it", async () => {
    const shared = open({ role: "shared" });
    const owner = open();
    const rotated = Promise.withResolvers<void>();
    owner.onRotate(rotated.resolve);
    owner.info("a");
    for (const log of [shared, owner]) log.reconfigure({ file: path, maxFileBytes: 1, maxFiles: 1 });
    shared.info("b");
    owner.info("c");
    await rotated.promise;
    expect(messages(`${path}.1`)).toEqual(["a", "b", "c"]);
  });
});
