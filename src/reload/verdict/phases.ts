/** Where a reload's time goes. */

export const PHASES = ["build", "load", "start", "agree", "swap"] as const;
/**
 * build: looking for changes and bundling. load: the trial and the import. start: setup and check, in this thread and
 * on the pool. agree: waiting for the server's other processes. swap: the routing table, and the beginning of the old
 * versions' end.
 */
export type Phase = (typeof PHASES)[number];

/** In milliseconds, over all modules of a reload. */
export type PhaseTimes = Record<Phase, number>;

export function noTimes(): PhaseTimes {
  return { build: 0, load: 0, start: 0, agree: 0, swap: 0 };
}

/** Adds what `work` takes to `times`, also when it fails. */
export async function timed<T>(times: PhaseTimes, phase: Phase, work: () => Promise<T>): Promise<T> {
  const startedMs = performance.now();
  try {
    return await work();
  } finally {
    times[phase] += performance.now() - startedMs;
  }
}
