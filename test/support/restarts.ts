/**
 * A project whose server is started, killed and started again in the same folder.
 */
import { rmSync, statSync } from "node:fs";
import { join } from "node:path";
import type { VersionReport } from "../../src/reload/operations";
import { Hub, makeProject } from "./hub";
import { runProgram, startProgram } from "./program";
import { lives, processesIn } from "./supervised";
import { until } from "./until";

export class Project {
  readonly dir: string;
  #hub: Hub | null = null;

  constructor(dir: string) {
    this.dir = dir;
  }

  get hub(): Hub {
    if (this.#hub === null) throw new Error("The project's server has not been started.");
    return this.#hub;
  }

  async start(...args: string[]): Promise<Hub> {
    const threads = args.includes("--threads") ? [] : ["--threads", "2"];
    this.#hub = new Hub(this.dir, await startProgram(["--port", "0", ...threads, ...args], { cwd: this.dir }));
    return this.#hub;
  }

  /** Ends it with its processes, like a crash or a power cut. */
  async kill(): Promise<void> {
    this.hub.program.signal("SIGKILL");
    await this.hub.program.exited;
    await until("the server's processes have ended", () => processesIn(this.dir).length === 0);
  }

  async restart(...args: string[]): Promise<Hub> {
    await this.hub.program.stop();
    return await this.start(...args);
  }

  async end(): Promise<void> {
    if (this.#hub !== null) await this.#hub.program.stop();
    for (const pid of processesIn(this.dir)) if (lives(pid)) process.kill(pid, "SIGKILL");
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** @param files by path in the project */
export async function withProject(
  files: Record<string, string>,
  test: (project: Project) => Promise<void>,
): Promise<void> {
  const project = new Project(makeProject(files));
  try {
    await test(project);
  } catch (error) {
    const told = error instanceof Error ? error.message : String(error);
    throw new Error(`${told}\n--- the server said:\n${project.hub.program.output()}`, { cause: error });
  } finally {
    await project.end();
  }
}

/** Waits until the journal of the version store is empty: its other files have everything. */
export async function untilWritten(dir: string): Promise<void> {
  await until("the version store to be written", () => statSync(join(dir, ".hrmr/approved.log")).size === 0);
}

/** Answers PING with `text`, and /ping too. */
export function pong(text: string): string {
  return `export default { routes: { "PING": () => "${text}\\n", "/ping": { fetch: () => new Response("${text}\\n") } } };\n`;
}

/** `hrmr versions NAME --json`, oldest first. */
export async function versionsOf(dir: string, name: string): Promise<VersionReport[]> {
  const { stdout, stderr } = await runProgram(["versions", name, "--json"], { cwd: dir });
  if (stdout === "") throw new Error(stderr);
  return (JSON.parse(stdout) as Record<string, VersionReport[]>)[name] ?? [];
}

/** A line a version: "v3 rollback of v1 good, live". */
export async function historyOf(dir: string, name: string): Promise<string[]> {
  return (await versionsOf(dir, name)).map(({ number, from, of, verdict, isLive }) => {
    return `v${number} ${from}${of === null ? "" : ` of v${of}`} ${verdict}${isLive ? ", live" : ""}`;
  });
}

/** `hrmr rollback …`. @returns its exit code and output */
export async function rollback(dir: string, ...args: string[]): Promise<{ exitCode: number | null; text: string }> {
  const { exitCode, stdout, stderr } = await runProgram(["rollback", ...args], { cwd: dir });
  return { exitCode, text: stdout + stderr };
}
