/**
 * The soaked server: starts it, asks it, gives it orders and reads its log, also when another process has become its
 * master.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { controlRequest } from "../../src/control/client";
import { controlPath } from "../../src/control/paths";
import type { ServerStatus } from "../../src/observe/snapshot";
import { type Program, residentBytes } from "../server";
import { within } from "./link";

const START_MS = 20_000;
const POLL_MS = 10;

export interface LogCounts {
  /** Lines by level. */
  readonly levels: Map<string, number>;
  /** Counts by text: lines of level error that nothing here has caused, and output that is no line of the log. */
  readonly strange: Map<string, number>;
  /** Processes that ended without being told to. */
  deaths: number;
}

export class SoakServer {
  readonly log: LogCounts = { levels: new Map(), strange: new Map(), deaths: 0 };
  readonly #child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly #control: string;
  readonly #expected: RegExp[] = [];
  #seen = new Set<number>();
  #listening = "";
  #waiting: { pattern: RegExp; resolve: (line: string) => void }[] = [];

  private constructor(child: Bun.Subprocess<"ignore", "pipe", "pipe">, control: string) {
    this.#child = child;
    this.#control = control;
    this.#seen.add(child.pid);
    void this.#read(child.stdout);
    void this.#read(child.stderr);
  }

  /** @param processes how many serve */
  static async start(program: Program, dir: string, processes: number, flags: readonly string[]): Promise<SoakServer> {
    const child = Bun.spawn([...program.argv, "start", "--processes", String(processes), ...flags], {
      cwd: dir,
      env: environment(),
      stdio: ["ignore", "pipe", "pipe"],
      // Ctrl-C is for the soak: it ends the server itself.
      detached: true,
    });
    const server = new SoakServer(child, controlPath(join(dir, ".hrmr")));
    const ready = server.nextLine(/ready in \d/, START_MS);
    const ended = child.exited.then((code) =>
      Promise.reject(new Error(`the server ended with ${code}: ${[...server.log.strange.keys()].join("\n")}`)),
    );
    ended.catch(() => {});
    await Promise.race([ready, ended]);
    return server;
  }

  /** Of a listener, as the server told it. */
  portOf(transport: "tcp" | "udp"): number {
    return Number(new RegExp(` ${transport === "tcp" ? "http" : transport}://[^:]+:(\\d+)`).exec(this.#listening)?.[1]);
  }

  async status(): Promise<ServerStatus> {
    return (await controlRequest<ServerStatus>(this.#control, "GET", "/v1/status")).body;
  }

  /** Runs `hrmr reload`, `restart` or `upgrade`. */
  async order(route: "reload" | "restart" | "upgrade"): Promise<{ ok: boolean; text: string }> {
    return (
      await controlRequest<{ ok: boolean; text: string }>(
        this.#control,
        "POST",
        `/v1/${route}`,
        {},
        { timeoutMs: 60_000 },
      )
    ).body;
  }

  /** From here on, matching lines of level error are expected. */
  expect(pattern: RegExp): void {
    this.#expected.push(pattern);
  }

  /** Resolves with the next line of the log that matches. */
  nextLine(pattern: RegExp, ms = 20_000): Promise<string> {
    return within(
      new Promise<string>((resolve) => void this.#waiting.push({ pattern, resolve })),
      `log line ${pattern}`,
      ms,
    );
  }

  /** All its processes that live. */
  async pids(): Promise<{ inCharge: number; serving: number[]; all: number[] }> {
    const { pid, processes } = await this.status();
    const serving = processes.filter(({ isDraining }) => !isDraining).map((each) => each.pid);
    const all = [...new Set([pid, ...serving])];
    this.#seen = new Set([...this.#seen, ...all].filter(lives));
    return { inCharge: pid, serving, all };
  }

  /** SIGTERM; resolves once all processes have ended. */
  async stop(): Promise<void> {
    const { inCharge, all } = await this.pids();
    process.kill(inCharge, "SIGTERM");
    await until(() => !all.some(lives), "the end of the server", 15_000);
  }

  /** Kills all processes that are left. */
  async kill(): Promise<void> {
    for (const pid of this.#seen) if (lives(pid)) process.kill(pid, "SIGKILL");
    await this.#child.exited;
  }

  async #read(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    let rest = "";
    for await (const piece of stream.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + piece).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.#note(line);
    }
  }

  #note(line: string): void {
    if (line.trim() === "") return;
    const told = /^(?:hrmr \S+| +) {2}\w+:\/\/|ready in|^WARNING|certificate/.test(line)
      ? { level: "start", msg: line }
      : parseLine(line);
    if (/^(?:hrmr \S+| +) {2}\w+:\/\//.test(line)) this.#listening += `${line}\n`;
    this.log.levels.set(told.level, (this.log.levels.get(told.level) ?? 0) + 1);
    if (/^process \d+ \(pid \d+\) ended: /.test(told.msg)) this.log.deaths++;
    const isStrange =
      told.level === "strange" || (told.level === "error" && !this.#expected.some((pattern) => pattern.test(told.msg)));
    if (isStrange) this.log.strange.set(told.msg, (this.log.strange.get(told.msg) ?? 0) + 1);
    const waiting = this.#waiting.filter(({ pattern }) => pattern.test(told.msg));
    this.#waiting = this.#waiting.filter((each) => !waiting.includes(each));
    for (const { resolve } of waiting) resolve(told.msg);
  }
}

function parseLine(line: string): { level: string; msg: string } {
  try {
    return JSON.parse(line) as { level: string; msg: string };
  } catch {
    return { level: "strange", msg: line };
  }
}

function environment(): Record<string, string> {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith("HRMR_") && name !== "NODE_ENV");
  return { ...(Object.fromEntries(kept) as Record<string, string>), NO_COLOR: "1" };
}

/** Waits under a deadline for a condition without an event. */
export async function until(isThere: () => boolean | Promise<boolean>, what: string, ms = 20_000): Promise<void> {
  const end = performance.now() + ms;
  while (!(await isThere())) {
    if (performance.now() > end) throw new Error(`${what} did not come within ${ms} ms`);
    await Bun.sleep(POLL_MS);
  }
}

/** Whether there is such a process, and it has not ended. */
export function lives(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return false;
  }
}

/** Open descriptors; 0 for a process that has ended. */
export function descriptors(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return 0;
  }
}

/** null for a process that has ended. */
export function memoryBytes(pid: number): number | null {
  try {
    return residentBytes(pid);
  } catch {
    return null;
  }
}
