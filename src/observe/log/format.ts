/**
 * An event as a line: for people, or as JSON. Pure; never throws, whatever a module hands over.
 */
import { inspect } from "node:util";
import type { LogFormat, LogLevel } from "../../config/options";
import { escapeJson, escapeText, stripColours } from "./escape";
import { errorData, type LogFields } from "./fields";

export interface LogEvent {
  readonly time: Date;
  readonly level: LogLevel;
  /** What stands before the message in text. */
  readonly tags: string;
  /** What was given by `withTag`; "": nothing. */
  readonly tag: string;
  readonly fields: LogFields;
  readonly values: readonly unknown[];
}

/**
 * Characters of one message; the rest is left out, for a log must not grow by what a module or a peer happened to hold.
 */
const MAX_MESSAGE_CHARS = 65_536;

const COLOURS: Record<LogLevel, number> = { critical: 35, error: 31, warn: 33, info: 36, debug: 90, trace: 90 };

/** @returns the event with its line feed. Text: what does not fit on one line follows, indented. JSON: one line. */
export function formatEvent(event: LogEvent, format: LogFormat, hasColours: boolean): string {
  return format === "json" ? formatJson(event) : formatText(event, hasColours);
}

function formatText({ time, level, tags, values }: LogEvent, hasColours: boolean): string {
  // The one level that does not fit is the rarest.
  const word = level.padEnd(5);
  const label = hasColours ? `\u001b[${COLOURS[level]}m${word}\u001b[39m` : word;
  const message = cut(values.map((value) => showValue(value, hasColours)).join(" ")).trimEnd();
  return `${time.toISOString()} ${label} ${escapeText(tags === "" ? message : `${tags} ${message}`, hasColours)}\n`;
}

function formatJson({ time, level, tag, fields, values }: LogEvent): string {
  const thrown = fields.error ?? values.find((value) => value instanceof Error);
  const line = {
    time: time.toISOString(),
    level,
    msg: messageOf(values, fields.error !== undefined),
    module: fields.module,
    generation: fields.generation,
    connection: fields.connection,
    slot: fields.slot,
    pid: process.pid,
    tag: tag === "" ? undefined : tag,
    access: fields.access,
    error: thrown === undefined ? undefined : errorData(thrown),
  };
  return `${escapeJson(JSON.stringify(line))}\n`;
}

/** @param isToldElsewhere the error has a field of its own, so that only the first line is wanted */
function messageOf(values: readonly unknown[], isToldElsewhere: boolean): string {
  const text = stripColours(
    cut(values.map((value) => (value instanceof Error ? nameOf(value) : showValue(value, false))).join(" ")),
  );
  const end = isToldElsewhere ? text.indexOf("\n") : -1;
  return (end < 0 ? text : text.slice(0, end)).trimEnd();
}

function nameOf(error: Error): string {
  const { name, message } = errorData(error);
  return `${name}: ${message}`;
}

/** What an event shows of a value: text as it is, objects on one line, errors with their stack and causes. */
export function showValue(value: unknown, colors: boolean): string {
  if (typeof value === "string") return value;
  try {
    return inspect(value, { colors, breakLength: Infinity, compact: true, depth: 4 });
  } catch {
    // A getter or an inspect method of its own that throws must not make a line of log an error of its author's.
    return "[what cannot be shown]";
  }
}

function cut(text: string): string {
  if (text.length <= MAX_MESSAGE_CHARS) return text;
  return `${text.slice(0, MAX_MESSAGE_CHARS)}… ${text.length - MAX_MESSAGE_CHARS} more characters`;
}
