/** The work of a pool thread and of a module's process: they load generations and run handlers for the server. */
import { registerHrmrModule } from "../../module/api";
import { allowNativeModules } from "../../module/c/native";
import { Collector } from "../../module/graph/collector";
import type { Handle, Log } from "../../module/contract";
import { describeError, ModuleError } from "../../module/graph/describe-error";
import { leftBehindText } from "../../module/graph/leaks";
import { type Handoff, type LoadedModule, loadModule } from "../../module/graph/load";
import { remoteShapeOf } from "../../module/graph/remote";
import { catchPrints, moduleConsole } from "../../module/graph/console";
import { SharedStore } from "../../module/graph/shared";
import { errorData, kindOfError, type LogFields } from "../../observe/log/fields";
import { showValue } from "../../observe/log/format";
import { LineBudget } from "../../observe/log/output";
import type { LoadSpec } from "../../module/version";
import type { HandoffFile, StoredState } from "../process/handoff-file";
import {
  type CallBatch,
  failureOf,
  type ReplyBatch,
  type SharedMemory,
  type TaskDone,
  type FromPlace,
  type ToPlace,
} from "../remote/messages";
import { type Resident, HostedCalls } from "./calls";
import { fetchHandler } from "./fetch";
import { CALLS_FD } from "../process/place";
import { HostedServices } from "./asks";
import { BlockingCalls } from "./blocking/calls";
import { BlockingChannel } from "./blocking/channel";
import { BlockingStore } from "./blocking/store";
import { eventHandler } from "./event";
import { HostedEvents } from "./events";
import { serviceHandler } from "./service";
import { HostedStore } from "./store";
import { hostedFetch, HostedResponse } from "./response";

/** Hosts call a task like a service: its input is a run. */
type TaskHandler = Parameters<typeof serviceHandler>[0];

/** Posts to the server. Messages from the server go to `HostedModules.receive`. */
export type PostToServer = (data: ReplyBatch | FromPlace) => void;

interface HostedPlace {
  readonly shared: SharedMemory;
  readonly host: number | "process";
  readonly loadTimeoutMs: number;
  readonly post: PostToServer;
  /** The file for handoffs between processes. null: in a thread, versions hand over directly. */
  readonly handoffs: HandoffFile | null;
}

interface HostedLog extends Log {
  withFields(fields: LogFields): HostedLog;
  /** An error that nobody caught. */
  stray(text: string, error: unknown): void;
}

/**
 * @param place put before each message
 * @param budget the limit of lines; null: none
 */
function makeLog(post: PostToServer, fields: LogFields, place: string, budget: LineBudget | null): HostedLog {
  const say =
    (level: "debug" | "info" | "warn" | "error") =>
    (...values: unknown[]): void => {
      if (budget !== null && !budget.take()) return;
      const thrown = fields.error ?? values.find((value) => value instanceof Error);
      // Copied here: on its way to the server an error would lose its own properties.
      const error = thrown === undefined ? {} : { error: errorData(thrown) };
      const text = place + values.map((value) => showValue(value, false)).join(" ");
      post({ type: "log", level, text: cut(text), fields: { ...fields, ...error } });
    };
  return {
    debug: say("debug"),
    info: say("info"),
    warn: say("warn"),
    error: say("error"),
    withFields: (more) => makeLog(post, { ...fields, ...more }, place, budget),
    stray: (text, error) => {
      if (budget !== null && !budget.take()) return;
      const kind = `${text.slice(0, text.indexOf(":"))}: ${kindOfError(error)}`;
      post({ type: "log", level: "error", text: place + text, fields: { ...fields, error: errorData(error) }, kind });
    },
  };
}

const GLOBALS = { Response: HostedResponse, fetch: hostedFetch };

/** Lets a reload of many modules share one collection. */
const COLLECT_AFTER_MS = 20;

/**
 * 30 million for the author, and room for the head of an HTTP reply. A letter takes up to two bytes in a message, so a
 * reply of this size still fits into MAX_MESSAGE_BYTES.
 */
const MAX_REPLY_LETTERS = 30_100_000;
/** The rest of a longer line is left out. */
const MAX_LOG_LETTERS = 65_536;

function cut(text: string): string {
  return text.length <= MAX_LOG_LETTERS
    ? text
    : `${text.slice(0, MAX_LOG_LETTERS)} ... and ${text.length - MAX_LOG_LETTERS} characters more`;
}

export class HostedModules {
  readonly #place: HostedPlace;
  readonly #where: string;
  readonly #calls: HostedCalls;
  readonly #services: HostedServices;
  readonly #events: HostedEvents;
  readonly #store: HostedStore;
  /** Loads that are imported but not set up. */
  readonly #imported = new Map<number, LoadedModule>();
  /** The handoffs of retired versions, by their id, until a version has started with them. */
  readonly #kept = new Map<number, Handoff>();
  /** A process that logs without end must not keep its server busy. */
  readonly #budget: LineBudget | null;
  readonly #shared: SharedStore;
  readonly #collector: Collector;

  constructor(place: HostedPlace) {
    const { shared, host, post } = place;
    this.#place = place;
    this.#where = host === "process" ? "in its process" : `on pool thread ${host}`;
    const maxLetters = host === "process" ? MAX_REPLY_LETTERS : Infinity;
    this.#calls = new HostedCalls(shared, post, (seq, parts) => post({ type: "want", seq, parts }), maxLetters);
    this.#services = new HostedServices(post, maxLetters);
    this.#events = new HostedEvents(post);
    this.#store = new HostedStore(post, maxLetters);
    const tooMuch = (count: number): void =>
      log.warn(`${count} lines that were logged ${this.#where} were left out: it prints too much`);
    this.#budget = host === "process" ? new LineBudget(tooMuch) : null;
    registerHrmrModule();
    if (host !== "process") catchPrints(makeLog(post, {}, `${this.#where}: `, null));
    this.#shared = new SharedStore(makeLog(post, {}, `${this.#where}: `, null));
    this.#collector = new Collector({
      leaked: ({ module, generation, why }) =>
        this.#warn(module, generation, `was disposed and cannot be freed: ${why}`),
      holders: {
        isMeant: (id) => this.#shared.isHeldFrom(id),
        reachable: (module) => this.#shared.reachableFrom(module),
      },
      quietMs: COLLECT_AFTER_MS,
    });
    if (host === "process") {
      const channel = new BlockingChannel(CALLS_FD, (seq, reason) => this.#calls.cancelWhileBlocked(seq, reason));
      allowNativeModules({
        calls: new BlockingCalls(channel, maxLetters),
        store: new BlockingStore(channel, maxLetters),
      });
    }
    // Errors that escape a module's graph (from a listener on `process`, for example) must not end the thread with
    // other modules' calls.
    const log = makeLog(post, {}, "", null);
    process.on("uncaughtException", (error) => log.stray(`uncaught ${this.#where}: ${describeThrown(error)}`, error));
    process.on("unhandledRejection", (error) =>
      log.stray(`unhandled rejection ${this.#where}: ${describeThrown(error)}`, error),
    );
  }

  receive(data: CallBatch | ToPlace): void {
    if (!Array.isArray(data)) return this.#obey(data);
    this.#calls.receive(data);
    this.#services.flush();
    this.#store.flush();
  }

  #obey(message: ToPlace): void {
    const { post } = this.#place;
    switch (message.type) {
      case "init":
        return;
      case "import":
        return this.#answer(this.#import(message.spec));
      case "load":
        return this.#answer(this.#load(message.spec, message.previousId, message.handed));
      case "handoff":
        return this.#answer(this.#handoff(message.id));
      case "goLive":
        return this.#answer(this.#onResident(message.id, (module) => module.goLive()));
      case "endLife":
        return this.#answer(this.#onResident(message.id, (module) => module.endLife(message.reason)));
      case "retire":
        return this.#answer(this.#retire(message.id, message.isGone));
      case "cancel":
        return this.#calls.cancel(message.seq, message.reason);
      case "credit":
        return this.#calls.addCredit(message.seq);
      case "part":
        return this.#calls.receiveBody(message.seq, message.part);
      case "told":
        return this.#services.told(message.told);
      case "storeTold":
        return this.#store.told(message.told);
      case "event":
        return this.#events.receive(message);
      case "ping":
        return post({ type: "pong", ping: message.ping });
    }
  }

  #answer(work: Promise<Omit<TaskDone, "type">>): void {
    const { post } = this.#place;
    work
      .then((done) => post({ type: "done", ...done }))
      .catch((error) =>
        post({ type: "failed", module: error instanceof ModuleError ? error.toData() : null, error: failureOf(error) }),
      );
  }

  async #import(spec: LoadSpec): Promise<Omit<TaskDone, "type">> {
    const module = await this.#open(spec);
    this.#imported.set(spec.id, module);
    return { notes: [], shape: remoteShapeOf(module.shape) };
  }

  #open(spec: LoadSpec): Promise<LoadedModule> {
    const { host, loadTimeoutMs, post } = this.#place;
    const log = makeLog(post, { module: spec.name, generation: spec.generation }, `${this.#where}: `, this.#budget);
    const onError = (error: unknown, kind: string): void => log.stray(`${kind}: ${describeThrown(error)}`, error);
    const shared = this.#shared;
    // A module's process has a pipe for its output: the server reads all prints there.
    const globals = host === "process" ? GLOBALS : { ...GLOBALS, console: moduleConsole(log) };
    const hub = { services: this.#services, events: this.#events, store: this.#store };
    const beside = { ...hub, timeoutMs: spec.loadMs ?? loadTimeoutMs };
    return loadModule(spec, { globals, host, log, shared, onError, ...beside });
  }

  async #load(spec: LoadSpec, previousId: number | null, handed?: StoredState): Promise<Omit<TaskDone, "type">> {
    const module = this.#imported.get(spec.id) ?? (await this.#open(spec));
    this.#imported.delete(spec.id);
    const { post } = this.#place;
    try {
      const notes: string[] = [];
      const data =
        handed === undefined ? await this.#handoffFrom(previousId, notes) : this.#place.handoffs?.load(handed);
      post({ type: "stage" });
      await module.start(data);
      if (previousId !== null) this.#kept.delete(previousId);
      this.#calls.residents.set(spec.id, this.#residentOf(module));
      return { notes };
    } catch (error) {
      await module.dispose();
      throw error;
    }
  }

  async #handoffFrom(previousId: number | null, notes: string[]): Promise<unknown> {
    if (previousId === null) return undefined;
    this.#place.post({ type: "stage" });
    const handed =
      this.#kept.get(previousId) ?? (await this.#calls.residents.get(previousId)?.module.handoff()) ?? null;
    if (handed === null) return undefined;
    if ("data" in handed) return handed.data;
    notes.push(`its state was not handed over ${this.#where}: ${handed.error}`);
    return undefined;
  }

  async #handoff(id: number): Promise<Omit<TaskDone, "type">> {
    const handed = (await this.#calls.residents.get(id)?.module.handoff()) ?? null;
    const { handoffs } = this.#place;
    if (handed === null) return { notes: [], handoff: null };
    if (handoffs === null) {
      // In a thread, which will also get the next version.
      this.#kept.set(id, handed);
      return { notes: [], handoff: null };
    }
    if ("error" in handed) return { notes: [], handoff: handed };
    try {
      return { notes: [], handoff: handoffs.store(handed.data) };
    } catch (error) {
      return { notes: [], handoff: { error: `handoff returned data that cannot be stored: ${describeError(error)}` } };
    }
  }

  async #onResident(id: number, work: (module: LoadedModule) => Promise<void>): Promise<Omit<TaskDone, "type">> {
    const resident = this.#calls.residents.get(id);
    if (resident !== undefined) await work(resident.module);
    return { notes: [] };
  }

  /** @param isGone  true: the whole module was removed, so its shared resources are closed */
  async #retire(id: number, isGone: boolean): Promise<Omit<TaskDone, "type">> {
    const { residents } = this.#calls;
    const module = residents.get(id)?.module ?? this.#imported.get(id);
    residents.delete(id);
    this.#imported.delete(id);
    if (module === undefined) return { notes: [] };
    const left = await module.dispose();
    const { name, generation } = module.context;
    this.#collector.disposed({ module: name, generation, id, remains: module.remains, left });
    const text = leftBehindText(left);
    if (text !== null) this.#warn(name, generation, `it left ${text}`);
    const others = [...residents.values()].some((each) => each.module.context.name === name);
    if (isGone && !others) await this.#shared.closeOf(name, this.#place.loadTimeoutMs);
    return { notes: [] };
  }

  /** The first thread reports for all. A process leaves nothing behind. */
  #warn(module: string, generation: number, text: string): void {
    const { host, post } = this.#place;
    if (host === 1) makeLog(post, { module, generation }, `${this.#where}: `, null).warn(text);
  }

  #residentOf(module: LoadedModule): Resident {
    const run = this.#place.host === "process" ? "process" : "pool";
    const handlers: (Handle | undefined)[] = [];
    for (const { spec, handler } of module.shape.routes) {
      // A "handle" route holds a Handle: readShape checked it.
      if (spec.run !== run) continue;
      // The events of a WebSocket come as messages.
      if (spec.kind === "handle" || spec.kind === "websocket") handlers[spec.index] = handler as unknown as Handle;
      else if (spec.kind === "fetch")
        handlers[spec.index] = fetchHandler(spec.key, handler as unknown as Parameters<typeof fetchHandler>[1]);
    }
    const { routes, services, handlers: onEvents, tasks } = module.shape;
    for (const { spec, handler } of services)
      if (spec.run === run) handlers[routes.length + spec.index] = serviceHandler(handler);
    const firstEvent = routes.length + services.length;
    for (const { spec, handler } of onEvents)
      if (spec.run === run) handlers[firstEvent + spec.index] = eventHandler(handler) as Handle;
    const firstTask = firstEvent + onEvents.length;
    for (const { spec, handler } of tasks)
      if (spec.run === run) handlers[firstTask + spec.index] = serviceHandler(handler as TaskHandler);
    return { module, handlers, context: module.context };
  }
}

function describeThrown(error: unknown): string {
  return error instanceof Error ? String(error.stack) : describeError(error);
}
