/** A sorted list in chunks: finding, adding and removing cost about the same at 100 entries and at a million. */

/** A full chunk is cut in two. */
const MAX_CHUNK = 512;
/** A chunk below it joins its neighbour, if both fit into one. */
const MIN_CHUNK = 128;

interface Place {
  readonly chunk: number;
  readonly at: number;
}

export class SortedList<T> {
  readonly #compare: (a: T, b: T) => number;
  /** None of them is empty. */
  readonly #chunks: T[][] = [];

  /** @param compare 0 only for entries that are the same. @param entries in any order */
  constructor(compare: (a: T, b: T) => number, entries: T[] = []) {
    this.#compare = compare;
    entries.sort(compare);
    for (let at = 0; at < entries.length; at += MAX_CHUNK / 2) this.#chunks.push(entries.slice(at, at + MAX_CHUNK / 2));
  }

  /** Does nothing if the entry is there. */
  add(entry: T): void {
    const { chunk, at } = this.#placeOf((other) => this.#compare(other, entry) >= 0);
    const entries = this.#chunks[chunk];
    if (entries === undefined) {
      this.#append(entry);
      return;
    }
    if (this.#compare(entries[at] as T, entry) === 0) return;
    entries.splice(at, 0, entry);
    if (entries.length > MAX_CHUNK) this.#chunks.splice(chunk + 1, 0, entries.splice(MAX_CHUNK / 2));
  }

  /** Does nothing if the entry is not there. */
  remove(entry: T): void {
    const { chunk, at } = this.#placeOf((other) => this.#compare(other, entry) >= 0);
    const entries = this.#chunks[chunk];
    if (entries === undefined || this.#compare(entries[at] as T, entry) !== 0) return;
    entries.splice(at, 1);
    if (entries.length < MIN_CHUNK) this.#join(chunk);
  }

  /** Entries in order. @param isReached whether an entry is the first, or one behind it */
  *from(isReached: (entry: T) => boolean): Generator<T, void, undefined> {
    const place = this.#placeOf(isReached);
    let { at } = place;
    for (let chunk = place.chunk; chunk < this.#chunks.length; chunk++, at = 0) {
      const entries = this.#chunks[chunk] as T[];
      for (; at < entries.length; at++) yield entries[at] as T;
    }
  }

  /** Entries in the reverse order. @param isBehind whether an entry stands behind the first that is wanted */
  *before(isBehind: (entry: T) => boolean): Generator<T, void, undefined> {
    const place = this.#placeOf(isBehind);
    let at = place.at - 1;
    for (let chunk = place.chunk; chunk >= 0; chunk--) {
      const entries = this.#chunks[chunk] ?? [];
      for (; at >= 0; at--) yield entries[at] as T;
      at = (this.#chunks[chunk - 1]?.length ?? 0) - 1;
    }
  }

  /** The place of the first entry for which `isReached` holds: false for those before it, true from there on. */
  #placeOf(isReached: (entry: T) => boolean): Place {
    const chunk = firstWhere(this.#chunks.length, (index) => isReached((this.#chunks[index] as T[]).at(-1) as T));
    const entries = this.#chunks[chunk];
    if (entries === undefined) return { chunk, at: 0 };
    return { chunk, at: firstWhere(entries.length, (index) => isReached(entries[index] as T)) };
  }

  #append(entry: T): void {
    const last = this.#chunks.at(-1);
    if (last === undefined || last.length >= MAX_CHUNK) this.#chunks.push([entry]);
    else last.push(entry);
  }

  #join(chunk: number): void {
    const entries = this.#chunks[chunk] as T[];
    if (entries.length === 0) {
      this.#chunks.splice(chunk, 1);
      return;
    }
    const next = this.#chunks[chunk + 1];
    if (next === undefined || entries.length + next.length > MAX_CHUNK) return;
    this.#chunks.splice(chunk, 2, [...entries, ...next]);
  }
}

/** @returns the first number from 0 on for which `holds` is true; `end` if there is none */
export function firstWhere(end: number, holds: (index: number) => boolean): number {
  let low = 0;
  let high = end;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}
