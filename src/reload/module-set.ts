/**
 * What a reload works on: the modules in memory, and what they are loaded, checked and published with.
 */
import type { ModuleSettings } from "../config/options";
import type { LoadSpec } from "../module/version";
import type { CallFigures } from "../observe/figures";
import type { ServerLog } from "../observe/log/log";
import type { Agreement, Proposal } from "./vote/agree";
import type { ApprovedModule } from "./versions/approved";
import type { BuiltModule } from "../module/build/build";
import type { Publish } from "../module/graph/context";
import type { ModuleFile } from "../module/build/discover";
import type { Generation } from "../module/generation";
import type { Hold } from "./versions/hold";
import type { LeftBehind } from "../module/graph/leaks";
import type { RemoteShape } from "../module/graph/remote";
import type { BoundRoute } from "../module/route";
import type { RoutingParts } from "./plan";
import type { SharedStore } from "../module/graph/shared";

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
  /** Calls of its versions that are gone. */
  readonly gone: CallFigures;
  built: BuiltModule | null;
  /** Of the last reload that failed; null once one succeeded. */
  error: string | null;
  lastNumber: number;
  /** What was rolled back from and must not come back by itself; null: nothing. */
  hold: Hold | null;
  /** What served last before the module was in memory; null: nothing is known of that. */
  past: ApprovedModule["version"];
  /** What served before `live`, whose figures go on with what is under way on it; null: nothing. */
  former: { readonly number: number; readonly figures: CallFigures } | null;
}

/** Where else a generation is loaded: the pool, a process of its own. */
export interface GenerationHost {
  /**
   * Loads a version in a process of its own, if it is meant for one, and runs nothing of it but its top level.
   *
   * @returns null: it is not meant for one. Else its shape; if that is whole, the main thread must not load it
   */
  import?(spec: LoadSpec): Promise<RemoteShape | null>;
  /**
   * Loads everywhere where the generation's routes run, or nowhere.
   *
   * @param previousId the generation to hand over from, or null
   */
  prepare(
    spec: LoadSpec,
    previousId: number | null,
    needs: { readonly needsPool: boolean; readonly needsProcess: boolean },
  ): Promise<{ notes: string[] }>;
  /**
   * Has a generation that is to be retired before the next one is prepared hand over now: `prepare` with its id, as
   * often as it takes to succeed, gives what it gave. Never rejects.
   */
  handOver?(id: number): Promise<void>;
  /**
   * Drops a load, also one that was only imported, or is unknown.
   *
   * @param isGone  true: the module was removed, so its shared resources close. Default false
   */
  retire(id: number, isGone?: boolean): Promise<void>;
}

/** The part of the configuration that modules are loaded with. */
export interface LoadSettings {
  /** `modules` of the config. */
  readonly settings: Readonly<Record<string, ModuleSettings>>;
  /** Modules that ship with hrmr and are on by these settings; a file in the modules folder with the same name wins. */
  readonly shipped: readonly (ModuleFile & { readonly isImplicit: boolean })[];
  /** `http.use`: modules that every HTTP request passes. Without one of them no table is served. Default: none. */
  readonly use?: readonly string[];
  /** Of modules whose settings don't say it. In milliseconds. 0 waits for ever. */
  readonly drainMs: number;
  /** Of modules whose settings don't say it. In milliseconds. 0 waits for ever. */
  readonly loadMs: number;
  readonly maxLiveGenerations: number;
}

/** The settings are those at the start. */
export interface RegistryOptions extends LoadSettings {
  modulesDir: string;
  /** It is the default folder, and was not there so far. */
  mayLackModulesDir: boolean;
  stateDir: string;
  /** Each module's data is in a folder of its name in it. */
  dataDir: string;
  host: GenerationHost;
  /** Loads a bundle for a trial where an endless loop hurts nobody. */
  probe: { check(spec: LoadSpec): Promise<void> };
  /** The standard classes that the modules of this thread get. */
  globals: Record<string, unknown>;
  /** Sends to a module's WebSockets. */
  publish?: Publish;
  /** The modules' routes are put there. */
  routing: RoutingParts;
  /**
   * Asks the server's other processes, once each reload: when all candidates here are started, and before anything is
   * swapped. If it rejects, nothing is changed. It keeps its own deadline: until it settles, what serves goes on.
   * Default: this process is alone.
   */
  agree?: (proposal: Proposal) => Promise<Agreement>;
  /** What is known of modules that have served before this start, by name. Default: nothing. */
  remembered?: Readonly<Record<string, ApprovedModule>>;
  log: ServerLog;
}

/** All modules of a server, as one reload sees and changes them. `Registry` is the one there is. */
export interface ModuleSet {
  readonly options: RegistryOptions;
  /**
   * What serves was loaded with these, but for modules that failed with them: those keep theirs (`live.spec.config`).
   */
  current: LoadSettings;
  readonly entries: Map<string, ModuleEntry>;
  /** Modules that are not in memory and have served: their numbers go on. */
  readonly remembered: Map<string, ApprovedModule>;
  /** Connections and streams cut since the start because their version had to go. */
  readonly cutCount: number;
  /** Logs files that look like modules but are none, once each. @param sentences  all current ones */
  overlooked(sentences: readonly string[]): void;
  /** @returns an id that no load of this server has had */
  nextId(): number;
  /** Waits for the oldest versions of a module to be gone, or cuts them, so that one more may be loaded. */
  makeRoom(entry: ModuleEntry): Promise<void>;
  /** What modules keep open over their versions. */
  readonly shared: SharedStore;
  /** A version was disposed. */
  disposed(generation: Generation, left: LeftBehind): void;
  /**
   * What versions of the module have left behind since this was last asked, for a verdict: "v1 left 2 timers
   * (stopped)".
   */
  takeLeftBehind(name: string): string[];
  /** Lets a replaced version finish what is under way, then frees it. */
  retire(entry: ModuleEntry, generation: Generation): Promise<void>;
}
