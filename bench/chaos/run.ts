/**
 * Random operations on a server under load. After each acknowledged one, it asks every process of the server which
 * versions it runs.
 */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { controlRequest } from "../../src/control/client";
import { controlPath } from "../../src/control/paths";
import type { ServerStatus } from "../../src/observe/snapshot";
import { RawClient } from "../../test/support/client";
import { startProgram, type StartedProgram } from "../../test/support/program";
import type { Random } from "../../test/support/random";
import { makeProject } from "../project";
import { askHttp, Load, type LoadTally, type Name, NAMES, readAnswer, Truth, type Value } from "./load";

const HOSTS: Record<Name, string> = { alpha: "inline", beta: "process", gamma: "pool", delta: "inline" };
/** May be deleted; the others are also asked by raw lines. */
const FLEETING: readonly Name[] = ["gamma", "delta"];
const STEADY: readonly Name[] = ["alpha", "beta"];
const WAIT_MS = 60_000;
/** Fresh connections to find every process of the server. */
const MAX_CONNECTS = 400;

const BROKEN = [
  "export default {",
  'throw new Error("at top level");\n',
  'import "./nowhere";\nexport default {};\n',
  "export default 42;\n",
  'export default { setup() { throw new Error("in setup"); }, routes: { "/x": { fetch: () => new Response() } } };\n',
  'export default { check: () => false, routes: { "/y": { fetch: () => new Response() } } };\n',
];

interface Report {
  readonly ok: boolean;
  readonly text: string;
}

/** The known state of a module. */
interface Known {
  /** The last acknowledged one. */
  running: Value;
  isBroken: boolean;
  /** By version: its hash. */
  readonly hashes: Map<number, string>;
}

export interface OperationCount {
  count: number;
  slowestMs: number;
  problems: number;
}

export interface ChaosReport {
  readonly operations: Map<string, OperationCount>;
  readonly problems: string[];
  readonly load: LoadTally;
}

function source(name: Name, version: number): string {
  const options = `run: "${HOSTS[name]}"`;
  return `const answer = () => "${name} ${version} " + process.pid + "\\n";
export default { routes: {
  ${name.toUpperCase()}: { framing: "line", ${options}, handle: answer },
  "/${name}": { ${options}, fetch: () => new Response(answer()) },
} };\n`;
}

/** Runs so many operations, drawn by `random`. The server is the source, or the binary that HRMR_BIN names. */
export async function runChaos(count: number, random: Random, processes: number): Promise<ChaosReport> {
  const chaos = await Chaos.start(random, processes);
  try {
    for (let at = 0; at < count; at++) await chaos.step(at);
    return await chaos.finish();
  } finally {
    await chaos.stop();
  }
}

class Chaos {
  readonly #operations = new Map<string, OperationCount>();
  readonly #problems: string[] = [];
  readonly #truth = new Truth();
  readonly #known = new Map<Name, Known>();
  readonly #control: string;
  readonly #load: Load;
  #lastVersion = 1;

  private constructor(
    readonly dir: string,
    readonly random: Random,
    readonly processes: number,
    private program: StartedProgram,
  ) {
    this.#control = controlPath(join(dir, ".hrmr"));
    for (const name of NAMES) {
      this.#known.set(name, { running: 1, isBroken: false, hashes: new Map() });
      this.#truth.only(name, 1);
    }
    this.#load = new Load(program.port, this.#truth, STEADY);
  }

  static async start(random: Random, processes: number): Promise<Chaos> {
    // This script kills processes: that must not cause rollbacks or quarantine.
    const config = {
      versions: { probationMs: 0, keep: 10 },
      timeouts: { drainMs: 2000 },
      modules: { beta: { maxCrashes: 0 } },
    };
    const files = Object.fromEntries(NAMES.map((name) => [`modules/${name}.ts`, source(name, 1)]));
    const dir = makeProject({ ...files, "hrmr.json": JSON.stringify(config) });
    const program = await startProgram(["--port", "0", "--processes", String(processes)], { cwd: dir });
    const chaos = new Chaos(dir, random, processes, program);
    await chaos.#check();
    return chaos;
  }

  async step(at: number): Promise<void> {
    const [label, act] = this.#draw();
    const startedAt = performance.now();
    const before = this.#problems.length;
    try {
      await act();
      await this.#check();
    } catch (error) {
      this.#problems.push(error instanceof Error ? error.message : String(error));
    }
    const entry = this.#operations.get(label) ?? { count: 0, slowestMs: 0, problems: 0 };
    this.#operations.set(label, entry);
    entry.count++;
    entry.slowestMs = Math.max(entry.slowestMs, performance.now() - startedAt);
    for (let i = before; i < this.#problems.length; i++) this.#problems[i] = `${at} ${label}: ${this.#problems[i]}`;
    entry.problems += this.#problems.length - before;
  }

  async finish(): Promise<ChaosReport> {
    await this.#load.stop();
    return { operations: this.#operations, problems: this.#problems, load: this.#load.tally };
  }

  async stop(): Promise<void> {
    await this.#load.stop();
    await this.program.stop();
    rmSync(this.dir, { recursive: true, force: true });
  }

  #draw(): [string, () => Promise<void>] {
    const name = this.random.pick(NAMES);
    const { running, hashes } = this.#of(name);
    const older = [...hashes.keys()].filter((version) => version !== running);
    const operations: [string, () => Promise<void>][] = [
      ["edit", () => this.#edit(name)],
      ["edit", () => this.#edit(name)],
      ["break", () => this.#break(name)],
      ["push", () => this.#push(name)],
      ["push of a broken one", () => this.#pushBroken(name)],
      ["reload", () => this.#reload()],
      ["kill -9 of a module's process", () => this.#killHost()],
      ["kill -9 of the server", () => this.#killServer()],
    ];
    if (FLEETING.includes(name) && running !== null) operations.push(["delete", () => this.#delete(name)]);
    if (this.#of(name).isBroken || running === null)
      operations.push(["restore", () => this.#edit(name)], ["restore", () => this.#edit(name)]);
    if (running !== null && older.length > 0) {
      const back = this.random.pick(older.slice(-5));
      operations.push(["rollback", () => this.#rollback(name, back)], ["rollback", () => this.#rollback(name, back)]);
    }
    if (this.processes > 1) operations.push(["kill -9 of a child", () => this.#killChild()]);
    return this.random.pick(operations);
  }

  // ---- operations ----

  async #edit(name: Name): Promise<void> {
    const version = ++this.#lastVersion;
    writeFileSync(this.#file(name), source(name, version));
    this.#truth.may(name, version);
    await this.#order(`/v1/reload`, { modules: [name] }, true);
    this.#runs(name, version, false);
  }

  async #break(name: Name): Promise<void> {
    writeFileSync(this.#file(name), this.random.pick(BROKEN));
    this.#of(name).isBroken = true;
    await this.#order(`/v1/reload`, { modules: [name] }, false);
  }

  async #delete(name: Name): Promise<void> {
    rmSync(this.#file(name));
    this.#truth.may(name, null);
    await this.#order(`/v1/reload`, { modules: [name] }, true);
    this.#runs(name, null, false);
    // It begins anew when it comes back.
    this.#of(name).hashes.clear();
  }

  async #push(name: Name): Promise<void> {
    const version = ++this.#lastVersion;
    this.#truth.may(name, version);
    await this.#order(`/v1/modules/${name}`, upload(name, source(name, version)), true);
    this.#runs(name, version, false);
  }

  async #pushBroken(name: Name): Promise<void> {
    const before = this.#read(name);
    await this.#order(`/v1/modules/${name}`, upload(name, this.random.pick(BROKEN)), false);
    if (this.#read(name) !== before) this.#problems.push(`${name}'s file is another one than before`);
  }

  async #rollback(name: Name, version: number): Promise<void> {
    this.#truth.may(name, version);
    await this.#order(`/v1/modules/${name}/rollback`, { version: this.#of(name).hashes.get(version) }, true);
    this.#runs(name, version);
  }

  async #reload(): Promise<void> {
    await this.#order("/v1/reload", {}, ![...this.#known.values()].some(({ isBroken }) => isBroken));
  }

  async #killHost(): Promise<void> {
    let pids: number[] = [];
    await until(
      "a process of beta in each server process",
      async () => (pids = await this.#hostPids()).length === this.processes,
    );
    const killed = this.random.pick(pids);
    const restored = this.#truth.lose("beta");
    process.kill(killed, "SIGKILL");
    await until("a new process of beta", async () => {
      const now = await this.#hostPids();
      return now.length === this.processes && !now.includes(killed);
    });
    restored();
  }

  /** The ids of beta's running processes. A starting process has no id yet, and 0 would be this script's own group. */
  async #hostPids(): Promise<number[]> {
    const processes = (await this.#status()).modules.find(({ name }) => name === "beta")?.processes ?? [];
    return processes.flatMap(({ pid, state }) => (state === "running" && pid !== null && pid > 1 ? [pid] : []));
  }

  async #killChild(): Promise<void> {
    const status = await this.#status();
    const killed = this.random.pick(status.processes.filter(({ isDraining }) => !isDraining)).pid;
    const restored = this.#truth.lose(null);
    process.kill(killed, "SIGKILL");
    await until("a new child", async () => {
      const pids = (await this.#status()).processes.filter(({ isDraining }) => !isDraining).map(({ pid }) => pid);
      return pids.length === this.processes && !pids.includes(killed);
    });
    restored();
  }

  async #killServer(): Promise<void> {
    const restored = this.#truth.lose(null);
    const { port } = this.program;
    this.program.signal("SIGKILL");
    // Its output ends with the last of its processes.
    await within("the end of the killed server's processes", this.program.exited);
    this.program = await startProgram(["--port", String(port), "--processes", String(this.processes), "--resume"], {
      cwd: this.dir,
    });
    restored();
  }

  // ---- what is so ----

  /** Checks that every process of the server runs the last acknowledged version of every module. */
  async #check(): Promise<void> {
    const status = await this.#status();
    const wanted = new Set(status.processes.filter(({ isDraining }) => !isDraining).map(({ pid }) => pid));
    for (const { name, hash } of status.modules) this.#noteHash(name, hash);
    for (let connects = 0; wanted.size > 0; connects++) {
      if (connects === MAX_CONNECTS) throw new Error(`the processes ${[...wanted].join()} never answered`);
      wanted.delete(await this.#checkOne());
    }
    for (const name of NAMES) {
      if (this.#of(name).running !== null) continue;
      const answer = await askHttp(this.program.port, name);
      if (answer !== null) this.#problems.push(`${name} was deleted and answers ${answer}`);
    }
  }

  /** By one connection. @returns the process that has it */
  async #checkOne(): Promise<number> {
    const client = await RawClient.connect(this.program.port);
    try {
      let serving = 0;
      for (const name of NAMES) {
        const { running } = this.#of(name);
        if (running === null) continue;
        await client.clear().send(`${name.toUpperCase()}\n`);
        const { value, pid } = readAnswer(name, await client.waitFor("\n"));
        if (value !== running)
          this.#problems.push(`${name} runs ${value} in process ${pid}, and ${running} was acknowledged`);
        if (name === "alpha") serving = pid;
      }
      return serving;
    } finally {
      client.close();
    }
  }

  async #order(route: string, body: object, isGood: boolean): Promise<void> {
    const { body: report } = await controlRequest<Report>(this.#control, "POST", route, body, { timeoutMs: 60_000 });
    if (report.ok !== isGood) throw new Error(`${isGood ? "it was refused" : "it was taken"}: ${report.text}`);
  }

  async #status(): Promise<ServerStatus> {
    return (await controlRequest<ServerStatus>(this.#control, "GET", "/v1/status")).body;
  }

  #runs(name: Name, running: Value, isBroken = this.#of(name).isBroken): void {
    Object.assign(this.#of(name), { running, isBroken });
    this.#truth.only(name, running);
  }

  #noteHash(name: string, hash: string | null): void {
    const known = this.#known.get(name as Name);
    if (known !== undefined && known.running !== null && hash !== null) known.hashes.set(known.running, hash);
  }

  #of(name: Name): Known {
    return this.#known.get(name) as Known;
  }

  #file(name: Name): string {
    return join(this.dir, "modules", `${name}.ts`);
  }

  #read(name: Name): string | null {
    try {
      return readFileSync(this.#file(name), "utf8");
    } catch {
      return null;
    }
  }
}

function upload(name: Name, text: string): FormData {
  const form = new FormData();
  form.append("file", new File([text], `${name}.ts`));
  return form;
}

async function until(what: string, isThere: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + WAIT_MS;
  while (!(await isThere())) {
    if (performance.now() > end) throw new Error(`${what} did not come within ${WAIT_MS} ms`);
    await Bun.sleep(10);
  }
}

async function within<T>(what: string, promise: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`${what} did not come within ${WAIT_MS} ms`)), WAIT_MS);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
