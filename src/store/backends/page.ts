/** What a page of documents may hold. Pure. */
import type { StoredDocument, StoredEntry } from "../../module/store/port";

/** A page also ends behind so many bytes of values. */
const MAX_PAGE_BYTES = 4 * 1024 * 1024;

export class PageBuilder {
  readonly entries: StoredEntry[] = [];
  readonly #limit: number;
  #bytes = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get isFull(): boolean {
    return this.entries.length >= this.#limit || this.#bytes >= MAX_PAGE_BYTES;
  }

  /** @param document null: its time is over, it is left out */
  add(key: string, document: StoredDocument | null): void {
    if (document === null) return;
    this.entries.push({ key, text: document.text, version: document.version, expiresAt: document.expiresAt });
    // Counting bytes costs a pass over a text that is not only ASCII: letters will do.
    this.#bytes += document.text.length;
  }
}
