/**
 * The audit log: who had the server do what, and what came of it. One JSON object a line.
 */
import { closeSync, constants, existsSync, fstatSync, openSync, renameSync, writeSync } from "node:fs";
import { join } from "node:path";

export const AUDIT_FILE = "audit.log";

export interface AuditEntry {
  /** "uid 1000 by the control socket", "10.0.0.7", "RELOAD of 10.0.0.7 (#12)", "SIGHUP". */
  readonly by: string;
  /** push, remove, rollback, reload, stop, restart, upgrade. */
  readonly action: string;
  /** null: it was about all of them, or about none. */
  readonly modules: readonly string[] | null;
  readonly ok: boolean;
  /** The verdict's first line, or why it was refused. */
  readonly verdict: string;
  /** Of the version that serves since; null: none, or it is not about one. */
  readonly hash: string | null;
  /** SHA-256 of the files that were sent; null: none were. */
  readonly upload: string | null;
}

/** Takes entries; `AuditLog` is the one that keeps them. */
export interface Audit {
  note(entry: AuditEntry): void;
}

const OWNER_ONLY = 0o600;
/** Whatever a module's error holds: a line stays readable. In characters. */
const MAX_VERDICT_CHARS = 500;
/** Of a name that a client made up, and of how many of them. */
const MAX_NAME_CHARS = 100;
const MAX_NAMES = 100;
/** A file of this size is put aside as audit.log.1, and older ones as .2 and so on. */
const MAX_FILE_BYTES = 10_485_760;
const MAX_FILES = 5;
/** What failed, within `WINDOW_MS`, that is told one by one: whoever may ask must not have the rest pushed out of the files. */
const MAX_FAILURES = 20;
const WINDOW_MS = 60_000;

/** Opened for each entry: it may be moved away at any time, and a new one begins. */
export class AuditLog implements Audit {
  readonly #path: string;
  readonly #onError: (error: Error) => void;
  readonly #maxFileBytes: number;
  #failures = 0;
  #windowStartedMs = -WINDOW_MS;
  #timer: Timer | null = null;

  /**
   * @param onError  told what keeps an entry from being written; what it is about goes on
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

  /** Tells of what failed and is not told yet. */
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
    const verdict = `${untold} more that failed since the last line; the server's log has them`;
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

/** @returns the verdict of a report, in a line: of what failed, the first reason */
export function verdictLine({
  text,
  modules,
}: {
  readonly text: string;
  readonly modules: readonly { readonly error: string | null }[];
}): string {
  return modules.map(({ error }) => error).find((error) => error !== null) ?? text;
}

/** @returns the size of the file with it */
function append(path: string, line: string): number {
  const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
  const fd = openSync(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, OWNER_ONLY);
  try {
    // In one piece, so that the lines of two processes (an upgrade's) don't mix.
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
