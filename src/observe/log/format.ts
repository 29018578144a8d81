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
  /** The text before the message. */
  readonly tags: string;
  /** The tag of `withTag`; "": none. */
  readonly tag: string;
  readonly fields: LogFields;
  readonly values: readonly unknown[];
}

/** The most characters of one message. The rest is left out: values of a module or a peer must not fill the log. */
const MAX_MESSAGE_CHARS = 65_536;

const COLOURS: Record<LogLevel, number> = { critical: 35, error: 31, warn: 33, info: 36, debug: 90, trace: 90 };

/** @returns the event with its line feed. Text: further lines are indented. JSON: one line. */
export function formatEvent(event: LogEvent, format: LogFormat, hasColours: boolean): string {
  return format === "json" ? formatJson(event) : formatText(event, hasColours);
}

function formatText({ time, level, tags, values }: LogEvent, hasColours: boolean): string {
  // Only the rarest level is longer.
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

/** @param isToldElsewhere the error has its own field, so only the first line is shown */
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

/** Shows a value in an event: text unchanged, objects on one line, errors with their stack and causes. */
export function showValue(value: unknown, colors: boolean): string {
  if (typeof value === "string") return value;
  try {
    return inspect(value, { colors, breakLength: Infinity, compact: true, depth: 4 });
  } catch {
    // A getter or an inspect method may throw. Logging must not become an error of the module.
    return "[what cannot be shown]";
  }
}

function cut(text: string): string {
  if (text.length <= MAX_MESSAGE_CHARS) return text;
  return `${text.slice(0, MAX_MESSAGE_CHARS)}… ${text.length - MAX_MESSAGE_CHARS} more characters`;
}
