/**
 * The server as the first process of a container, which a PID namespace of its own comes to.
 */
import { afterEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { program, runProgram } from "./support/program";
import { until } from "./support/until";

const NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc"];
const isRefused = Bun.which("unshare") === null || Bun.spawnSync([...NAMESPACE, "true"]).exitCode !== 0;

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/**
 * A server with process id 1, whose module leaves a process behind at each ORPHAN, and answers its id in the namespace.
 */
async function startFirst(...args: string[]) {
  const dir = mkdtempSync(join(tmpdir(), "hrmr-pid1-"));
  cleanups.push(() => rmSync(dir, { recursive: true, force: true }));
  mkdirSync(join(dir, "modules"));
  const leave = 'Bun.spawn(["sh", "-c", "(sleep 0.1; exit 3) >&- & echo $!"]).stdout.text()';
  const slow = 'new Promise((resolve) => setTimeout(() => resolve("done\\n"), 500))';
  const routes = `{ "ORPHAN": () => ${leave}, "SLOW": () => ${slow} }`;
  writeFileSync(
    join(dir, "modules/leaver.ts"),
    `import { defineModule } from "hrmr";\nexport default defineModule({ routes: ${routes} });\n`,
  );
  const child = Bun.spawn([...NAMESPACE, ...program(), "start", "--port", "0", ...args], {
    cwd: dir,
    stdio: ["ignore", "pipe", "ignore"],
  });
  cleanups.push(async () => {
    for (const pid of childrenOf(child.pid)) process.kill(pid, "SIGKILL");
    await child.exited;
  });
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (!/ready in .* ms/.test(text)) {
    const { done, value } = await reader.read();
    if (done) throw new Error(`The server ended: ${text}`);
    text += value;
  }
  const pid = childrenOf(child.pid)[0] ?? 0;
  expect(idInNamespace(pid)).toBe("1");
  return { dir, pid, address: `127.0.0.1:${/http:\/\/[^:]+:(\d+)\//.exec(text)?.[1]}`, exited: child.exited };
}

function statOf(pid: number | string): { state: string; parent: number } | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const [state = "", parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return { state, parent: Number(parent) };
  } catch {
    return null;
  }
}

/** @returns "" for a process that has ended meanwhile */
function idInNamespace(pid: number): string {
  try {
    return /^NSpid:.*\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? "";
  } catch {
    return "";
  }
}

function childrenOf(parent: number): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && statOf(name)?.parent === parent)
    .map(Number);
}

describe.skipIf(isRefused)(`as process 1${isRefused ? " (a PID namespace is not permitted here)" : ""}`, () => {
  test.each(["SIGTERM", "SIGINT"] as const)("%s has what is under way finished, and ends with 0", async (signal) => {
    const { pid, address, exited } = await startFirst();
    const slow = runProgram(["send", address, "SLOW"]);
    const status = async () => JSON.parse((await runProgram(["send", address, "STATUS"])).stdout);
    // It is under way when the status counts two connections: its own, and that.
    while ((await status()).connections?.open < 2) await Bun.sleep(10);
    process.kill(pid, signal);
    expect((await slow).stdout).toBe("done\n");
    expect(await exited).toBe(0);
  });

  test("an upgrade is refused, which the container would end with", async () => {
    const { dir, address } = await startFirst();
    const { exitCode, stderr } = await runProgram(["upgrade"], { cwd: dir });
    expect(exitCode).toBe(1);
    expect(stderr).toContain("Process 1 cannot be replaced: a container ends with it");
    expect((await runProgram(["send", address, "SLOW"])).stdout).toBe("done\n");
  });

  test.each([1, 2])("orphans that end do not stay in the process table (%p processes)", async (processes) => {
    const { pid, address } = await startFirst("--processes", String(processes));
    const orphans: string[] = [];
    for (let count = 0; count < 3; count++) orphans.push((await runProgram(["send", address, "ORPHAN"])).stdout.trim());
    expect(orphans.join(" ")).toMatch(/^\d+ \d+ \d+$/);
    // One that has ended is a child of the first process, until it is waited for.
    await until(
      "the orphans are reaped",
      () => !childrenOf(pid).some((child) => orphans.includes(idInNamespace(child))),
    );
  });
});
