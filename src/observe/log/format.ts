/**
 * An event as a line: for people, or as JSON. Pure; never throws, whatever a module hands over.
 */
import { inspect } from "node:util";
import type { LogFormat, LogLevel } from "../../config/options";
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
    return "[a value that cannot be shown]";
  }
}

function cut(text: string): string {
  if (text.length <= MAX_MESSAGE_CHARS) return text;
  return `${text.slice(0, MAX_MESSAGE_CHARS)}… ${text.length - MAX_MESSAGE_CHARS} more characters`;
}

/**
 * C0 without tab and line feed, DEL, C1, the two line separators of Unicode, and characters that turn the direction of
 * writing.
 */
const UNSAFE = "\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069";
const UNSAFE_ONE = new RegExp(`[${UNSAFE}]`, "g");
const NEEDS_WORK = new RegExp(`[\\t\\n${UNSAFE}]`);
/** JSON escapes C0 itself. */
const UNSAFE_IN_JSON = /[\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Colours and weights, as console libraries write them. A separate 8 is not allowed: it hides text. */
const COLOUR = new RegExp(String.raw`\u001b\[(?!(?:[\d;]*;)?0*8[;m])[\d;]{0,20}m`, "g");
const RESET = "\u001b[0m";

const NAMED: Record<string, string> = { "\t": "\\t", "\r": "\\r" };

/**
 * A message as one event of the text format: its lines but the first are indented.
 *
 * @param hasColours true: colours stay, and end with the event. false: they are removed
 */
export function escapeText(text: string, hasColours: boolean): string {
  if (!NEEDS_WORK.test(text)) return text;
  if (!text.includes("\u001b[")) return escapeLines(text);
  if (!hasColours) return escapeLines(text.replace(COLOUR, ""));
  const colours = text.match(COLOUR) ?? [];
  const escaped = text.split(COLOUR).map(escapeLines);
  return escaped.map((part, at) => part + (colours[at] ?? "")).join("") + (colours.length > 0 ? RESET : "");
}

/** @param json the text of a JSON value without line breaks */
function escapeJson(json: string): string {
  return json.replace(UNSAFE_IN_JSON, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** Removes a module's own colours. */
function stripColours(text: string): string {
  return text.includes("\u001b[") ? text.replace(COLOUR, "") : text;
}

function escapeLines(text: string): string {
  const [first = "", ...rest] = text.replaceAll("\r\n", "\n").split("\n");
  // Code frames stand in lines of their own, and their columns are right only with their tabs.
  return [first.replaceAll("\t", "\\t"), ...rest].map((line) => line.replace(UNSAFE_ONE, escapeChar)).join("\n    ");
}

function escapeChar(char: string): string {
  const code = char.charCodeAt(0);
  return NAMED[char] ?? (code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16)}`);
}
