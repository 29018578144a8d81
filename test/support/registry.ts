/**
 * A registry as one process of a server has it, with the modules of a fixture; and several that agree on their reloads.
 */
import { type Agreement, decide, type Proposal } from "../../src/reload/vote/agree";
import type { RegistryOptions, LoadSettings } from "../../src/reload/module-set";
import { orderFor } from "../../src/reload/order";
import { Registry } from "../../src/reload/registry";
import type { RequestContext } from "../../src/module/contract";
import type { BoundRoute } from "../../src/module/route";
import { NO_ROUTES } from "../../src/protocol/routing";
import type { Dispatch } from "../../src/protocol/wire";
import type { Verdict } from "../../src/reload/verdict/verdict";
import type { Hosts } from "../../src/host/hosts";
import { createLog } from "../../src/observe/log/log";
import type { Fixture } from "./module-fixture";

export const DEFAULT_SETTINGS: LoadSettings = {
  settings: {},
  shipped: [],
  drainMs: 1000,
  loadMs: 20_000,
  maxLiveGenerations: 3,
};

export class TestProcess {
  readonly registry: Registry;
  /** The log. */
  readonly logged: string[] = [];
  readonly #dispatch = {
    routing: NO_ROUTES,
    timeouts: { handlerMs: 0 },
    wheel: { arm: () => {}, disarm: () => {} },
    access: null,
    handlerFailed: () => {},
  } as unknown as Dispatch;

  constructor(fixture: Fixture, options: Partial<RegistryOptions> = {}) {
    this.registry = new Registry({
      ...DEFAULT_SETTINGS,
      modulesDir: fixture.modules,
      mayLackModulesDir: false,
      stateDir: fixture.stateDir,
      dataDir: `${fixture.stateDir}/data`,
      host: { prepare: () => Promise.resolve({ notes: [] }), retire: () => Promise.resolve() },
      probe: { check: () => Promise.resolve() },
      globals: {},
      routing: {
        dispatch: this.#dispatch,
        commands: [],
        procedures: [],
        tools: { routes: [], swapped: () => undefined },
        hosts: {} as Hosts,
        endpoints: { beside: () => new Map(), noteClaims: () => {} },
      },
      log: createLog({ write: (text) => this.logged.push(text), isTty: false, level: "debug" }),
      ...options,
    });
  }

  /** The reply to a client of this process; null: no module has the key; 503 while the module is unavailable. */
  ask(key: string): string | number | null {
    const route = this.#route(key);
    if (route === undefined) return null;
    if (route.isUnavailable) return 503;
    return String(
      route.generation.run(
        route.handler as unknown as (message: unknown, context: object) => unknown,
        {},
        route.generation.context,
      ),
    );
  }

  /** The status of an HTTP request that no route takes; null: no middleware stands before it. */
  async unmatchedStatus(): Promise<number | null> {
    const { unmatched } = this.#dispatch.routing;
    if (unmatched === null) return null;
    const handler = unmatched.handler as unknown as (request: Request, context: RequestContext) => Promise<Response>;
    const context = { client: {}, path: "/nowhere", route: "", params: {}, requestId: "1" };
    return (await handler(new Request("http://localhost/nowhere"), context as unknown as RequestContext)).status;
  }

  /** Versions that serve, by module: "greet v2". */
  get versions(): string[] {
    return [...this.registry.entries.values()]
      .map(({ name, live }) => (live === null ? `${name} -` : `${name} v${live.number}`))
      .sort();
  }

  #route(key: string): BoundRoute | undefined {
    return this.#dispatch.routing.table.entries.find((entry) => entry.key === key)?.value;
  }
}

/** The master's part: collects all proposals of one reload, and answers with the decision. */
export class TestRound {
  readonly proposals = new Map<number, Proposal>();
  readonly #first = Promise.withResolvers<void>();
  readonly #decided = Promise.withResolvers<Agreement>();
  readonly #slots: number;
  /** Resolves when some process has proposed. */
  readonly first = this.#first.promise;

  constructor(slots: number) {
    this.#slots = slots;
  }

  propose(slot: number, proposal: Proposal): Promise<Agreement> {
    this.proposals.set(slot, structuredClone(proposal));
    this.#first.resolve();
    if (this.proposals.size === this.#slots) this.#decided.resolve(decide(this.proposals));
    return this.#decided.promise;
  }
}

/** Several processes of one server, numbered from 1. They share the modules folder and the state folder. */
export class TestServer {
  readonly processes: readonly TestProcess[];
  round: TestRound;
  readonly #fixture: Fixture;

  constructor(fixture: Fixture, count: number, options: (slot: number) => Partial<RegistryOptions> = () => ({})) {
    this.#fixture = fixture;
    this.round = new TestRound(count);
    this.processes = Array.from({ length: count }, (_, at) => this.#make(at + 1, options(at + 1)));
  }

  /** @returns each process's verdict, or why it refused the whole */
  async reload(
    names: readonly string[] | null = null,
    next: LoadSettings | null = null,
  ): Promise<(Verdict | string)[]> {
    this.round = new TestRound(this.processes.length);
    const reloads = this.processes.map(({ registry }) => registry.reload(orderFor(names), next));
    const settled = await Promise.allSettled(reloads);
    return settled.map((result) =>
      result.status === "fulfilled" ? result.value : String((result.reason as Error).message),
    );
  }

  async close(): Promise<void> {
    for (const { registry } of this.processes) await registry.close();
  }

  #make(slot: number, options: Partial<RegistryOptions>): TestProcess {
    return new TestProcess(this.#fixture, { agree: (proposal) => this.round.propose(slot, proposal), ...options });
  }
}

/** "greet swapped v2", "greet failed v1: process 2: ..." for each module of a verdict. */
export function told(verdict: Verdict | string | undefined): string[] {
  if (typeof verdict !== "object") return [`refused: ${verdict}`];
  return verdict.modules
    .map(
      ({ name, outcome, version, error }) =>
        `${name} ${outcome} v${version}${error === null ? "" : `: ${error.split("\n")[0]}`}`,
    )
    .sort();
}

/** A module that answers `key` with `reply`. */
export function answering(reply: string, rest = "", key = reply.split(" ")[0]?.toUpperCase() ?? ""): string {
  return `export default { ${rest} routes: { "${key}": () => "${reply}" } };\n`;
}
