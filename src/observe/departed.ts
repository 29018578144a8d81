/**
 * The counts of processes that are gone, or do not answer now. Counters of the whole server must never go back:
 * Prometheus would take that for a restart and count everything twice.
 */
import { addCalls, callsOf } from "./figures";
import type { CallSnapshot, DepartedCounts, ProcessSnapshot } from "./snapshot";
import { sumEach } from "./sums";

/** How many processes are remembered one by one: recently dead ones, and those too busy to answer. */
const MAX_REMEMBERED = 64;

const NOBODY: DepartedCounts = {
  counters: { messages: 0, httpRequests: 0, errors: 0, datagramsDropped: 0, datagramsIgnored: 0 },
  accepted: 0,
  refused: 0,
  calls: {},
};

/** Remembers each process's last snapshot. The master has one, and calls it each time it has asked the processes. */
export class Departed {
  /** By process; the last one seen is at the end. */
  readonly #last = new Map<string, ProcessSnapshot>();
  /** The counts of processes that are long gone. */
  #folded = NOBODY;

  /** @param processes those that answer now. @returns the counts of the others in their last answers */
  behind(processes: readonly ProcessSnapshot[]): DepartedCounts {
    const present = new Set(processes.map(identityOf));
    for (const snapshot of processes) {
      this.#last.delete(identityOf(snapshot));
      this.#last.set(identityOf(snapshot), snapshot);
    }
    for (const [identity, snapshot] of this.#last) {
      if (this.#last.size - present.size <= MAX_REMEMBERED) break;
      if (present.has(identity)) continue;
      this.#last.delete(identity);
      this.#folded = addCounts(this.#folded, countsOf(snapshot));
    }
    const absent = [...this.#last]
      .filter(([identity]) => !present.has(identity))
      .map(([, snapshot]) => countsOf(snapshot));
    return absent.reduce(addCounts, this.#folded);
  }
}

/** Process ids are reused. */
function identityOf({ pid, startedAtMs }: ProcessSnapshot): string {
  return `${pid} ${startedAtMs}`;
}

function countsOf({ counters, connections, modules }: ProcessSnapshot): DepartedCounts {
  const calls = modules.map((module) => [module.name, callsOf(module)] as const);
  return { counters, accepted: connections.accepted, refused: connections.refused, calls: Object.fromEntries(calls) };
}

function addCounts(a: DepartedCounts, b: DepartedCounts): DepartedCounts {
  const calls: Record<string, CallSnapshot> = { ...a.calls };
  for (const [name, each] of Object.entries(b.calls))
    calls[name] = Object.hasOwn(calls, name) ? addCalls([calls[name] as typeof each, each]) : each;
  return {
    counters: sumEach([a.counters, b.counters]),
    accepted: a.accepted + b.accepted,
    refused: a.refused + b.refused,
    calls,
  };
}
