/**
 * Access tokens and their records, as the tokens' file holds them. Pure, except for the random bytes of a new token.
 */
import { UserError } from "../../config/user-error";
import { quoted } from "../../config/quoted";
import { scopeMistake } from "./scopes";

/** Begins every token, so that people and scanners for secrets know one when they see it. */
export const TOKEN_PREFIX = "hrmr_";
const TOKEN_BYTES = 32;
/** Without the = at the end of base64. */
const TOKEN_CHARS = TOKEN_PREFIX.length + Math.ceil((TOKEN_BYTES * 8) / 6);

/** Whether a text has the form of a token. Other texts are refused without reading the file. */
export function isToken(text: string): boolean {
  return text.length === TOKEN_CHARS && text.startsWith(TOKEN_PREFIX);
}

/** A token as the file holds it: without the token itself. */
export interface TokenRecord {
  /** The `identity` of its sessions. Unique in a file. */
  readonly name: string;
  /** SHA-256 of the whole token, in hexadecimal. */
  readonly hash: string;
  readonly scopes: readonly string[];
  /** ISO 8601. */
  readonly created: string;
  /** ISO 8601. null: never. */
  readonly expires: string | null;
}

/** @returns a new token: the prefix, and 32 random bytes in base64url */
export function makeToken(): string {
  return TOKEN_PREFIX + crypto.getRandomValues(Buffer.alloc(TOKEN_BYTES)).toString("base64url");
}

/**
 * The hash under which a token is kept. Passwords need a slow hash, since people choose few of them. A token has 256
 * random bits: too many to try, even with a fast hash. A slow hash would cost time at each request.
 */
export function hashOf(token: string): Buffer {
  return new Bun.CryptoHasher("sha256").update(token).digest();
}

const NAME = /^[A-Za-z0-9][\w.@-]{0,63}$/;

/** @returns null for a valid name; else the reason, as a sentence without a full stop */
export function nameMistake(name: string): string | null {
  // Not quoted: it is a secret.
  if (name.startsWith(TOKEN_PREFIX)) return "a token itself cannot be a token's name";
  return NAME.test(name)
    ? null
    : `${quoted(name)} cannot be a token's name: a name has 1 to 64 letters, digits, ., _, @ and -, and begins with a letter or a digit`;
}

const UNITS_MS: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };
/** Dates beyond it cannot be written with four digits. */
const LAST_MS = Date.UTC(9999, 11, 31);

/**
 * @param text  "30d" (also m, h and w: minutes, hours, weeks), or a date in ISO 8601: "2027-01-31"
 * @returns the time of expiry; null: the text is invalid, or the time is not in the future
 */
export function expiryOf(text: string, nowMs: number): Date | null {
  const span = /^(\d{1,6})([mhdw])$/.exec(text);
  const at =
    span !== null
      ? nowMs + Number(span[1]) * (UNITS_MS[span[2] as string] as number)
      : /^\d{4}-\d\d-\d\d(T[\d:.]+(Z|[+-]\d\d:\d\d))?$/.test(text)
        ? Date.parse(text)
        : Number.NaN;
  return at > nowMs && at <= LAST_MS ? new Date(at) : null;
}

export function isExpired({ expires }: Pick<TokenRecord, "expires">, nowMs: number): boolean {
  return expires !== null && Date.parse(expires) <= nowMs;
}

const VERSION = 1;

/** @returns the file's text */
export function formatTokens(records: readonly TokenRecord[]): string {
  return `${JSON.stringify({ version: VERSION, tokens: records }, null, 2)}\n`;
}

/**
 * Reads the file's text.
 *
 * @param file  its path, for the message
 * @throws UserError TOKENS_FILE for anything that `formatTokens` does not write
 */
export function parseTokens(text: string, file: string): TokenRecord[] {
  const content = parseJson(text, file);
  const { version, tokens } = fieldsOf(content);
  if (version !== VERSION || !Array.isArray(tokens))
    throw tokensError(file, `holds no { "version": ${VERSION}, "tokens": [...] }`, HINT);
  const names = new Set<string>();
  return tokens.map((entry: unknown, at) => {
    const wrong = recordMistake(entry);
    if (wrong !== null) throw tokensError(file, `cannot be used: tokens[${at}]: ${wrong}`, HINT);
    const record = entry as TokenRecord;
    if (names.has(record.name)) throw tokensError(file, `cannot be used: it names ${quoted(record.name)} twice`, HINT);
    names.add(record.name);
    const { name, hash, scopes, created, expires } = record;
    return { name, hash, scopes, created, expires };
  });
}

const HINT = "Write it with `hrmr token add` and `hrmr token revoke` only, or take back its last good copy.";

/** A tokens' file that cannot be used. @param what  ends a sentence that begins with the file */
export function tokensError(file: string, what: string, hint: string, cause?: unknown): UserError {
  return new UserError(`The tokens' file ${file} ${what}.`, { code: "TOKENS_FILE", hint, cause });
}

function parseJson(text: string, file: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw tokensError(file, "is not JSON", HINT, cause);
  }
}

function recordMistake(entry: unknown): string | null {
  const { name, hash, scopes, created, expires } = fieldsOf(entry);
  if (typeof name !== "string") return "name must be a text";
  const wrongName = nameMistake(name);
  if (wrongName !== null) return wrongName;
  if (typeof hash !== "string" || !/^[0-9a-f]{64}$/.test(hash)) return "hash must be 64 hexadecimal digits";
  if (!Array.isArray(scopes) || !scopes.every((scope) => typeof scope === "string"))
    return "scopes must be a list of texts";
  const wrongScope = scopes.map((scope: string) => scopeMistake(scope)).find((wrong) => wrong !== null);
  if (wrongScope !== undefined) return wrongScope;
  if (!isTime(created)) return "created must be a time in ISO 8601";
  return expires === null || isTime(expires) ? null : "expires must be a time in ISO 8601, or null";
}

function isTime(value: unknown): boolean {
  return typeof value === "string" && !Number.isNaN(Date.parse(value));
}

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
