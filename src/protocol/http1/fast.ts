/**
 * The fast path: a plain GET that arrives in one read, and a plain POST, PUT or PATCH that one read brings with its
 * whole body, like nearly all requests. One regular expression reads each at a fifth of llhttp's cost. It takes only
 * requests that llhttp and `checkHead` read the same way; the test `table` sends every request through both.
 */
import type { Limits } from "../../config/options";
import { isValidHost, readOrigin, type RequestHead } from "./head";

// Host must come first, as in all common clients, so that one expression finds it. The fields in the lookahead change
// framing, routing or the connection, and go to llhttp; `Connection: keep-alive` is the default of HTTP/1.1.
const TARGET = /\/[!"$-~]*/.source;
const HOST = /Host: ?([\w.:[\]-]+)/.source;
const NOT_PLAIN = /(?!(?:Host|Connection|Content-Length|Transfer-Encoding|Upgrade|Expect):)/.source;
const FIELD = /[!#$%&'*+.^`|~\w-]+:[\t -~\x80-\xff]*/.source;
const LINES = `(?:(?:Connection: ?keep-alive|${NOT_PLAIN}${FIELD})\\r\\n)*`;
const PLAIN_GET = new RegExp(`^(GET) (${TARGET}) HTTP/1\\.1\\r\\n(${HOST}\\r\\n${LINES})\\r\\n$`, "i");
// One Content-Length, of few enough digits to be exact. Any other field of framing goes to llhttp: two readers of one
// request must never disagree about its end, for that is how requests are smuggled past a proxy (RFC 9112 section
// 11.2).
const PLAIN_BODY = new RegExp(
  `^(POST|PUT|PATCH) (${TARGET}) HTTP/1\\.1\\r\\n` +
    `(${HOST}\\r\\n${LINES}Content-Length: ?(\\d{1,15})\\r\\n${LINES})\\r\\n$`,
  "i",
);
const LINE_FEED = "\n";
const END_OF_HEAD = "\r\n\r\n";
const G = 0x47;
/** "P" of POST, PUT and PATCH, and of no other method whose requests often have a body. */
const P = 0x50;

/** A head that was read, by its text: clients send the same again and again, and those of one kind the same. */
interface Remembered {
  text: string;
  limits: Limits | null;
  head: RequestHead | null;
}

const nothing = (): Remembered => ({ text: "", limits: null, head: null });

/**
 * The heads of GETs, each in one cell that its length and two of its characters choose. To hash a whole head would
 * cost more than it saves when all heads are different.
 */
const gets = Array.from({ length: 64 }, nothing);
/** Longer heads are not remembered. */
const MAX_REMEMBERED = 2048;
const lastBody = nothing();

function placeOf(text: string): Remembered {
  // Two of the first characters of the path, behind "GET /"; NaN behind the end of an incomplete head counts as 0.
  const cell = (text.length + 3 * text.charCodeAt(5) + 7 * text.charCodeAt(8)) & (gets.length - 1);
  return gets[cell] as Remembered;
}

/** @returns the same object for the same bytes, as long as it is remembered; null if llhttp has to read it */
export function readPlainGet(bytes: Buffer, from: number, limits: Limits): RequestHead | null {
  if (bytes[from] !== G || bytes.length - from > limits.maxHeaderBytes) return null;
  const text = bytes.latin1Slice(from, bytes.length);
  const known = placeOf(text);
  if (text === known.text && limits === known.limits) return known.head;
  return remember(known, text, limits, PLAIN_GET);
}

/** Where the body of the last request of `readPlainBody` begins. A result of its own would be one object a request. */
export const plainBody = { start: 0 };

/**
 * Reads the head of a request whose body has arrived whole. `plainBody` then tells where the body begins.
 *
 * @returns null if llhttp has to read it
 */
export function readPlainBody(bytes: Buffer, from: number, limits: Limits): RequestHead | null {
  if (bytes[from] !== P) return null;
  let end = from + lastBody.text.length;
  let head: RequestHead | null;
  // A head ends at its first empty line, and this text is a whole head: no other head begins with it.
  if (end <= bytes.length && limits === lastBody.limits && bytes.latin1Slice(from, end) === lastBody.text)
    head = lastBody.head;
  else {
    const emptyLine = bytes.indexOf(END_OF_HEAD, from, "latin1");
    end = emptyLine + END_OF_HEAD.length;
    if (emptyLine < 0 || end - from > limits.maxHeaderBytes) return null;
    head = remember(lastBody, bytes.latin1Slice(from, end), limits, PLAIN_BODY);
  }
  if (head === null || end + head.bodyBytes > bytes.length) return null;
  plainBody.start = end;
  return head;
}

function remember(cell: Remembered, text: string, limits: Limits, pattern: RegExp): RequestHead | null {
  const head = readHead(text, limits, pattern);
  if (head === null || text.length > MAX_REMEMBERED) return head;
  cell.text = text;
  cell.limits = limits;
  cell.head = head;
  return head;
}

/** @param text  the whole head, a character a byte */
function readHead(text: string, limits: Limits, pattern: RegExp): RequestHead | null {
  const match = pattern.exec(text);
  if (match === null) return null;
  const [, method = "", written = "", fields = "", host = "", length = "0"] = match;
  // Method and version are case-sensitive, as the regular expression is not.
  if (method !== method.toUpperCase() || !text.startsWith(" HTTP/1.1", method.length + 1 + written.length)) return null;
  if (!isValidHost(host)) return null;
  // The shortest field takes 4 bytes, so that short heads need no count.
  if (text.length > 4 * limits.maxHeaderFields && countLines(fields) > limits.maxHeaderFields) return null;
  const bodyBytes = Number(length);
  if (bodyBytes > limits.maxBodyBytes) return null;
  const { target, path } = readOrigin("", written);
  return {
    method,
    target,
    path,
    host,
    fields,
    isHttp11: true,
    keepAlive: true,
    bodyBytes,
    expectsContinue: false,
  };
}

function countLines(text: string): number {
  let lines = 0;
  for (let at = text.indexOf(LINE_FEED); at >= 0; at = text.indexOf(LINE_FEED, at + 1)) lines++;
  return lines;
}
