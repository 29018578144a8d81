/** The totals of all reloads of this process, for STATUS and metrics. */
import type { ReloadSnapshot } from "../../observe/snapshot";
import { noTimes, PHASES, type PhaseTimes, type Verdict, verdictText } from "./verdict";

type LastReload = NonNullable<ReloadSnapshot["last"]>;

/** Counts every reload, the one at the start included. */
export class ReloadTotals {
  #ok = 0;
  #failed = 0;
  #last: LastReload | null = null;
  #lastSuccessAt: string | null = null;
  readonly #phaseMs = noTimes();

  note(verdict: Verdict): void {
    const { ok, elapsedMs, dropped, phases } = verdict;
    this.#add({ ok, elapsedMs, dropped, phases, text: verdictText(verdict), at: new Date().toISOString() }, phases);
  }

  /** A reload that was refused as a whole. @param text RELOAD's answer */
  noteRefused(text: string, elapsedMs: number): void {
    const phases = noTimes();
    this.#add({ ok: false, elapsedMs, dropped: 0, phases, text, at: new Date().toISOString() }, phases);
  }

  snapshot(): ReloadSnapshot {
    const phaseSeconds = Object.fromEntries(PHASES.map((phase) => [phase, this.#phaseMs[phase] / 1000]));
    return { ok: this.#ok, failed: this.#failed, last: this.#last, lastSuccessAt: this.#lastSuccessAt, phaseSeconds };
  }

  #add(last: LastReload, phases: PhaseTimes): void {
    this.#last = last;
    if (last.ok) {
      this.#ok++;
      this.#lastSuccessAt = last.at;
    } else this.#failed++;
    for (const phase of PHASES) this.#phaseMs[phase] += phases[phase];
  }
}
