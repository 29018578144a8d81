/** The processes that are measured: starting and stopping them, their CPU time and their memory. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join, resolve } from "node:path";

const ROOT = resolve(import.meta.dir, "..");
const BINARY = join(ROOT, "dist", "hrmr");
/** A first start of 1,000 modules builds them all. */
const DEADLINE_MS = 60_000;
const PAGE_BYTES = 4096;

/** A process that listens. */
export interface Started {
  readonly name: string;
  readonly pid: number;
  readonly port: number;
  /** From the spawn to the line that says it listens. In milliseconds. */
  readonly startMs: number;
  /** stdout and stderr so far. */
  output(): string;
  /** Throws with the output if the process has ended. */
  mustLive(): void;
  stop(): Promise<void>;
}

/** The hrmr that runs: the binary or the source. */
export interface Program {
  readonly argv: string[];
  /** For the table's head. */
  readonly description: string;
}

/** @returns the binary if it is there and younger than every source file, else the source */
export async function findProgram(): Promise<Program> {
  const source = { argv: [process.execPath, join(ROOT, "src", "main.ts")] };
  const binary = statSync(BINARY, { throwIfNoEntry: false });
  if (binary === undefined) return { ...source, description: "the source (there is no dist/hrmr)" };
  if (binary.mtimeMs < (await newestSource()))
    return { ...source, description: "the source (dist/hrmr is older than it)" };
  return { argv: [BINARY], description: "the binary dist/hrmr" };
}

/** The binary, built now if it is missing or older than the source. */
export async function buildBinary(): Promise<string[]> {
  const binary = statSync(BINARY, { throwIfNoEntry: false });
  if (binary === undefined || binary.mtimeMs < (await newestSource())) {
    const build = Bun.spawn([process.execPath, "build.ts"], { cwd: ROOT, stdout: "ignore", stderr: "pipe" });
    const errors = await build.stderr.text();
    if ((await build.exited) !== 0) throw new Error(`bun build.ts failed:\n${errors}`);
  }
  return [BINARY];
}

async function newestSource(): Promise<number> {
  let newest = 0;
  for (const folder of ["src", "modules", "static_html"]) {
    const entries = await readdir(join(ROOT, folder), { recursive: true, withFileTypes: true });
    for (const entry of entries) {
      // Another program may be writing there: a file that is gone again is no source.
      const mtimeMs = entry.isFile()
        ? statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.mtimeMs
        : undefined;
      if (mtimeMs !== undefined && mtimeMs > newest) newest = mtimeMs;
    }
  }
  return newest;
}

const running = new Set<Started>();

/**
 * Starts a program and resolves once it says where it listens, `http://127.0.0.1:PORT/` or `listening on ...:PORT`;
 * fails with its output otherwise.
 */
export async function startProcess(name: string, argv: string[], cwd: string): Promise<Started> {
  const startedAt = performance.now();
  const child = Bun.spawn(argv, { cwd, env: environment(), stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  let text = "";
  const listening = Promise.withResolvers<number>();
  const gather = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>) => {
    for await (const piece of stream.pipeThrough(new TextDecoderStream())) {
      // hrmr logs a line for each reload. Only the end is kept.
      text = (text + piece).slice(-20_000);
      const port = /(?:listening on |^hrmr \S+ {2})\S+?:(\d+)\b/m.exec(text)?.[1];
      if (port !== undefined) listening.resolve(Number(port));
    }
  };
  const ended = Promise.all([child.exited, gather(child.stdout), gather(child.stderr)]);
  void ended.then(([code]) => listening.reject(new Error(`${name} ended with ${code} before it listened.\n${text}`)));
  const timer = setTimeout(
    () => listening.reject(new Error(`${name} did not listen within ${DEADLINE_MS} ms.\n${text}`)),
    DEADLINE_MS,
  );
  const stop = async () => {
    running.delete(started);
    child.kill("SIGTERM");
    const force = setTimeout(() => child.kill("SIGKILL"), 3000);
    await ended.finally(() => clearTimeout(force));
  };
  const mustLive = () => {
    if (child.exitCode !== null || child.signalCode !== null)
      throw new Error(`${name} ended (${child.exitCode ?? child.signalCode}).\n${text}`);
  };
  const started: { -readonly [Key in keyof Started]: Started[Key] } = {
    name,
    pid: child.pid,
    port: 0,
    startMs: 0,
    output: () => text,
    mustLive,
    stop,
  };
  running.add(started);
  try {
    started.port = await listening.promise;
    started.startMs = performance.now() - startedAt;
    return started;
  } catch (error) {
    await stop();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** @param script in bench/baseline */
export function startBaseline(script: string, ...args: string[]): Promise<Started> {
  return startProcess(
    `baseline ${script}`,
    [process.execPath, join(import.meta.dir, "baseline", script), ...args],
    ROOT,
  );
}

/** All processes that still run, to end them with the program. */
export async function stopAll(): Promise<void> {
  await Promise.all([...running].map((started) => started.stop()));
}

/** The servers must not see the settings of the user who runs the benchmark. */
function environment(): Record<string, string> {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith("HRMR_") && name !== "NODE_ENV");
  return { ...(Object.fromEntries(kept) as Record<string, string>), NO_COLOR: "1" };
}

/**
 * User and system time of all threads that run now, in microseconds. The scheduler's own clock: the times in
 * /proc/PID/stat go in steps of 10 ms.
 */
export function cpuMicros(pid: number): number {
  const tasks = `/proc/${pid}/task`;
  return readdirSync(tasks).reduce((sum, task) => sum + taskNanos(`${tasks}/${task}`), 0) / 1000;
}

function taskNanos(task: string): number {
  try {
    return Number(readFileSync(`${task}/schedstat`, "latin1").split(" ")[0]);
  } catch {
    // The thread has ended meanwhile.
    return 0;
  }
}

/**
 * The same for a process and all its descendants: CPU time of a module's process counts for its server.
 */
export function familyCpuMicros(pid: number): number {
  return childrenOf(pid).reduce((sum, child) => sum + familyCpuMicros(child), cpuMicros(pid));
}

function childrenOf(pid: number): number[] {
  // Only the main thread starts processes. Children of a Worker's thread would be listed under that thread.
  const list = readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1");
  return list.split(" ").filter(Boolean).map(Number);
}

export function residentBytes(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/statm`, "latin1").split(" ")[1]) * PAGE_BYTES;
}

/** @returns resident bytes once they have kept within 0.5 % for half a second, or after `limitMs` */
export async function settledBytes(pid: number, limitMs = 4000): Promise<number> {
  const end = performance.now() + limitMs;
  let since = performance.now();
  let bytes = residentBytes(pid);
  while (performance.now() < end && performance.now() - since < 500) {
    await Bun.sleep(50);
    const now = residentBytes(pid);
    if (Math.abs(now - bytes) / bytes > 0.005) {
      bytes = now;
      since = performance.now();
    }
  }
  return residentBytes(pid);
}
