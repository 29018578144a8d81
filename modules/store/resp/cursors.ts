/**
 * The cursors of SCAN. Redis clients take them for numbers, and a page ends at a key: so each number stands for one. They
 * are shared by all connections, as a client may ask for the next page on another one.
 */
import { fail } from "./errors";

const MAX_CURSORS = 10_000;

/** Plain data: it outlives versions of the module. */
export interface CursorKeys {
  last: number;
  readonly keys: Map<string, string>;
}

export class Cursors {
  readonly #known: CursorKeys;

  constructor(known: CursorKeys) {
    this.#known = known;
  }

  /** @returns the key behind which the page begins; null: it is the first page. @throws ReplyError */
  find(cursor: string): string | null {
    if (/^0+$/.test(cursor)) return null;
    return this.#known.keys.get(cursor) ?? fail("ERR invalid cursor: it is too old, so begin again with 0");
  }

  make(key: string): string {
    const cursor = String(++this.#known.last);
    const { keys } = this.#known;
    keys.set(cursor, key);
    if (keys.size > MAX_CURSORS) keys.delete(keys.keys().next().value as string);
    return cursor;
  }
}
