/**
 * A launcher and the servers that it launches, for daemon.test.ts: `daemon-fixture.ts launch LOG KIND` runs
 * `daemon-fixture.ts KIND` in the background.
 */
import { readFileSync } from "node:fs";
import { fail } from "../../src/cli/fail";
import { daemonize, tellLauncher } from "../../src/supervise/takeover/daemon";

const [kind = "", logFile = "", ...rest] = process.argv.slice(2);

/** In the background until it is stopped. */
function stay(): void {
  setInterval(() => {}, 1000);
}

const kinds: Record<string, () => unknown> = {
  launch: async () => {
    try {
      // A supervised process has it in its environment. A process that outlives its parent must not.
      const env = { ...process.env, BUN_FEATURE_FLAG_NO_ORPHANS: "1" };
      const { pid, summary } = await daemonize([process.execPath, import.meta.path, ...rest], { logFile, env });
      console.log(`${summary}\npid ${pid}`);
      process.exit(0);
    } catch (error) {
      fail(error);
    }
  },
  serves: () => {
    console.log(
      `on stdout ${JSON.stringify({ ...session(), cwd: process.cwd(), isTty: process.stdin.isTTY === true })}`,
    );
    console.error("on stderr");
    process.on("SIGHUP", () => console.log("got SIGHUP"));
    process.on("SIGTERM", () => process.exit(0));
    stay();
    // Last: from here on the test sends signals.
    tellLauncher({ type: "ready", summary: 'up:\n"two lines"' });
    tellLauncher({ type: "failed", message: "never heard", code: "X", exitCode: 9 });
  },
  refuses: () => {
    tellLauncher({
      type: "failed",
      message: "The port is taken.",
      hint: "Take another.",
      code: "PORT_TAKEN",
      exitCode: 1,
    });
    process.exit(1);
  },
  crashes: () => {
    for (let line = 1; line <= 30; line++) console.error(`line ${line}`);
    process.exit(70);
  },
  isKilled: () => process.kill(process.pid, "SIGKILL"),
  hangs: () => {
    console.log("hanging");
    stay();
  },
};

/** Session and process group of this process (proc(5), stat); the name in brackets may hold spaces. */
function session(): { group: number; session: number } {
  const stat = readFileSync("/proc/self/stat", "utf8");
  const [, , group = 0, id = 0] = stat
    .slice(stat.lastIndexOf(")") + 2)
    .split(" ")
    .map(Number);
  return { group, session: id };
}

await kinds[kind]?.();
