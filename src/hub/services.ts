/**
 * Calls of services: from a module, or a client, to the newest version of the module that has it, whichever host it runs
 * in. Every call is counted on its callee's generation until it settles.
 */
import { type CallServer, beginCall, endCall } from "../host/inline";
import type { TaskRun } from "../module/contract";
import type { BoundService, BoundTask } from "../module/route";
import type { ServiceAnswer, ServiceAsks, ServiceCalls, ServiceOrder } from "../module/service/calls";
import { errorOf, ServiceError, textOf } from "../module/service/error";
import type { CallHandle, RemoteOrder } from "../host/remote/call";
import { Carried } from "../module/service/values";
import { errorFrom, frameOf, InlineCall, isSettled, runService } from "./inline-call";
import { RemoteServiceCall } from "./remote-call";
import { deadlineOf, refusedChain } from "./chain";
import { Places } from "./places";
import { type BegunRun, beginTask } from "./schedule/begin-task";
import { CallTotals } from "./totals";
import { promised } from "./answer";
import type { FoundCall } from "./found-call";

/** A module, as the hub finds it. */
interface Callee {
  /** null: no version serves now. */
  readonly live: { readonly services: ReadonlyMap<string, BoundService> } | null;
  /** Why no version serves. null: no reason is known, or the module is being replaced */
  readonly error: string | null;
}

interface HubOptions {
  /** The module of that name. undefined: there is none. */
  readonly find: (module: string) => Callee | undefined;
  /** For the names in errors. */
  readonly modules: () => Iterable<string>;
  readonly server: CallServer;
  readonly limits: { readonly maxQueued: number };
  /** Calls a service that runs elsewhere. */
  readonly callRemote: (order: RemoteOrder) => CallHandle;
}

export class Hub implements ServiceCalls, ServiceAsks {
  readonly totals = new CallTotals();
  readonly #options: HubOptions;
  /** Of calls that wait for their result. */
  readonly places: Places;

  constructor(options: HubOptions) {
    this.#options = options;
    this.places = new Places(options.limits);
  }

  call(order: ServiceOrder): Promise<unknown> {
    return promised((answer) => this.ask(order, answer));
  }

  /** The same for callers that pass the result on. @returns a function that cancels the call */
  ask(order: ServiceOrder, to: ServiceAnswer): () => void {
    const now = performance.now();
    this.places.enter(order);
    let found: FoundCall;
    try {
      found = this.#find(order, now);
      if (found.service.run !== "inline") return this.#beginRemote(found, new CountedAnswer(this, order, to, now));
    } catch (error) {
      this.answered(order, now, true);
      to.reject(error instanceof ServiceError ? error : new ServiceError("FAILED", textOf(error)));
      return NOTHING_TO_END;
    }
    return this.#beginInline(found, to, true);
  }

  /** Begins a run of a module's task, counted on the version that it belongs to. Never throws. */
  runTask(task: BoundTask, run: TaskRun): BegunRun {
    return beginTask(task, run, this.#options.server, (found, answer) =>
      found.service.run === "inline" ? this.#beginInline(found, answer, false) : this.#beginRemote(found, answer),
    );
  }

  /** The call that began then has its answer. @param startedAt 0: it is not timed */
  answered(order: ServiceOrder, startedAt: number, isError: boolean): void {
    this.places.leave(order);
    this.totals.add(order, startedAt === 0 ? null : performance.now() - startedAt, isError);
  }

  #beginRemote(found: FoundCall, answer: ServiceAnswer): () => void {
    return new RemoteServiceCall(found, answer).begin(this.#options.callRemote);
  }

  /** @param isCounted in `totals`. Never throws */
  #beginInline(found: FoundCall, to: ServiceAnswer, isCounted: boolean): () => void {
    const { order, service, askedAt } = found;
    const startedAt = beginCall(service, false);
    const frame = frameOf(found);
    let result: unknown;
    try {
      result = runService(found, frame);
    } catch (thrown) {
      const error = errorFrom(found, thrown);
      endCall(service, startedAt);
      if (isCounted) this.answered(order, askedAt, true);
      to.reject(error);
      return NOTHING_TO_END;
    }
    if (!isSettled(result)) {
      const call = new InlineCall(found, frame, isCounted ? new CountedAnswer(this, order, to, askedAt) : to);
      call.wait(result);
      return call.giveUp;
    }
    endCall(service, startedAt);
    // Under load most calls are not timed, as in the figures of the module.
    if (isCounted) this.answered(order, startedAt === 0 ? 0 : askedAt, false);
    to.resolve(Carried.of(result));
    return NOTHING_TO_END;
  }

  /** @throws ServiceError */
  #find(order: ServiceOrder, now: number): FoundCall {
    const { server } = this.#options;
    const service = this.#service(order);
    const { name } = service;
    const refused = refusedChain(order.frame, name);
    if (refused !== null) throw new ServiceError("DEPTH", refused);
    const noPlace = this.places.refusal(order);
    if (noPlace !== null) throw new ServiceError("BUSY", `${name} was not called: ${noPlace}`);
    const own = service.timeoutMs ?? server.timeouts.handlerMs;
    const deadlineAt = deadlineOf(now, order.frame, own, order.timeoutMs);
    if (deadlineAt <= now) throw new ServiceError("TIMEOUT", `${name} was not called: no time is left`);
    return { order, service, name, deadlineAt, server, askedAt: now };
  }

  #service({ module, service }: ServiceOrder): BoundService {
    const callee = this.#options.find(module);
    if (callee === undefined) throw errorOf({ code: "MODULE_MISSING", message: this.#noModule(module) });
    if (callee.live === null) {
      const why = callee.error === null ? "it is being replaced" : `no version of it serves: ${callee.error}`;
      throw errorOf({ code: "UNAVAILABLE", message: `${module}.${service} cannot be called now: ${why}` });
    }
    const found = callee.live.services.get(service);
    if (found !== undefined) return found;
    const others = [...callee.live.services.keys()];
    const has = others.length === 0 ? "it has none" : `it has ${others.join(", ")}`;
    throw errorOf({ code: "SERVICE_MISSING", message: `module "${module}" has no service "${service}"; ${has}` });
  }

  #noModule(module: string): string {
    const able = [...this.#options.modules()];
    const hint = able.length === 0 ? "" : `; modules with services are ${able.slice(0, 20).join(", ")}`;
    return `there is no module "${module}"${hint}`;
  }
}

function NOTHING_TO_END(): void {}

/** Counts the call while it waits, and when its answer comes. */
class CountedAnswer implements ServiceAnswer {
  readonly #hub: Hub;
  readonly #order: ServiceOrder;
  readonly #to: ServiceAnswer;
  readonly #startedAt: number;

  constructor(hub: Hub, order: ServiceOrder, to: ServiceAnswer, startedAt: number) {
    this.#hub = hub;
    this.#order = order;
    this.#to = to;
    this.#startedAt = startedAt;
    hub.places.wait(order);
  }

  resolve(value: Carried): void {
    this.#answered(false);
    this.#to.resolve(value);
  }

  stream(parts: AsyncIterableIterator<Carried>): void {
    this.#answered(false);
    this.#to.stream(parts);
  }

  reject(error: ServiceError): void {
    this.#answered(true);
    this.#to.reject(error);
  }

  #answered(isError: boolean): void {
    this.#hub.places.settle(this.#order);
    this.#hub.answered(this.#order, this.#startedAt, isError);
  }
}
