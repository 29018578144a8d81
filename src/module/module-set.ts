/**
 * What a reload works on: the modules in memory, and what they are loaded, checked and published with.
 */
import type { ModuleSettings } from "../config/options";
import type { LoadSpec } from "../host/spec";
import type { ServerLog } from "../observe/log";
import type { BuiltModule } from "./build";
import type { ModuleFile } from "./discover";
import type { Generation } from "./generation";
import type { Publish } from "./load";
import type { BoundRoute } from "./route";

/** A module in memory, from its first sight to its removal. */
export interface ModuleEntry {
  readonly name: string;
  source: string;
  /** Ships with hrmr and is on without having been asked for: it gives way to whoever claims its routes. */
  isImplicit: boolean;
  /** The version that gets new messages. */
  live: Generation | null;
  /** What serves while there is no live version, because an exclusive reload failed: 503s. */
  unavailable: readonly BoundRoute[];
  /** Replaced versions that still have something under way, oldest first. */
  readonly old: Set<Generation>;
  built: BuiltModule | null;
  /** Of the last reload that failed; null once one succeeded. */
  error: string | null;
  lastNumber: number;
}

/** Where else a generation is loaded: the pool; later, module processes. */
export interface GenerationHost {
  /** Loads in all of the host's threads, or in none. @param previousId the generation to hand over from, or null */
  prepare(spec: LoadSpec, previousId: number | null): Promise<{ notes: string[] }>;
  retire(id: number): Promise<void>;
}

/** What one module brings into the routing table. */
export interface PlannedModule {
  name: string;
  source: string;
  isImplicit: boolean;
  routes: readonly BoundRoute[];
  /** null: it has none, or is unavailable. */
  middleware: BoundRoute | null;
}

/** A set of routes on its way into the routing table. */
export interface RoutePlan {
  /** Modules that claim what another has, with both files named. */
  conflicts: { module: string; text: string }[];
  /** Makes the set the routing table, in one assignment. */
  commit(): void;
}

export interface RegistryOptions {
  modulesDir: string;
  /** It is the default folder, and was not there so far. */
  mayLackModulesDir: boolean;
  stateDir: string;
  settings: Record<string, ModuleSettings>;
  /** Modules that ship with hrmr and are on; a file in the modules folder with the same name wins. */
  shipped: (ModuleFile & { isImplicit: boolean })[];
  drainMs: number;
  loadMs: number;
  maxLiveGenerations: number;
  host: GenerationHost;
  /** Loads a bundle for a trial where an endless loop hurts nobody. */
  probe: { check(spec: LoadSpec): Promise<void> };
  /** The standard classes that the modules of this thread get. */
  globals: Record<string, unknown>;
  /** Sends to a module's WebSockets. */
  publish?: Publish;
  /** `http.use`: modules that every HTTP request passes. Without one of them no table is served. Default: none. */
  use?: readonly string[];
  /** @param modules in order of precedence */
  plan(modules: PlannedModule[]): RoutePlan;
  log: ServerLog;
}

/** All modules of a server, as one reload sees and changes them. `Registry` is the one there is. */
export interface ModuleSet {
  readonly options: RegistryOptions;
  readonly entries: Map<string, ModuleEntry>;
  /** Connections and streams cut since the start because their version had to go. */
  readonly cutCount: number;
  /** @returns an id that no load of this server has had */
  nextId(): number;
  /** Waits for the oldest versions of a module to be gone, or cuts them, so that one more may be loaded. */
  makeRoom(entry: ModuleEntry): Promise<void>;
  /** Lets a replaced version finish what is under way, then frees it. */
  retire(entry: ModuleEntry, generation: Generation): Promise<void>;
}
