/**
 * Tells HTTP and TLS from other messages by their first bytes (docs/modules.md, "HTTP requests stay HTTP"). Pure: bytes
 * in, an answer out.
 */
import { NEED_MORE, NO_MATCH } from "./match";
import { PrefixTrie } from "./trie";

/**
 * The methods that llhttp parses (RFC 9110 section 9.1, RFC 5789, WebDAV). A key with another word is no HTTP key; a
 * request gets 501.
 */
export const HTTP_METHODS: ReadonlySet<string> = new Set(
  (
    "GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH ACL BIND CHECKOUT COPY LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR MKCOL " +
    "MOVE NOTIFY PROPFIND PROPPATCH PURGE QUERY REBIND REPORT SEARCH SOURCE SUBSCRIBE UNBIND UNLINK UNLOCK UNSUBSCRIBE"
  ).split(" "),
);

const HTAB = 0x09;
const LF = 0x0a;
const CR = 0x0d;
const SP = 0x20;
const ASTERISK = 0x2a;
const SLASH = 0x2f;
const COLON = 0x3a;
const TLS_HANDSHAKE = 0x16;
const TLS_MAJOR_VERSION = 0x03;

/** RFC 9110 section 9.1 and PATCH of RFC 5789. Other methods are recognized by their first line. */
const METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
/** The first line of HTTP/2's preface (RFC 9113 section 3.4), by which a message becomes HTTP. */
const HTTP2_PREFACE = "PRI * HTTP/2.0\r\n";

const METHOD_TRIE = trieOf(METHODS.map((method) => `${method} `));
const OPENING_TRIE = trieOf([...METHODS.map((method) => `${method} `), HTTP2_PREFACE]);
const ANY_METHOD_TRIE = trieOf([...HTTP_METHODS].map((method) => `${method} `));
const CONNECT_TRIE = trieOf(["CONNECT "]);
const VERSION = bytesOf(" HTTP/");

/** 1 for each byte of a token (RFC 9110 section 5.6.2). Methods and field names are tokens. */
const IS_TOKEN = new Uint8Array(256);
for (const byte of bytesOf("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"))
  IS_TOKEN[byte] = 1;
/** 1 for each byte of a URL's scheme (RFC 3986 section 3.1). */
const IS_SCHEME = new Uint8Array(256);
for (const byte of bytesOf("+-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")) IS_SCHEME[byte] = 1;

/**
 * 1 if one of the nine methods begins with these two letters; indexed by their lower bits. Rules out nearly all other
 * words.
 */
const BEGINS_METHOD = new Uint8Array(1024);
for (const method of METHODS) BEGINS_METHOD[startOf(bytesOf(method), 0)] = 1;

function startOf(bytes: Uint8Array, from: number): number {
  return (((bytes[from] as number) & 31) << 5) | ((bytes[from + 1] as number) & 31);
}

function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function trieOf(keys: readonly string[]): PrefixTrie<true> {
  return PrefixTrie.build(keys.map((key) => ({ key: bytesOf(key), value: true as const })));
}

/** The message is HTTP, well formed or not. */
export const HTTP = 1;
/** The message is not HTTP, whatever follows. */
export const NOT_HTTP = 2;
/** The message begins like a request, but its line end has not come: wait for it, up to the time limit. */
export const LINE_PENDING = 3;
/** The bytes so far decide nothing. They are no reason to wait for more. */
export const UNDECIDED = 4;
type Opening = typeof HTTP | typeof NOT_HTTP | typeof LINE_PENDING | typeof UNDECIDED;

/**
 * Decides by the first line whether a message is HTTP although a raw key matches it:
 *
 * - HTTP: `token SP target ... HTTP/d.d` where the target begins with `/`, `*` or `scheme:`; also a known method, a
 *   space, and " HTTP/" anywhere in the line. A browser's request is therefore never taken for a command, whatever its
 *   method. The preface of HTTP/2 is the first form.
 * - LINE_PENDING: `token SP`, then `/`, `*` or `scheme:` (after CONNECT anything), and no LF. A known method and its
 *   space alone, too.
 * - NOT_HTTP: a line that only mentions HTTP (`SAY I like HTTP/2`), and any line that does not begin with a word and a
 *   space.
 *
 * @param scanned the first bytes from `from` on that hold no LF, as an earlier call found. Default 0
 * Reads the first word and the start of the second. Reads further only if they look like a request. Allocates nothing.
 * Never throws.
 */
export function readOpening(bytes: Uint8Array, from: number, scanned = 0): Opening {
  let at = from;
  while (at < bytes.length && IS_TOKEN[bytes[at] as number] === 1) at++;
  if (at === bytes.length) return UNDECIDED;
  if (at === from || bytes[at] !== SP) return NOT_HTTP;
  // A request line with several spaces is malformed, but it is a request line (RFC 9112 section 3).
  while (at < bytes.length && (bytes[at] === SP || bytes[at] === HTAB)) at++;
  const target = readTargetStart(bytes, at);
  if (target === HTTP) return readFirstLine(bytes, from, scanned);
  if (BEGINS_METHOD[startOf(bytes, from)] === 0 || METHOD_TRIE.match(bytes, from, true) === NO_MATCH) return target;
  const opening = readFirstLine(bytes, from, scanned);
  const isAlone = at === bytes.length || CONNECT_TRIE.match(bytes, from, true) !== NO_MATCH;
  return opening === LINE_PENDING && !isAlone ? UNDECIDED : opening;
}

/** @returns HTTP if the bytes begin like a request's target; UNDECIDED if too few bytes have come */
function readTargetStart(bytes: Uint8Array, from: number): typeof HTTP | typeof NOT_HTTP | typeof UNDECIDED {
  let at = from;
  if (at < bytes.length && (bytes[at] === SLASH || bytes[at] === ASTERISK)) return HTTP;
  while (at < bytes.length && IS_SCHEME[bytes[at] as number] === 1) at++;
  if (at === bytes.length) return UNDECIDED;
  return at > from && bytes[at] === COLON ? HTTP : NOT_HTTP;
}

/** Judges a line whose beginning looks like a request's. */
function readFirstLine(
  bytes: Uint8Array,
  from: number,
  scanned: number,
): typeof HTTP | typeof NOT_HTTP | typeof LINE_PENDING {
  const lineEnd = bytes.indexOf(LF, from + scanned);
  const end = lineEnd === -1 ? bytes.length : lineEnd;
  if (lineEnd !== -1 && endsInVersion(bytes, from, end)) return HTTP;
  if (METHOD_TRIE.match(bytes, from, true) !== NO_MATCH && holdsVersion(bytes, from, end)) return HTTP;
  return lineEnd === -1 ? LINE_PENDING : NOT_HTTP;
}

/** Whether the bytes before `end` end in " HTTP/d.d". CR and spaces behind it are ignored. */
function endsInVersion(bytes: Uint8Array, from: number, end: number): boolean {
  let last = end;
  while (last > from && (bytes[last - 1] === CR || bytes[last - 1] === SP || bytes[last - 1] === HTAB)) last--;
  const start = last - VERSION.length - 3;
  if (start < from || !spellsVersion(bytes, start)) return false;
  return isDigit(bytes[last - 3]) && bytes[last - 2] === 0x2e && isDigit(bytes[last - 1]);
}

function holdsVersion(bytes: Uint8Array, from: number, end: number): boolean {
  for (let at = bytes.indexOf(SP, from); at !== -1 && at < end; at = bytes.indexOf(SP, at + 1)) {
    if (at + VERSION.length <= end && spellsVersion(bytes, at)) return true;
  }
  return false;
}

/** Whether " HTTP/" stands at `at`. */
function spellsVersion(bytes: Uint8Array, at: number): boolean {
  if (bytes[at] !== SP && bytes[at] !== HTAB) return false;
  for (let i = 1; i < VERSION.length; i++) if (bytes[at + i] !== VERSION[i]) return false;
  return true;
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39;
}

/**
 * Whether a message begins with a method of RFC 9110 or RFC 5789, and a space. If no raw key matches, such a message is
 * HTTP.
 */
export function beginsWithMethod(bytes: Uint8Array, from: number): boolean {
  return METHOD_TRIE.match(bytes, from, true) !== NO_MATCH;
}

/**
 * True while the bytes, at least one, could become a known method and a space, or the preface of HTTP/2; false once
 * they are complete.
 */
export function mayBecomeMethod(bytes: Uint8Array, from: number): boolean {
  return from < bytes.length && OPENING_TRIE.match(bytes, from, false) === NEED_MORE;
}

/** The same for every method that is served, WebDAV's too. For connections that have carried HTTP. */
export function mayBecomeAnyMethod(bytes: Uint8Array, from: number): boolean {
  return from < bytes.length && ANY_METHOD_TRIE.match(bytes, from, false) === NEED_MORE;
}

/** Whether a complete first line ends in " HTTP/d.d". If no raw key fits, such a line is a malformed request. */
export function endsLikeRequest(bytes: Uint8Array, from: number): boolean {
  const lineEnd = bytes.indexOf(LF, from);
  return lineEnd !== -1 && endsInVersion(bytes, from, lineEnd);
}

/**
 * Whether an unmatched line looks like a header field (`Host: x`). The line before it was then a request line that was
 * not recognized.
 */
export function looksLikeField(bytes: Uint8Array, from: number): boolean {
  let at = from;
  while (at < bytes.length && IS_TOKEN[bytes[at] as number] === 1) at++;
  return at > from && bytes[at] === COLON;
}

/**
 * True for the beginning of a TLS handshake record (RFC 8446 section 5.1). One byte is enough; two are more certain.
 */
export function looksLikeTls(bytes: Uint8Array, from: number): boolean {
  if (bytes[from] !== TLS_HANDSHAKE) return false;
  return from + 1 >= bytes.length || bytes[from + 1] === TLS_MAJOR_VERSION;
}
