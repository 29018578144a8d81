/** What clients of a store have done and seen, and whether one store can have answered so. Pure. */

/** A moment in the order of all calls and answers. An answer that never came: Infinity. */
export type Moment = number;

interface Span {
  readonly start: Moment;
  readonly end: Moment;
}

/** A call on one document, which is a number or not there (null). */
export type RegisterCall = Span & { readonly key: string; readonly client: string } & (
    | { readonly kind: "get"; readonly result: number | null }
    | { readonly kind: "set"; readonly value: number }
    /** Adds 1; a missing document is 0. */
    | { readonly kind: "increment"; readonly result: number }
    | { readonly kind: "remove"; readonly result: boolean }
  );

/**
 * Whether each document is linearizable: each call has an effect at one moment between its start and its end (Wing and
 * Gong, with Lowe's memory of states). A call that was never answered has it at some time, or never.
 *
 * @returns the keys of documents that are not
 */
export function notLinearizable(calls: readonly RegisterCall[]): string[] {
  const keys = [...new Set(calls.map(({ key }) => key))];
  return keys.filter((key) => !isLinearizable(calls.filter((call) => call.key === key)));
}

/** @returns the document after the call; undefined: it would not have been answered so */
function after(document: number | null, call: RegisterCall): number | null | undefined {
  const isUnanswered = call.end === Infinity;
  switch (call.kind) {
    case "get":
      return isUnanswered || call.result === document ? document : undefined;
    case "set":
      return call.value;
    case "increment":
      return isUnanswered || call.result === (document ?? 0) + 1 ? (document ?? 0) + 1 : undefined;
    case "remove":
      return isUnanswered || call.result === (document !== null) ? null : undefined;
  }
}

/** The start or the end of a call, in a list from which it can be taken and put back. */
interface Event {
  readonly call: RegisterCall;
  readonly bit: bigint;
  /** Of a start: its end. null: it has none. */
  end: Event | null;
  readonly isStart: boolean;
  before: Event | null;
  next: Event | null;
}

function isLinearizable(calls: readonly RegisterCall[]): boolean {
  const { head, ends } = listOf(calls);
  const known = new Set<string>();
  const done: { readonly event: Event; readonly document: number | null }[] = [];
  let document: number | null = null;
  let bits = 0n;
  let left = ends;
  let event = head.next;
  while (left > 0) {
    if (event === null) return false;
    if (event.isStart) {
      const next = after(document, event.call);
      const state = `${(bits | event.bit).toString(36)} ${String(next)}`;
      if (next === undefined || known.has(state)) {
        event = event.next;
        continue;
      }
      known.add(state);
      done.push({ event, document });
      document = next;
      bits |= event.bit;
      left -= event.end === null ? 0 : 1;
      take(event);
      event = head.next;
      continue;
    }
    // Its call must have had its effect before: what was chosen last was wrong.
    const last = done.pop();
    if (last === undefined) return false;
    ({ document } = last);
    bits &= ~last.event.bit;
    left += last.event.end === null ? 0 : 1;
    putBack(last.event);
    event = last.event.next;
  }
  return true;
}

function listOf(calls: readonly RegisterCall[]): { head: Event; ends: number } {
  const events: { at: Moment; event: Event }[] = [];
  for (const [index, call] of calls.entries()) {
    const bit = 1n << BigInt(index);
    const start: Event = { call, bit, end: null, isStart: true, before: null, next: null };
    events.push({ at: call.start, event: start });
    if (call.end === Infinity) continue;
    start.end = { call, bit, end: null, isStart: false, before: null, next: null };
    events.push({ at: call.end, event: start.end });
  }
  events.sort((a, b) => a.at - b.at);
  const head: Event = { call: calls[0] as RegisterCall, bit: 0n, end: null, isStart: true, before: null, next: null };
  let last = head;
  for (const { event } of events) {
    last.next = event;
    event.before = last;
    last = event;
  }
  return { head, ends: calls.filter(({ end }) => end !== Infinity).length };
}

function take(start: Event): void {
  for (const event of [start, start.end]) {
    if (event === null) continue;
    (event.before as Event).next = event.next;
    if (event.next !== null) event.next.before = event.before;
  }
}

function putBack(start: Event): void {
  for (const event of [start.end, start]) {
    if (event === null) continue;
    (event.before as Event).next = event;
    if (event.next !== null) event.next.before = event;
  }
}

/** A transaction: what it has read, and what it has written then. Each written value is unique. */
export interface TransactionCall extends Span {
  readonly client: string;
  readonly reads: readonly { readonly key: string; readonly value: string }[];
  readonly writes: readonly { readonly key: string; readonly value: string }[];
  /** false: it was told that it has not been done. */
  readonly isDone: boolean;
}

/** A change of the store's log. */
export interface LoggedChange {
  readonly version: number;
  readonly key: string;
  readonly value: string;
}

/**
 * Whether transactions are strictly serialisable in the order of the store's log: each has read the newest documents
 * of one moment, has written at that moment, and the moment lies between its start and its end.
 *
 * @param log from the first change on, which is before all transactions. @returns what is wrong, each a sentence
 */
export function notSerialisable(calls: readonly TransactionCall[], log: readonly LoggedChange[]): string[] {
  const history = new LoggedHistory(log);
  const placed = calls.map((call) => history.place(call));
  return [...placed.flatMap(({ faults }) => faults), ...disorders(placed)];
}

/** A transaction's place in the log. */
interface Placed {
  readonly call: TransactionCall;
  readonly faults: readonly string[];
  /** It comes behind this version, and has written up to `last`. A reader has read at one moment from it to `last`. */
  readonly first: number;
  readonly last: number;
}

class LoggedHistory {
  readonly #byValue = new Map<string, LoggedChange>();
  readonly #byKey = new Map<string, number[]>();

  constructor(log: readonly LoggedChange[]) {
    for (const change of log) {
      this.#byValue.set(change.value, change);
      this.#byKey.set(change.key, [...(this.#byKey.get(change.key) ?? []), change.version]);
    }
  }

  place(call: TransactionCall): Placed {
    const { reads, writes, isDone, client } = call;
    const logged = writes.map(({ value }) => this.#byValue.get(value));
    const found = logged.filter((change) => change !== undefined);
    const faults: string[] = [];
    const name = `${client}, ${[...reads, ...writes].map(({ value }) => value).join(" ")}`;
    if (found.length > 0 && !isDone) faults.push(`${name}: was refused, and has written`);
    if (found.length < writes.length && isDone && call.end !== Infinity) faults.push(`${name}: a write is lost`);
    if (found.length > 0 && found.length < writes.length) faults.push(`${name}: was done by half`);
    const versions = found.map(({ version }) => version).sort((a, b) => a - b);
    if (versions.some((version, at) => version !== (versions[0] as number) + at))
      faults.push(`${name}: was torn apart, versions ${versions.join(", ")}`);
    const read = reads.map(({ key, value }) => this.#lifeOf(key, value));
    for (const [at, life] of read.entries())
      if (life === null) faults.push(`${name}: has read ${reads[at]?.value}, which nobody has written there`);
    const lives = read.filter((life) => life !== null);
    const from = Math.max(0, ...lives.map((life) => life.from));
    const until = Math.min(Infinity, ...lives.map((life) => life.until));
    const [first, last] = found.length > 0 ? [(versions[0] as number) - 1, versions.at(-1) as number] : [from, until];
    // What a refused one has read may be of several moments.
    if (isDone && from > until) faults.push(`${name}: has read two moments`);
    else if (isDone && found.length > 0 && (first < from || first > until))
      faults.push(`${name}: what it had read was no more when it wrote`);
    return { call, faults, first, last };
  }

  /** @returns the versions of the store at which a key had that value */
  #lifeOf(key: string, value: string): { from: number; until: number } | null {
    const change = this.#byValue.get(value);
    if (change?.key !== key) return null;
    const next = (this.#byKey.get(key) as number[]).find((version) => version > change.version);
    return { from: change.version, until: next === undefined ? Infinity : next - 1 };
  }
}

/** Transactions that begin after others have ended, and have an earlier place. */
function disorders(placed: readonly Placed[]): string[] {
  const done = placed.filter(({ call, faults }) => call.isDone && call.end !== Infinity && faults.length === 0);
  const ends: { end: Moment; at: number }[] = [];
  const faults: string[] = [];
  for (const { call, first, last } of done.toSorted((a, b) => a.call.start - b.call.start)) {
    const before = Math.max(0, ...ends.filter(({ end }) => end < call.start).map(({ at }) => at));
    const isWriter = call.writes.length > 0;
    if (isWriter ? first < before : last < before)
      faults.push(
        `${call.client}, ${[...call.reads, ...call.writes].map(({ value }) => value).join(" ")}: comes too early`,
      );
    ends.push({ end: call.end, at: isWriter ? last : Math.max(first, before) });
  }
  return faults;
}
