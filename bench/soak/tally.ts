/** The questions and their results. */

/**
 * - right, wrong: the answer was looked at.
 * - killed: no answer, for the process that had the question was killed.
 * - again: no answer, for the process was told to end, and this protocol cannot say so beforehand: asked again
 *   elsewhere.
 * - lost: no answer, and nothing excuses it.
 */
export type Outcome = "right" | "wrong" | "killed" | "again" | "lost";

export const OUTCOMES: readonly Outcome[] = ["right", "wrong", "killed", "again", "lost"];

export class Tally {
  /** By protocol. */
  readonly counts = new Map<string, Record<Outcome, number>>();
  /** Wrong and lost answers in words, and how often. */
  readonly problems = new Map<string, number>();
  longestMs = 0;

  note(protocol: string, outcome: Outcome, problem: string | null = null): void {
    let counts = this.counts.get(protocol);
    if (counts === undefined)
      this.counts.set(protocol, (counts = { right: 0, wrong: 0, killed: 0, again: 0, lost: 0 }));
    counts[outcome]++;
    if (problem === null || (outcome !== "wrong" && outcome !== "lost")) return;
    const kind = `${protocol}, ${outcome}: ${problem.replaceAll(/\d+/g, "N").slice(0, 200)}`;
    this.problems.set(kind, (this.problems.get(kind) ?? 0) + 1);
  }

  total(outcome: Outcome): number {
    return [...this.counts.values()].reduce((sum, counts) => sum + counts[outcome], 0);
  }
}

/** Longer than a client needs to notice the end of a process. */
const HEARD_MS = 1000;

interface Span {
  readonly fromMs: number;
  untilMs: number;
}

/**
 * The processes that were killed, or told to end, and when: this excuses a question without an answer. Times of
 * performance.now().
 */
export class Fates {
  readonly #killed = new Map<number, Span>();
  readonly #leaving = new Map<number, Span>();

  /** Call it before the signal is sent. */
  kill(pid: number): void {
    const now = performance.now();
    this.#killed.set(pid, { fromMs: now, untilMs: now + HEARD_MS });
  }

  /** Call it before they are told. @returns a function to call once they have ended */
  leave(pids: readonly number[]): () => void {
    const span = { fromMs: performance.now(), untilMs: Number.POSITIVE_INFINITY };
    for (const pid of pids) this.#leaving.set(pid, span);
    return () => void (span.untilMs = performance.now() + HEARD_MS);
  }

  /** They were not told after all. */
  stay(pids: readonly number[]): void {
    for (const pid of pids) this.#leaving.delete(pid);
  }

  /**
   * Why a question got no answer.
   *
   * @param pid whose connection it was on; null: nobody knows
   * @param isTold whether the protocol tells a client before the process ends: then its end is no excuse
   */
  excuse(pid: number | null, askedAtMs: number, isTold: boolean): "killed" | "again" | null {
    if (happened(this.#killed, pid, askedAtMs)) return "killed";
    return !isTold && happened(this.#leaving, pid, askedAtMs) ? "again" : null;
  }
}

function happened(spans: ReadonlyMap<number, Span>, pid: number | null, askedAtMs: number): boolean {
  const found = pid === null ? [...spans.values()] : [spans.get(pid)];
  return found.some((span) => span !== undefined && span.fromMs <= performance.now() && askedAtMs <= span.untilMs);
}
