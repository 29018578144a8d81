/**
 * What a reload works on: the modules in memory, and what they are loaded, checked and published with.
 */
import type { ModuleSettings } from "../config/options";
import type { LoadSpec } from "../module/version";
import type { ServerLog } from "../observe/log/log";
import type { Entries, ModuleEntry } from "./entry";
import type { Agreement, Proposal } from "./vote/agree";
import type { ApprovedModule } from "./versions/approved";
import type { Publish } from "../module/graph/context";
import type { ModuleFile } from "../module/build/discover";
import type { Generation } from "../module/generation";
import type { LeftBehind } from "../module/graph/leaks";
import type { RemoteShape } from "../module/graph/remote";
import type { RoutingParts } from "./plan";
import type { SharedStore } from "../module/graph/shared";

/** Where else a generation is loaded: the pool, a process of its own. */
interface GenerationHost {
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
export interface ModuleSet extends Entries {
  readonly options: RegistryOptions;
  /**
   * What serves was loaded with these, but for modules that failed with them: those keep theirs (`live.spec.config`).
   */
  current: LoadSettings;
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
