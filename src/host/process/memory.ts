/**
 * Watches the memory of a module's process from outside: the process cannot be trusted, and may hang when it has taken
 * too much.
 */
import { readFileSync } from "node:fs";
import { asHost } from "../../system/leave-graph";

/** Default of `modules.NAME.maxMemoryMb`. */
export const MAX_MEMORY_MB = 512;

/** The interval while it works, and while it is idle: runaway memory mostly grows in a call. */
const BUSY_MS = 100;
const QUIET_MS = 1000;
/** The interval if, at its present rate, it would pass the limit before the next look. */
const HURRIED_MS = 10;
const QUIET_LOOKS = 10;

/** 4 KB, except on some ARM machines. */
const PAGE_BYTES = pageBytes();

export class MemoryWatch {
  /** The memory at the last look; 0 if not known. */
  bytes = 0;
  readonly #pid: number;
  readonly #maxBytes: number;
  readonly #onOver: (bytes: number) => void;
  #timer: Timer | null = null;
  #nextMs = BUSY_MS;
  #quietLooks = 0;

  /** @param maxBytes 0: no limit; only watched */
  constructor(pid: number, maxBytes: number, onOver: (bytes: number) => void) {
    this.#pid = pid;
    this.#maxBytes = maxBytes;
    this.#onOver = onOver;
    this.bytes = residentBytes(pid);
    this.#arm(BUSY_MS);
  }

  /** It gets work. */
  noteWork(): void {
    this.#quietLooks = 0;
    if (this.#nextMs === QUIET_MS) this.#arm(BUSY_MS);
  }

  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#nextMs = 0;
  }

  #arm(ms: number): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#nextMs = ms;
    // A module's code may be on the stack.
    this.#timer = asHost(() => setTimeout(() => this.#look(), ms));
    this.#timer.unref();
  }

  #look(): void {
    const grown = Math.max(0, residentBytes(this.#pid) - this.bytes);
    this.bytes += grown;
    if (grown === 0) this.bytes = residentBytes(this.#pid);
    if (this.#maxBytes > 0 && this.bytes > this.#maxBytes) return this.#onOver(this.bytes);
    const isHurried = this.#maxBytes > 0 && this.bytes + (grown / this.#nextMs) * BUSY_MS > this.#maxBytes;
    this.#quietLooks++;
    this.#arm(isHurried ? HURRIED_MS : this.#quietLooks > QUIET_LOOKS ? QUIET_MS : BUSY_MS);
  }
}

/** @returns 0 where there is no /proc, and for a process that is gone */
function residentBytes(pid: number): number {
  try {
    return Number(readFileSync(`/proc/${pid}/statm`, "latin1").split(" ")[1]) * PAGE_BYTES;
  } catch {
    return 0;
  }
}

function pageBytes(): number {
  try {
    // AT_PAGESZ (6) of the auxiliary vector: pairs of words, a type and its value.
    const words = new BigUint64Array(new Uint8Array(readFileSync("/proc/self/auxv")).buffer);
    for (let at = 0; at + 1 < words.length; at += 2) if (words[at] === 6n) return Number(words[at + 1]);
  } catch {
    // There is no /proc, so nothing is counted.
  }
  return 4096;
}
