/**
 * The state of one server process as plain data. It crosses processes as a message, and `observe/report.ts` adds up
 * those of several processes.
 */

/** Calls of one generation: how many, how they ended, how long they took. */
export interface CallSnapshot {
  readonly calls: number;
  readonly errors: number;
  /** The time of all calls together, in seconds. */
  readonly totalSeconds: number;
  /** Calls by latency: one number for each of `LATENCY_BOUNDS`, and one for slower calls. */
  readonly buckets: readonly number[];
}

export interface GenerationSnapshot {
  readonly number: number;
  readonly hash: string;
  /** ISO 8601. */
  readonly loadedAt: string;
  readonly inFlight: number;
  /**
   * The work under way on it, by kind: { "call": 2, "stream": 1, "connection": 3, "websocket": 5 }. It pins an old
   * version.
   */
  readonly pinnedBy: Readonly<Record<string, number>>;
  readonly figures: CallSnapshot;
}

/** quarantined: its code ended its thread or process again and again, so its routes there answer 503 for a while. */
export type ModuleState = "serving" | "degraded" | "failed" | "unavailable" | "quarantined";

/** A module's own process. */
export interface ModuleProcessSnapshot {
  /** 0 while there is none. */
  readonly pid: number;
  readonly memoryBytes: number;
  /** Processes started in place of lost ones. */
  readonly restarts: number;
  /** "running", "blocked" by a slow handler, "restarting", "stopped" in quarantine. */
  readonly state: string;
}

export interface QuarantineSnapshot {
  readonly reason: string;
  /** ISO 8601; null: it is under way. */
  readonly nextTryAt: string | null;
}

/** The life of a module in the process that runs its `start`. */
export interface LifeSnapshot {
  /** waiting: for the start of a module that it needs. failed: its start is tried again; the version serves. */
  readonly state: "waiting" | "starting" | "started" | "failed" | "stopping";
  /** Why its last start failed; null: it did not. */
  readonly error: string | null;
  /** ISO 8601; null: no try is due. */
  readonly nextTryAt: string | null;
}

/** A task of a module's schedule, in the background process. */
export interface TaskSnapshot {
  readonly name: string;
  /** "every 10s", or a cron line. */
  readonly when: string;
  /** For a cron line. null: the system's. */
  readonly timeZone: string | null;
  readonly catchUp: boolean;
  readonly description: string;
  readonly isRunning: boolean;
  /** When it is due next. ISO 8601; null: never. */
  readonly nextAt: string | null;
  /** Its last run that has ended. null: none has. */
  readonly last: {
    /** ISO 8601: when it began. */
    readonly at: string;
    /** "due": its time had come. "missed": it was made up. "asked": by `hrmr run`. */
    readonly why: "due" | "missed" | "asked";
    readonly durationMs: number;
    /** Why it failed; null: it did not. */
    readonly error: string | null;
  } | null;
  /** Since the background process began. */
  readonly runs: number;
  readonly failures: number;
  /** Due times that passed while a run was under way. */
  readonly skipped: number;
}

/** Calls of one service by one module. */
export interface ServiceCallSnapshot {
  /** The module that called; "rpc": clients. */
  readonly caller: string;
  /** "kv.get". */
  readonly callee: string;
  readonly calls: number;
  readonly errors: number;
  /** The time of all of them together, in seconds. */
  readonly totalSeconds: number;
}

export interface ModuleSnapshot {
  readonly name: string;
  readonly source: string;
  /**
   * degraded: an older version serves, because the newest failed; or its `start` fails. failed: no version serves.
   * unavailable: it answers 503.
   */
  readonly state: ModuleState;
  readonly live: GenerationSnapshot | null;
  /** Replaced versions with something still under way, oldest first. */
  readonly old: readonly GenerationSnapshot[];
  /** The version that served before `live`, with its calls up to now. Default: none. */
  readonly former?: { readonly number: number; readonly calls: number; readonly errors: number };
  /** Calls of versions that are gone. */
  readonly gone: CallSnapshot;
  readonly routes: readonly { readonly key: string; readonly kind: string; readonly run: string }[];
  /** The error of the last failed reload; null once one has succeeded. */
  readonly error: string | null;
  /** null or missing: it has none. */
  readonly process?: ModuleProcessSnapshot | null;
  /** null or missing: it is in none. */
  readonly quarantine?: QuarantineSnapshot | null;
  /** Missing: it has no `start` and no `stop`, or another process runs them. */
  readonly life?: LifeSnapshot;
  /** Missing: it has none, or another process runs them. */
  readonly tasks?: readonly TaskSnapshot[];
}

/** How often and how long one module has blocked the event loop of a process. */
export interface BlockedSnapshot {
  /** null: not known. */
  readonly module: string | null;
  readonly count: number;
  readonly longestMs: number;
  readonly totalMs: number;
}

/** A version that is disposed, but still in memory because something outside refers to it. */
export interface LeakSnapshot {
  readonly module: string;
  readonly generation: number;
  /** When it was disposed. ISO 8601. */
  readonly since: string;
  readonly why: string;
}

/** A resource that modules have opened by `context.shared`. */
export interface SharedSnapshot {
  readonly name: string;
  /** null: all modules share it. */
  readonly module: string | null;
  readonly openedBy: { readonly module: string; readonly generation: number };
  /** ISO 8601. */
  readonly since: string;
  /** false: it is being opened. */
  readonly isOpen: boolean;
}

export interface ReloadSnapshot {
  readonly ok: number;
  readonly failed: number;
  readonly last: {
    /** ISO 8601. */
    readonly at: string;
    readonly ok: boolean;
    readonly elapsedMs: number;
    readonly dropped: number;
    /** RELOAD's answer. */
    readonly text: string;
    /** In milliseconds, by phase: build, load, start, agree, swap. */
    readonly phases: Readonly<Record<string, number>>;
  } | null;
  /** ISO 8601; null: none has succeeded. */
  readonly lastSuccessAt: string | null;
  /** In seconds, over all reloads, by phase. */
  readonly phaseSeconds: Readonly<Record<string, number>>;
}

export interface ProcessSnapshot {
  /** 0 in a server of one process; else 1 to N. */
  readonly slot: number;
  readonly pid: number;
  /** Milliseconds since 1970. */
  readonly startedAtMs: number;
  /** The time since then by the monotonic clock. In milliseconds. */
  readonly uptimeMs: number;
  readonly isDraining: boolean;
  /** It is the background process. Missing: it is not. */
  readonly isBackground?: boolean;
  readonly connections: {
    readonly open: number;
    readonly accepted: number;
    readonly refused: number;
    /**
     * Open connections by their last protocol: "raw", "http1", "http2", "websocket", "connect"; "tls" and "new" have
     * sent no message yet.
     */
    readonly byProtocol: Readonly<Record<string, number>>;
  };
  readonly counters: {
    readonly messages: number;
    readonly httpRequests: number;
    readonly errors: number;
    /** Dropped because limits.maxDatagramCalls calls were running. */
    readonly datagramsDropped: number;
    /** Ignored because they matched nothing, or did not hold exactly one message. */
    readonly datagramsIgnored: number;
  };
  readonly memoryBytes: number;
  readonly cpuSeconds: number;
  readonly openDescriptors: number;
  readonly pool: {
    readonly threads: number;
    readonly busy: number;
    readonly queued: number;
    readonly workers: readonly unknown[];
  };
  readonly modules: readonly ModuleSnapshot[];
  /** Calls of services, by caller and callee. Default: none. */
  readonly services?: readonly ServiceCallSnapshot[];
  /** Default: none. */
  readonly events?: EventsSnapshot;
  /** Missing: it has none. */
  readonly store?: StoreSnapshot;
  /** Messages that slow WebSockets did not get. */
  readonly socketsDropped?: readonly SocketDropSnapshot[];
  readonly reloads: ReloadSnapshot;
  /** Blocks of its event loop, by module. Missing: none. */
  readonly blocked?: readonly BlockedSnapshot[];
  /** Of its main thread. Not there: none. */
  readonly leaked?: readonly LeakSnapshot[];
  /** Of its main thread. Not there: none. */
  readonly shared?: readonly SharedSnapshot[];
}

/** Facts about the whole server besides its processes' snapshots. */
export interface ServerInfo {
  readonly version: string;
  /** The pid of the master, or of the only process. */
  readonly pid: number;
  readonly startedAtMs: number;
  /** The time since then by the monotonic clock. In milliseconds. */
  readonly uptimeMs: number;
  readonly listening: readonly string[];
  /** How many processes there should be. */
  readonly wantedProcesses: number;
  /** Processes started in place of lost ones. */
  readonly restarts: number;
  /** The counts of processes that are gone (`observe/departed.ts`). Default: there were none. */
  readonly departed?: DepartedCounts;
  /** Notes about modules' versions, by module: held back, on probation. Default: none. */
  readonly versionNotes?: Readonly<Record<string, readonly string[]>>;
  /** The next try of each module that failed at the start, by module. ISO 8601. Default: none. */
  readonly nextTries?: Readonly<Record<string, string>>;
  /** Versions brought back since the start. Default: none. */
  readonly rollbacks?: RollbackCounts;
}

export interface RollbackCounts {
  /** By hand. */
  readonly asked: number;
  /** Because a version failed. */
  readonly automatic: number;
}

/** The sum of the counters of processes that are gone. */
export interface DepartedCounts {
  readonly counters: ProcessSnapshot["counters"];
  readonly accepted: number;
  readonly refused: number;
  /** By module. */
  readonly calls: Readonly<Record<string, CallSnapshot>>;
}

/** `hrmr status --json`, /stats and STATUS: the whole server. */
export interface ServerStatus {
  readonly version: string;
  readonly pid: number;
  readonly state: "serving" | "degraded" | "draining";
  readonly uptimeSeconds: number;
  readonly listening: readonly string[];
  readonly processes: readonly {
    readonly slot: number;
    readonly pid: number;
    readonly uptimeSeconds: number;
    readonly connections: number;
    readonly requests: number;
    readonly memoryBytes: number;
    readonly isDraining: boolean;
    /** Whether it is the background process: it runs `start` of the modules. */
    readonly isBackground: boolean;
  }[];
  readonly wantedProcesses: number;
  readonly restarts: number;
  /** Default: not known. */
  readonly rollbacks?: RollbackCounts;
  readonly connections: ProcessSnapshot["connections"];
  /** Messages and HTTP requests answered. */
  readonly requests: number;
  readonly messages: number;
  readonly httpRequests: number;
  readonly errors: number;
  /** See ProcessSnapshot. */
  readonly datagrams: { readonly dropped: number; readonly ignored: number };
  readonly memoryBytes: number;
  readonly pool: ProcessSnapshot["pool"];
  readonly modules: readonly ModuleStatus[];
  /** Calls of services, by caller and callee, the most frequent first. */
  readonly services: readonly ServiceCallSnapshot[];
  readonly events: EventsSnapshot;
  readonly store: StoreStatus;
  readonly sockets: { readonly dropped: readonly SocketDropSnapshot[] };
  readonly reloads: ReloadSnapshot;
  /** Modules that blocked an event loop for longer than timeouts.blockedMs. */
  readonly blocked: readonly BlockedSnapshot[];
  /** Versions that are disposed but still in memory. */
  readonly leaked: readonly LeakSnapshot[];
  readonly shared: readonly SharedSnapshot[];
}

export interface ModuleStatus {
  readonly name: string;
  readonly source: string;
  readonly state: ModuleState;
  readonly generation: number | null;
  readonly hash: string | null;
  /** ISO 8601. */
  readonly loadedAt: string | null;
  readonly routes: readonly string[];
  readonly inFlight: number;
  /** How often it blocked an event loop for longer than timeouts.blockedMs, and for how long at most. */
  readonly blockedCount: number;
  readonly longestBlockedMs: number;
  /** The calls of all versions since the start. */
  readonly calls: number;
  readonly errors: number;
  /** The serving version's median. In milliseconds; null: no call yet. */
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
  readonly old: readonly {
    readonly generation: number;
    readonly inFlight: number;
    readonly pinnedBy: Readonly<Record<string, number>>;
  }[];
  readonly error: string | null;
  /** The serving version's processes, one for each server process. Empty: it has none. */
  readonly processes: readonly ModuleProcessSnapshot[];
  /** The worst of its processes. Missing: it has no `start` and no `stop`. */
  readonly life?: LifeSnapshot;
  readonly quarantine: QuarantineSnapshot | null;
  /** The next try of a module that failed at the start. ISO 8601. Missing: there is none. */
  readonly nextTryAt?: string;
  /** Notes about its version: it is on probation, the files on disk are held back. Default: none. */
  readonly notes?: readonly string[];
  /** Its schedule. Missing: it has none. */
  readonly tasks?: readonly TaskSnapshot[];
}

/** The store in one process. Its counts begin with the process. */
export interface StoreSnapshot {
  /**
   * unused: no module has used it yet. failing: the last try to open it or to write failed, and none has succeeded
   * since.
   */
  readonly state: StoreState;
  /** "sqlite", "json", "postgres", "mysql". */
  readonly backend: string;
  /** Without secrets. */
  readonly url: string;
  /** "full" or "relaxed". */
  readonly durability: string;
  /** This process leads: it tells the others what changes, and writes to a JSON file for them. */
  readonly isLeading: boolean;
  /** null: it is not open, or the database does not tell. */
  readonly size: StoreSize | null;
  readonly counts: StoreCounts;
  /** The commits of the database: each is for all commits of modules that came within a turn. */
  readonly groups: CallSnapshot;
  /** The most commits of modules that have shared one. */
  readonly largestGroup: number;
  /** Commits of modules that wait for the database now. */
  readonly waiting: number;
  readonly watches: number;
  /** null: there was none. */
  readonly lastError: {
    /** ISO 8601. */
    readonly at: string;
    readonly code: string;
    readonly message: string;
  } | null;
}

export type StoreState = "unused" | "opening" | "open" | "failing";

export interface StoreSize {
  /** Also those whose time is over, until they are swept. */
  readonly documents: number;
  /** Of its files, in bytes. */
  readonly bytes: number;
  /** Changes that are kept for watches; a few more than there are, where commits changed a document twice. */
  readonly changes: number;
}

/** Of this type alone, so that they can be added up. */
type StoreCounts = Readonly<
  Record<
    | "commits"
    /** Commits that were refused, since a document had another version than was expected. */
    | "conflicts"
    /** Transactions among the commits. */
    | "transactions"
    /** Transactions that were refused, since what they had read was changed: each runs again, up to 20 times. */
    | "retries"
    /** Watches that ended since they were read too slowly, or began too late. */
    | "watchesLost",
    number
  >
>;

/** The store over all processes. */
export interface StoreStatus extends Omit<StoreSnapshot, "counts" | "groups" | "isLeading">, StoreCounts {
  /** The pid of the process that leads. null: none does. */
  readonly leadingPid: number | null;
  /** Commits of the database. */
  readonly groups: number;
  /** Those of them that failed. */
  readonly errors: number;
  /** The median of their times. In milliseconds; null: there was none. */
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
}

/** GET /ready. */
export interface Readiness {
  readonly isReady: boolean;
  /** Why not: "draining", or a line for each module that failed to load. Empty when ready. */
  readonly reasons: readonly string[];
  /** Problems of a ready server: a line for each module whose `start` fails. Default: there are none. */
  readonly notes?: readonly string[];
  readonly modules: readonly {
    readonly name: string;
    readonly state: ModuleState;
    readonly generation: number | null;
    readonly nextTryAt?: string;
  }[];
}

/** Events since the start. */
export interface EventsSnapshot {
  /** Events of other processes that did not reach one, because its event loop was blocked. */
  readonly missed: number;
  readonly emitters: readonly EmitterSnapshot[];
  readonly subscribers: readonly SubscriberSnapshot[];
}

/** Messages of one topic that slow WebSockets did not get: their queue was full. */
export interface SocketDropSnapshot {
  readonly module: string;
  /** "": messages to one socket. */
  readonly topic: string;
  /** Messages. */
  readonly dropped: number;
  /** The last ones of each process, the latest first. */
  readonly clients: readonly {
    /** As the log shows it. */
    readonly connection: number;
    /** "127.0.0.1:40001". */
    readonly client: string;
    readonly dropped: number;
  }[];
}

/** A module that emits events. */
export interface EmitterSnapshot {
  readonly module: string;
  readonly emitted: number;
}

/** The subscribers of one module to one topic: its handler, or its `subscribe`. */
export interface SubscriberSnapshot {
  readonly module: string;
  /** As it was written: "user.*". */
  readonly topic: string;
  /** How many there are now. */
  readonly subscribers: number;
  readonly delivered: number;
  /** Not delivered, because the subscriber was too slow and its queue full. */
  readonly dropped: number;
  /** Failures of the handler. */
  readonly errors: number;
}
