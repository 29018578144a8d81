/** Output of the commands: tables, colours, numbers and times for people, JSON for programs. */
import { styleText } from "node:util";

export type Colour = "bold" | "dim" | "red" | "green" | "yellow";
export type Paint = (text: string, colour: Colour) => string;

/**
 * @returns a function that colours text for a stream. It does nothing unless that is a terminal, and NO_COLOR is empty
 *   or not set
 */
export function paintFor(stream: { readonly isTTY?: boolean }): Paint {
  if (stream.isTTY !== true || process.env.NO_COLOR) return (text) => text;
  return (text, colour) => styleText(colour, text, { validateStream: false });
}

/** Columns that fit on a line of a stream; Infinity if it is no terminal: nothing is cut then. Default: stdout. */
export function lineWidth(stream: { isTTY?: boolean; columns?: number } = process.stdout): number {
  return stream.isTTY === true ? stream.columns || 80 : Infinity;
}

/** JSON on stdout, indented if a person looks. */
export function printJson(value: unknown): void {
  console.log(JSON.stringify(value, null, process.stdout.isTTY === true ? 2 : undefined));
}

/**
 * @returns `text` without escape sequences and control characters other than line ends: a module's error may hold any
 *   character
 */
export function cleanText(text: string): string {
  // The expression has to name control characters.
  // oxlint-disable-next-line no-control-regex
  return Bun.stripANSI(text).replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g, (char) =>
    char === "\t" ? "  " : char === "\r" ? "" : "?",
  );
}

/** Lines of at most `width` columns, broken between words. A longer word gets a line of its own. Colours go on. */
export function wrap(text: string, width: number): string[] {
  return Bun.wrapAnsi(text, width).split("\n");
}

/** The lines of a code frame, which are not broken: `4 | return 1;`, and `  |    ^` below it. */
const CODE_FRAME = /^ *(\d+ )?\|/;

/**
 * Breaks the long lines of a text between words.
 *
 * @param width  of a line, in columns. Infinity: no line is broken
 * @param indent how far the rest of a broken line stands to the right of its beginning. In columns. Default 2
 */
export function fitText(text: string, width: number, indent = 2): string {
  return text.replace(/^( *)(.*)$/gm, (line, begin: string, words: string) => {
    if (Bun.stringWidth(line) <= width || CODE_FRAME.test(line)) return line;
    const [first = "", ...rest] = wrap(words, width - begin.length);
    const behind = begin + " ".repeat(indent);
    return [begin + first, ...wrap(rest.join(" "), width - behind.length).map((each) => behind + each)].join("\n");
  });
}

export interface Column {
  readonly title: string;
  /** Default "left". */
  readonly align?: "left" | "right";
  /** Its cells may be cut if the line is too short. */
  readonly canShrink?: boolean;
  /** The last column only: if the line is too short, its cells stand below their rows. */
  readonly isNote?: boolean;
}

/** The smallest width of a cut column. */
const MIN_SHRUNK_WIDTH = 8;
const GAP = "  ";

/**
 * @param rows  a cell for each column; cells may be coloured
 * @param width of a line, in columns of the terminal; lines are longer if no column can give way
 * @returns the lines: the titles, then one for each row
 */
export function tableLines(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  width: number,
  paint: Paint,
): string[] {
  const widths = columns.map((column, at) =>
    Math.max(...[column.title, ...rows.map((row) => row[at] ?? "")].map((cell) => Bun.stringWidth(cell))),
  );
  let surplus = widths.reduce((sum, each) => sum + each, GAP.length * (columns.length - 1)) - width;
  if (surplus > 0 && columns.at(-1)?.isNote === true)
    return tableLines(columns.slice(0, -1), rows, width, paint).map((line, at) =>
      fitText(`${line}\n   ${rows[at - 1]?.at(-1) ?? ""}`.trimEnd(), Math.max(width, Bun.stringWidth(line))),
    );
  for (const [at, column] of columns.entries()) {
    const full = widths[at] as number;
    if (column.canShrink !== true || surplus <= 0) continue;
    widths[at] = Math.max(full - surplus, Math.min(full, MIN_SHRUNK_WIDTH));
    surplus -= full - widths[at];
  }
  const line = (cells: readonly string[]) =>
    columns
      .map((column, at) => fitCell(cells[at] ?? "", widths[at] as number, column.align))
      .join(GAP)
      .trimEnd();
  return [paint(line(columns.map(({ title }) => title)), "dim"), ...rows.map(line)];
}

function fitCell(cell: string, width: number, align: Column["align"]): string {
  const shown = Bun.sliceAnsi(cell, 0, width, "…");
  const padding = " ".repeat(Math.max(0, width - Bun.stringWidth(shown)));
  return align === "right" ? padding + shown : shown + padding;
}

/** `1 call`, `2 calls` */
export function plural(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** `99999`, `123k`, `1.23M`, `4.56G`: three digits at least. */
export function formatCount(count: number): string {
  if (count < 100_000) return String(count);
  const [divisor, unit] = count < 999_500 ? [1e3, "k"] : count < 999_500_000 ? [1e6, "M"] : [1e9, "G"];
  return `${(count / divisor).toPrecision(Math.max(3, String(Math.floor(count / divisor)).length))}${unit}`;
}

/** `512 B`, `61 MB`, `1.2 GB`, in powers of 1000. */
export function formatBytes(bytes: number): string {
  const [divisor, unit] = bytes < 1e3 ? [1, "B"] : bytes < 1e6 ? [1e3, "kB"] : bytes < 1e9 ? [1e6, "MB"] : [1e9, "GB"];
  const value = bytes / divisor;
  return `${divisor === 1e9 ? value.toFixed(1) : Math.round(value)} ${unit}`;
}

/** `42 s`, `12 min 5 s`, `4 h`, `3 d 4 h`: the two largest units, without zeros. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [
    [Math.floor(whole / 86_400), "d"],
    [Math.floor(whole / 3600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "min"],
    [whole % 60, "s"],
  ] as const;
  const first = parts.findIndex(([count]) => count > 0);
  if (first === -1) return "0 s";
  const told = parts.slice(first, first + 2).filter(([count]) => count > 0);
  return told.map(([count, unit]) => `${count} ${unit}`).join(" ");
}

/** `<0.1 ms`, `0.4 ms`, `31 ms`, `1.2 s`; `-` for null. */
export function formatLatency(ms: number | null): string {
  if (ms === null) return "-";
  if (ms < 0.1) return "<0.1 ms";
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  return ms < 999.5 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** Quoted if the shell would take it apart. */
export function quoteForShell(path: string): string {
  return /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}
