/**
 * Counts all open descriptors of this process: connections, files that are being sent, HTTP/2's engine, control
 * connections, pipes to modules' processes, and those of module code. When none is left, accept() fails in a loop, and
 * nothing reports it.
 */
import { closeSync, openSync, readdirSync, readFileSync, statSync } from "node:fs";

/** A count is used for this long, corrected by the descriptors taken and given back since. In milliseconds. */
const COUNT_MS = 50;
/** The same if the count means listing them, which takes milliseconds for thousands. In milliseconds. */
const DEAR_COUNT_MS = 1000;
/** Since Linux 6.2, the size of /proc/self/fd is the number of descriptors. */
const isCountCheap = sizeOfFolder() > 0;
/** Descriptors held in reserve: enough to accept a few connections and to answer the control socket. */
const SPARES = 16;
/** With only this many left, the reserve is released: one request may need several at once. */
const FEW = 4;

export class Descriptors {
  readonly limit: number;
  readonly #count: () => number;
  #counted = 0;
  #countedAt = -Infinity;
  /** Taken, less given back, since the last count; since the start if counting is not possible. */
  #taken = 0;
  readonly #spares: number[] = [];

  /**
   * @param limit  the most open descriptors
   * @param count  returns how many are open; 0: not known
   */
  constructor(limit = descriptorLimit(), count: () => number = countDescriptors) {
    this.limit = limit;
    this.#count = count;
  }

  /** How many are open, roughly. */
  get used(): number {
    const now = performance.now();
    if (now - this.#countedAt < (isCountCheap ? COUNT_MS : DEAR_COUNT_MS)) return this.#counted + this.#taken;
    const counted = this.#count();
    this.#countedAt = now;
    if (counted === 0) return this.#taken;
    this.#counted = counted - this.#spares.length;
    this.#taken = 0;
    return this.#counted;
  }

  /** @param keep  this many must be left after that */
  maySpare(count: number, keep: number): boolean {
    if (this.used + count <= this.limit - keep) return true;
    // Count again before a client is refused: the last count is some milliseconds old, and some may be closed by now.
    if (isCountCheap) this.#countedAt = -Infinity;
    return this.used + count <= this.limit - keep;
  }

  took(count: number): void {
    this.#taken += count;
  }

  gave(count: number): void {
    this.#taken -= count;
  }

  /** Like `gave`, for a descriptor that others may share: the next count decides. */
  gavePerhaps(count: number): void {
    if (this.#counted === 0) this.#taken -= count;
  }

  /**
   * Call it at the start, and each second. Releases the reserve when no others are left, so that waiting clients are
   * accepted and refused, and the control socket answers. Takes the reserve again when there is room.
   *
   * @returns whether this call released the reserve
   */
  look(): boolean {
    const left = this.limit - this.used;
    if (this.#spares.length > 0 && left - this.#spares.length <= FEW) {
      this.#release();
      return true;
    }
    if (this.#spares.length === 0 && left >= 4 * SPARES) this.#hold();
    return false;
  }

  close(): void {
    this.#release();
  }

  #hold(): void {
    try {
      while (this.#spares.length < SPARES) this.#spares.push(openSync("/dev/null", "r"));
    } catch {
      // Too few are left, or there is no /dev/null: go on with a smaller reserve.
    }
  }

  #release(): void {
    for (const fd of this.#spares.splice(0)) closeSync(fd);
    this.#countedAt = -Infinity;
  }
}

/** Bun raises the soft limit to the hard one by itself, so the hard one counts. */
export function descriptorLimit(): number {
  try {
    const line = /^Max open files\s+(\S+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
    return line === undefined || line === "unlimited" ? Infinity : Number(line);
  } catch {
    // There is no /proc outside Linux. The smallest common limit there is 256; 100 stand for OTHER_DESCRIPTORS.
    return 356;
  }
}

/** @returns 0 where there is no /proc */
export function countDescriptors(): number {
  try {
    return sizeOfFolder() || readdirSync("/proc/self/fd").length;
  } catch {
    return 0;
  }
}

function sizeOfFolder(): number {
  return statSync("/proc/self/fd", { throwIfNoEntry: false })?.size ?? 0;
}
