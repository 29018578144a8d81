import type { NEED_MORE, NO_MATCH } from "./match";
import { HTTP_METHODS } from "./sniff";
import { type HttpMatch, type MethodMismatch, type PathEntry, PathTable } from "./paths";
import { parsePattern } from "./pattern";
import { PrefixTrie, type TrieEntry } from "./trie";

/**
 * One route on its way into a table.
 *
 * - "raw": `key` is the first bytes of a message, as UTF-8.
 * - "word": the same, but only as a whole word: the input ends behind it, or SP, CR or LF follows (the built-in
 *   commands).
 * - "http": `key` is what `parseHttpKey` takes.
 */
export interface TableEntry<R> {
  key: string;
  kind: "raw" | "word" | "http";
  /** The module's name, for messages. */
  owner: string;
  /** The module's file, for messages. */
  file: string;
  value: R;
  /** Of "http": see `PathEntry`. */
  isWhole?: boolean;
}

/** `refused` is not in the table: `holder` has its key. */
export interface Conflict<R> {
  refused: TableEntry<R>;
  holder: TableEntry<R>;
}

/** An HTTP key's two halves. `method` null: every method. */
interface HttpKey {
  method: string | null;
  pattern: string;
}

/**
 * @param key  "/x", "GET /x", or "GET " for every path of that method
 * @returns null if it is no HTTP key, or its pattern cannot match (see `parsePattern`)
 */
export function parseHttpKey(key: string): HttpKey | null {
  const space = key.startsWith("/") ? -1 : key.indexOf(" ");
  const method = space < 0 ? null : key.slice(0, space);
  if (method !== null && !HTTP_METHODS.has(method)) return null;
  const pattern = key.slice(space + 1) || (method === null ? "" : "/");
  return parsePattern(pattern) === null ? null : { method, pattern };
}

/** A key as messages show it: quoted and escaped, with its meaning. */
export function describeKey(entry: Pick<TableEntry<unknown>, "key" | "kind">): string {
  const key = JSON.stringify(entry.key);
  if (entry.kind === "word") return `the command ${key}`;
  return entry.kind === "http" ? `the HTTP route ${key}` : `the prefix ${key}`;
}

/** All routes at one time. Immutable: a reload builds another table and replaces this one. */
export class RouteTable<R> {
  readonly #raw: PrefixTrie<R>;
  readonly #http: PathTable<R>;
  readonly #entries: readonly TableEntry<R>[];

  private constructor(entries: readonly TableEntry<R>[]) {
    this.#entries = Object.freeze([...entries]);
    this.#raw = PrefixTrie.build(entries.filter((entry) => entry.kind !== "http").map(trieEntry));
    this.#http = PathTable.build(entries.filter((entry) => entry.kind === "http").map(pathEntry));
  }

  /** A table without routes. */
  static empty<R>(): RouteTable<R> {
    return new RouteTable<R>([]);
  }

  /**
   * Of two entries that claim the same, the first holds and the second is left out: the same raw key; the same HTTP
   * method and shape of pattern. Words win over all raw keys, whatever their order: no raw key can claim a word, or the
   * word and a space or line end.
   *
   * @param entries  read and kept; must not be changed afterwards
   * Throws a TypeError for an "http" entry whose key `parseHttpKey` refuses.
   */
  static build<R>(entries: readonly TableEntry<R>[]): { table: RouteTable<R>; conflicts: Conflict<R>[] } {
    const words = entries.filter((entry) => entry.kind === "word");
    const holders = new Map<string, TableEntry<R>>();
    const kept: TableEntry<R>[] = [];
    const conflicts: Conflict<R>[] = [];
    for (const entry of entries) {
      const claim = claimOf(entry);
      const holder =
        holders.get(claim) ??
        (entry.kind === "raw" ? words.find((word) => claimsWord(entry.key, word.key)) : undefined);
      if (holder !== undefined) {
        conflicts.push({ refused: entry, holder });
        continue;
      }
      holders.set(claim, entry);
      kept.push(entry);
    }
    return { table: new RouteTable(kept), conflicts };
  }

  /**
   * Routes a message by its first bytes, "raw" and "word" entries alike. Answers as `PrefixTrie.match`; allocates
   * nothing.
   */
  matchBytes(bytes: Uint8Array, from: number, isFinal: boolean): R | typeof NO_MATCH | typeof NEED_MORE {
    return this.#raw.match(bytes, from, isFinal);
  }

  /** False if `matchBytes` has a route for no message that begins with `byte`. */
  mayStartWith(byte: number): boolean {
    return this.#raw.mayStartWith(byte);
  }

  /** Routes an HTTP request. @param path  as `readPath` returns it */
  matchHttp(method: string, path: string): HttpMatch<R> | MethodMismatch | typeof NO_MATCH {
    return this.#http.match(method, path);
  }

  /** The routes in the table, in the order given to `build`. Frozen. */
  get entries(): readonly TableEntry<R>[] {
    return this.#entries;
  }
}

/** Two entries with equal claims conflict. */
function claimOf(entry: TableEntry<unknown>): string {
  // Lone surrogates all become the same three bytes.
  if (entry.kind !== "http") return `${entry.kind} ${entry.key.toWellFormed()}`;
  const { method, pattern } = httpKeyOf(entry);
  return `http ${method ?? "*"} ${parsePattern(pattern)?.shape}${entry.isWhole === true ? "\0" : ""}`;
}

/** Whether a raw key claims a word. The longer key "RELOAD " would take every RELOAD with an argument. */
export function claimsWord(key: string, word: string): boolean {
  return key.startsWith(word) && (key.length === word.length || " \r\n".includes(key.charAt(word.length)));
}

const ENCODER = new TextEncoder();

function trieEntry<R>(entry: TableEntry<R>): TrieEntry<R> {
  return { key: ENCODER.encode(entry.key), value: entry.value, isWord: entry.kind === "word" };
}

function pathEntry<R>(entry: TableEntry<R>): PathEntry<R> {
  return { ...httpKeyOf(entry), value: entry.value, isWhole: entry.isWhole === true };
}

function httpKeyOf(entry: TableEntry<unknown>): HttpKey {
  const key = parseHttpKey(entry.key);
  if (key !== null) return key;
  throw new TypeError(
    `${entry.file}: "${entry.key}" is not an HTTP route. Write "/path", "GET /path", "/path/:name" or "/path/*".`,
  );
}
