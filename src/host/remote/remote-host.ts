/**
 * A host other than the event loop: its places, the generations loaded in them, the waiting calls, and the modules in
 * quarantine.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { Log, StopReason } from "../../module/contract";
import type { RemoteShape } from "../../module/graph/remote";
import { type EventHub, NO_EVENTS } from "../../module/event/events";
import type { ServiceAsks } from "../../module/service/calls";
import { ServiceError } from "../../module/service/error";
import { NO_STORE } from "../../module/store/no-store";
import type { StorePort } from "../../module/store/port";
import type { LoadSpec } from "../../module/version";
import { makePrivateFolder, PRIVATE_FILE } from "../../system/private-files";
import { HostBusyError, HostLostError } from "../errors";
import type { Host, HostStatus } from "../host";
import type { StoredState } from "../process/handoff-file";
import { Quarantine, type QuarantineSettings } from "../quarantine";
import { type CallHandle, RemoteCall, type RemoteOrder } from "./call";
import { CallQueue } from "./call-queue";
import { Keeper, type KeeperOwner } from "./keeper";
import type { TaskDone } from "./messages";
import type { PlaceStatus } from "./place";
import type { HostPolicy, HostTexts } from "./policy";
import { Ticker } from "./ticker";

/** Settings of both the pool and the processes. */
export interface RemoteSettings extends QuarantineSettings {
  /** The most calls without an answer, waiting or running. Further calls are refused. Open streams do not count. */
  readonly maxQueued: number;
  /** For each step of a module's load. In milliseconds. 0 waits for ever. */
  readonly loadTimeoutMs: number;
  /** How long a place with a late handler may stay silent before it is killed. In milliseconds. Default 250. */
  readonly killGraceMs?: number;
  /** Takes the calls of services that modules make there. Default: there are none. */
  readonly services?: ServiceAsks;
  /** Carries the events of modules there. Default: there are none. */
  readonly events?: EventHub;
  /** The store of modules there. Default: there is none. */
  readonly store?: StorePort;
}

const NO_SERVICES: ServiceAsks = {
  ask({ module }, answer) {
    answer.reject(new ServiceError("MODULE_MISSING", `there is no module "${module}" here`));
    return () => {};
  },
};

const KILL_GRACE_MS = 250;
const CLOSE_MS = 900;

interface Loaded {
  readonly spec: LoadSpec;
  /**
   * A place may have to load it again after its file is gone: the state folder was cleared, or pruned by another
   * server.
   */
  readonly bundle: Uint8Array;
}

export class RemoteHost implements Host, KeeperOwner {
  readonly policy: HostPolicy;
  readonly loadTimeoutMs: number;
  readonly killGraceMs: number;
  readonly log: Log;
  readonly services: ServiceAsks;
  readonly events: EventHub;
  readonly store: StorePort;
  readonly queue: CallQueue;
  readonly #settings: RemoteSettings;
  readonly #keepers: readonly Keeper[];
  /** Loaded, or being loaded. */
  readonly #generations = new Map<number, Loaded>();
  readonly #quarantine: Quarantine;
  #pending = 0;
  readonly #ticker = new Ticker((now) => this.#scan(now));
  #closed: HostLostError | null = null;

  constructor(policy: HostPolicy, settings: RemoteSettings) {
    this.policy = policy;
    this.loadTimeoutMs = settings.loadTimeoutMs;
    this.killGraceMs = settings.killGraceMs ?? KILL_GRACE_MS;
    this.log = settings.log;
    this.services = settings.services ?? NO_SERVICES;
    this.events = settings.events ?? NO_EVENTS;
    this.store = settings.store ?? NO_STORE;
    this.#settings = settings;
    this.#quarantine = new Quarantine(settings, {
      shutOut: (id) => this.#shutOut(id),
      tryAgain: (id) => this.#tryAgain(id),
    });
    this.#keepers = Array.from({ length: policy.count }, (_, index) => new Keeper(index + 1, this));
    this.queue = new CallQueue(this.#keepers, (call) => this.#mayBeServed(call));
  }

  get places(): PlaceStatus[] {
    return this.#keepers.map(({ status }) => status);
  }

  status(id: number): HostStatus {
    return { quarantine: this.#quarantine.facts(id), places: this.places };
  }

  /** Imports it in the first place, and starts that. */
  async import(spec: LoadSpec): Promise<RemoteShape> {
    if (this.#closed !== null) throw this.#closed;
    const keeper = this.#keepers[0] as Keeper;
    keeper.start();
    this.#ticker.start();
    return await keeper.tasks.import(spec);
  }

  /**
   * Loads it in every place, in parallel; the first use starts the places.
   *
   * @param handed the state that another process has stored for the `setup`; undefined: none
   */
  async prepare(spec: LoadSpec, previousId: number | null, handed?: StoredState): Promise<{ notes: string[] }> {
    if (this.#closed !== null) throw this.#closed;
    for (const keeper of this.#keepers) keeper.start();
    this.#generations.set(spec.id, { spec, bundle: readFileSync(spec.file) });
    const failures: unknown[] = [];
    const loads = this.#keepers.map((keeper) =>
      keeper.tasks.load(spec, previousId, handed).catch((error: unknown) => {
        failures.push(error);
        return [];
      }),
    );
    this.#ticker.start();
    const notes = (await Promise.all(loads)).flat();
    if (failures.length === 0) return { notes: [...new Set(notes)] };
    await this.retire(spec.id);
    throw failures[0];
  }

  /**
   * Each place keeps its own state; a process stores it.
   *
   * @returns the stored state of the first place, or why there is none; null: no handoff
   */
  async handOver(id: number): Promise<NonNullable<TaskDone["handoff"]> | null> {
    if (!this.#generations.has(id)) return null;
    const handed = this.#keepers.map((keeper) => keeper.tasks.handoff(id));
    this.#ticker.start();
    return (await Promise.all(handed))[0] ?? null;
  }

  /** Runs the generation's `start` in the first place. Rejects with a ModuleError, or if the place is not there. */
  async goLive(id: number): Promise<void> {
    const begun = (this.#keepers[0] as Keeper).tasks.goLive(id);
    this.#ticker.start();
    await begun;
  }

  /** Runs the generation's `stop` in the first place. Rejects with a ModuleError. */
  async endLife(id: number, reason: StopReason): Promise<void> {
    const left = (this.#keepers[0] as Keeper).tasks.endLife(id, reason);
    this.#ticker.start();
    await left;
  }

  async retire(id: number, isGone = false): Promise<void> {
    this.#quarantine.forget(id);
    this.#generations.delete(id);
    const retired = this.#keepers.map((keeper) => keeper.tasks.retire(id, isGone));
    this.#ticker.start();
    await Promise.all(retired);
  }

  call(order: RemoteOrder): CallHandle {
    const call = new RemoteCall(order, this.#over);
    this.#pending++;
    const refusal = this.#refusal(call.loadId);
    if (refusal !== null) queueMicrotask(() => call.fail(refusal));
    else {
      this.queue.add(call);
      this.#ticker.start();
    }
    return call;
  }

  async close(): Promise<void> {
    const reason = (this.#closed ??= new HostLostError(this.policy.texts.closed));
    this.#quarantine.close();
    this.#ticker.close();
    for (const call of this.queue.remove(() => true)) call.fail(reason);
    await Promise.all(this.#keepers.map((keeper) => keeper.close(CLOSE_MS, reason)));
  }

  // ---- for the keepers ----

  restoreBundles(): LoadSpec[] {
    const loaded = [...this.#generations.values()];
    for (const { spec, bundle } of loaded) {
      if (existsSync(spec.file)) continue;
      makePrivateFolder(dirname(spec.file));
      writeFileSync(spec.file, bundle, { mode: PRIVATE_FILE });
    }
    return loaded.map(({ spec }) => spec);
  }

  lost(reason: string, index: number, culprit: number | null, hadBegun: boolean): boolean {
    this.#ticker.start();
    const suspect = this.#generations.get(culprit ?? -1)?.spec ?? null;
    const loaded = Array.from(this.#generations.values(), ({ spec }) => spec);
    const blamed = this.policy.lost(reason, index, suspect, loaded);
    const isShutOut = blamed !== null && this.#closed === null && this.#quarantine.noteCrash(blamed, reason, hadBegun);
    return this.policy.startsAnew(isShutOut);
  }

  restored(id: number): void {
    this.policy.restored(id, this.#quarantine);
  }

  // ---- calls ----

  readonly #over = (): void => {
    this.#pending--;
  };

  /** @returns why a call is not taken; null: it is */
  #refusal(id: number): Error | null {
    if (this.#closed !== null) return this.#closed;
    const shutOut = this.#quarantine.isEmpty ? null : this.#quarantine.refusal(id);
    if (shutOut !== null) return shutOut;
    const { maxQueued } = this.#settings;
    return this.#pending > maxQueued ? busy(`${maxQueued} calls are under way`, this.policy.texts) : null;
  }

  #mayBeServed(call: RemoteCall): boolean {
    const isServed =
      this.#generations.has(call.loadId) && this.#keepers.some((keeper) => keeper.tasks.mayServe(call.loadId));
    if (!isServed) call.fail(gone(call, this.policy.texts));
    return isServed;
  }

  // ---- quarantine ----

  /** The generation is in quarantine from now on. */
  #shutOut(id: number): void {
    for (const call of this.queue.remove(({ loadId }) => loadId === id))
      call.fail(this.#quarantine.refusal(id) ?? gone(call, this.policy.texts));
  }

  #tryAgain(id: number): boolean {
    if (!this.#generations.has(id)) return false;
    const isFree = this.policy.tryAgain(this.#keepers);
    this.#ticker.start();
    return isFree;
  }

  // ---- deadlines ----

  /** @returns whether there is any deadline left */
  #scan(now: number): boolean {
    for (const keeper of this.#keepers) keeper.scan(now);
    for (const call of this.queue.expire(now, this.killGraceMs))
      call.fail(busy(`the call has waited ${Math.round(now - call.askedAt)} ms`, this.policy.texts));
    return this.queue.size > 0 || this.#keepers.some((keeper) => !keeper.isIdle);
  }
}

function gone({ route: { generation } }: RemoteCall, texts: HostTexts): HostLostError {
  return new HostLostError(`Module "${generation.name}" v${generation.number} ${texts.gone}.`);
}

function busy(why: string, { name, cure }: HostTexts): HostBusyError {
  return new HostBusyError(`${name} is busy: ${why}. Try again later, or ${cure}.`);
}
