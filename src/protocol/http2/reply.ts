/** Replies of HTTP/2: what a Response, or a reply of the server's own, is as header block and body. */
import { checkUnread, emptyFraming, fieldLines, BYTES_LINE } from "../http1/reply";
import type { OwnReply } from "../web/own-reply";
import { GraphResponse, TEXT_LINES, textOfStream } from "../web/response";
import type { Http2Head } from "./head";
import { encodeField, encodeLines, encodeStatus } from "./hpack/encoder";

/** A reply whose body is in memory. */
export interface WholeReply {
  readonly status: number;
  /** Header lines of HTTP/1.1, each with its CR LF. */
  readonly lines: string;
  /** "" for none. */
  readonly body: string | Uint8Array;
  /** The length that the head tells. null: none. In bytes. */
  readonly length: number | null;
}

/** The last block, and what it was made of: the same reply goes out again and again. */
const last = { status: 0, lines: "", date: "", length: -1 as number | null, block: Buffer.alloc(0) };

/**
 * The header block of a reply.
 *
 * @param length  null: it is not told
 * @returns a kept buffer: do not change it
 */
export function headBlock(status: number, lines: string, httpDate: string, length: number | null): Buffer {
  if (length === last.length && lines === last.lines && status === last.status && httpDate === last.date)
    return last.block;
  const parts = [encodeStatus(status), encodeLines(lines), encodeField("date", httpDate)];
  if (length !== null) parts.push(encodeField("content-length", String(length)));
  last.status = status;
  last.lines = lines;
  last.date = httpDate;
  last.length = length;
  return (last.block = Buffer.concat(parts));
}

/**
 * The reply, if its body is in memory.
 *
 * @returns null if the body has to wait: a stream, or a file
 * @throws for a reply that cannot be sent: its body was read, or its status is not final
 */
export function readReply(head: Http2Head, response: Response): WholeReply | null {
  const { status } = response;
  if (!(status >= 200 && status <= 999))
    throw new RangeError(`A Response with status ${status} cannot be sent: use 200 to 999.`);
  const text = GraphResponse.textOf(response);
  if (text !== undefined) return textReply(head, response, text);
  const kind = GraphResponse.kindOf(response);
  if (kind === "none") {
    const told = emptyFraming(head, response);
    return wholeOf(head, response, linesOf(response, ""), "", typeof told === "number" ? told : null);
  }
  checkUnread(response);
  if (kind === "stream") {
    if (GraphResponse.fileOf(response) !== undefined) return null;
    const whole = response.body === null ? undefined : textOfStream(response.body);
    return whole === undefined ? null : textReply(head, response, whole);
  }
  if (kind === "blob") return null;
  // Read the headers before the body: later they would lack its Content-Type.
  if (GraphResponse.linesOf(response) === null) void GraphResponse.headersOf(response);
  const bytes = Bun.peek(response.bytes());
  return bytes instanceof Promise ? null : bytesReply(head, response, bytes, BYTES_LINE);
}

/** @param defaultType  the Content-Type line for a response that has none */
export function bytesReply(head: Http2Head, response: Response, bytes: Uint8Array, defaultType: string): WholeReply {
  return wholeOf(head, response, linesOf(response, bytes.length === 0 ? "" : defaultType), bytes, bytes.length);
}

/** A reply of the server's own. @param isHead  the reply to HEAD: like the reply to GET, without the body */
export function ownReply({ status, text, headers }: OwnReply, isHead: boolean): WholeReply {
  let lines = status === 204 ? "" : TEXT_LINES;
  for (const name in headers) lines += `${name}: ${headers[name]}\r\n`;
  if (status === 204) return { status, lines, body: "", length: null };
  const body = `${text}\n`;
  return { status, lines, body: isHead ? "" : body, length: Buffer.byteLength(body) };
}

/** The header lines of a response. */
export function linesOf(response: Response, defaultType: string): string {
  return GraphResponse.linesOf(response) ?? fieldLines(response, defaultType);
}

function textReply(head: Http2Head, response: Response, text: string): WholeReply {
  return wholeOf(head, response, linesOf(response, text === "" ? "" : TEXT_LINES), text, Buffer.byteLength(text));
}

function wholeOf(
  head: Http2Head,
  response: Response,
  lines: string,
  body: string | Uint8Array,
  length: number | null,
): WholeReply {
  const { status } = response;
  // RFC 9110 sections 8.6 and 15.4.5: no length, and no body.
  if (status === 204 || status === 304) return { status, lines, body: "", length: null };
  return { status, lines, body: head.method === "HEAD" ? "" : body, length };
}
