/**
 * What an operator can have a running hrmr do, whether it is one process or many: the control socket, signals and
 * systemd all act through this.
 */
import type { ModuleContent } from "./upload/names";
import type { ServerStatus } from "../observe/snapshot";
import type { ReloadOrder } from "./order";

/** What RELOAD, `hrmr reload`, SIGHUP and POST /v1/reload answer. */
export interface ReloadReport {
  readonly ok: boolean;
  /** First word OK or ERR, then a line a module; ends with a line end. */
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

/** What restart and upgrade answer. */
export interface RestartReport {
  readonly ok: boolean;
  /** One line, first word OK or ERR; ends with a line end. */
  readonly text: string;
  /** Of the process in charge from now on. */
  readonly pid: number;
}

/** What `hrmr push` and `hrmr remove` answer. */
export interface PushReport extends ReloadReport {
  /** The hash of the version that serves now, as in the status; null: none. */
  readonly hash: string | null;
  /** SHA-256 of the files that were sent; null: none were. */
  readonly sha256: string | null;
}

/** What `hrmr pull` asks for. */
export interface ModuleFiles {
  readonly module: string;
  readonly files: readonly {
    /** From the modules folder: "greet.ts", "chat/lib/words.json". */
    readonly path: string;
    readonly encoding: "utf8" | "base64";
    readonly content: string;
  }[];
  /** Entries that are left out: node_modules, names that begin with a dot, and everything but plain files. */
  readonly skipped: readonly string[];
}

export interface UploadLimits {
  /** Of all files of one upload together. */
  readonly maxBytes: number;
  readonly maxFiles: number;
}

/** Modules' files over the wire. Whatever fails leaves files and versions as they were. */
export interface UploadOperations {
  limits(): UploadLimits;
  /**
   * Puts the files in the place of the module's, and loads it.
   *
   * @throws UserError for names and paths that are not taken, a place that cannot be written, and a server that starts
   *   or stops
   */
  push(module: string, files: readonly ModuleContent[]): Promise<PushReport>;
  /** Takes the module's files away, and unloads it. @throws UserError NO_SUCH_MODULE and as `push` */
  remove(module: string): Promise<PushReport>;
  /** @throws UserError NO_SUCH_MODULE, UPLOAD_TARGET */
  pull(module: string): Promise<ModuleFiles>;
}

/** A version that has served. */
export interface VersionReport {
  readonly number: number;
  /** Of its bundle. */
  readonly hash: string;
  /** ISO 8601: when it came to serve. */
  readonly at: string;
  /** How it came: from the modules folder, by `hrmr push`, by a rollback, or built anew by a start with --resume. */
  readonly from: "disk" | "push" | "rollback" | "resume";
  /** For a rollback: the version that it repeats; else null. */
  readonly of: number | null;
  /** The author's file. */
  readonly source: string;
  readonly verdict: "good" | "probation" | "rolled back" | "crashed";
  /** The reason of a verdict that is not good. */
  readonly reason: string | null;
  /** It serves. */
  readonly isLive: boolean;
  /** Its bundle is there: it can be gone back to without its files. */
  readonly isKept: boolean;
}

export interface Operations {
  readonly uploads: UploadOperations;
  status(): Promise<ServerStatus>;
  /** One about all modules reads the config file and opens the log files anew. Never rejects for what the user can mend. */
  reload(order: ReloadOrder): Promise<ReloadReport>;
  /**
   * Versions that have served, oldest first, by module. @param name null: of all modules @throws UserError for a module
   * of which there are none
   */
  versions(name: string | null): Promise<Readonly<Record<string, readonly VersionReport[]>>>;
  /**
   * Has an earlier version serve again, in all processes or in none. What it replaces is held back until its files
   * change.
   *
   * @param version a number or a hash; null: the last good one before what serves. Never rejects for what the user can
   *   mend.
   */
  rollback(name: string, version: string | null): Promise<ReloadReport>;
  /** Begins the drain and returns; the process ends when it is done. `force` cuts at once what is under way. */
  stop(reason: string, force: boolean): void;
  /** Replaces every process, one after another, without a refused connection. */
  restart(): Promise<RestartReport>;
  /** Starts the binary anew, hands it the listeners, and drains this one once that serves. */
  upgrade(): Promise<RestartReport>;
  /**
   * The effective configuration with the origin of each value, secrets masked: what `hrmr config --json --origins`
   * prints.
   */
  config(): unknown;
  /** GET /metrics' body. */
  metrics(): Promise<string>;
  /** GET /ready's body. */
  readiness(): Promise<import("../observe/snapshot").Readiness>;
}
