/**
 * A server of several processes, and clients that ask it again and again while it is killed, restarted, upgraded or
 * stopped.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { RawClient } from "./client";
import { type Hub, moduleSource, withHub } from "./hub";
import { until, UNTIL_MS } from "./until";

/**
 * Answers WHO and /who with its version and its process: "v1 4711". SLOW and /slow do so after 300 ms, and say first
 * that they began.
 */
export function whoModule(version: number): string {
  return moduleSource(`{ routes: {
    "WHO": { framing: "line", handle: () => "v${version} " + process.pid + "\\n" },
    "/who": { fetch: () => new Response("v${version} " + process.pid + "\\n") },
    "SLOW": { framing: "line", handle: async () => { console.log("began"); await Bun.sleep(300); return "v${version} " + process.pid + "\\n"; } },
    "/slow": { fetch: async () => { console.log("began"); await Bun.sleep(300); return new Response("v${version} " + process.pid + "\\n"); } },
    "NEVER": { framing: "line", handle: () => { console.log("began"); return new Promise(() => {}); } },
  } }`);
}

/**
 * `withHub`, and at the end none of its processes is left: a server that has taken over is nobody's child.
 *
 * @param processes null: the config file says it
 * @param files beside `whoModule(1)` as modules/who.ts
 */
export function withProcesses(
  processes: number | null,
  test: (hub: Hub) => Promise<void>,
  files: Record<string, string> = {},
  args: string[] = [],
) {
  const flags = processes === null ? [] : ["--processes", String(processes)];
  return withHub({ "modules/who.ts": whoModule(1), ...files }, [...flags, ...args], async (hub) => {
    try {
      await test(hub);
    } finally {
      const left = processesIn(hub.dir).filter((pid) => pid !== hub.program.pid);
      // A living master ends its processes itself.
      if (!lives(hub.program.pid)) for (const pid of left) process.kill(pid, "SIGKILL");
    }
  });
}

/** The answer of `whoModule`. */
export interface Who {
  readonly version: number;
  readonly pid: number;
}

export function readWho(text: string): Who {
  const match = /^v(\d+) (\d+)\n?$/.exec(text);
  if (match === null) throw new Error(`This is no answer of whoModule: ${JSON.stringify(text)}`);
  return { version: Number(match[1]), pid: Number(match[2]) };
}

/** One question on an open connection. */
export async function askWho(client: RawClient, question = "WHO"): Promise<Who> {
  await client.clear().send(`${question}\n`);
  await client.waitFor("\n");
  return readWho(client.text);
}

/**
 * Process ids of the serving processes. STATUS leaves out a process that does not answer within a second, which is
 * short on a busy machine. So this waits until there are enough.
 *
 * @param count default: as many as the server is to have
 */
export function servingPids(hub: Hub, count?: number): Promise<number[]> {
  return until("STATUS tells of all processes that serve", async () => {
    const { processes, wantedProcesses } = await hub.status();
    const pids = processes.filter(({ isDraining }) => !isDraining).map(({ pid }) => pid);
    return pids.length === (count ?? wantedProcesses) && pids;
  });
}

/** Opens connections until each of `pids` has one; the others are closed. */
export async function connectToEach(hub: Hub, pids: readonly number[]): Promise<Map<number, RawClient>> {
  const found = new Map<number, RawClient>();
  const spare: RawClient[] = [];
  const end = performance.now() + UNTIL_MS;
  while (found.size < pids.length) {
    if (performance.now() > end)
      throw new Error(`Of the processes ${pids.join(", ")} only ${[...found.keys()].join(", ")} answered.`);
    // All at the same time: a process that is busy accepting leaves the next client to another.
    const clients = await Promise.all(Array.from({ length: 8 }, () => hub.connect()));
    for (const client of clients) {
      const { pid } = await askWho(client);
      if (found.has(pid) || !pids.includes(pid)) spare.push(client);
      else found.set(pid, client);
    }
  }
  for (const client of spare) client.close();
  return found;
}

/** Whether there is such a process, and it has not ended. */
export function lives(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return false;
  }
}

/** The processes that were started in this folder, by their working directory. */
export function processesIn(dir: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => lives(pid) && workingDirectory(pid) === dir);
}

function workingDirectory(pid: number): string | null {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return null;
  }
}

/** The results of clients that ask without a pause. */
export interface Tally {
  answered: number;
  /** Refused connections. */
  refused: number;
  /**
   * Raw lines that met the end of their connection: raw clients cannot be told beforehand. The lines were not handled,
   * and are sent again.
   */
  cutOff: number;
  /** Wrong and missing answers, in words. */
  readonly failures: string[];
  readonly pids: Set<number>;
  readonly versions: Set<number>;
}

/**
 * "http": one connection for as long as the server keeps it. "fresh": one for each request. "line": raw lines on one
 * connection.
 */
export type AskingKind = "http" | "fresh" | "line";

const HTTP_REQUEST = "GET /who HTTP/1.1\r\nHost: a.example\r\n\r\n";
const LAST_REQUEST = HTTP_REQUEST.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");

/** A client without a pause takes a whole processor, and the server has to start processes meanwhile. */
const PAUSE_MS = 5;

/** Clients that ask who answers, each soon after it has its answer, until `stop` or until nobody listens any more. */
export class Askers {
  readonly tally: Tally = { answered: 0, refused: 0, cutOff: 0, failures: [], pids: new Set(), versions: new Set() };
  readonly #address: number | string;
  readonly #loops: Promise<void>[];
  #isStopped = false;

  /** @param count clients of each kind */
  constructor(address: number | string, count: number, kinds: readonly AskingKind[]) {
    this.#address = address;
    this.#loops = kinds.flatMap((kind) => Array.from({ length: count }, () => this.#loop(kind)));
  }

  /** Resolves once there are so many answers, from now on. */
  async answers(count: number): Promise<void> {
    const from = this.tally.answered;
    await until(
      `${count} answers have come`,
      () => this.tally.answered >= from + count || this.tally.failures.length > 0,
    );
  }

  /** Resolves once all clients have their last answer. */
  async stop(): Promise<Tally> {
    this.#isStopped = true;
    return await this.ended();
  }

  /** Resolves once nobody listens any more. */
  async ended(): Promise<Tally> {
    await Promise.all(this.#loops);
    return this.tally;
  }

  async #loop(kind: AskingKind): Promise<void> {
    let client: RawClient | null = null;
    while (!this.#isStopped) {
      // The server may end a connection between two messages. Nothing is lost then.
      if (client?.hasEnded) client = closed(client);
      client ??= await this.#connect();
      if (client === null) return;
      if (!(await this.#ask(client, kind))) client = closed(client);
      await Bun.sleep(PAUSE_MS);
    }
    client?.close();
  }

  /** @returns null: nobody listens */
  async #connect(): Promise<RawClient | null> {
    try {
      return await RawClient.connect(this.#address);
    } catch {
      this.tally.refused++;
      return null;
    }
  }

  /** @returns whether the connection can take another question */
  async #ask(client: RawClient, kind: AskingKind): Promise<boolean> {
    try {
      await client.clear().send(kind === "line" ? "WHO\n" : kind === "http" ? HTTP_REQUEST : LAST_REQUEST);
      const text = await client.waitFor(kind === "line" ? /\n$/ : /\r\n\r\nv\d+ \d+\n$/);
      const { pid, version } = readWho(text.slice(kind === "line" ? 0 : text.indexOf("\r\n\r\n") + 4));
      this.tally.answered++;
      this.tally.pids.add(pid);
      this.tally.versions.add(version);
      return kind === "line" || !/^connection: close\r$/im.test(text);
    } catch (error) {
      if (kind === "line" && client.hasEnded && client.text === "") this.tally.cutOff++;
      else this.tally.failures.push(`${kind}: ${error instanceof Error ? error.message : String(error)}`);
      return false;
    }
  }
}

function closed(client: RawClient): null {
  client.close();
  return null;
}
