/**
 * The server as the first process of a container, which a PID namespace of its own comes to.
 */
import { afterEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ask } from "../support/client";
import { program, runProgram, SOURCE_PROGRAM } from "../support/program";
import { until } from "../support/until";

const NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc"];
const isRefused = Bun.which("unshare") === null || Bun.spawnSync([...NAMESPACE, "true"]).exitCode !== 0;

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/**
 * A server with process id 1, whose module leaves a process behind at each ORPHAN, and answers its id in the namespace.
 * SLOW is answered once there is a file "go" in the project.
 */
async function startFirst(args: readonly string[] = [], command: readonly string[] = program()) {
  const dir = mkdtempSync(join(tmpdir(), "hrmr-pid1-"));
  cleanups.push(() => rmSync(dir, { recursive: true, force: true }));
  mkdirSync(join(dir, "modules"));
  const leave = 'Bun.spawn(["sh", "-c", "(sleep 0.1; exit 3) >&- & echo $!"]).stdout.text()';
  const slow = '(async () => { while (!(await Bun.file("go").exists())) await Bun.sleep(5); return "done\\n"; })()';
  const routes = `{ "ORPHAN": () => ${leave}, "SLOW": () => ${slow} }`;
  writeFileSync(
    join(dir, "modules/leaver.ts"),
    `import { defineModule } from "hrmr";\nexport default defineModule({ routes: ${routes} });\n`,
  );
  const child = Bun.spawn([...NAMESPACE, ...command, "start", "--port", "0", ...args], {
    cwd: dir,
    stdio: ["ignore", "pipe", "pipe"],
  });
  cleanups.push(async () => {
    for (const pid of childrenOf(child.pid)) process.kill(pid, "SIGKILL");
    await child.exited;
  });
  let text = "";
  let hasEnded = false;
  const gather = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>) => {
    for await (const piece of stream.pipeThrough(new TextDecoderStream())) text += piece;
  };
  void Promise.all([child.stdout, child.stderr].map(gather)).then(() => (hasEnded = true));
  const says = (pattern: RegExp) =>
    until(`the server says ${pattern}`, () => {
      if (hasEnded && !pattern.test(text)) throw new Error(`The server ended: ${text}`);
      return pattern.test(text);
    });
  await says(/ready in .* ms/);
  const pid = childrenOf(child.pid)[0] ?? 0;
  expect(idInNamespace(pid)).toBe("1");
  const port = Number(/http:\/\/[^:]+:(\d+)\//.exec(text)?.[1]);
  return { dir, pid, says, ask: (message: string) => ask(port, message), exited: child.exited };
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
    const { dir, pid, says, ask, exited } = await startFirst();
    const slow = ask("SLOW");
    const open = async (): Promise<number> => JSON.parse(await ask("STATUS\n")).connections.open;
    // The status counts its own connection, too.
    await until("it is under way", async () => (await open()) >= 2);
    process.kill(pid, signal);
    await says(/finishing what is under way/);
    writeFileSync(join(dir, "go"), "");
    expect(await slow).toBe("done\n");
    expect(await exited).toBe(0);
  });

  test("an upgrade is refused, which the container would end with", async () => {
    const { dir, ask } = await startFirst();
    const { exitCode, stderr } = await runProgram(["upgrade"], { cwd: dir });
    expect(exitCode).toBe(1);
    expect(stderr).toContain("Process 1 cannot be replaced: a container ends with it");
    writeFileSync(join(dir, "go"), "");
    expect(await ask("SLOW")).toBe("done\n");
  });

  test.each([
    ["one process", ["--processes", "1"], program()],
    ["two processes", ["--processes", "2"], program()],
    ["from source", [], SOURCE_PROGRAM],
  ])("orphans that end do not stay in the process table: %s", async (_, args, command) => {
    const { pid, ask } = await startFirst(args, command);
    const orphans: string[] = [];
    for (let count = 0; count < 3; count++) orphans.push((await ask("ORPHAN")).trim());
    expect(orphans.join(" ")).toMatch(/^\d+ \d+ \d+$/);
    // A process that has ended is a child of process 1 until that waits for it.
    await until(
      "the orphans are reaped",
      () => !childrenOf(pid).some((child) => orphans.includes(idInNamespace(child))),
    );
  });
});
