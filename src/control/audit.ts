/** The audit log: each order to the server, with its sender and its result. Each line is one JSON object. */
import { closeSync, constants, existsSync, fstatSync, openSync, renameSync, writeSync } from "node:fs";
import { join } from "node:path";

const AUDIT_FILE = "audit.log";

interface AuditEntry {
  /** "uid 1000 by the control socket", "10.0.0.7", "RELOAD of 10.0.0.7 (#12)", "SIGHUP". */
  readonly by: string;
  /** push, remove, rollback, run, reload, stop, restart, upgrade. */
  readonly action: string;
  /** null: all modules, or none. */
  readonly modules: readonly string[] | null;
  readonly ok: boolean;
  /** The verdict's first line, or the reason of the refusal. */
  readonly verdict: string;
  /** The hash of the version that serves now; null: none serves, or the order was not about one module. */
  readonly hash: string | null;
  /** SHA-256 of the uploaded files; null: no upload. */
  readonly upload: string | null;
}

/** Takes entries; `AuditLog` keeps them. */
export interface Audit {
  note(entry: AuditEntry): void;
}

const OWNER_ONLY = 0o600;
/** A longer verdict is cut, so that the line stays readable. In characters. */
const MAX_VERDICT_CHARS = 500;
/** Clients choose the names in a request: longer ones are cut, and more are left out. */
const MAX_NAME_CHARS = 100;
const MAX_NAMES = 100;
/** A file of this size is put aside as audit.log.1, and older ones as .2 and so on. */
const MAX_FILE_BYTES = 10_485_760;
const MAX_FILES = 5;
/**
 * Failures within `WINDOW_MS` that get a line each; more are counted. Otherwise one client could push all other lines
 * out of the files.
 */
const MAX_FAILURES = 20;
const WINDOW_MS = 60_000;

/** Opens the file for each entry. The file may therefore be moved away at any time. */
export class AuditLog implements Audit {
  readonly #path: string;
  readonly #onError: (error: Error) => void;
  readonly #maxFileBytes: number;
  #failures = 0;
  #windowStartedMs = -WINDOW_MS;
  #timer: Timer | null = null;

  /**
   * @param onError  gets the error if an entry cannot be written. The order itself goes on.
   * @param maxFileBytes  a file of this size is put aside. Default 10485760
   */
  constructor(stateDir: string, onError: (error: Error) => void, maxFileBytes = MAX_FILE_BYTES) {
    this.#path = join(stateDir, AUDIT_FILE);
    this.#onError = onError;
    this.#maxFileBytes = maxFileBytes;
  }

  note(entry: AuditEntry): void {
    if (entry.ok || this.#mayTellFailure(performance.now())) this.#write(entry);
  }

  /** Writes the number of failures that got no line yet. */
  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#endWindow();
  }

  #mayTellFailure(nowMs: number): boolean {
    if (nowMs - this.#windowStartedMs >= WINDOW_MS) {
      this.#endWindow();
      this.#windowStartedMs = nowMs;
    }
    if (++this.#failures <= MAX_FAILURES) return true;
    this.#timer ??= setTimeout(() => this.#endWindow(), WINDOW_MS);
    this.#timer.unref();
    return false;
  }

  #endWindow(): void {
    const untold = this.#failures - MAX_FAILURES;
    this.#failures = 0;
    this.#timer = null;
    if (untold <= 0) return;
    const verdict = `${untold} more failures since the last line; the server's log has them`;
    this.#write({ by: "all", action: "any", modules: null, ok: false, verdict, hash: null, upload: null });
  }

  #write({ by, action, modules, ok, verdict, hash, upload }: AuditEntry): void {
    const [first = ""] = verdict.split("\n", 1);
    const names = modules === null ? null : modules.slice(0, MAX_NAMES).map((name) => name.slice(0, MAX_NAME_CHARS));
    const time = new Date().toISOString();
    const entry = { time, by, action, modules: names, ok, verdict: first.slice(0, MAX_VERDICT_CHARS), hash, upload };
    try {
      if (append(this.#path, `${JSON.stringify(entry)}\n`) >= this.#maxFileBytes) putAside(this.#path);
    } catch (error) {
      this.#onError(error as Error);
    }
  }
}

/** The outcome of an order: the part of a report that the audit log keeps, or only that the order has begun. */
export interface Answered {
  readonly ok: boolean;
  readonly text?: string;
  readonly modules?: readonly { readonly error: string | null }[];
  readonly hasChanged?: boolean;
  readonly hash?: string | null;
  readonly sha256?: string | null;
}

/** Writes an order's outcome, with the first reason of a failure. Leaves out reloads that changed nothing. */
export function noteOutcome(
  audit: Audit,
  what: Pick<AuditEntry, "by" | "action" | "modules">,
  { ok, text = "begun", modules = [], hasChanged = modules.length > 0, hash = null, sha256 = null }: Answered,
): void {
  if (what.action === "reload" && ok && !hasChanged) return;
  const reason = modules.map(({ error }) => error).find((error) => error !== null);
  audit.note({ ...what, ok, verdict: reason ?? text, hash, upload: sha256 });
}

/** @returns the new size of the file. In bytes. */
function append(path: string, line: string): number {
  const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
  const fd = openSync(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, OWNER_ONLY);
  try {
    // In one write, so that the lines of two processes (during an upgrade) do not mix.
    writeSync(fd, line);
    return fstatSync(fd).size;
  } finally {
    closeSync(fd);
  }
}

function putAside(path: string): void {
  for (let number = MAX_FILES - 1; number > 0; number--) {
    if (existsSync(`${path}.${number}`)) renameSync(`${path}.${number}`, `${path}.${number + 1}`);
  }
  renameSync(path, `${path}.1`);
}
