/** Reads for processes that cannot read the database themselves, in the leading one. */
import {
  type Flat,
  type FlatReader,
  lettersOf,
  pushChange,
  pushDocuments,
  pushPage,
  readIndexRange,
  readKeyRange,
  readTexts,
} from "../../host/store/flat";
import type { StoredChange } from "../../module/store/port";
import type { Backend } from "../backend";
import { READ } from "./messages";

/** Of one answer. It has one change at least, whatever its size. */
const MAX_LETTERS = 4_000_000;

/**
 * @param kind one of READ
 * @param message its fields
 * @returns makes the answer, at once. @throws TypeError for a message of another form
 */
export function readFor(backend: Backend, kind: number, message: FlatReader): () => Flat {
  switch (kind) {
    case READ.changes: {
      const [version, limit] = [message.number(), message.number()];
      return () => changesAnswer(atOnce(backend.changesAfter(version, limit)));
    }
    case READ.expired: {
      const limit = message.number();
      return () =>
        rows(atOnce(backend.expired(limit)), ({ collection, key, text, version, expiresAt }) => [
          collection,
          key,
          text,
          version,
          expiresAt,
        ]);
    }
    case READ.collections:
      return () => rows(atOnce(backend.collections()), ({ name, documents }) => [name, documents]);
    case READ.indexes:
      return () => rows(atOnce(backend.indexes?.() ?? []), ({ collection, index }) => [collection, index]);
    default:
      return readIn(backend, message.text(), kind, message);
  }
}

function readIn(backend: Backend, collection: string, kind: number, message: FlatReader): () => Flat {
  switch (kind) {
    case READ.get: {
      const keys = readTexts(message);
      return () => answered((answer) => pushDocuments(answer, atOnce(backend.get(collection, keys))));
    }
    case READ.list: {
      const range = readKeyRange(message);
      return () => answered((answer) => pushPage(answer, atOnce(backend.list(collection, range))));
    }
    case READ.find: {
      const range = readIndexRange(message);
      return () => answered((answer) => pushPage(answer, atOnce(backend.find(collection, range))));
    }
    case READ.buildIndex: {
      const index = message.text();
      return () => [atOnce(backend.buildIndex(collection, index)) ? 1 : 0];
    }
    case READ.dropIndex: {
      const index = message.text();
      return () => [atOnce(backend.dropIndex(collection, index)) ? 1 : 0];
    }
    default:
      throw new TypeError("a process reads something unknown");
  }
}

function answered(push: (answer: Flat) => void): Flat {
  const answer: Flat = [];
  push(answer);
  return answer;
}

function rows<T>(found: readonly T[], fieldsOf: (row: T) => Flat): Flat {
  return [found.length, ...found.flatMap(fieldsOf)];
}

function changesAnswer(changes: readonly StoredChange[] | null): Flat {
  const answer: Flat = [changes === null ? 0 : 1];
  pushChanges(answer, changes === null ? [] : (partsOf(changes)[0] ?? []));
  return answer;
}

export function pushChanges(flat: Flat, changes: readonly StoredChange[]): void {
  flat.push(changes.length);
  for (const change of changes) pushChange(flat, change);
}

/** @returns the changes in parts that fit into one message */
export function partsOf(changes: readonly StoredChange[]): StoredChange[][] {
  const parts: StoredChange[][] = [];
  let letters = Infinity;
  for (const change of changes) {
    const own = lettersOf([change.collection, change.key, change.text]) + 16;
    letters += own;
    if (letters > MAX_LETTERS) {
      parts.push([]);
      letters = own;
    }
    parts.at(-1)?.push(change);
  }
  return parts;
}

/** A database that one process has is in its memory, or in a file that it reads within the thread. */
export function atOnce<T>(value: T | Promise<T>): T {
  if (value instanceof Promise) throw new Error("The backend does not answer at once. This is a bug in hrmr.");
  return value;
}
