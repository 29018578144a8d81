/** A project folder with modules, and hrmr serving it: the source or the binary (see program.ts). */
import { mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { afterAll } from "bun:test";
import type { ModuleStatus, ServerStatus } from "../../src/observe/snapshot";
import { ask, RawClient } from "./client";
import { type ProgramOptions, startProgram, type StartedProgram } from "./program";

const PACKAGES = resolve(import.meta.dir, "..", "..", "node_modules");

export class Hub {
  readonly dir: string;
  readonly program: StartedProgram;
  readonly port: number;
  #clients: RawClient[] = [];

  constructor(dir: string, program: StartedProgram) {
    this.dir = dir;
    this.program = program;
    this.port = program.port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** In place. `name` is relative to the project. */
  write(name: string, text: string): void {
    writeFile(this.dir, name, text);
  }

  remove(name: string): void {
    rmSync(join(this.dir, name), { recursive: true });
  }

  /** @returns the reply to a message whose sender half-closes at once */
  ask(data: string | Uint8Array): Promise<string> {
    return ask(this.port, data);
  }

  /** A client that is closed when the test ends. */
  async connect(address: number | string = this.port): Promise<RawClient> {
    const client = await RawClient.connect(address);
    this.#clients.push(client);
    return client;
  }

  async status(): Promise<Status> {
    const status = JSON.parse(await this.ask("STATUS\n")) as ServerStatus;
    const modules = status.modules.map((module) => ({ ...module, draining: module.old }));
    return { ...status, openConnections: status.connections.open, modules };
  }

  /** Those of `connect`. */
  closeClients(): void {
    for (const client of this.#clients) client.close();
    this.#clients = [];
  }

  async stop(): Promise<void> {
    this.closeClients();
    await this.program.stop();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** The answer of STATUS, with short names for frequent questions. */
export interface Status extends Omit<ServerStatus, "modules"> {
  openConnections: number;
  modules: (ModuleStatus & { draining: ModuleStatus["old"] })[];
}

/**
 * Makes a project, serves it on a free port, runs the test and cleans up.
 *
 * @param files by path in the project: "modules/greet.ts"
 * @param args  further flags
 */
export async function withHub(
  files: Record<string, string>,
  args: string[],
  test: (hub: Hub) => Promise<void>,
): Promise<void> {
  const hub = await startHub(files, args);
  try {
    await telling(hub, test);
  } finally {
    await hub.stop();
  }
}

/**
 * `withHub` for several tests with one server: the first test starts it, and it ends after the last. A start costs more
 * than most tests do. Each test has clients and an `output()` of its own, and keeps to modules and routes of its own,
 * or puts back what it changes. After a test that failed the next one gets a new server. Call it where tests are
 * declared, in a file or a `describe`.
 *
 * @returns what runs a test
 */
export function shareHub(
  files: Record<string, string>,
  args: string[] = [],
): (test: (hub: Hub) => Promise<void>) => Promise<void> {
  let started: Promise<Hub> | null = null;
  const end = async () => {
    const hub = await started;
    started = null;
    await hub?.stop();
  };
  afterAll(end);
  return async (test) => {
    const hub = await (started ??= startHub(files, args));
    try {
      await telling(hub, test);
      hub.closeClients();
      hub.program.forgetOutput();
    } catch (error) {
      await end();
      throw error;
    }
  };
}

/**
 * `withHub` for a file whose tests have modules of their own, but the same flags and the same other files: a test gets
 * the server of the test before it, with its own modules loaded by a RELOAD. That costs a tenth of a start. Versions and
 * counters go on from test to test. A test that needs their beginning, the output of a start or a server that it ends
 * calls `withHub`.
 *
 * @param options of each start
 * @returns what runs a test
 */
export function reuseHubs(options: ProgramOptions = {}): typeof withHub {
  const running = new Map<string, Hub>();
  const end = async (key: string) => {
    const hub = running.get(key);
    running.delete(key);
    await hub?.stop();
  };
  afterAll(async () => {
    for (const key of running.keys()) await end(key);
  });
  return async (files, args, test) => {
    const key = JSON.stringify([args, Object.entries(files).filter(([name]) => !name.startsWith("modules/"))]);
    const present = running.get(key);
    // A server that the test before has ended does not answer.
    if (present !== undefined && !(await takesModules(present, files).catch(() => false))) await end(key);
    const hub = running.get(key) ?? (await startHub(files, args, options));
    running.set(key, hub);
    try {
      await telling(hub, test);
      hub.closeClients();
      hub.program.forgetOutput();
    } catch (error) {
      await end(key);
      throw error;
    }
  };
}

/** @returns false if the server does not load them: then a new one has to show what it says */
async function takesModules(hub: Hub, files: Record<string, string>): Promise<boolean> {
  const reload = async (): Promise<boolean> => {
    const unix = join(hub.dir, ".hrmr/control.sock");
    const response = await fetch("http://hrmr/v1/reload", { unix, method: "POST" });
    return ((await response.json()) as { ok: boolean }).ok;
  };
  for (const name of readdirSync(hub.dir)) {
    if (![".hrmr", "node_modules"].includes(name)) rmSync(join(hub.dir, name), { recursive: true });
  }
  mkdirSync(join(hub.dir, "modules"));
  for (const [name, text] of Object.entries(files)) if (!name.startsWith("modules/")) hub.write(name, text);
  // Without the old modules first: nothing of theirs is handed over to the new ones. A middleware that hrmr.json names
  // cannot be missing: then this is refused, and the second one swaps.
  await reload();
  for (const [name, text] of Object.entries(files)) hub.write(name, text);
  const isLoaded = await reload();
  hub.program.forgetOutput();
  return isLoaded;
}

async function startHub(files: Record<string, string>, args: string[], options: ProgramOptions = {}): Promise<Hub> {
  const dir = makeProject(files);
  const port = args.includes("--listen") ? [] : ["--port", "0"];
  return new Hub(dir, await startProgram([...port, ...threadsFor(args, files), ...args], { ...options, cwd: dir }));
}

/**
 * Two threads of the pool, where the test does not say how many: the default of four costs a start up to twice the CPU
 * time, and each reload, too.
 */
function threadsFor(args: string[], files: Record<string, string>): string[] {
  const isSet = args.some((arg) => /^--?threads$/.test(arg)) || files["hrmr.json"]?.includes('"threads"');
  return isSet ? [] : ["--threads", "2"];
}

/** Runs a test. Its errors get the server's output. */
export async function telling(hub: Hub, test: (hub: Hub) => Promise<void>): Promise<void> {
  try {
    await test(hub);
  } catch (error) {
    throw new Error(
      `${error instanceof Error ? error.message : String(error)}\n--- the server said:\n${hub.program.output()}`,
      { cause: error },
    );
  }
}

/** A project folder with the repository's packages in reach. The caller removes it. */
export function makeProject(files: Record<string, string>): string {
  const dir = realpathSync(mkdtempSync(join(tmpdir(), "hrmr-hub-")));
  symlinkSync(PACKAGES, join(dir, "node_modules"));
  for (const [name, text] of Object.entries(files)) writeFile(dir, name, text);
  return dir;
}

function writeFile(dir: string, name: string, text: string): void {
  mkdirSync(dirname(join(dir, name)), { recursive: true });
  writeFileSync(join(dir, name), text);
}

/** A module's source around its definition. */
export function moduleSource(definition: string): string {
  return `import { defineModule, NEED_MORE } from "hrmr";\nexport default defineModule(${definition});\n`;
}
