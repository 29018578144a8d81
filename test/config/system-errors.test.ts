/** Errors of the system at a start are reported as such, and not as a bug in hrmr. */
import { expect, test } from "bun:test";
import { mkdtempSync, openSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeProject, moduleSource } from "../support/hub";
import { program, runProgram } from "../support/program";
import { systemError, UserError } from "../../src/config/user-error";

const LONG = "x".repeat(300);

test.each([
  ["--state", LONG],
  ["--data", LONG],
  ["--modules", LONG],
  ["--static", LONG],
  ["--log-file", LONG],
  ["--pid-file", LONG],
  ["--control", LONG],
  ["--config", `${LONG}.json`],
])("a path that is too long: %s", async (flag, value) => {
  const dir = makeProject({ "modules/a.ts": moduleSource('{ routes: { "A": () => "a\\n" } }') });
  try {
    const { exitCode, stderr } = await runProgram(["start", "--port", "0", flag, value], { cwd: dir });
    expect(stderr).not.toContain("bug in hrmr");
    expect(stderr.trimEnd().split("\n")).toHaveLength(2);
    expect(exitCode).toBe(1);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

const canMount =
  process.platform === "linux" &&
  Bun.spawnSync(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).exitCode === 0;

/** On a disk of 64 KB of which so many are free. */
async function startOn(freeKb: number, args: readonly string[]): Promise<string> {
  const dir = realpathSync(mkdtempSync(join(tmpdir(), "hrmr-disk-")));
  const script = `mount -t tmpfs -o size=64k tmpfs ${dir} && cd ${dir} && mkdir modules &&
    echo 'export default { routes: { A: () => "a" } };' > modules/a.ts && head -c ${(60 - freeKb) * 1024} /dev/zero > fill; exec "$@"`;
  try {
    const child = Bun.spawn(
      ["unshare", "-m", "sh", "-c", script, "sh", ...program(), "start", "--port", "0", ...args],
      {
        stdout: "pipe",
        stderr: "pipe",
      },
    );
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    return `${await child.exited} ${stdout}${stderr}`;
  } finally {
    rmSync(dir, { recursive: true });
  }
}

for (const args of [[], ["-d"], ["--processes", "2"]]) {
  test.skipIf(!canMount)(
    `a full disk ends a start ${args.join(" ")} in two lines: it needs root to be tried`,
    async () => {
      for (const freeKb of [0, 12]) {
        const told = await startOn(freeKb, args);
        expect(told).toContain("the disk is full (ENOSPC");
        expect(told).toStartWith("1 ");
        expect(told.trimEnd().split("\n")).toHaveLength(2);
      }
    },
  );
}

test("an error with another code, or none, stays what it is", () => {
  const missing = ((): unknown => {
    try {
      return openSync("/nowhere/at/all", "r");
    } catch (error) {
      return error;
    }
  })();
  expect([missing, new Error("x"), new UserError("x", { code: "ENOSPC" }), "ENOSPC", null].map(systemError)).toEqual([
    null,
    null,
    null,
    null,
    null,
  ]);
  const full = Object.assign(new Error("ENOSPC: no space left on device, write"), {
    code: "ENOSPC",
    syscall: "write",
    path: "/a",
  });
  expect(systemError(full)?.message).toBe("hrmr cannot go on: the disk is full (ENOSPC, write /a).");
});
