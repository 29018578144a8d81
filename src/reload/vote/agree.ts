/** The vote of a server's processes before any of them swaps: a module is swapped in all of them or in none. */

/** One process's proposal for one module. Plain data. */
export interface ModuleProposal {
  readonly name: string;
  /** candidate: a version is started and waits for the swap. removed: it is to be unloaded. */
  readonly outcome: "candidate" | "failed" | "removed" | "unchanged";
  /**
   * The identity (`identityOf`) of the version that it would serve; after a failure, of the version that still serves.
   * null: none.
   */
  readonly hash: string | null;
  /** For a failure: cause, position and code frame. */
  readonly error: string | null;
}

/** One process's proposal. Plain data: it crosses processes. */
export interface Proposal {
  /** Why this process refuses the reload as a whole; `modules` is empty then. null: it does not. */
  readonly error: string | null;
  /** The modules of the reload. */
  readonly modules: readonly ModuleProposal[];
}

/** The decision for all processes. Plain data. */
export interface Agreement {
  /** Why nothing at all changes. null: modules that are not refused are swapped. */
  readonly error: string | null;
  /** Modules that stay unchanged, each with the reason. */
  readonly refused: Readonly<Record<string, string>>;
}

const MOVED = "its files changed while it was being loaded; reload again";

/**
 * Decides which modules are swapped.
 *
 * - A module is swapped, or unloaded, if every process then has the same version of it. A process that has this version
 *   already (it replaced a lost one, or the rest fell behind) does not prevent it.
 * - One failure to prepare refuses the module everywhere, with the process named.
 * - If processes would get different versions, all keep theirs: the files changed between their looks.
 * - If no process would change a module, but their versions differ, that is a failure: a process serves another version
 *   than the rest.
 * - One process that refuses the whole reload refuses it for all.
 * - A process that died while preparing has no vote: the others decide, and its replacement takes over their versions
 *   (`Registry.load`). The same holds for a process that did not answer in time, if it is ended; otherwise it would
 *   keep serving its old versions.
 *
 * @param proposals by process number, of the same reload; the reasons name the numbers
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

/** A process without a proposal for a module neither has nor found it. */
function viewsOf(name: string, proposals: ReadonlyMap<number, Proposal>): View[] {
  return [...proposals].map(([slot, { modules }]) => {
    const { outcome, hash, error } = modules.find((module) => module.name === name) ?? ABSENT;
    return { slot, outcome, hash: outcome === "removed" ? null : hash, error };
  });
}

const ABSENT = { outcome: "removed", hash: null, error: null } as const;

function refusalOf(views: readonly View[]): string | null {
  const failed = views.filter(({ outcome }) => outcome === "failed");
  // If it failed in all processes, each has its own reason.
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

/** Names the processes of the minority. In a tie, the first ones count as the majority. */
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

/** The vote in the middle of a reload: waits for the proposals of all processes, then gives each the decision. */
export class Round {
  readonly #awaited: Set<number>;
  readonly #proposals = new Map<number, Proposal>();
  readonly #decided = Promise.withResolvers<Agreement>();

  /** @param slots the processes that were asked to reload */
  constructor(slots: readonly number[]) {
    this.#awaited = new Set(slots);
  }

  /** @returns the decision, once all have proposed or are gone */
  propose(slot: number, proposal: Proposal): Promise<Agreement> {
    this.#proposals.set(slot, proposal);
    this.lost(slot);
    return this.#decided.promise;
  }

  /** Process `slot` will not propose any more. */
  lost(slot: number): void {
    if (!this.#awaited.delete(slot) || this.#awaited.size > 0) return;
    this.#decided.resolve(decide(this.#proposals));
  }
}
