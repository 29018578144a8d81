/** The context that a module's functions get: the same for one version in one host. */
import { dirname } from "node:path";
import type { LoadSpec } from "../version";
import { makePrivateFolder } from "../../system/private-files";
import type { Log, ModuleContext } from "../contract";
import { SharedStore } from "./shared";

/** As ModuleContext.publish, for the module of that name. */
export type Publish = (module: string, topic: string, data: unknown) => number;

/** What the host gives to it. */
export interface ContextSources {
  readonly host: "main" | "process" | number;
  readonly log: Log;
  /** Sends to a module's WebSockets. Default: none can be reached from here. */
  readonly publish?: Publish;
  /** What `context.shared` opens. Default: a store that nobody else has, and nobody closes. */
  readonly shared?: SharedStore;
}

/** @param state what setup returned, once it has */
export function makeContext(spec: LoadSpec, options: ContextSources, state: () => unknown): ModuleContext {
  let dataDir: string | null = null;
  return {
    name: spec.name,
    generation: spec.generation,
    // The author may change it, and other hosts and versions must not notice.
    config: structuredClone(spec.config),
    dir: dirname(spec.source),
    host: options.host,
    log: options.log,
    shared: (options.shared ?? new SharedStore(options.log)).for(spec),
    publish(topic, data) {
      if (options.publish !== undefined) return options.publish(spec.name, topic, data);
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
