/** The changes of a database that several servers write: told once each, in order, whoever has made them. */
import type { Check, StoredChange } from "../../../module/store/port";
import { RecentChanges } from "../../recent";

export class KnownChanges {
  readonly #tell: (changes: readonly StoredChange[]) => void;
  #recent: RecentChanges;
  /** Of the newest change that is known here. */
  version: number;

  constructor(version: number, tell: (changes: readonly StoredChange[]) => void) {
    this.version = version;
    this.#recent = new RecentChanges(version);
    this.#tell = tell;
  }

  /** Changes of others. Some may be known, and some may be missing before them: whoever is told looks for those. */
  takeForeign(changes: readonly StoredChange[]): void {
    const isNew = changes.filter(({ version }) => version > this.version);
    if (isNew.length === 0) return;
    this.#take(isNew);
    this.#tell(isNew);
  }

  /** Changes of this server, which tells them itself. */
  takeOwn(changes: readonly StoredChange[]): void {
    if (changes.length > 0) this.#take(changes);
  }

  #take(changes: readonly StoredChange[]): void {
    const [first, last] = [changes[0] as StoredChange, changes.at(-1) as StoredChange];
    if (first.version > this.version + 1) this.#recent = new RecentChanges(first.version - 1);
    this.#recent.add(changes);
    this.version = Math.max(this.version, last.version);
  }

  /** @returns false also if the range was read before the oldest change here */
  isUnchanged(check: Extract<Check, { kind: "range" }>): boolean {
    return this.#recent.isUnchanged(check);
  }
}
