/** Versions on probation: checks their figures twice a second, until they have served long enough or must go. */
import type { VersionOptions } from "../../config/options";
import { asHost } from "../../module/graph/leave-graph";
import { type Counts, judge } from "./probation";
import { type MergedModule, mergeModules } from "../../observe/report";
import type { ProcessSnapshot } from "../../observe/snapshot";
import type { Condemned } from "./versions";

interface TrialsSetup {
  limits(): VersionOptions;
  snapshots(): Promise<ProcessSnapshot[]>;
  passed(name: string, number: number): void;
  /** Called once for each version. */
  failed(condemned: Condemned): void;
}

interface Trial {
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

export class Trials {
  readonly #setup: TrialsSetup;
  readonly #trials = new Map<string, Trial>();
  #timer: Timer | null = null;
  #isLooking = false;

  constructor(setup: TrialsSetup) {
    this.#setup = setup;
  }

  begin(name: string, number: number): void {
    this.#trials.set(name, { number, startedMs: performance.now(), crashes: 0, looks: [], counts: NONE });
    this.#timer ??= asHost(() => setInterval(() => void this.#look(), LOOK_MS));
  }

  /** Does nothing if it is not on probation. */
  end(name: string): void {
    this.#trials.delete(name);
    if (this.#trials.size > 0 || this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }

  close(): void {
    for (const name of this.#trials.keys()) this.end(name);
  }

  /** @returns how often the version has crashed during its probation; 0: it is not on probation */
  crashed(name: string, number: number): number {
    const trial = this.#trials.get(name);
    return trial?.number === number ? ++trial.crashes : 0;
  }

  /** A version's figures at the last look. */
  countsOf(name: string, number: number): Counts {
    const trial = this.#trials.get(name);
    return trial?.number === number ? trial.counts : NONE;
  }

  /** @returns for status; null: the module is not on probation */
  textOf(name: string): string | null {
    const trial = this.#trials.get(name);
    if (trial === undefined) return null;
    const leftMs = this.#setup.limits().probationMs - (performance.now() - trial.startedMs);
    return `v${trial.number} is on trial for another ${Math.max(1, Math.ceil(leftMs / 1000))} s`;
  }

  async #look(): Promise<void> {
    // If a process does not answer, one check takes longer than the interval.
    if (this.#isLooking) return;
    this.#isLooking = true;
    try {
      const modules = new Map(mergeModules(await this.#setup.snapshots()).map((module) => [module.name, module]));
      for (const [name, trial] of this.#trials) this.#judge(name, trial, modules.get(name));
    } finally {
      this.#isLooking = false;
    }
  }

  #judge(name: string, trial: Trial, module: MergedModule | undefined): void {
    const now = performance.now();
    // Another version is being swapped in, which ends the probation.
    if (module !== undefined && module.live?.number !== trial.number) return;
    if (module?.live != null) trial.counts = { calls: module.live.figures.calls, errors: module.live.figures.errors };
    trial.looks.push({ atMs: now, counts: trial.counts });
    while ((trial.looks[1]?.atMs ?? now) < now - RECENT_MS) trial.looks.shift();
    const since = trial.looks[0]?.counts ?? NONE;
    // The figures of a lost process are missing.
    const recent = {
      calls: Math.max(0, trial.counts.calls - since.calls),
      errors: Math.max(0, trial.counts.errors - since.errors),
    };
    const former = module?.former ?? NONE;
    const { crashes, counts: total, startedMs } = trial;
    const judgement = judge({ ageMs: now - startedMs, total, recent, crashes, former }, this.#setup.limits());
    if (judgement.verdict === "wait") return;
    this.end(name);
    if (judgement.verdict === "good") this.#setup.passed(name, trial.number);
    else this.#setup.failed({ name, number: trial.number, verdict: judgement.verdict, reason: judgement.reason });
  }
}
