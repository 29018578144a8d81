import { NEED_MORE, NO_MATCH } from "./match";

const CR = 0x0d;
const LF = 0x0a;
const SP = 0x20;

/** One key of a trie. `isWord` (default false): the key counts only where the input ends, or SP, CR or LF follows. */
export interface TrieEntry<T> {
  key: Uint8Array;
  value: T;
  isWord?: boolean;
}

/** The array of children begins at the lowest byte in use: a lone child costs one slot and not 256. */
class Node<T> {
  value: T | typeof NO_MATCH = NO_MATCH;
  isWord = false;
  firstByte = 0;
  readonly children: (Node<T> | null)[] = [];

  child(byte: number): Node<T> | null {
    const slot = byte - this.firstByte;
    // A read outside of the array leaves the JIT's fast path. Most misses end here.
    return slot >= 0 && slot < this.children.length ? (this.children[slot] ?? null) : null;
  }

  childMade(byte: number): Node<T> {
    if (this.children.length === 0) this.firstByte = byte;
    for (; byte < this.firstByte; this.firstByte--) this.children.unshift(null);
    while (byte - this.firstByte >= this.children.length) this.children.push(null);
    return (this.children[byte - this.firstByte] ??= new Node<T>());
  }
}

/** Finds the longest key that the input begins with. Immutable once built. */
export class PrefixTrie<T> {
  readonly #root = new Node<T>();

  private constructor() {}

  /** Keys are read and not kept. The first of two equal keys holds. An empty key matches everything. Never throws. */
  static build<T>(entries: readonly TrieEntry<T>[]): PrefixTrie<T> {
    const trie = new PrefixTrie<T>();
    for (const entry of entries) {
      let node = trie.#root;
      for (const byte of entry.key) node = node.childMade(byte);
      if (node.value !== NO_MATCH) continue;
      node.value = entry.value;
      node.isWord = entry.isWord === true;
    }
    return trie;
  }

  /**
   * @param bytes  what has arrived; read only, not kept
   * @param from  where the message begins; may be `bytes.length`
   * @param isFinal true if no more bytes will come, or the caller does not wait for them
   * @returns the value of the longest key; NEED_MORE (never with isFinal) while a longer key could still win, even if a
   *   shorter one fits already; NO_MATCH if no key fits and none can
   * Allocates nothing. Never throws.
   */
  match(bytes: Uint8Array, from: number, isFinal: boolean): T | typeof NO_MATCH | typeof NEED_MORE {
    let node = this.#root;
    let longest: T | typeof NO_MATCH = NO_MATCH;
    for (let at = from; ; at++) {
      const byte = at < bytes.length ? bytes[at] : undefined;
      // Each branch leads to a key, so having children is enough to wait. A word waits for what follows it.
      if (byte === undefined && !isFinal && (node.children.length > 0 || node.isWord)) return NEED_MORE;
      if (node.value !== NO_MATCH && (!node.isWord || byte === undefined || endsWord(byte))) longest = node.value;
      const next = byte === undefined ? null : node.child(byte);
      if (next === null) return longest;
      node = next;
    }
  }

  /** False if no message that begins with `byte` can match. */
  mayStartWith(byte: number): boolean {
    return this.#root.value !== NO_MATCH || this.#root.child(byte) !== null;
  }
}

function endsWord(byte: number): boolean {
  return byte === SP || byte === LF || byte === CR;
}
