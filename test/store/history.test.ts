/** The checkers of histories: they let a right store pass, and catch those that are broken. */
import { describe, expect, test } from "bun:test";
import { type LoggedChange, notLinearizable, notSerialisable, type RegisterCall } from "../support/store/history";
import { type Face, firstValues, runClients } from "../support/store/history-clients";
import { Random } from "../support/random";

/** How a store in memory is broken. */
type Break =
  | "nothing"
  /** Reads are answered by a copy that is behind. */
  | "stale"
  /** Increments read and write in two steps. */
  | "lost"
  /** Transactions do not check what they have read. */
  | "unchecked"
  /** Transactions write one document after the other. */
  | "torn"
  /** Some answered writes are not done. */
  | "dropped";

class MemoryOf {
  readonly #broken: Break;
  readonly #random: Random;
  readonly #documents = new Map<string, string>();
  #copy = new Map<string, string>();
  readonly log: LoggedChange[] = [];

  constructor(broken: Break, seed: number) {
    this.#broken = broken;
    this.#random = new Random(seed);
    for (const { key, value } of firstValues()) this.#write(key, value);
  }

  face(name: string): Face {
    return {
      name,
      get: (key) => this.#call(() => this.#number(key)),
      set: (key, value) => this.#call(() => this.#write(key, String(value))),
      increment: (key) => this.#increment(key),
      remove: (key) => this.#call(() => this.#documents.delete(key)),
      transact: (reads, writes) => this.#transact(reads, writes),
      close: () => {},
    };
  }

  async #call<T>(work: () => T): Promise<T> {
    await this.#pause();
    const result = work();
    await this.#pause();
    return result;
  }

  async #pause(): Promise<void> {
    for (let turn = this.#random.below(4); turn > 0; turn--) await new Promise((resolve) => setImmediate(resolve));
  }

  #read(key: string): string | null {
    return (this.#broken === "stale" ? this.#copy : this.#documents).get(key) ?? null;
  }

  #number(key: string): number | null {
    const text = this.#read(key);
    if (this.#random.below(3) === 0) this.#copy = new Map(this.#documents);
    return text === null ? null : Number(text);
  }

  #write(key: string, value: string): void {
    if (this.#broken === "dropped" && this.#random.below(20) === 0) return;
    this.#documents.set(key, value);
    this.log.push({ version: this.log.length + 1, key, value });
  }

  async #increment(key: string): Promise<number> {
    await this.#pause();
    const next = Number(this.#documents.get(key) ?? 0) + 1;
    if (this.#broken === "lost") await this.#pause();
    this.#write(key, String(next));
    await this.#pause();
    return next;
  }

  async #transact(reads: readonly string[], writes: readonly { key: string; value: string }[]) {
    await this.#pause();
    const values = reads.map((key) => this.#read(key) as string);
    await this.#pause();
    const isDone = this.#broken === "unchecked" || reads.every((key, at) => this.#documents.get(key) === values[at]);
    for (const { key, value } of isDone ? writes : []) {
      this.#write(key, value);
      if (this.#broken === "torn") await this.#pause();
    }
    await this.#pause();
    return { values, isDone };
  }
}

/** @returns what the checkers say of a history of ten clients */
async function faultsOf(broken: Break, seed: number): Promise<string[]> {
  const store = new MemoryOf(broken, seed);
  const faces = Array.from({ length: 10 }, (_, at) => store.face(`client ${at}`));
  const { registers, transactions } = await runClients(faces, seed, 40);
  return [...notLinearizable(registers), ...notSerialisable(transactions, store.log)];
}

test.each([1, 2, 3])("a right store passes (seed %d)", async (seed) => {
  expect(await faultsOf("nothing", seed)).toEqual([]);
});

test.each(["stale", "lost", "unchecked", "torn", "dropped"] as const)(
  "a store with %s writes or reads is caught",
  async (broken) => {
    expect((await faultsOf(broken, 1)).length).toBeGreaterThan(0);
  },
);

describe("a history of one document", () => {
  const at = (start: number, end: number) => ({ key: "k", client: "c", start, end });
  const set = (start: number, end: number, value: number): RegisterCall => ({ ...at(start, end), kind: "set", value });
  const get = (start: number, end: number, result: number | null): RegisterCall => ({
    ...at(start, end),
    kind: "get",
    result,
  });

  test("may have calls at the same time in any order", () => {
    const calls = [set(1, 10, 1), get(2, 3, null), get(4, 5, 1), set(6, 9, 2), get(7, 8, 2), get(11, 12, 2)];
    expect(notLinearizable(calls)).toEqual([]);
    expect(notLinearizable([set(1, 10, 1), set(2, 9, 2), get(11, 12, 1)])).toEqual([]);
  });

  test("may not go back", () => {
    expect(notLinearizable([set(1, 10, 1), get(2, 3, 1), get(4, 5, null)])).toEqual(["k"]);
  });

  test("has an unanswered write at some time, or never, and not twice", () => {
    const unanswered = set(1, Infinity, 7);
    expect(notLinearizable([unanswered, get(2, 3, null), get(4, 5, null)])).toEqual([]);
    expect(notLinearizable([unanswered, get(2, 3, null), get(4, 5, 7)])).toEqual([]);
    expect(notLinearizable([unanswered, get(2, 3, 7), get(4, 5, null)])).toEqual(["k"]);
  });
});
