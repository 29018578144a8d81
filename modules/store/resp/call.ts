/** One command that runs: what its handler gets, and helpers that all handlers share. */
import type { Collection, StoreDocument, TransactionCollection } from "hrmr";
import { fail, NOT_FLOAT, NOT_INTEGER, SYNTAX, WRONG_TYPE } from "./errors";
import { readDouble, readInteger } from "./numbers";
import type { Command } from "./reader";
import type { Peer } from "./peer";
import {
  bytesOf,
  type Bytes,
  jsonOfMembers,
  jsonOfScores,
  keyAt,
  type Members,
  membersOf,
  type RedisType,
  type Scores,
  scoresOf,
  typeOf,
} from "./values";
import type { Writer } from "./writer";

/** Only outside of a transaction they can be counted. */
export type Documents = TransactionCollection<unknown> & Partial<Pick<Collection<unknown>, "count">>;

export interface Call {
  readonly args: Command;
  readonly out: Writer;
  /** Those of the selected collection. Writes are possible where the command says that it writes. */
  readonly documents: Documents;
  readonly peer: Peer;
  /** Another collection for the next commands. */
  select(collection: string): void;
  /** Runs when what the command has written is in the store. */
  afterwards(run: () => void): void;
}

export type Run = (call: Call) => void | Promise<void>;

/** Several of one command that came together. */
export interface Together {
  /** Each of them. */
  readonly all: readonly Command[];
  readonly out: Writer;
  /** The selected collection. */
  readonly documents: Collection<unknown>;
  /** The same, with JSON texts as values. */
  readonly texts: Collection<string>;
}

/** How a command uses the store. "session": it changes the session, and is never part of a transaction. */
export type Use = "read" | "write" | "nothing" | "session";

/** The places of the keys: first, last (-1: the last argument) and step. All 0: none, or others. */
export type KeyPlaces = readonly [first: number, last: number, step: number];

export interface CommandSpec {
  /** In lower case. */
  readonly name: string;
  /** With the name. Below 0: at least so many. */
  readonly arity: number;
  readonly use: Use;
  readonly keys: KeyPlaces;
  readonly group: string;
  /** The version of Redis that has brought it. */
  readonly since: string;
  readonly summary: string;
  /** Reads the whole collection: it runs outside of transactions, so that other clients are served meanwhile. */
  readonly isLong?: boolean;
  readonly run: Run;
  /**
   * Runs several by one call of the store, which is quicker than a transaction. Writes no reply before it is over.
   *
   * @returns how many have run, the first ones; null: one of them needs a transaction. @throws ReplyError likewise
   */
  readonly runMany?: (call: Together) => Promise<number> | null;
}

/** A command that may run: it is known, has enough arguments, and its client may do it. */
export interface Ready {
  readonly spec: CommandSpec;
  readonly args: Command;
}

export const NO_KEYS: KeyPlaces = [0, 0, 0];
export const ONE_KEY: KeyPlaces = [1, 1, 1];
export const ALL_KEYS: KeyPlaces = [1, -1, 1];

/** @returns an argument in capitals, to compare with words of options */
export function wordAt({ args }: Call, index: number): string {
  return args.latin1(index).toUpperCase();
}

/** @throws ReplyError */
export function integerAt({ args }: Call, index: number, error = NOT_INTEGER): number {
  return readInteger(args.latin1(index)) ?? fail(error);
}

/** @throws ReplyError */
export function doubleAt({ args }: Call, index: number, error = NOT_FLOAT): number {
  return readDouble(args.latin1(index)) ?? fail(error);
}

/** An option behind the fixed arguments: `names` are its words, the value its number of arguments. */
export type OptionShape = Readonly<Record<string, number>>;

/**
 * Reads options in any order: `COUNT 10 MATCH x*`.
 *
 * @returns by name, the place of its first argument. @throws ReplyError on another word, or on too few arguments
 */
export function optionsFrom(call: Call, from: number, shape: OptionShape): Map<string, number> {
  const found = new Map<string, number>();
  for (let at = from; at < call.args.length;) {
    const word = wordAt(call, at);
    const count = Object.hasOwn(shape, word) ? (shape[word] as number) : -1;
    if (count === -1 || at + count >= call.args.length) fail(SYNTAX);
    found.set(word, at + 1);
    at += 1 + count;
  }
  return found;
}

/** @throws ReplyError if the document is of another type */
export async function find(call: Call, index: number, type: RedisType): Promise<StoreDocument | null> {
  const document = await call.documents.get(keyAt(call.args, index));
  return document === null ? null : typed(document, type);
}

export function typed<T extends StoreDocument>(document: T, type: RedisType): T {
  if (typeOf(document.value) !== type) fail(WRONG_TYPE);
  return document;
}

/** @returns a string; null: there is none. @throws ReplyError on another type */
export async function findString(call: Call, index: number): Promise<Bytes | null> {
  const document = await find(call, index, "string");
  return document === null ? null : bytesOf(document.value);
}

export type Fields = Map<string, unknown>;

export async function findHash(call: Call, index: number): Promise<Fields | null> {
  const document = await find(call, index, "hash");
  return document === null ? null : new Map(Object.entries(document.value as object));
}

export async function findList(call: Call, index: number): Promise<unknown[] | null> {
  const document = await find(call, index, "list");
  return document === null ? null : [...(document.value as unknown[])];
}

export async function findSet(call: Call, index: number): Promise<Members | null> {
  const document = await find(call, index, "set");
  return document === null ? null : membersOf(document.value);
}

export async function findScores(call: Call, index: number): Promise<Scores | null> {
  const document = await find(call, index, "zset");
  return document === null ? null : scoresOf(document.value);
}

/** Writes a value, and leaves the time at which it is gone as it is. */
export async function keep({ documents }: Call, key: string, value: unknown): Promise<void> {
  await documents.set(key, value, { ttlMs: "keep" });
}

/** An empty hash, list or set is no document. */
async function keepUnlessEmpty(call: Call, key: string, size: number, value: () => unknown): Promise<void> {
  if (size > 0) await keep(call, key, value());
  else await call.documents.delete(key);
}

export function keepHash(call: Call, key: string, fields: Fields): Promise<void> {
  return keepUnlessEmpty(call, key, fields.size, () => Object.fromEntries(fields));
}

export function keepList(call: Call, key: string, items: readonly unknown[]): Promise<void> {
  return keepUnlessEmpty(call, key, items.length, () => items);
}

export function keepSet(call: Call, key: string, members: Members): Promise<void> {
  return keepUnlessEmpty(call, key, members.size, () => jsonOfMembers(members));
}

export function keepScores(call: Call, key: string, scores: Scores): Promise<void> {
  return keepUnlessEmpty(call, key, scores.size, () => jsonOfScores(scores));
}

/** Replaces whatever the key held, its time included. */
export async function replace(call: Call, key: string, size: number, value: () => unknown): Promise<void> {
  if (size > 0) await call.documents.set(key, value());
  else await call.documents.delete(key);
}

/** @returns the place of an index that may count from the end; not in range: below 0, or the length and above */
export function placeOf(index: number, length: number): number {
  return index < 0 ? length + index : index;
}

/** @returns a range of places, both included, as LRANGE has it: cut to what is there; empty if `from` is above `to` */
export function placesOf(start: number, stop: number, length: number): { from: number; to: number } {
  const from = Math.max(0, placeOf(start, length));
  return { from, to: Math.min(length - 1, placeOf(stop, length)) };
}
