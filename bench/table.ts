/** Figures and the table they go into. */
import type { Line } from "./bench";
import type { Comparison, SideResult } from "./compare";
import { median, percentile } from "./statistics";

const COLUMNS = ["what", "hrmr", "bound", "result", "spread", "target", ""] as const;
const WIDTHS = [46, 22, 22, 10, 15, 8, 6];

export function tableHead(): string {
  return `${row(COLUMNS)}\n${row(WIDTHS.map((width) => "-".repeat(width)))}`;
}

export function tableLine(line: Line): string {
  const verdict = line.isMet === null ? "" : line.isMet ? "ok" : "MISSED";
  return row([line.title, line.hrmr, line.bound, line.result, line.spread, line.target, verdict]);
}

function row(cells: readonly string[]): string {
  return cells
    .map((cell, at) => (at > 0 && at < 6 ? cell.padStart(WIDTHS[at] ?? 0) : cell.padEnd(WIDTHS[at] ?? 0)))
    .join("  ")
    .trimEnd();
}

/** @param most the target: CPU time at most this many times the bound's; null: none */
export function comparisonLine(
  title: string,
  { hrmr, bound, ratio, lowest, highest }: Comparison,
  most: number | null,
): Line {
  return {
    title,
    hrmr: sideText(hrmr),
    bound: sideText(bound),
    result: ratio.toFixed(2),
    spread: `${lowest.toFixed(2)}..${highest.toFixed(2)}`,
    target: most === null ? "" : `<= ${most.toFixed(2)}`,
    // Compares the rounded number, as it is printed: a 1.10 that misses 1.10 would puzzle the reader.
    isMet: most === null ? null : Number(ratio.toFixed(2)) <= most,
  };
}

/** Requests a second. @param least the target: at least so many times the bound's; null: none */
export function rateLine(title: string, { hrmr, bound, gains }: Comparison, least: number | null): Line {
  const gain = median(gains).toFixed(2);
  return {
    title,
    hrmr: sideText(hrmr),
    bound: sideText(bound),
    result: `${gain}x`,
    spread: `${Math.min(...gains).toFixed(2)}..${Math.max(...gains).toFixed(2)}`,
    target: least === null ? "" : `>= ${least.toFixed(2)}x`,
    isMet: least === null ? null : Number(gain) >= least,
  };
}

/** A row that this machine cannot run. @param reason in words */
export function skippedLine(title: string, reason: string): Line {
  return { title, hrmr: `not run: ${reason}`, bound: "", result: "", spread: "", target: "", isMet: null };
}

/** A row that met a wrong reply, or none. */
export function failedLine(title: string): Line {
  return { title, hrmr: "FAILED: see below", bound: "", result: "", spread: "", target: "", isMet: null };
}

function sideText({ requestsPerSecond, cpuMicros }: SideResult): string {
  return `${Math.round(requestsPerSecond)}/s ${cpuMicros.toFixed(2)} us`;
}

/** A line about a time, a size or a count with an upper target. */
export function figureLine(figure: {
  title: string;
  value: number;
  most: number;
  unit: string;
  digits?: number;
  hrmr?: string;
  bound?: string;
  spread?: string;
}): Line {
  const { title, value, most, unit, digits = 1, hrmr = "", bound = "", spread = "" } = figure;
  const text = value.toFixed(digits);
  return {
    title,
    hrmr,
    bound,
    result: `${text}${unit}`,
    spread,
    target: `<= ${most}${unit}`,
    isMet: Number(text) <= most,
  };
}

/** "4.1..9.0": from the lowest to the 95th percentile. */
export function spreadText(values: readonly number[], digits = 1): string {
  return `${percentile(values, 0).toFixed(digits)}..${percentile(values, 0.95).toFixed(digits)}`;
}
