/** The modules in memory, and the parts that a reload loads, checks and publishes them with. */
import type { Places } from "../config/places";
import type { ModuleSettings } from "../config/options";
import type { Background } from "../module/background";
import type { ModuleAccess, StopReason } from "../module/contract";
import type { Lives } from "./life/lives";
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
import type { EventHub } from "../module/event/events";
import type { StorePort } from "../module/store/port";
import type { ServiceCalls } from "../module/service/calls";
import type { SharedStore } from "../module/graph/shared";

/** The other hosts of a generation: the pool, its own process. */
interface GenerationHost {
  /**
   * Loads a version in its own process, if it is meant for one, and runs only its top level.
   *
   * @returns null: it is not meant for one. Otherwise its shape; if that is whole, the main thread must not load it
   */
  import?(spec: LoadSpec): Promise<RemoteShape | null>;
  /**
   * Loads on all hosts where the generation's routes run, or on none.
   *
   * @param previousId the generation to hand over from, or null
   */
  prepare(
    spec: LoadSpec,
    previousId: number | null,
    needs: { readonly needsPool: boolean; readonly needsProcess: boolean },
  ): Promise<{ notes: string[] }>;
  /**
   * Lets a generation hand over now, if it has to be retired before the next one is prepared. Every later `prepare`
   * with its id gets that state. Never rejects.
   */
  handOver?(id: number): Promise<void>;
  /**
   * Drops a load, even one that was only imported, or is unknown.
   *
   * @param isGone  true: the module was removed, so its shared resources close. Default false
   */
  retire(id: number, isGone?: boolean): Promise<void>;
  /** Runs `start` of a generation whose `life.host` is "process". Rejects if it fails. */
  goLive?(id: number): Promise<void>;
  /** Runs its `stop`. Rejects if it fails. */
  endLife?(id: number, reason: StopReason): Promise<void>;
}

/** The part of the configuration that modules are loaded with. */
export interface LoadSettings {
  /** `modules` of the config. */
  readonly settings: Readonly<Record<string, ModuleSettings>>;
  /** Modules that ship with hrmr and are on by these settings; a file in the modules folder with the same name wins. */
  readonly shipped: readonly (ModuleFile & { readonly isImplicit: boolean })[];
  /** `http.use`: modules that every HTTP request passes. If one is missing, no table is served. Default: none. */
  readonly use?: readonly string[];
  /** For modules without a setting of their own. In milliseconds. 0 waits for ever. */
  readonly drainMs: number;
  /** For modules without a setting of their own. In milliseconds. 0 waits for ever. */
  readonly loadMs: number;
  readonly maxLiveGenerations: number;
  /** Where the modules' settings come from. Default: not known. */
  readonly places?: Places;
  /** The variables of .env. Default: none. */
  readonly environment?: Readonly<Record<string, string>>;
}

/** The events of the modules, which follow each swap. */
interface EventWiring extends EventHub {
  /** @param modules all that serve, or are being replaced (`live` is null). Call it in the turn of the swap */
  follow(modules: Iterable<Pick<ModuleEntry, "name" | "live">>): void;
}

/** The store of the modules, which follows each swap. */
interface StoreWiring extends StorePort {
  /** @param modules all that serve, or are being replaced (`live` is null). Call it in the turn of the swap */
  follow(modules: Iterable<Pick<ModuleEntry, "name" | "live">>): void;
  /**
   * Makes the indexes of a version complete, before its setup. Never rejects: if the database cannot be used, its first
   * use tells it.
   */
  declare(version: Pick<Generation, "id" | "collections">): Promise<void>;
  /** The version has ended: indexes that no other one declares go. */
  forget(id: number): void;
}

/** The settings are those at the start. */
export interface RegistryOptions extends LoadSettings {
  modulesDir: string;
  /** It is the default folder, and has not existed yet. */
  mayLackModulesDir: boolean;
  stateDir: string;
  /** Each module's data is in a folder of its name in it. */
  dataDir: string;
  host: GenerationHost;
  /** Loads a bundle first in a thread that an endless loop may block. */
  probe: { check(spec: LoadSpec): Promise<void> };
  /** The standard classes that the modules of this thread get. */
  globals: Record<string, unknown>;
  /** Whether this process runs `start` of the modules. Default: another one does. */
  background?: Background;
  /** Sends to a module's WebSockets. */
  publish?: Publish;
  /** Carries the modules' calls of services. Default: there are none. */
  services?: ServiceCalls;
  /** Which clients may do what the server guards. Default: modules cannot ask. */
  access?: ModuleAccess;
  /** Carries the modules' events. Default: there are none. */
  events?: EventWiring;
  /** Carries the modules' use of the store. Default: there is none. */
  store?: StoreWiring;
  /** Hears of each swap. Default: nobody does. */
  schedule?: { swapped(): void };
  /** Where the modules' routes go. */
  routing: RoutingParts;
  /**
   * Asks the server's other processes, once each reload: after all candidates have started here, and before the swap.
   * If it rejects, nothing changes. It has its own deadline; until it settles, the old versions serve. Default: this
   * process is alone.
   */
  agree?: (proposal: Proposal) => Promise<Agreement>;
  /** Facts about modules that have served before this start, by name. Default: none. */
  remembered?: Readonly<Record<string, ApprovedModule>>;
  log: ServerLog;
}

/** All modules of a server, as one reload sees and changes them. `Registry` implements it. */
export interface ModuleSet extends Entries {
  readonly options: RegistryOptions;
  /**
   * The settings of the serving versions, except for modules that failed with them: those keep the old ones
   * (`live.spec.config`).
   */
  current: LoadSettings;
  /** Connections and streams cut since the start because their version had to go. */
  readonly cutCount: number;
  /** Logs files that look like modules but are none, once each. @param sentences  all current ones */
  overlooked(sentences: readonly string[]): void;
  /** @returns a new id, unique among the loads of this server */
  nextId(): number;
  /** Waits for the oldest versions of a module to leave, or cuts them, so that another may be loaded. */
  makeRoom(entry: ModuleEntry): Promise<void>;
  /** Resources that modules keep open over their versions. */
  readonly shared: SharedStore;
  /** Calls `start` and `stop` of the modules. */
  readonly lives: Lives;
  /** A version was disposed. */
  disposed(generation: Generation, left: LeftBehind): void;
  /**
   * The things that versions of the module have left behind since the last call, for a verdict: "v1 left 2 timers
   * (stopped)".
   */
  takeLeftBehind(name: string): string[];
  /** Lets a replaced version finish its open work, then frees it. */
  retire(entry: ModuleEntry, generation: Generation): Promise<void>;
}
