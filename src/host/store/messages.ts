/**
 * What `context.store` in a place asks the server, and what it is told. Both are flat arrays (flat.ts) of many parts: a
 * number, which the place gives, a kind, and the fields of that kind.
 */
import type { Flat } from "./flat";

/** Place to server. */
export const ASK = {
  /** A collection and keys. */
  get: 0,
  /** A collection and a range of keys. */
  list: 1,
  /** A collection and a range of an index. */
  find: 2,
  commit: 3,
  /** A statement and its values, as one encoded value. */
  sql: 4,
  /** The id and the name of the module's version, and a wish. The number is the watch's. */
  watch: 5,
  /** The watch of this number has no reader any more. */
  leave: 6,
  /** The number says how many letters (`lettersOf`) the place has received. */
  taken: 7,
  /** A collection. */
  count: 8,
} as const;

/** Server to place. */
export const TOLD = {
  /** The fields depend on the kind of the ask. */
  answer: 0,
  /** A code and a message. */
  failure: 1,
  /** A watch has begun at a version. */
  begin: 2,
  /** A change for a watch. */
  change: 3,
  /** A watch is over: a code or null, and a message. */
  end: 4,
} as const;

/** Place to server. */
export interface StoreAsks {
  readonly type: "storeAsks";
  readonly asks: Flat;
}

/** Server to place. */
export interface StoreTold {
  readonly type: "storeTold";
  readonly told: Flat;
}

/** A message of more letters is sent before its turn of the loop ends. */
export const MAX_BATCH_LETTERS = 4_000_000;
