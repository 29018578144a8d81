/**
 * How much memory a module's process has, looked at from outside: it cannot be trusted to look itself, and when it has
 * taken too much it does nothing any more.
 */
import { readFileSync } from "node:fs";
import { asHost } from "../../module/graph/leave-graph";

/** Default of `modules.NAME.maxMemoryMb`. */
export const MAX_MEMORY_MB = 512;

/** While it has something to do, and when it has not: what runs away does so in a call, as a rule. */
const BUSY_MS = 100;
const QUIET_MS = 1000;
/** At its rate so far it would be over the limit before the next look. */
const HURRIED_MS = 10;
const QUIET_LOOKS = 10;

/** 4 KB, but on some ARM machines. */
const PAGE_BYTES = pageBytes();

export class MemoryWatch {
  /** At the last look; 0 where it cannot be told. */
  bytes = 0;
  readonly #pid: number;
  readonly #maxBytes: number;
  readonly #onOver: (bytes: number) => void;
  #timer: Timer | null = null;
  #nextMs = BUSY_MS;
  #quietLooks = 0;

  /** @param maxBytes 0: it is looked at, and never over */
  constructor(pid: number, maxBytes: number, onOver: (bytes: number) => void) {
    this.#pid = pid;
    this.#maxBytes = maxBytes;
    this.#onOver = onOver;
    this.bytes = residentBytes(pid);
    this.#arm(BUSY_MS);
  }

  /** It gets something to do. */
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
    // No /proc: nothing is counted there either.
  }
  return 4096;
}
