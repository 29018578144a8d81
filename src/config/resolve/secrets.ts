/**
 * Hides secrets of the configuration: in `hrmr config`, in GET /v1/config, and in messages that quote a value.
 */
import { CONFIG_KEYS, MODULE_KEYS } from "../schema/key-list";
import { MASK, maskUrls } from "../quoted";

/** Settings of the shipped modules that may be shown. Secret ones, such as `access.tokens`, are not in the list. */
export const HARMLESS_SETTINGS: Readonly<Record<string, readonly string[]>> = {
  http: [
    "root",
    "index",
    "notFound",
    "fallback",
    "listing",
    "cacheControl",
    "cacheBytes",
    "cacheFileBytes",
    "compress",
    "compressMinBytes",
    "compressMaxBytes",
  ],
  access: ["open"],
  events: ["topics", "emit", "heartbeatMs"],
  store: ["resp", "http", "rpc", "mcp", "heartbeatMs", "topics", "emit"],
};

/**
 * Masks a module's setting unless it is known to be harmless. Only the author knows which settings are secret; names
 * such as `auth` or `dsn` do not say it. Harmless are the server's own settings (`run`, `timeouts`), HARMLESS_SETTINGS,
 * and values that are true, false, null or empty.
 *
 * @param path  `["modules", NAME, KEY]`, or deeper
 * @returns `value` without secrets of URLs, or ***
 */
export function maskSetting(path: readonly string[], value: unknown): unknown {
  const [, module = "", ...rest] = path;
  const isHarmless = rest.length === 0 || MODULE_KEYS.has(rest.join(".")) || isShipped(module, rest[0] ?? "");
  return isHarmless || isBlank(value) ? maskUrls(value) : MASK;
}

function isShipped(module: string, key: string): boolean {
  return Object.hasOwn(HARMLESS_SETTINGS, module) && (HARMLESS_SETTINGS[module] ?? []).includes(key);
}

function isBlank(value: unknown): boolean {
  if (value === null || typeof value === "boolean" || value === "") return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}

/** Keys whose values may be shown in a line of the config file. */
const KNOWN_NAMES = new Set([...CONFIG_KEYS.values(), ...MODULE_KEYS.values()].map(({ path }) => path.at(-1)));
/** A quoted text, even without its end; a mark; a word. */
const TOKEN = /"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|[{}[\],:=]|[^\s"'{}[\],:=]+/g;

/**
 * A line of a broken config file, as its message shows it: keys, marks, and the values of the server's own keys. The
 * file could not be parsed, so the group of the line is not known.
 *
 * @returns "" if no part of it can be shown
 */
export function maskLine(line: string): string {
  const text = line.trim().slice(0, 100);
  // The header of a TOML table has no value.
  if (/^\[[\w."-]+\]$/.test(text)) return text;
  let before = "";
  let key = "";
  let isInObject = false;
  const shown = text.replaceAll(TOKEN, (token, at: number) => {
    const last = before;
    before = token;
    if (/^[{}[\],:=]$/.test(token)) {
      isInObject ||= token === "{";
      return token;
    }
    const mayBeKey = last === "" || last === "-" || last === "{" || (last === "," && isInObject);
    const name = token.replaceAll(/["']/g, "");
    // An = at the end of base64 does not make it a key.
    const isKey =
      KNOWN_NAMES.has(name) || (/^[\w.$@-]+$/.test(name) && /^\s*(?::|=\s*[^\s=])/.test(text.slice(at + token.length)));
    if (mayBeKey && isKey) {
      key = name;
      return token;
    }
    return KNOWN_NAMES.has(key) || (token === "-" && last === "") ? token : MASK;
  });
  return /[\w{}[\]]/.test(shown) ? maskUrls(shown) : "";
}

/** A parser's message without the words that it quotes from the file. */
export function maskParserMessage(message: string): string {
  return message
    .replaceAll(/"+[^"]*"+/g, (quotedText) => (/\w/.test(quotedText) ? MASK : quotedText))
    .replaceAll(/(?<=Unexpected )(?!token\b|end\b|EOF\b|identifier\b|string\b|number\b)\S*\w\S*/g, MASK);
}
