/**
 * Scopes: what a token allows. A scope is an area and, behind a colon, names: `rpc:accounts.get`,
 * `store:scores:read`. A `*` stands for one whole name (`store:*:read`), or at the end for all that follows
 * (`rpc:accounts.*`, `events:user*`). The areas `http` and `admin` have no names. Pure functions.
 */
import { suggest } from "../../config/nearest";
import { quoted } from "../../config/quoted";

/** The areas, each with an example. `app` is for the modules' own scopes, which the server never asks for. */
const AREAS: Readonly<Record<string, string>> = {
  rpc: "rpc:accounts.*",
  events: "events:user.*",
  store: "store:scores:read",
  http: "http",
  admin: "admin",
  app: "app:reports",
};
/** Areas without names behind them. */
const PLAIN = new Set(["http", "admin"]);
/** For messages. */
export const SCOPE_FORMS = Object.values(AREAS).join(", ");

const MAX_SCOPE_CHARS = 256;
const DOT = 46;
const COLON = 58;
const STAR = 42;

/**
 * Checks a scope as a person wrote it.
 *
 * @returns null for a valid scope; else the reason, as a sentence without a full stop
 */
export function scopeMistake(text: string): string | null {
  const colon = text.indexOf(":");
  const area = colon === -1 ? text : text.slice(0, colon);
  const names = colon === -1 ? null : text.slice(colon + 1);
  if (text.length > MAX_SCOPE_CHARS)
    return `a scope has at most ${MAX_SCOPE_CHARS} characters, and one has ${text.length}`;
  if (!Object.hasOwn(AREAS, area)) {
    const near = suggest(area, Object.keys(AREAS));
    return `${quoted(text)} is not a scope: it begins with none of ${Object.keys(AREAS).join(", ")}${near === "" ? "" : `. ${near.replace(/\?$/, "")}`}`;
  }
  const example = AREAS[area] as string;
  if (PLAIN.has(area)) return names === null ? null : `${quoted(text)} is not a scope: write ${area} alone`;
  if (names === null || names === "") return `${quoted(text)} names nothing: write ${example}, or ${area}:* for all`;
  if (/[\s"'`\\,]/.test(names) || /\p{Cc}/u.test(names))
    return `${quoted(text)} is not a scope: a space, a comma, a quote, a backslash or a control character is in it`;
  if (names.split(/[.:]/).includes("")) return `${quoted(text)} is not a scope: a name in it is empty`;
  // "a*b" and "a*.b" would be read in two ways.
  if (/\*(?!$|[.:])|[^.:]\*(?!$)/.test(names))
    return `${quoted(text)} is not a scope: * stands for a whole name, or at the end for all that follows`;
  return null;
}

/**
 * Whether a scope allows an action. An action may hold any text, also that of a client.
 *
 * @param scope   without a mistake
 * @param action  "rpc:accounts.get". With a `*` of its own, as a subscription has, it is allowed only as a whole
 */
export function allows(scope: string, action: string): boolean {
  let at = 0;
  for (let i = 0; i < scope.length; i++) {
    const code = scope.charCodeAt(i);
    if (code !== STAR) {
      if (code !== action.charCodeAt(at++)) return false;
      continue;
    }
    // At the end. A whole name must be there; the rest of one may be empty.
    if (i === scope.length - 1) return at < action.length || !isDelimiter(scope.charCodeAt(i - 1));
    const from = at;
    while (at < action.length && !isDelimiter(action.charCodeAt(at))) at++;
    if (at === from) return false;
  }
  return at === action.length;
}

function isDelimiter(code: number): boolean {
  return code === DOT || code === COLON;
}
