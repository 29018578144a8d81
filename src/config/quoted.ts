/** Values in messages: quoted, cut, and without the secrets of URLs. */

/** Shown in place of a secret. */
export const MASK = "***";

/** Parameters of a URL that are hrmr's own: the mode of `unix:///run/x.sock?mode=0660`. */
const HARMLESS_PARAMETERS = new Set(["mode"]);
/**
 * User and password of a URL: `postgres://user:password@host`. Up to the last @, since some people do not encode the @
 * and / of a password.
 */
const USER_INFO = /(?<=\b[a-z][a-z0-9+.-]*:\/\/)[^\s"']+(?=@)/gi;
/** The same of a text that is one URL as a whole: its password may also have spaces and quotes. */
const WHOLE_USER_INFO = /(?<=^\s*[a-z][a-z0-9+.-]*:\/\/).+(?=@)/is;
/** `?api_key=x`, `&sig=x`, `#access_token=x`. */
const PARAMETER = /([?&#;])([\w.~%[\]-]+)=([^\s&#;"']+)/g;

/** A quoted value is cut at this many characters. */
const MAX_QUOTED = 60;

/** @returns a copy of `value` without user info and parameters in the URLs of its texts */
export function maskUrls<Value>(value: Value): Value;
export function maskUrls(value: unknown): unknown {
  if (typeof value === "string") return maskUrl(value);
  if (Array.isArray(value)) return value.map(maskUrls);
  return isGroup(value)
    ? Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, maskUrls(inner)]))
    : value;
}

/**
 * Quotes a value for a message: JSON, cut so that the message stays one line, without secrets of URLs. The content of
 * an object is not shown: in the wrong place it may hold a secret.
 */
export function quoted(value: unknown): string {
  if (isGroup(value)) return "an object";
  const items = Array.isArray(value)
    ? value.map((item: unknown) => (isGroup(item) ? "an object" : maskWhole(item)))
    : maskWhole(value);
  const text = JSON.stringify(maskUrls(items)) ?? String(value);
  return text.length > MAX_QUOTED ? `${text.slice(0, MAX_QUOTED - 3)}...` : text;
}

function maskWhole(value: unknown): unknown {
  return typeof value === "string" ? value.replace(WHOLE_USER_INFO, MASK) : value;
}

function maskUrl(text: string): string {
  return text
    .replaceAll(USER_INFO, MASK)
    .replaceAll(PARAMETER, (all, mark: string, name: string) =>
      HARMLESS_PARAMETERS.has(name) ? all : `${mark}${name}=${MASK}`,
    );
}

/** Whether it is an object with keys: no list, no date, not null. */
export function isGroup(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}
