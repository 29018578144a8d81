/** Reads that only the leading process can answer, until they are answered: another leader gets them again. Pure. */
import { type Flat, FlatReader } from "../../host/store/flat";
import { StoreError } from "../../module/store/error";
import type { Backend } from "../backend";
import { storeError } from "../writer";
import { TO_LEADER } from "./messages";
import { readFor } from "./served-reads";

interface Open {
  readonly message: Flat;
  /** When its caller gives up, as `performance.now()` counts. */
  readonly untilMs: number;
  answer(reader: FlatReader): void;
  reject(error: StoreError): void;
}

const MAX_READS = 10_000;

export class RemoteReads {
  readonly #open = new Map<number, Open>();
  #last = 0;

  get isEmpty(): boolean {
    return this.#open.size === 0;
  }

  /**
   * @param fields one of READ, and its fields
   * @returns what to send, and the answer. @throws StoreError BUSY
   */
  add<T>(fields: Flat, read: (reader: FlatReader) => T, untilMs: number): { message: Flat; answer: Promise<T> } {
    if (this.#open.size >= MAX_READS)
      throw new StoreError("BUSY", "too many reads wait for the process that has the store");
    const number = ++this.#last;
    const message: Flat = [TO_LEADER.read, number, ...fields];
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    this.#open.set(number, { message, untilMs, answer: (reader) => resolve(read(reader)), reject });
    return { message, answer: promise };
  }

  /** This process has the database from now on. @param backend that answers at once */
  answerBy(backend: Backend): void {
    for (const message of this.open()) {
      const [, number, kind] = message as [number, number, number];
      try {
        this.answered(number, new FlatReader(readFor(backend, kind, new FlatReader(message.slice(3)))()));
      } catch (error) {
        this.refused(number, storeError(error));
      }
    }
  }

  /** Messages without an answer. */
  open(): Flat[] {
    return Array.from(this.#open.values(), ({ message }) => message);
  }

  answered(number: number, reader: FlatReader): void {
    this.#take(number)?.answer(reader);
  }

  refused(number: number, error: StoreError): void {
    this.#take(number)?.reject(error);
  }

  #take(number: number): Open | undefined {
    const read = this.#open.get(number);
    this.#open.delete(number);
    return read;
  }

  expire(nowMs: number): void {
    for (const [number, { untilMs }] of this.#open)
      if (untilMs <= nowMs)
        this.refused(number, new StoreError("UNAVAILABLE", "the process that has the store does not answer"));
  }

  close(): void {
    for (const number of this.#open.keys()) this.refused(number, new StoreError("UNAVAILABLE", "the store is closed"));
  }
}
