import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { tellLauncher } from "../../src/supervise/takeover/daemon";
import { until } from "../support/until";

const FIXTURE = join(import.meta.dir, "../support", "daemon-fixture.ts");

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), "hrmr-daemon-"));
  cleanups.push(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

function startLauncher(kind: string, { logFile = join(folder(), "log"), cwd = process.cwd() } = {}) {
  const child = Bun.spawn([process.execPath, FIXTURE, "launch", logFile, kind], {
    cwd,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const outcome = Promise.all([child.stdout.text(), child.stderr.text(), child.exited]).then(
    ([stdout, stderr, exitCode]) => {
      return { stdout, stderr, exitCode };
    },
  );
  return { child, outcome, log: () => (existsSync(logFile) ? readFileSync(logFile, "utf8") : "") };
}

/** The background server's id, from what the launcher printed; it is ended when the test is. */
function serverPid(stdout: string): number {
  const pid = Number(/^pid (\d+)$/m.exec(stdout)?.[1]);
  expect(pid).toBeGreaterThan(1);
  cleanups.push(() => {
    if (isAlive(pid)) process.kill(pid, "SIGKILL");
  });
  return pid;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // Nobody may have taken note of its end, where this container's first process does not.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

describe.skipIf(process.platform !== "linux")("a server in the background (reads /proc)", () => {
  test("prints what a start in the foreground prints, and outlives its launcher", async () => {
    const { outcome, log } = startLauncher("serves");
    const { stdout, stderr, exitCode } = await outcome;
    const pid = serverPid(stdout);
    expect({ stdout, stderr, exitCode }).toEqual({ stdout: `up:\n"two lines"\npid ${pid}\n`, stderr: "", exitCode: 0 });
    expect(isAlive(pid)).toBe(true);
    process.kill(pid, "SIGHUP");
    await until("the log tells of SIGHUP", () => log().includes("got SIGHUP"));
    process.kill(pid, "SIGTERM");
    await until(`process ${pid} is gone`, () => !isAlive(pid));
  });

  test("has a session and group of its own, no terminal, and its launcher's working directory", async () => {
    const cwd = folder();
    const { outcome, log } = startLauncher("serves", { cwd });
    const pid = serverPid((await outcome).stdout);
    expect(log()).toContain("on stderr\n");
    const said = JSON.parse(/^on stdout (.*)$/m.exec(log())?.[1] ?? "{}");
    expect(said).toEqual({ group: pid, session: pid, cwd, isTty: false });
  });

  test("appends to its log file, whose folder is made", async () => {
    const logFile = join(folder(), "new", "server.log");
    serverPid((await startLauncher("serves", { logFile }).outcome).stdout);
    const second = startLauncher("serves", { logFile });
    serverPid((await second.outcome).stdout);
    expect(second.log().match(/on stderr/g)).toHaveLength(2);
  });

  test("that refuses to start has its reason told and its exit code taken over", async () => {
    const { stdout, stderr, exitCode } = await startLauncher("refuses").outcome;
    expect({ stdout, stderr, exitCode }).toEqual({
      stdout: "",
      stderr: "The port is taken.\nTake another.\n",
      exitCode: 1,
    });
  });

  test("that ends without a word has the end of its own log shown, and nothing older", async () => {
    const logFile = join(folder(), "log");
    writeFileSync(logFile, "of an earlier run\n");
    const { stderr, exitCode } = await startLauncher("crashes", { logFile }).outcome;
    expect(exitCode).toBe(70);
    expect(stderr).toStartWith(
      "The server ended before it was ready (exit code 70).\nThe end of its output:\n    line 11\n",
    );
    expect(stderr).toEndWith(`    line 30\nThis is to ${logFile}. Start it without -d to see more.\n`);
    expect(stderr).not.toContain("earlier");
  });

  test("that is killed at the start is told with the signal", async () => {
    const { stderr, exitCode } = await startLauncher("isKilled").outcome;
    expect(stderr).toStartWith("The server ended before it was ready (SIGKILL).\nIt wrote nothing to ");
    expect(exitCode).toBe(1);
  });

  test.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)("that takes too long is ended with its launcher by %s", async (signal, code) => {
    const { child, outcome, log } = startLauncher("hangs");
    await until("the handler hangs", () => log().includes("hanging"));
    child.kill(signal);
    const { stderr, exitCode } = await outcome;
    expect({ stderr, exitCode }).toEqual({
      stderr: `${signal}: the server was ended before it was ready.\n`,
      exitCode: code,
    });
  });

  test("is not started without a log file", async () => {
    const { stderr, exitCode } = await startLauncher("serves", { logFile: "/proc/no/such/log" }).outcome;
    expect(stderr).toStartWith("Cannot write the log file /proc/no/such/log (ENOENT).\n");
    expect(exitCode).toBe(1);
  });
});

test("a process that nobody launched tells nobody", () => {
  tellLauncher({ type: "ready", summary: "up" });
  process.env["HRMR_INTERNAL_LAUNCHER"] = "1";
  // A launcher by name, but not this process's parent: descriptor 3 is something else here, and is left alone.
  tellLauncher({ type: "ready", summary: "up" });
  expect(process.env["HRMR_INTERNAL_LAUNCHER"]).toBeUndefined();
});
