/**
 * What the processes of one server tell each other before any of them swaps, and how it is decided: a module is swapped
 * in all of them or in none.
 */

/** What one process would do about one module. Plain data. */
export interface ModuleProposal {
  readonly name: string;
  /** candidate: a version is started and waits for the swap. removed: it is to be unloaded. */
  readonly outcome: "candidate" | "failed" | "removed" | "unchanged";
  /** What it would serve from then on, as `identityOf` has it; of a failure, what serves still. null: nothing. */
  readonly hash: string | null;
  /** Of a failure: cause, place and code frame. */
  readonly error: string | null;
}

/** What one process would do. Plain data: it crosses processes. */
export interface Proposal {
  /** Why this process refuses the reload as a whole; `modules` is empty then. null: it does not. */
  readonly error: string | null;
  /** Those that were looked at. */
  readonly modules: readonly ModuleProposal[];
}

/** What all processes are to do, each the same. Plain data. */
export interface Agreement {
  /** Why nothing at all is changed. null: what is not refused is swapped. */
  readonly error: string | null;
  /** Modules that stay as they are, each with the reason. */
  readonly refused: Readonly<Record<string, string>>;
}

const MOVED = "its files changed while it was being loaded; reload again";

/**
 * Decides what is swapped.
 *
 * - A module is swapped, or unloaded, where that leaves every process with the same version of it. A process that has
 *   this version already (it was started in place of a lost one, or the rest were left behind) does not stand in the
 *   way.
 * - One failure to prepare refuses the module everywhere, with the process named.
 * - Processes that would end up with different versions keep what they have: the files changed between their looks.
 * - What no process would change, and is not the same everywhere, is told as a failure: a process serves something else
 *   than the rest.
 * - One process that refuses the whole reload refuses it for all.
 * - A process that died while preparing has no proposal and no say: the others decide alone, and what is started in its
 *   place takes over what they serve (`Registry.load`). The same holds for one that did not answer in time, if it is
 *   ended: left alive, it would go on serving what it has.
 *
 * @param proposals by process number, of the same reload; the numbers stand in the reasons
 */
export function decide(proposals: ReadonlyMap<number, Proposal>): Agreement {
  for (const [slot, { error }] of proposals)
    if (error !== null) return { error: `process ${slot}: ${error}`, refused: {} };
  const names = new Set([...proposals.values()].flatMap(({ modules }) => modules.map(({ name }) => name)));
  const refused: Record<string, string> = {};
  for (const name of names) {
    const reason = refusalOf(viewsOf(name, proposals));
    if (reason !== null) refused[name] = reason;
  }
  return { error: null, refused };
}

interface View {
  readonly slot: number;
  readonly outcome: ModuleProposal["outcome"];
  readonly hash: string | null;
  readonly error: string | null;
}

/** A process that does not speak of a module neither has it nor found it. */
function viewsOf(name: string, proposals: ReadonlyMap<number, Proposal>): View[] {
  return [...proposals].map(([slot, { modules }]) => {
    const { outcome, hash, error } = modules.find((module) => module.name === name) ?? ABSENT;
    return { slot, outcome, hash: outcome === "removed" ? null : hash, error };
  });
}

const ABSENT = { outcome: "removed", hash: null, error: null } as const;

function refusalOf(views: readonly View[]): string | null {
  const failed = views.filter(({ outcome }) => outcome === "failed");
  // Where it failed everywhere, everybody knows their own reason.
  if (failed.length === views.length) return null;
  if (failed.length > 0) return failureText(failed);
  if (views.every(({ hash }) => hash === views[0]?.hash)) return null;
  if (views.some(({ outcome }) => outcome === "candidate")) return MOVED;
  return views.every(({ outcome }) => outcome === "unchanged") ? strangersText(views) : MOVED;
}

function failureText(failed: readonly View[]): string {
  const error = failed[0]?.error ?? "unknown error";
  return `${processes(failed.filter((view) => view.error === error))}: ${error}`;
}

/** Names those that most others don't agree with; between equals, the first ones count as the rest. */
function strangersText(views: readonly View[]): string {
  const votes = (hash: string | null): number => views.filter((view) => view.hash === hash).length;
  const most = views.reduce((best, view) => (votes(view.hash) > votes(best.hash) ? view : best));
  const strangers = views.filter(({ hash }) => hash !== most.hash);
  return `${processes(strangers)} ${strangers.length === 1 ? "serves" : "serve"} another version of it than the rest; restart the server's processes`;
}

function processes(views: readonly View[]): string {
  const slots = views.map(({ slot }) => slot).join(", ");
  return views.length === 1 ? `process ${slots}` : `processes ${slots}`;
}

/** The vote in the middle of a reload: waits until each process has said what it could load, then tells each what to leave. */
export class Round {
  readonly #awaited: Set<number>;
  readonly #proposals = new Map<number, Proposal>();
  readonly #decided = Promise.withResolvers<Agreement>();

  /** @param slots the processes that were asked to reload */
  constructor(slots: readonly number[]) {
    this.#awaited = new Set(slots);
  }

  /** @returns what process `slot` must not swap to, once all have proposed or are gone */
  propose(slot: number, proposal: Proposal): Promise<Agreement> {
    this.#proposals.set(slot, proposal);
    this.lost(slot);
    return this.#decided.promise;
  }

  /** Process `slot` will say nothing (more). */
  lost(slot: number): void {
    if (!this.#awaited.delete(slot) || this.#awaited.size > 0) return;
    this.#decided.resolve(decide(this.#proposals));
  }
}
