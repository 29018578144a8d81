/** `run: "process"`: each generation with such routes has its own process. */
import { messageOf } from "../../config/user-error";
import type { StopReason } from "../../module/contract";
import { closeSync, ftruncateSync } from "node:fs";
import { dirname } from "node:path";
import { wholeFileError } from "../../module/graph/describe-error";
import type { RemoteShape } from "../../module/graph/remote";
import { logWith } from "../../observe/log/fields";
import { HostLostError } from "../errors";
import type { StoredState } from "./handoff-file";
import type { Host, HostStatus } from "../host";
import { type ProcessStart, processPlaces } from "./place";
import { processPolicy } from "./policy";
import { type CallHandle, RemoteCall, type RemoteOrder } from "../remote/call";
import { RemoteHost, type RemoteSettings } from "../remote/remote-host";
import { openNameless } from "./shared-file";
import type { LoadSpec } from "../../module/version";

interface ModuleHost {
  readonly spec: LoadSpec;
  readonly host: RemoteHost;
}

type Handed = Awaited<ReturnType<RemoteHost["handOver"]>>;

export class Processes implements Host {
  readonly #settings: RemoteSettings;
  readonly #start: ProcessStart;
  readonly #onRestored: (id: number) => void;
  readonly #hosts = new Map<number, ModuleHost>();
  /** Descriptors of the files for handoffs, by module. */
  readonly #handoffFds = new Map<string, number>();
  /** The handoffs of retired generations, by their id, until a generation has started with them. */
  readonly #kept = new Map<number, { readonly name: string; readonly handed: Handed }>();
  #isClosed = false;

  /**
   * @param settings of each process; read at each call: `maxQueued` may change
   * @param start    how this program is started as a module's process
   * @param onRestored called when a process that was lost has loaded its generation again: nothing of it is live there.
   *   Default: nobody wants to know
   */
  constructor(settings: RemoteSettings, start: ProcessStart, onRestored: (id: number) => void = () => {}) {
    this.#settings = settings;
    this.#onRestored = onRestored;
    this.#start = start;
  }

  /** Starts the generation's process and imports it there. Rejects with a ModuleError; the process is gone then. */
  async import(spec: LoadSpec): Promise<RemoteShape> {
    return await this.#orRetire(spec, "while it was loaded", (host) => host.import(spec));
  }

  /**
   * Sets up and checks a generation in its process, which is started if it is not there yet.
   *
   * @param previousId the generation whose process hands over to this one; null, or one without a process: none
   * @returns notes for the verdict. Rejects with a ModuleError; the process is gone then.
   */
  async prepare(spec: LoadSpec, previousId: number | null): Promise<{ notes: string[] }> {
    const notes: string[] = [];
    const handed = await this.#handoffFrom(previousId, notes);
    try {
      const prepared = await this.#orRetire(spec, "while it was set up", (host) => host.prepare(spec, null, handed));
      if (previousId !== null) this.#kept.delete(previousId);
      return { notes: [...notes, ...prepared.notes] };
    } finally {
      const fd = this.#handoffFds.get(spec.name);
      if (handed !== undefined && fd !== undefined && !this.#isKept(spec.name)) ftruncateSync(fd, 0);
    }
  }

  /** Lets a generation's process hand over now, for a `prepare` with its id after it is retired. Never rejects. */
  async handOver(id: number): Promise<void> {
    const module = this.#hosts.get(id);
    if (module === undefined) return;
    const handed = await module.host.handOver(id);
    this.#kept.set(id, { name: module.spec.name, handed });
  }

  /** Runs the generation's `start` in its process. Rejects with a ModuleError, or if it has none. */
  async goLive(id: number): Promise<void> {
    const module = this.#hosts.get(id);
    if (module === undefined) throw new HostLostError("it has no process any more");
    await module.host.goLive(id);
  }

  /** Runs the generation's `stop` in its process, if it has one. Rejects with a ModuleError. */
  async endLife(id: number, reason: StopReason): Promise<void> {
    await this.#hosts.get(id)?.host.endLife(id, reason);
  }

  /** Disposes a generation and ends its process. Does nothing for one that has none. */
  async retire(id: number, isGone = false): Promise<void> {
    const module = this.#hosts.get(id);
    if (module === undefined) return;
    await module.host.retire(id, isGone);
    await this.#leave(module);
  }

  call(order: RemoteOrder): CallHandle {
    const { id, name, number } = order.route.generation;
    const module = this.#hosts.get(id);
    if (module !== undefined) return module.host.call(order);
    const call = new RemoteCall(order, () => {});
    queueMicrotask(() => call.fail(new HostLostError(`Module "${name}" v${number} has no process any more.`)));
    return call;
  }

  status(id: number): HostStatus | null {
    return this.#hosts.get(id)?.host.status(id) ?? null;
  }

  /** Fails what is under way and ends all processes. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#kept.clear();
    const hosts = [...this.#hosts.values()];
    this.#hosts.clear();
    await Promise.all(hosts.map((module) => this.#leave(module)));
  }

  async #leave({ spec, host }: ModuleHost): Promise<void> {
    this.#hosts.delete(spec.id);
    await host.close();
    const fd = this.#handoffFds.get(spec.name);
    if (
      fd === undefined ||
      this.#isKept(spec.name) ||
      [...this.#hosts.values()].some((other) => other.spec.name === spec.name)
    )
      return;
    this.#handoffFds.delete(spec.name);
    closeSync(fd);
  }

  #handoffFd({ name, file }: LoadSpec): number {
    const known = this.#handoffFds.get(name);
    if (known !== undefined) return known;
    // The disk of the bundle has more room than memory.
    const fd = openNameless(dirname(file));
    this.#handoffFds.set(name, fd);
    return fd;
  }

  async #handoffFrom(previousId: number | null, notes: string[]): Promise<StoredState | undefined> {
    if (previousId === null) return undefined;
    const handed =
      this.#kept.get(previousId)?.handed ?? (await this.#hosts.get(previousId)?.host.handOver(previousId)) ?? null;
    if (handed === null || "bytes" in handed) return handed ?? undefined;
    notes.push(`its state was not handed over: ${handed.error}`);
    return undefined;
  }

  #isKept(name: string): boolean {
    return [...this.#kept.values()].some((kept) => kept.name === name);
  }

  /** If the process ends during a load, that is its module's fault. */
  async #orRetire<T>(spec: LoadSpec, when: string, work: (host: RemoteHost) => Promise<T>): Promise<T> {
    const module = this.#hosts.get(spec.id) ?? this.#openFor(spec);
    try {
      return await work(module.host);
    } catch (error) {
      await this.#leave(module);
      if (!(error instanceof HostLostError) || this.#isClosed) throw error;
      throw wholeFileError(spec.name, spec.source, `its process was lost ${when}: ${error.reason}`);
    }
  }

  #openFor(spec: LoadSpec): ModuleHost {
    try {
      return this.#open(spec);
    } catch (error) {
      const reason = messageOf(error);
      throw wholeFileError(spec.name, spec.source, `its process cannot be started: ${reason}`, error);
    }
  }

  #open(spec: LoadSpec): ModuleHost {
    const log = logWith(this.#settings.log, { module: spec.name, generation: spec.generation });
    const open = processPlaces(spec, this.#start, this.#handoffFd(spec), log);
    const module = { spec, host: new RemoteHost(processPolicy(spec, open, log, this.#onRestored), this.#settings) };
    this.#hosts.set(spec.id, module);
    return module;
  }
}
