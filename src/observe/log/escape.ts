/**
 * Escapes log lines. No character may control a terminal, end a line early, or change the order in which text is shown.
 */

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
export function escapeJson(json: string): string {
  return json.replace(UNSAFE_IN_JSON, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** Removes a module's own colours. */
export function stripColours(text: string): string {
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
