/** The store for code that cannot await. */
import type { CallFrame } from "../../../module/service/frame";
import { StoreError } from "../../../module/store/error";
import type { Commit, CommitResult, KeyRange, Page, StoredDocument, StoreNow } from "../../../module/store/port";
import type { ToPlace } from "../../remote/messages";
import {
  type Flat,
  FlatReader,
  lettersOf,
  pushCommit,
  pushKeyRange,
  pushTexts,
  readDocuments,
  readPage,
  readResult,
} from "../../store/flat";
import { ASK, TOLD } from "../../store/messages";
import { leastMs } from "../asks";
import { type BlockingChannel, Unanswered } from "./channel";

export class BlockingStore implements StoreNow {
  readonly #channel: BlockingChannel;
  readonly #maxLetters: number;
  /** Letters that the server does not know to be received yet. */
  #taken = 0;

  /** @param maxLetters  limit for one commit */
  constructor(channel: BlockingChannel, maxLetters: number) {
    this.#channel = channel;
    this.#maxLetters = maxLetters;
  }

  get(collection: string, keys: readonly string[], frame: CallFrame | null): readonly (StoredDocument | null)[] {
    const fields: Flat = [collection];
    pushTexts(fields, keys);
    return this.#ask(ASK.get, fields, readDocuments, frame);
  }

  list(collection: string, range: KeyRange, frame: CallFrame | null): Page {
    const fields: Flat = [collection];
    pushKeyRange(fields, range);
    return this.#ask(ASK.list, fields, readPage, frame);
  }

  commit(commit: Commit, frame: CallFrame | null): CommitResult {
    const fields: Flat = [];
    pushCommit(fields, commit);
    return this.#ask(ASK.commit, fields, readResult, frame);
  }

  #ask<T>(kind: number, fields: Flat, read: (reader: FlatReader) => T, frame: CallFrame | null): T {
    const letters = lettersOf(fields);
    if (letters > this.#maxLetters)
      throw new StoreError(
        "TOO_LARGE",
        `it has ${Math.round(letters / 1e6)} MB; at most 30 MB leave a process at once`,
      );
    const taken: Flat = this.#taken === 0 ? [] : [this.#taken, ASK.taken];
    this.#taken = 0;
    try {
      return this.#channel.ask(
        { name: "the store", frame, leftMs: leastMs(frame, undefined) },
        (ask) => ({ type: "storeAsks", asks: [...taken, ask, kind, ...fields] }),
        (message, ask) => this.#answerIn(message, ask, read),
      );
    } catch (error) {
      throw error instanceof Unanswered ? failureOf(error, kind) : error;
    }
  }

  #answerIn<T>(message: ToPlace, ask: number, read: (reader: FlatReader) => T): T | undefined {
    if (message.type !== "storeTold") return undefined;
    this.#taken += lettersOf(message.told);
    const reader = new FlatReader(message.told);
    if (reader.number() !== ask) return undefined;
    if (reader.number() === TOLD.answer) return read(reader);
    throw new StoreError(reader.text(), reader.text());
  }
}

function failureOf({ code, message, hasBegun }: Unanswered, kind: number): StoreError {
  if (kind !== ASK.commit || !hasBegun) return new StoreError(code, message);
  return new StoreError("UNKNOWN", `${message}: nobody knows whether it was written`);
}
