/** The table at the end, and its faults. */
import type { Chaos } from "./chaos";
import type { Slope } from "./memory";
import type { LogCounts } from "./server";
import { OUTCOMES, type Tally } from "./tally";

export interface Findings {
  readonly tally: Tally;
  readonly chaos: Pick<Chaos, "counts" | "problems" | "recoveriesMs" | "kills">;
  readonly log: LogCounts;
  readonly slopes: readonly Slope[];
  /** Of all processes together, without clients. */
  readonly descriptors: { readonly begin: number; readonly end: number; readonly processes: number };
  /** Connections that the server thought open at the end, when no client was left. */
  readonly leftOpen: number;
}

/** Growth of a process in a minute that is no leak: the collector may run late. In MB. */
const MOST_MB_PER_MINUTE = 15;
/**
 * Live objects after a collection may differ by this much, such as compiled code and bodies. More growth is a leak. In
 * MB.
 */
const MOST_LIVE_MB = 16;
/** Descriptors that each process may gain: a later thread, a cache. */
const MORE_DESCRIPTORS = 6;

/** @returns the faults, a line each; empty: all is well */
export function verdictOf({ tally, chaos, log, slopes, descriptors, leftOpen }: Findings): string[] {
  const off: string[] = [];
  const say = (isOff: boolean, text: string) => void (isOff && off.push(text));
  say(tally.total("wrong") > 0, `${tally.total("wrong")} wrong answers`);
  say(tally.total("lost") > 0, `${tally.total("lost")} lost without an excuse`);
  for (const [protocol, counts] of tally.counts) say(counts.right === 0, `${protocol}: no right answer at all`);
  say(log.deaths !== chaos.kills, `${log.deaths} processes ended unasked, of which ${chaos.kills} were killed here`);
  for (const problem of chaos.problems) off.push(problem);
  for (const [line, count] of log.strange) off.push(`${count} times in the log: ${line.slice(0, 300)}`);
  for (const { pid, mbPerMinute } of slopes)
    say(mbPerMinute > MOST_MB_PER_MINUTE, `pid ${pid} grows by ${mbPerMinute.toFixed(1)} MB a minute`);
  for (const { pid, live } of slopes)
    say(
      live !== null && live.toMb - live.fromMb > MOST_LIVE_MB,
      `pid ${pid} has ${live?.fromMb.toFixed(1)} to ${live?.toMb.toFixed(1)} MB of live objects`,
    );
  const most = descriptors.begin + MORE_DESCRIPTORS * descriptors.processes;
  say(
    descriptors.end > most,
    `${descriptors.end} descriptors are open at the end, ${descriptors.begin} were at the begin`,
  );
  say(leftOpen > 0, `${leftOpen} connections are open with no client left`);
  return off;
}

export function reportText(findings: Findings): string {
  const { tally, chaos, log, slopes, descriptors } = findings;
  const lines = [row(["protocol", ...OUTCOMES]), row(["-".repeat(22), ...OUTCOMES.map(() => "-".repeat(8))])];
  for (const [protocol, counts] of [...tally.counts].sort())
    lines.push(row([protocol, ...OUTCOMES.map((outcome) => String(counts[outcome]))]));
  lines.push(row(["all", ...OUTCOMES.map((outcome) => String(tally.total(outcome)))]), "");
  for (const [problem, count] of tally.problems) lines.push(`${String(count).padStart(6)}  ${problem}`);
  lines.push(
    `happened        ${[...chaos.counts]
      .filter(([name]) => !name.includes(":"))
      .map(([name, count]) => `${name} ${count}`)
      .join(", ")}`,
  );
  const { recoveriesMs } = chaos;
  if (recoveriesMs.length > 0)
    lines.push(
      `after a kill    all processes were back in ${ms(Math.min(...recoveriesMs))} to ${ms(Math.max(...recoveriesMs))}`,
    );
  lines.push(`longest answer  ${ms(tally.longestMs)}`);
  for (const { pid, fromMb, toMb, mbPerMinute, live } of slopes) {
    const alive = live === null ? "" : `; live ${live.fromMb.toFixed(1)} to ${live.toMb.toFixed(1)} MB`;
    lines.push(
      `memory          pid ${pid}: ${fromMb.toFixed(0)} to ${toMb.toFixed(0)} MB, ${mbPerMinute.toFixed(1)} MB a minute (limit ${MOST_MB_PER_MINUTE})${alive}`,
    );
  }
  lines.push(
    `descriptors     ${descriptors.begin} at the begin, ${descriptors.end} at the end, ${descriptors.processes} processes`,
  );
  lines.push(`log lines       ${[...log.levels].map(([level, count]) => `${level} ${count}`).join(", ")}`);
  return lines.join("\n");
}

function row([first = "", ...rest]: readonly string[]): string {
  return [first.padEnd(22), ...rest.map((cell) => cell.padStart(8))].join("  ");
}

function ms(value: number): string {
  return `${Math.round(value)} ms`;
}
