/**
 * How the memory of each process changes over time. Resident memory may grow for many minutes after a start. The live
 * objects after a collection do not grow, unless there is a leak.
 */
import { Link, wholeLine } from "./link";
import { memoryBytes } from "./server";

/** A collection may come at any time, so only the lowest of this many samples counts. */
const WINDOW_SAMPLES = 5;
const SAMPLE_MS = 1000;
/** Fewer windows show no trend. */
const LEAST_WINDOWS = 4;

export interface Slope {
  readonly pid: number;
  /** Begin and end, in MB. */
  readonly fromMb: number;
  readonly toMb: number;
  readonly mbPerMinute: number;
  /** Memory after a collection, at the begin and at the end, in MB. null: the process was not reached. */
  readonly live: { readonly fromMb: number; readonly toMb: number } | null;
}

/** Connections for reaching all processes: the kernel chooses the process that accepts one. */
const MOST_ASKED = 200;

/** @returns memory after a collection by process, in MB, without processes that were not reached */
export async function liveHeaps(port: number, pids: readonly number[]): Promise<Map<number, number>> {
  const found = new Map<number, number>();
  for (let asked = 0; asked < MOST_ASKED && pids.some((pid) => !found.has(pid)); asked += 8) {
    // All at the same time: a process that is busy accepting one leaves the next to another.
    const links = await Promise.all(Array.from({ length: 8 }, () => Link.open({ port })));
    for (const link of links) {
      const [pid = 0, bytes = 0] = (await link.ask("HEAP\n", wholeLine)).trim().split(" ").map(Number);
      found.set(pid, bytes / 1e6);
      link.close();
    }
  }
  return found;
}

export class MemorySampler {
  readonly #samples = new Map<number, number[]>();
  readonly #port: number;
  #timer: Timer | null = null;
  #live = new Map<number, number>();

  constructor(port: number) {
    this.#port = port;
  }

  /** @param pids of all processes; the serving ones are asked for their heap */
  async start(pids: readonly number[], serving: readonly number[]): Promise<void> {
    this.#live = await liveHeaps(this.#port, serving);
    this.#timer = setInterval(() => {
      for (const pid of pids) {
        const bytes = memoryBytes(pid);
        if (bytes === null) continue;
        const samples = this.#samples.get(pid);
        if (samples === undefined) this.#samples.set(pid, [bytes]);
        else samples.push(bytes);
      }
    }, SAMPLE_MS);
  }

  /** @returns a line through the lowest of each window; nothing for a process that was not seen for long enough */
  async stop(): Promise<Slope[]> {
    if (this.#timer !== null) clearInterval(this.#timer);
    const ends = await liveHeaps(this.#port, [...this.#live.keys()]);
    return [...this.#samples].flatMap(([pid, samples]) => {
      const slope = slopeOf(pid, samples);
      const [fromMb, toMb] = [this.#live.get(pid), ends.get(pid)];
      return slope === null
        ? []
        : [{ ...slope, live: fromMb === undefined || toMb === undefined ? null : { fromMb, toMb } }];
    });
  }
}

function slopeOf(pid: number, samples: readonly number[]): Omit<Slope, "live"> | null {
  const count = Math.floor(samples.length / WINDOW_SAMPLES);
  if (count < LEAST_WINDOWS) return null;
  const lows = Array.from(
    { length: count },
    (_, at) => Math.min(...samples.slice(at * WINDOW_SAMPLES, (at + 1) * WINDOW_SAMPLES)) / 1e6,
  );
  const middleAt = (count - 1) / 2;
  const mean = lows.reduce((sum, low) => sum + low, 0) / count;
  const rise = lows.reduce((sum, low, at) => sum + (at - middleAt) * (low - mean), 0);
  const run = lows.reduce((sum, _, at) => sum + (at - middleAt) ** 2, 0);
  const windowsPerMinute = 60_000 / (WINDOW_SAMPLES * SAMPLE_MS);
  return { pid, fromMb: lows[0] ?? 0, toMb: lows.at(-1) ?? 0, mbPerMinute: (rise / run) * windowsPerMinute };
}
