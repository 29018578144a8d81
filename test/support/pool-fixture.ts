/** A pool with modules written for one test, and calls as promises. */
import { toLatin1 } from "../../src/host/remote/messages";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openPool } from "../../src/host/pool/pool";
import type { CallHandle, RemoteCallOwner } from "../../src/host/remote/call";
import type { RemoteHost, RemoteSettings } from "../../src/host/remote/remote-host";
import type { LoadSpec } from "../../src/module/version";
import type { Client } from "../../src/module/contract";
import type { BoundRoute } from "../../src/module/route";

export type Answer = Parameters<RemoteCallOwner["resolve"]>[0];

type PoolOptions = RemoteSettings & Parameters<typeof openPool>[1];

export interface Asked {
  readonly call: CallHandle;
  readonly answer: Promise<Answer>;
}

export const CLIENT: Client = { address: "127.0.0.1", port: 4711, transport: "tcp", isLocal: true, connection: 7 };

export class PoolFixture {
  readonly pool: RemoteHost;
  readonly dir = mkdtempSync(join(tmpdir(), "hrmr-pool-"));
  readonly logged: string[] = [];
  readonly lost: { reason: string; worker: number }[] = [];
  #lastId = 0;
  #onLost: (() => void)[] = [];

  constructor(options: Partial<PoolOptions> = {}) {
    const log = (...values: unknown[]): void => void this.logged.push(values.join(" "));
    const all: PoolOptions = {
      threads: 2,
      maxQueued: 2000,
      loadTimeoutMs: 20_000,
      killGraceMs: 100,
      log: { debug: log, info: log, warn: log, error: log },
      onThreadLost: (reason, worker) => {
        this.lost.push({ reason, worker });
        for (const resolve of this.#onLost.splice(0)) resolve();
      },
      ...options,
    };
    this.pool = openPool(all, all);
  }

  /** @param body of the module's file; `routes` all run on the pool */
  module(body: string, generation = 1): LoadSpec {
    const id = ++this.#lastId;
    const file = join(this.dir, `m${id}.js`);
    writeFileSync(file, body);
    return {
      name: "demo",
      id,
      generation,
      hash: `h${id}`,
      file,
      source: file,
      config: {},
      dataDir: join(this.dir, "data"),
    };
  }

  /** @param handlers source text of each route's handler; the first is route 0 */
  async load(handlers: string[], rest = "", before = ""): Promise<number> {
    const routes = handlers.map((handler, index) => `"R${index} ": { run: "pool", handle: ${handler} }`).join(",\n");
    const spec = this.module(`${before}\nexport default { routes: { ${routes} }, ${rest} };`);
    await this.pool.prepare(spec, null);
    return spec.id;
  }

  ask(id: number, message: string | Uint8Array, route = 0, timeoutMs = 5000): Asked {
    const answer = Promise.withResolvers<Answer>();
    // A test may look at a failure later than it happens.
    answer.promise.catch(() => {});
    const bytes = typeof message === "string" ? Buffer.from(message) : message;
    const order = {
      route: routeOf(id, route),
      client: CLIENT,
      latin1: toLatin1(bytes),
      body: null,
      timeoutMs,
      owner: answer,
    };
    return { call: this.pool.call(order), answer: answer.promise };
  }

  async text(id: number, message: string, route = 0, timeoutMs = 5000): Promise<Answer> {
    return await this.ask(id, message, route, timeoutMs).answer;
  }

  /** Resolves at the next lost thread. */
  nextLoss(): Promise<void> {
    return new Promise((resolve) => this.#onLost.push(resolve));
  }

  async close(): Promise<void> {
    await this.pool.close();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** The part of a route that a host reads. */
export function routeOf(id: number, index: number): BoundRoute {
  return { index, generation: { id, name: "demo", number: 1 } } as BoundRoute;
}

/** Runs `use` with a pool, which is closed afterwards. */
export async function withPool(
  options: Partial<PoolOptions>,
  use: (fixture: PoolFixture) => Promise<void>,
): Promise<void> {
  const fixture = new PoolFixture(options);
  try {
    await use(fixture);
  } finally {
    await fixture.close();
  }
}
