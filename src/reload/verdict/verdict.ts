/** The verdict of a reload: the same text for RELOAD, the log and the command line. */
/** The phases of a reload. */
export const PHASES = ["build", "load", "start", "agree", "swap"] as const;
/**
 * build: looking for changes and bundling. load: the probe and the import. start: setup and check, in this thread and
 * on the pool. agree: waiting for the server's other processes. swap: the routing table, and the start of the old
 * versions' drain.
 */
export type Phase = (typeof PHASES)[number];

/** In milliseconds, over all modules of a reload. */
export type PhaseTimes = Record<Phase, number>;

export function noTimes(): PhaseTimes {
  return { build: 0, load: 0, start: 0, agree: 0, swap: 0 };
}

export type Outcome = "loaded" | "swapped" | "unchanged" | "unloaded" | "failed";

/**
 * Why a module was not loaded. broken: its files, its setup or its check. conflict: another module has its key or its
 * name. refused: it failed in another process, but not in this one. unknown: no module has the name.
 */
export type FailureCode = "broken" | "conflict" | "refused" | "unknown";

/** Plain data, dates included: it crosses processes by structured clone. */
export interface ModuleVerdict {
  name: string;
  outcome: Outcome;
  /** The version that serves now; null: none. */
  version: number | null;
  /** The version that served before; null: none. */
  previous: number | null;
  /** When the serving version was loaded. For a failed reload, whose last good version still serves. */
  servingSince: Date | null;
  /** Further facts, such as state that was not handed over. */
  notes: string[];
  /** Replaced versions that are still in memory. */
  draining: { version: number; inFlight: number }[];
  /** Cause, position and code frame of a failure. Several lines. */
  error: string | null;
  /** null: it did not fail. */
  code: FailureCode | null;
}

export interface Verdict {
  ok: boolean;
  modules: ModuleVerdict[];
  elapsedMs: number;
  /** Connections cut so that this reload could happen. */
  dropped: number;
  phases: PhaseTimes;
  /** How many processes the verdict covers. */
  processes: number;
}

const MEND = "Mend the file and send RELOAD again.";

/**
 * The first word is OK or ERR; one line for each module that changed or failed; a failure's frame is indented below it.
 *
 * @param advice what to do about a failed module; "" for nothing
 */
export function verdictText(verdict: Verdict, advice = MEND): string {
  const told = verdict.modules.filter(isTold);
  const isSingle = told.length === 1 && verdict.ok;
  // One unchanged module with notes gets a line of its own; several share one.
  const unchanged = isSingle
    ? verdict.modules.length - 1
    : verdict.modules.filter(({ outcome }) => outcome === "unchanged").length;
  const time = `${formatMs(verdict.elapsedMs)} ms${verdict.processes > 1 ? ` in ${verdict.processes} processes` : ""}`;
  const dropped = `${verdict.dropped} ${plural(verdict.dropped, "connection")} dropped`;
  const rest = unchanged > 0 || told.length === 0 ? `${unchanged} ${plural(unchanged, "module")} unchanged` : null;
  const first = told[0];
  if (first === undefined) return `OK ${rest} (${time})\n`;
  if (isSingle) {
    const head = [`OK ${summarise(first)} in ${time}, ${dropped}`, ...notesOf(first), ...(rest === null ? [] : [rest])];
    return `${head.join("; ")}\n`;
  }
  const failed = told.filter((module) => module.outcome === "failed").length;
  const done = told.filter(({ outcome }) => outcome !== "failed" && outcome !== "unchanged").length;
  const counts = [
    ...(failed > 0 ? [`${failed} ${plural(failed, "module")} failed`] : []),
    ...(done > 0 ? [`${done} ${plural(done, "module")} changed`] : []),
    ...(rest === null ? [] : [rest]),
  ];
  const lines = [`${verdict.ok ? "OK" : "ERR"} ${counts.join(", ")} in ${time}, ${dropped}`];
  for (const module of told) lines.push(...moduleLines(module, advice));
  return `${lines.join("\n")}\n`;
}

/** Whether the module gets a line. An unchanged one does only if it has notes. */
export function isTold({ outcome, notes }: ModuleVerdict): boolean {
  return outcome !== "unchanged" || notes.length > 0;
}

/** The end of a module's line: its notes, and the old versions that still have open work, each in a few words. */
export function notesOf({ notes, draining }: ModuleVerdict): string[] {
  return [...notes, ...draining.map(({ version, inFlight }) => `v${version} drains, ${inFlight} under way`)];
}

function moduleLines(module: ModuleVerdict, advice: string): string[] {
  if (module.outcome !== "failed") return [`  ${[summarise(module), ...notesOf(module)].join("; ")}`];
  const stays = module.code === "unknown" ? "HELP lists the modules." : `${staysText(module)} ${advice}`.trimEnd();
  const [cause, ...frame] = (module.error ?? "unknown error").trimEnd().split("\n");
  return [`  ${module.name} was not loaded: ${cause}`, ...frame.map((line) => `    ${line}`), `    ${stays}`];
}

function staysText({ version, servingSince }: ModuleVerdict): string {
  if (version === null || servingSince === null) return "Nothing of it is served.";
  return `v${version}, loaded at ${servingSince.toISOString().slice(11, 19)} UTC, goes on serving.`;
}

function summarise(module: ModuleVerdict): string {
  if (module.outcome === "unloaded") return `${module.name} unloaded (was v${module.previous})`;
  if (module.outcome === "unchanged") return `${module.name} v${module.version} unchanged`;
  if (module.outcome === "loaded") return `${module.name} v${module.version} loaded`;
  return `${module.name} v${module.version} (was v${module.previous}) swapped`;
}

function formatMs(ms: number): string {
  return String(Math.max(1, Math.round(ms)));
}

function plural(count: number, noun: string): string {
  return count === 1 ? noun : `${noun}s`;
}
