/** The operations on a running server, of one process or many. The control socket, signals and systemd all use them. */
import type { ModuleContent } from "./upload/names";
import type { ServerStatus } from "../observe/snapshot";
import type { TaskOutcome } from "../hub/schedule/outcome";
import type { ReloadOrder } from "./order";

/** The answer of RELOAD, `hrmr reload`, SIGHUP and POST /v1/reload. */
export interface ReloadReport {
  readonly ok: boolean;
  /** First word OK or ERR, then a line for each module; ends with a line end. */
  readonly text: string;
  /** Modules that changed or failed. */
  readonly modules: readonly {
    readonly name: string;
    readonly outcome: "loaded" | "swapped" | "unchanged" | "unloaded" | "failed";
    readonly version: number | null;
    readonly previous: number | null;
    readonly notes: readonly string[];
    readonly error: string | null;
  }[];
  readonly elapsedMs: number;
  /** Connections cut for it. */
  readonly dropped: number;
  /** Whether modules, certificates or the configuration changed. Default: whether `modules` changed. */
  readonly hasChanged?: boolean;
}

/** The answer of restart and upgrade. */
export interface RestartReport {
  readonly ok: boolean;
  /** One line, first word OK or ERR; ends with a line end. */
  readonly text: string;
  /** The new master's process id. */
  readonly pid: number;
}

/** The answer of `hrmr push` and `hrmr remove`. */
export interface PushReport extends ReloadReport {
  /** The hash of the version that serves now, like in the status; null: none. */
  readonly hash: string | null;
  /** SHA-256 of the sent files; null: none. */
  readonly sha256: string | null;
}

/** The answer of `hrmr pull`. */
export interface ModuleFiles {
  readonly module: string;
  readonly files: readonly {
    /** From the modules folder: "greet.ts", "chat/lib/words.json". */
    readonly path: string;
    readonly encoding: "utf8" | "base64";
    readonly content: string;
  }[];
  /** Entries that are left out: node_modules, names that begin with a dot, and all that are no plain files. */
  readonly skipped: readonly string[];
}

export interface UploadLimits {
  /** All files of one upload together. */
  readonly maxBytes: number;
  readonly maxFiles: number;
}

/** Operations on modules' files over the wire. A failure leaves files and versions unchanged. */
export interface UploadOperations {
  limits(): UploadLimits;
  /**
   * Replaces the module's files, and loads it.
   *
   * @throws UserError for refused names and paths, a folder that cannot be written, and a server that starts or stops
   */
  push(module: string, files: readonly ModuleContent[]): Promise<PushReport>;
  /** Deletes the module's files, and unloads it. @throws UserError NO_SUCH_MODULE and as `push` */
  remove(module: string): Promise<PushReport>;
  /** @throws UserError NO_SUCH_MODULE, UPLOAD_TARGET */
  pull(module: string): Promise<ModuleFiles>;
}

/** A version that has served. */
export interface VersionReport {
  readonly number: number;
  /** Of its bundle. */
  readonly hash: string;
  /** ISO 8601: the time when it began to serve. */
  readonly at: string;
  /** Its origin: the modules folder, `hrmr push`, a rollback, or a new build by a start with --resume. */
  readonly from: "disk" | "push" | "rollback" | "resume";
  /** For a rollback: the version that it repeats; otherwise null. */
  readonly of: number | null;
  /** The author's file. */
  readonly source: string;
  readonly verdict: "good" | "probation" | "rolled back" | "crashed";
  /** The reason of a standing that is not good. */
  readonly reason: string | null;
  /** It serves. */
  readonly isLive: boolean;
  /** Whether its bundle is kept, so that a rollback needs no files. */
  readonly isKept: boolean;
}

/** The answer of `hrmr run`. */
export interface TaskReport extends TaskOutcome {
  readonly ok: boolean;
  /** One line, first word OK or ERR; ends with a line end. */
  readonly text: string;
}

/** @returns the outcome as a report, for people too */
export function taskReport(outcome: TaskOutcome): TaskReport {
  const { module, task, version, durationMs, error } = outcome;
  const text =
    error === null
      ? `OK ${module} v${version} ran "${task}" in ${Math.round(durationMs)} ms`
      : `ERR ${module} v${version}: ${error}`;
  return { ok: error === null, text: `${text}\n`, ...outcome };
}

export interface Operations {
  readonly uploads: UploadOperations;
  status(): Promise<ServerStatus>;
  /**
   * A reload of all modules also reads the config file and opens the log files again. Never rejects for errors that the
   * user can mend.
   */
  reload(order: ReloadOrder): Promise<ReloadReport>;
  /**
   * Versions that have served, oldest first, by module. @param name null: all modules @throws UserError for a module
   * without versions
   */
  versions(name: string | null): Promise<Readonly<Record<string, readonly VersionReport[]>>>;
  /**
   * Lets an earlier version serve again, in all processes or in none. The replaced version is held back until its files
   * change.
   *
   * @param version a number or a hash; null: the last good one before the serving one. Never rejects for errors that
   *   the user can mend.
   */
  rollback(name: string, version: string | null): Promise<ReloadReport>;
  /**
   * Runs a task of a module's schedule now. Resolves when it has ended.
   *
   * @throws UserError NO_SUCH_TASK, TASK_RUNS
   */
  runTask(module: string, task: string): Promise<TaskReport>;
  /** Begins the drain and returns; the process ends when it is done. `force` cuts open work at once. */
  stop(reason: string, force: boolean): void;
  /** Replaces every process, one after another, without a refused connection. */
  restart(): Promise<RestartReport>;
  /** Starts the binary on disk, hands it the listeners, and drains this process once the new one serves. */
  upgrade(): Promise<RestartReport>;
  /**
   * The effective configuration with the origin of each value, secrets masked: the output of `hrmr config --json
   * --origins`.
   */
  config(): unknown;
  /** GET /metrics' body. */
  metrics(): Promise<string>;
  /** GET /ready's body. */
  readiness(): Promise<import("../observe/snapshot").Readiness>;
}
