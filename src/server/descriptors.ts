/**
 * How many descriptors this process has open, whoever opened them: connections, files that are being sent, HTTP/2's engine, control
 * connections, pipes to modules' processes, and what module code holds. When none is left, accept() fails without end, and nothing tells.
 */
import { closeSync, openSync, readdirSync, readFileSync, statSync } from "node:fs";

/** A count is used for so long, with what was taken and given back since. In milliseconds. */
const COUNT_MS = 50;
/** The same where they have to be listed, which takes milliseconds for thousands of them. */
const DEAR_COUNT_MS = 1000;
/** Since Linux 6.2 the folder's size is their number. */
const isCountCheap = sizeOfFolder() > 0;
/** Held back until there are no others: enough to accept a few connections, and to answer the control socket. */
const SPARES = 16;
/** So few left are as good as none: one request may need several at once. */
const FEW = 4;

export class Descriptors {
  readonly limit: number;
  readonly #count: () => number;
  #counted = 0;
  #countedAt = -Infinity;
  /** Since then. Where nobody counts, since ever. */
  #taken = 0;
  readonly #spares: number[] = [];

  /**
   * @param limit of open files
   * @param count how many are open; 0: that cannot be told
   */
  constructor(limit = descriptorLimit(), count: () => number = countDescriptors) {
    this.limit = limit;
    this.#count = count;
  }

  /** Those that are open now, or may be. */
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

  /** @param keep  those that must be left then */
  maySpare(count: number, keep: number): boolean {
    if (this.used + count <= this.limit - keep) return true;
    // Before anybody is refused it is looked at again: what was shared, or closed since, is in the count of some milliseconds ago.
    if (isCountCheap) this.#countedAt = -Infinity;
    return this.used + count <= this.limit - keep;
  }

  took(count: number): void {
    this.#taken += count;
  }

  gave(count: number): void {
    this.#taken -= count;
  }

  /** As `took`, where nobody tells when they are given back: until the next count, which knows. */
  tookForNow(count: number): void {
    if (this.#counted > 0) this.#taken += count;
  }

  /** As `gave`, for what may have been shared with others: the next count knows. */
  gavePerhaps(count: number): void {
    if (this.#counted === 0) this.#taken -= count;
  }

  /**
   * To be called at the start, and each second: gives the spares back when there is nothing else left, so that who waits can be accepted and refused, and
   * the control socket answers; and takes them again when there is room.
   *
   * @returns whether they were given back just now
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
      // There are fewer than it seemed, or no /dev/null: what there is has to do.
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
    // No /proc outside Linux, where the smallest common default is 256. Modules and the server itself have some beside that.
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
