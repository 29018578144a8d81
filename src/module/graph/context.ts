/** The context that a module's functions get: the same for one version in one host. */
import { dirname } from "node:path";
import type { LoadSpec } from "../version";
import { makePrivateFolder } from "../../system/private-files";
import type { Log, ModuleAccess, ModuleContext } from "../contract";
import { type EventHub, eventsFor, NO_EVENTS } from "../event/events";
import type { ServiceCalls } from "../service/calls";
import { ServiceError } from "../service/error";
import { servicesFor } from "../service/proxy";
import { NO_STORE } from "../store/no-store";
import type { StorePort } from "../store/port";
import { storeFor } from "../store/store";
import { SharedStore } from "./shared";

/** Like ModuleContext.publish, for the module of that name. */
export type Publish = (
  module: string,
  topic: string,
  data: unknown,
  options?: { readonly onlyHere?: boolean },
) => number;

/** The parts that the host provides. */
export interface ContextSources {
  readonly host: "main" | "process" | number;
  readonly log: Log;
  /** Sends to a module's WebSockets. Default: none can be reached from here. */
  readonly publish?: Publish;
  /** The store behind `context.shared`. Default: a separate one that nobody closes. */
  readonly shared?: SharedStore;
  /** Carries the calls of `context.services`. Default: there is nobody to call. */
  readonly services?: ServiceCalls;
  /** Carries the events of `context.events`. Default: there are none. */
  readonly events?: EventHub;
  /** The store of `context.store`. Default: there is none. */
  readonly store?: StorePort;
  /** Which clients may do what the server guards. Default: it cannot be asked here. */
  readonly access?: ModuleAccess;
}

const noAccess = (): never => {
  throw new Error("context.access answers on the main thread only: leave out run.");
};
const NO_ACCESS: ModuleAccess = { refusal: noAccess, authenticate: noAccess };

const NO_SERVICES: ServiceCalls = {
  call: ({ module }) => Promise.reject(new ServiceError("MODULE_MISSING", `there is no module "${module}" here`)),
};

/** @param state returns the result of setup */
export function makeContext(spec: LoadSpec, options: ContextSources, state: () => unknown): ModuleContext {
  let dataDir: string | null = null;
  return {
    name: spec.name,
    generation: spec.generation,
    // A copy: the author may change it, without effect on other hosts and versions.
    config: structuredClone(spec.config),
    dir: dirname(spec.source),
    host: options.host,
    log: options.log,
    shared: (options.shared ?? new SharedStore(options.log)).for(spec),
    services: servicesFor({ module: spec.name, generation: spec.generation }, options.services ?? NO_SERVICES),
    events: eventsFor({ id: spec.id, module: spec.name }, options.events ?? NO_EVENTS),
    store: storeFor({ id: spec.id, module: spec.name }, options.store ?? NO_STORE),
    access: options.access ?? NO_ACCESS,
    publish(topic, data, where) {
      if (options.publish !== undefined) return options.publish(spec.name, topic, data, where);
      throw new Error(
        `context.publish reaches WebSockets from the main thread only: leave out run: "${options.host === "process" ? "process" : "pool"}", or publish what the route returns.`,
      );
    },
    get state() {
      return state();
    },
    get dataDir() {
      if (dataDir === null) {
        makePrivateFolder(spec.dataDir);
        dataDir = spec.dataDir;
      }
      return dataDir;
    },
  };
}
