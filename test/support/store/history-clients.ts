/** Random clients of a store, whose calls become a history. */
import { Random } from "../random";
import type { LoggedChange, Moment, RegisterCall, TransactionCall } from "./history";

/** One way to a store, with a connection of its own. Documents of registers are numbers. */
export interface Face {
  readonly name: string;
  get(key: string): Promise<number | null>;
  set(key: string, value: number): Promise<unknown>;
  increment(key: string): Promise<number>;
  remove(key: string): Promise<boolean>;
  /**
   * Reads documents and writes others, as one transaction.
   *
   * @returns what it has read. `isDone` false: it was refused
   */
  transact(
    reads: readonly string[],
    writes: readonly { readonly key: string; readonly value: string }[],
  ): Promise<{ readonly values: readonly string[]; readonly isDone: boolean }>;
  close(): void;
}

const REGISTERS = ["r0", "r1", "r2"];
const ACCOUNTS = ["t0", "t1", "t2", "t3"];

interface History {
  readonly registers: readonly RegisterCall[];
  readonly transactions: readonly TransactionCall[];
}

/** @returns the first values of the accounts, which are written before all */
export function firstValues(): { key: string; value: string }[] {
  return ACCOUNTS.map((key) => ({ key, value: `first ${key}` }));
}

/** Runs clients at the same time. @param seed another one for each run on a store. @param calls of each client */
export async function runClients(faces: readonly Face[], seed: number, calls: number): Promise<History> {
  let moment: Moment = 0;
  const now = (): Moment => ++moment;
  const registers: RegisterCall[] = [];
  const transactions: TransactionCall[] = [];
  const clients = faces.map(async (face, index) => {
    const random = new Random(seed * 1000 + index);
    for (let call = 0; call < calls; call++) {
      const client = `${face.name} ${index}`;
      if (random.below(2) === 0) registers.push(await callRegister(face, { random, now, client, seed }));
      else transactions.push(await callTransaction(face, { random, now, client, seed, number: call }));
    }
  });
  await Promise.all(clients);
  return { registers, transactions };
}

interface Caller {
  readonly random: Random;
  readonly now: () => Moment;
  readonly client: string;
  readonly seed: number;
}

async function callRegister(face: Face, { random, now, client, seed }: Caller): Promise<RegisterCall> {
  const key = `${random.pick(REGISTERS)} ${seed}`;
  const kind = random.pick(["get", "get", "set", "increment", "increment", "remove"] as const);
  const value = random.below(1_000_000);
  const start = now();
  const span = { key, client, start };
  switch (kind) {
    case "get":
      return { ...span, kind, result: await face.get(key), end: now() };
    case "set":
      await face.set(key, value);
      return { ...span, kind, value, end: now() };
    case "increment":
      return { ...span, kind, result: await face.increment(key), end: now() };
    case "remove":
      return { ...span, kind, result: await face.remove(key), end: now() };
  }
}

async function callTransaction(
  face: Face,
  { random, now, client, seed, number }: Caller & { readonly number: number },
): Promise<TransactionCall> {
  const some = (count: number): string[] => [...new Set(Array.from({ length: count }, () => random.pick(ACCOUNTS)))];
  const reads = some(random.below(3));
  const writes = some(random.below(reads.length === 0 ? 2 : 3) + (reads.length === 0 ? 1 : 0)).map((key) => ({
    key,
    value: `${seed} ${client} ${number} ${key}`,
  }));
  const start = now();
  const { values, isDone } = await face.transact(reads, writes);
  const end = now();
  const read = reads.flatMap((key, at) => (values[at] === undefined ? [] : [{ key, value: values[at] }]));
  return { client, start, end, reads: read, writes, isDone };
}

/** @returns the accounts' part of a log */
export function accountsIn(log: readonly { version: number; key: string; value: unknown }[]): LoggedChange[] {
  return log.flatMap(({ version, key, value }) =>
    ACCOUNTS.includes(key) ? [{ version, key, value: String(value) }] : [],
  );
}
