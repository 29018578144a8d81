/** Documents as they lie in the database, in memory. Bounded by their size. */
import type { StoredDocument } from "../../../module/store/port";

/** Letters of one half: what is used goes from the old half to the new one, and the old one is dropped when that is full. */
const HALF_LETTERS = 8_388_608;
/** Of a document's objects and its place in the map, about. */
const OVERHEAD_LETTERS = 150;

export class DocumentCache {
  #new = new Map<string, StoredDocument | null>();
  #old = new Map<string, StoredDocument | null>();
  #letters = 0;

  /** @returns undefined: it is not known; null: there is none */
  get(id: string): StoredDocument | null | undefined {
    const found = this.#new.get(id);
    if (found !== undefined) return found;
    const old = this.#old.get(id);
    if (old !== undefined) this.set(id, old);
    return old;
  }

  set(id: string, document: StoredDocument | null): void {
    this.#new.set(id, document);
    this.#letters += id.length + (document?.text.length ?? 0) + OVERHEAD_LETTERS;
    if (this.#letters < HALF_LETTERS) return;
    this.#old = this.#new;
    this.#new = new Map();
    this.#letters = 0;
  }

  clear(): void {
    this.#new.clear();
    this.#old.clear();
    this.#letters = 0;
  }
}
