/** Procedures: the services of modules that clients may call, by the name "MODULE.SERVICE". */
import { suggest } from "../../config/nearest";
import type { Client } from "../../module/contract";
import type { BoundService } from "../../module/route";
import type { ServiceAnswer, ServiceAsks, ServiceCaller } from "../../module/service/calls";
import type { CallFrame } from "../../module/service/frame";
import type { ServiceError } from "../../module/service/error";
import { Carried } from "../../module/service/values";
import type { AccessControl } from "../access/access-control";
import type { RpcCaller } from "./caller";
import { notAllowed, notFound, type RpcFailure } from "./failure";
import { OpenStreams } from "./open-streams";

interface ProceduresOptions {
  /** The services of a module that serves now. undefined: there is none */
  readonly services: (module: string) => ReadonlyMap<string, BoundService> | undefined;
  /** Of modules that have services. */
  readonly modules: () => Iterable<string>;
  readonly hub: ServiceAsks;
  readonly access: Pick<AccessControl, "refusalOf">;
  /** Logs an error whose text clients must not see. */
  readonly note: (text: string) => void;
}

export interface Procedure {
  /** "kv.get". */
  readonly name: string;
  readonly service: BoundService;
}

/** A call that may be made. */
interface FoundProcedure {
  readonly module: string;
  readonly service: string;
}

/** `context.caller` of a service that a client calls. */
const CALLER: ServiceCaller = { module: "rpc", generation: 0 };

const MAX_KNOWN = 10_000;

export class Procedures {
  readonly streams = new OpenStreams((caller, name) => this.refusalOf(caller, name));
  readonly #options: ProceduresOptions;
  /** Names that were procedures once, split into module and service. */
  readonly #known = new Map<string, FoundProcedure>();

  constructor(options: ProceduresOptions) {
    this.#options = options;
  }

  /** @returns the reason to refuse the client, also for a name that it may not know */
  refusalOf({ client, session }: RpcCaller, name: string): RpcFailure | null {
    const refusal = this.#options.access.refusalOf(session, client, `rpc:${name}`);
    if (refusal === null || (refusal.code === "FORBIDDEN" && this.#checksAccess(name))) return null;
    return notAllowed(refusal);
  }

  #checksAccess(name: string): boolean {
    const { module, service } = partsOf(name);
    const found = this.#options.services(module)?.get(service)?.service;
    return found?.isPublic === true && found.checksAccess;
  }

  find(caller: RpcCaller, name: string): FoundProcedure | RpcFailure {
    // Checked first: a client without rights must not learn which names exist.
    const refused = this.refusalOf(caller, name);
    if (refused !== null) return refused;
    const known = this.#known.get(name);
    if (known !== undefined && this.#isPublic(known)) return known;
    const found = partsOf(name);
    if (this.#isPublic(found)) {
      if (this.#known.size >= MAX_KNOWN) this.#known.clear();
      this.#known.set(name, found);
      return found;
    }
    const near = suggest(
      name.slice(0, 100),
      this.list(caller).map((each) => each.name),
    );
    return notFound(name, near);
  }

  /** The procedure of that name, with its description. */
  describe(caller: RpcCaller, name: string): Procedure | RpcFailure {
    const found = this.find(caller, name);
    if ("status" in found) return found;
    return { name, service: this.#options.services(found.module)?.get(found.service) as BoundService };
  }

  #isPublic({ module, service }: FoundProcedure): boolean {
    return this.#options.services(module)?.get(service)?.service.isPublic === true;
  }

  /** The procedures that the client may call, by name. */
  list(caller: RpcCaller): Procedure[] {
    return this.all().filter(({ name }) => this.refusalOf(caller, name) === null);
  }

  /** Whoever may call them, by name. */
  all(): Procedure[] {
    const all: Procedure[] = [];
    for (const module of this.#options.modules())
      for (const [key, service] of this.#options.services(module) ?? [])
        if (service.service.isPublic) all.push({ name: `${module}.${key}`, service });
    return all.sort((one, other) => (one.name < other.name ? -1 : 1));
  }

  /** @param params parsed, and not kept by the caller. @returns a function that cancels the call */
  call({ module, service }: FoundProcedure, params: unknown, caller: RpcCaller, answer: ServiceAnswer): () => void {
    const order = {
      caller: CALLER,
      module,
      service,
      input: Carried.given(params),
      frame: new ClientFrame(caller),
      timeoutMs: undefined,
      signal: undefined,
    };
    return this.#options.hub.ask(order, answer);
  }

  /** Logs an error that the client gets without its text. @param name "kv.get" */
  noteHidden(name: string, error: ServiceError | Error): void {
    this.#options.note(`procedure ${name}: ${error.message}`);
  }
}

function partsOf(name: string): FoundProcedure {
  const dot = name.lastIndexOf(".");
  return { module: name.slice(0, Math.max(0, dot)), service: name.slice(dot + 1) };
}

class ClientFrame implements CallFrame {
  readonly chain = NOTHING;
  readonly deadlineAt = Infinity;
  readonly client: Client;
  readonly identity: string | null;

  readonly direct: RpcCaller;

  constructor(caller: RpcCaller) {
    this.client = caller.client;
    this.identity = caller.session.identity;
    this.direct = caller;
  }

  /** Its caller has the function that `call` returns. */
  cancellation(): null {
    return null;
  }
}

const NOTHING: readonly string[] = [];
