/**
 * The audit log: who had the server do what, and what came of it. One JSON object a line, only ever appended to.
 */
import { closeSync, constants, openSync, writeSync } from "node:fs";
import { join } from "node:path";

export const AUDIT_FILE = "audit.log";

export interface AuditEntry {
  /** "uid 1000 by the control socket", "10.0.0.7", "SIGHUP". */
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

/** Opened for each entry: it may be moved away at any time, and a new one begins. */
export class AuditLog implements Audit {
  readonly #path: string;
  readonly #onError: (error: Error) => void;

  /** @param onError  told what keeps an entry from being written; what it is about goes on */
  constructor(stateDir: string, onError: (error: Error) => void) {
    this.#path = join(stateDir, AUDIT_FILE);
    this.#onError = onError;
  }

  note({ by, action, modules, ok, verdict, hash, upload }: AuditEntry): void {
    const [first = ""] = verdict.split("\n", 1);
    const entry = { time: new Date().toISOString(), by, action, modules, ok, verdict: first.slice(0, MAX_VERDICT_CHARS), hash, upload };
    try {
      append(this.#path, `${JSON.stringify(entry)}\n`);
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

function append(path: string, line: string): void {
  const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
  const fd = openSync(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, OWNER_ONLY);
  try {
    // In one piece, so that the lines of two processes (an upgrade's) don't mix.
    writeSync(fd, line);
  } finally {
    closeSync(fd);
  }
}
