/** The newest changes in memory: they tell whether what a transaction has read is still so. */
import { compareKeys } from "../module/store/names";
import type { Check, StoredChange } from "../module/store/port";

/** More are kept now and then, so that they are seldom moved. */
const MAX_RECENT = 10_000;

interface Recent {
  readonly version: number;
  readonly collection: string;
  readonly key: string;
}

export class RecentChanges {
  /** By version. */
  #changes: Recent[] = [];
  /** All changes behind it are here. */
  #from: number;

  /** @param version of the newest change */
  constructor(version: number) {
    this.#from = version;
  }

  add(changes: readonly StoredChange[]): void {
    for (const { version, collection, key } of changes) this.#changes.push({ version, collection, key });
    if (this.#changes.length < 2 * MAX_RECENT) return;
    this.#changes = this.#changes.slice(-MAX_RECENT);
    this.#from = (this.#changes[0] as Recent).version;
  }

  /** Changes that were not committed in the end. @param version of the newest that was */
  cut(version: number): void {
    this.#changes = this.#changes.filter((change) => change.version <= version);
  }

  /** @returns false also if the range was read before the oldest change here */
  isUnchanged({ collection, from, to, at }: Extract<Check, { kind: "range" }>): boolean {
    if (at < this.#from) return false;
    for (let index = this.#changes.length - 1; index >= 0; index--) {
      const change = this.#changes[index] as Recent;
      if (change.version <= at) return true;
      if (change.collection === collection && isIn(change.key, from, to)) return false;
    }
    return true;
  }
}

function isIn(key: string, from: string | null, to: string | null): boolean {
  return (from === null || compareKeys(key, from) >= 0) && (to === null || compareKeys(key, to) <= 0);
}
