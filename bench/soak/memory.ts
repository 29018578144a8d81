/** How the memory of each process changes over time. */
import { memoryBytes } from "./server";

/** A collection may come at any time: of so many samples only the lowest counts. */
const WINDOW_SAMPLES = 5;
const SAMPLE_MS = 1000;
/** Fewer windows say nothing. */
const LEAST_WINDOWS = 4;

export interface Slope {
  readonly pid: number;
  /** Begin and end, in MB. */
  readonly fromMb: number;
  readonly toMb: number;
  readonly mbPerMinute: number;
}

export class MemorySampler {
  readonly #samples = new Map<number, number[]>();
  #timer: Timer | null = null;

  start(pids: readonly number[]): void {
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

  /** @returns a line through the lowest of each window; nothing for a process that was seen for too short */
  stop(): Slope[] {
    if (this.#timer !== null) clearInterval(this.#timer);
    return [...this.#samples].flatMap(([pid, samples]) => slopeOf(pid, samples) ?? []);
  }
}

function slopeOf(pid: number, samples: readonly number[]): Slope | null {
  const count = Math.floor(samples.length / WINDOW_SAMPLES);
  if (count < LEAST_WINDOWS) return null;
  const lows = Array.from({ length: count }, (_, at) => Math.min(...samples.slice(at * WINDOW_SAMPLES, (at + 1) * WINDOW_SAMPLES)) / 1e6);
  const middleAt = (count - 1) / 2;
  const mean = lows.reduce((sum, low) => sum + low, 0) / count;
  const rise = lows.reduce((sum, low, at) => sum + (at - middleAt) * (low - mean), 0);
  const run = lows.reduce((sum, _, at) => sum + (at - middleAt) ** 2, 0);
  const windowsPerMinute = 60_000 / (WINDOW_SAMPLES * SAMPLE_MS);
  return { pid, fromMb: lows[0] ?? 0, toMb: lows.at(-1) ?? 0, mbPerMinute: (rise / run) * windowsPerMinute };
}
