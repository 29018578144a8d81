/** Documents as they lie in the database, in memory. Bounded by their size. */
import type { StoredDocument } from "../../../module/store/port";

/** Letters of one half: what is used goes from the old half to the new one, and the old one is dropped when that is full. */
const HALF_LETTERS = 12_582_912;
/** Of a document's objects and its place in the map, about. */
const OVERHEAD_LETTERS = 150;

type Documents = Map<string, StoredDocument | null>;

export class DocumentCache {
  /** By collection and key. */
  #new = new Map<string, Documents>();
  #old = new Map<string, Documents>();
  #letters = 0;

  /** @returns undefined: it is not known; null: there is none */
  get(collection: string, key: string): StoredDocument | null | undefined {
    const found = this.#new.get(collection)?.get(key);
    if (found !== undefined) return found;
    const old = this.#old.get(collection)?.get(key);
    if (old !== undefined) this.set(collection, key, old);
    return old;
  }

  set(collection: string, key: string, document: StoredDocument | null): void {
    let documents = this.#new.get(collection);
    if (documents === undefined) this.#new.set(collection, (documents = new Map()));
    const before = documents.size;
    documents.set(key, document);
    // The text that it replaces is not known: a document that is often written counts as a little more.
    if (document !== null) this.#letters += document.text.length;
    if (documents.size > before) this.#letters += key.length + OVERHEAD_LETTERS;
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
