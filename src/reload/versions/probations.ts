/** Versions on probation: checks their figures twice a second, until they have served long enough or must go. */
import type { VersionOptions } from "../../config/options";
import { asHost } from "../../system/leave-graph";
import { type Counts, judge } from "./probation";
import { type MergedModule, mergeModules } from "../../observe/report";
import type { ProcessSnapshot } from "../../observe/snapshot";
import type { Condemned } from "./versions";

interface ProbationsOwner {
  limits(): VersionOptions;
  snapshots(): Promise<ProcessSnapshot[]>;
  passed(name: string, number: number): void;
  /** Called once for each version. */
  failed(condemned: Condemned): void;
}

interface Probation {
  readonly number: number;
  readonly startedMs: number;
  crashes: number;
  /** The figures at each look, newest last, as far back as `RECENT_MS`. */
  readonly looks: { readonly atMs: number; readonly counts: Counts }[];
  counts: Counts;
}

const LOOK_MS = 500;
/** The recent time that a version is also judged by, in case it begins well and then fails. */
const RECENT_MS = 3000;
const NONE: Counts = { calls: 0, errors: 0 };

export class Probations {
  readonly #owner: ProbationsOwner;
  readonly #probations = new Map<string, Probation>();
  #timer: Timer | null = null;
  #isLooking = false;

  constructor(owner: ProbationsOwner) {
    this.#owner = owner;
  }

  begin(name: string, number: number): void {
    this.#probations.set(name, { number, startedMs: performance.now(), crashes: 0, looks: [], counts: NONE });
    this.#timer ??= asHost(() => setInterval(() => void this.#look(), LOOK_MS));
  }

  /** Does nothing if it is not on probation. */
  end(name: string): void {
    this.#probations.delete(name);
    if (this.#probations.size > 0 || this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }

  close(): void {
    for (const name of this.#probations.keys()) this.end(name);
  }

  /** @returns how often the version has crashed during its probation; 0: it is not on probation */
  crashed(name: string, number: number): number {
    const probation = this.#probations.get(name);
    return probation?.number === number ? ++probation.crashes : 0;
  }

  /** A version's figures at the last look. */
  countsOf(name: string, number: number): Counts {
    const probation = this.#probations.get(name);
    return probation?.number === number ? probation.counts : NONE;
  }

  /** @returns for status; null: the module is not on probation */
  textOf(name: string): string | null {
    const probation = this.#probations.get(name);
    if (probation === undefined) return null;
    const leftMs = this.#owner.limits().probationMs - (performance.now() - probation.startedMs);
    return `v${probation.number} is on probation for another ${Math.max(1, Math.ceil(leftMs / 1000))} s`;
  }

  async #look(): Promise<void> {
    // If a process does not answer, one check takes longer than the interval.
    if (this.#isLooking) return;
    this.#isLooking = true;
    try {
      const modules = new Map(mergeModules(await this.#owner.snapshots()).map((module) => [module.name, module]));
      for (const [name, probation] of this.#probations) this.#judge(name, probation, modules.get(name));
    } finally {
      this.#isLooking = false;
    }
  }

  #judge(name: string, probation: Probation, module: MergedModule | undefined): void {
    const now = performance.now();
    // Another version is being swapped in, which ends the probation.
    if (module !== undefined && module.live?.number !== probation.number) return;
    if (module?.live != null)
      probation.counts = { calls: module.live.figures.calls, errors: module.live.figures.errors };
    probation.looks.push({ atMs: now, counts: probation.counts });
    while ((probation.looks[1]?.atMs ?? now) < now - RECENT_MS) probation.looks.shift();
    const since = probation.looks[0]?.counts ?? NONE;
    // The figures of a lost process are missing.
    const recent = {
      calls: Math.max(0, probation.counts.calls - since.calls),
      errors: Math.max(0, probation.counts.errors - since.errors),
    };
    const former = module?.former ?? NONE;
    const { crashes, counts: total, startedMs } = probation;
    const judgement = judge({ ageMs: now - startedMs, total, recent, crashes, former }, this.#owner.limits());
    if (judgement.standing === "probation") return;
    this.end(name);
    if (judgement.standing === "good") this.#owner.passed(name, probation.number);
    else this.#owner.failed({ name, number: probation.number, standing: judgement.standing, reason: judgement.reason });
  }
}
