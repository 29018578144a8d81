/**
 * The log: one event, one line, to stderr: `2026-11-20T12:00:00.000Z warn  greet v2 #17 message`.
 *
 * What does not fit on one line (a stack, a code frame) follows indented, so that no line but an event's first begins with a time.
 * Bytes of peers are escaped by whoever logs them.
 */
import { inspect } from "node:util";
import { createConsola, type ConsolaInstance, type LogObject } from "consola/core";
import type { Log } from "../module/contract";

export type LogLevel = "debug" | "info" | "warn" | "error";

/** The server's log. Values are joined by a space: text as it is, errors with their stack and cause, the rest as in a console. */
export interface ServerLog extends Log {
  /** A log whose lines carry `tag` behind this one's own: a module's name and version, a connection's number. */
  withTag(tag: string): ServerLog;
}

export interface LogOptions {
  /** The least that is shown. Default "info". */
  level?: LogLevel;
  /** Whether to use colours. Default: stderr is a terminal. NO_COLOR (any text but the empty one) wins. */
  isTty?: boolean;
  /** Takes each event's text, with its newline. Default: stderr. */
  write?: (text: string) => void;
}

/** consola's numbers for the levels. */
const LEVELS: Record<LogLevel, number> = { error: 0, warn: 1, info: 3, debug: 4 };

const COLOURS: Record<LogLevel, number> = { error: 31, warn: 33, info: 36, debug: 90 };

/** Makes the one log of a process; the others are made from it by `withTag`. */
export function createLog({ level = "info", isTty = process.stderr.isTTY === true, write = writeStderr }: LogOptions = {}): ServerLog {
  const hasColours = isTty && !process.env.NO_COLOR;
  const reporter = { log: (entry: LogObject) => write(formatEntry(entry, hasColours)) };
  // consola folds equal lines that come fast, and so loses their times and connections: throttle 0 lets each one through.
  return toServerLog(createConsola({ level: LEVELS[level], reporters: [reporter], throttle: 0 }));
}

function toServerLog(consola: ConsolaInstance, tags = ""): ServerLog {
  return {
    debug: (...values) => print(consola, "debug", tags, values),
    info: (...values) => print(consola, "info", tags, values),
    warn: (...values) => print(consola, "warn", tags, values),
    error: (...values) => print(consola, "error", tags, values),
    withTag: (tag) => toServerLog(consola, tags === "" ? tag : `${tags} ${tag}`),
  };
}

/** Handed over as one object: consola would take a module's `{ message, args }` apart as if it were an entry of its own. */
function print(consola: ConsolaInstance, type: LogLevel, tag: string, values: unknown[]): void {
  if (LEVELS[type] <= consola.level) consola[type]({ tag, args: values });
}

function formatEntry(entry: LogObject, hasColours: boolean): string {
  const type = entry.type as LogLevel;
  const label = hasColours ? `\u001b[${COLOURS[type]}m${type.padEnd(5)}\u001b[39m` : type.padEnd(5);
  const text = entry.args.map((value: unknown) => formatValue(value, hasColours)).join(" ");
  const tag = entry.tag === "" ? "" : `${entry.tag} `;
  return `${entry.date.toISOString()} ${label} ${tag}${text.trimEnd().replace(/\r?\n/g, "\n    ")}\n`;
}

/** Objects on one line; errors with their stack and causes. */
function formatValue(value: unknown, colors: boolean): string {
  return typeof value === "string" ? value : inspect(value, { colors, breakLength: Infinity, compact: true, depth: 4 });
}

let hasErrorListener = false;

/** A log that nobody reads any more (a closed pipe) must not end the server. */
function writeStderr(text: string): void {
  if (!hasErrorListener) {
    hasErrorListener = true;
    process.stderr.on("error", () => {});
  }
  process.stderr.write(text);
}
