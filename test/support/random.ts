/**
 * Random cases that can be repeated: each property runs over seeds, and a failure names its seed.
 */

/** Numbers from a seed (mulberry32). */
export class Random {
  constructor(private state: number) {}

  /** 0 to below `end`. */
  below(end: number): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % end;
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T;
  }

  /** 0 to `max` of `make`'s results. */
  list<T>(max: number, make: () => T): T[] {
    return Array.from({ length: this.below(max + 1) }, make);
  }

  text(alphabet: string, max: number): string {
    return this.list(max, () => this.pick([...alphabet])).join("");
  }
}

/** Runs `check` for `count` seeds. HRMR_SEED=n in the environment runs that one alone. */
export function forSeeds(count: number, check: (random: Random) => void): void {
  const only = process.env["HRMR_SEED"];
  const seeds = only === undefined ? Array.from({ length: count }, (_, index) => index) : [Number(only)];
  for (const seed of seeds) {
    try {
      check(new Random(seed));
    } catch (cause) {
      throw new Error(`failed with HRMR_SEED=${seed}: ${cause instanceof Error ? cause.message : String(cause)}`, {
        cause,
      });
    }
  }
}

/** Each character one byte. */
export function bytesOf(latin1: string): Uint8Array {
  return Uint8Array.from(latin1, (char) => char.charCodeAt(0));
}
