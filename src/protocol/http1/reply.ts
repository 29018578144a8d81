/**
 * Writing a Response, or a reply of the server's own, as an HTTP/1.1 message (RFC 9112 sections 6 and 9, RFC 9110
 * section 6.6.1).
 */
import { tellAccess } from "../../host/inline";
import { answeredHttp, byteLength } from "../access";
import type { OwnReply } from "../web/own-reply";
import type { Dispatch, Wire } from "../wire";
import type { RequestHead } from "./head";
import { decodedResponses } from "../../module/graph/standard";
import { GraphResponse, TEXT_LINES, textOfStream } from "../web/response";
import { STATUS_CODES } from "../web/status-codes";

/** Bodies up to this are read whole and leave with their head in one write. In bytes. */
export const MAX_WHOLE_BYTES = 262_144;

/**
 * Length of the Date field's value. A longer text includes a Keep-Alive line, and a prepared reply has no room for it.
 */
const DATE_LENGTH = 29;

/** The Content-Type line for bytes without a type. */
export const BYTES_LINE = "Content-Type: application/octet-stream\r\n";

/** How a body is framed. "none": no body and no length. */
export type BodyFraming = number | "chunked" | "until-close" | "none";

/** Fields that a handler cannot set: the server frames the message, and owns the connection. */
const OWN_FIELDS = new Set([
  "connection",
  "content-length",
  "date",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** @returns the text behind `Date: ` in a reply */
export function dateOf({ httpDate, keepAliveDate }: Dispatch, keepAlive: boolean): string {
  return keepAlive ? (keepAliveDate ?? httpDate) : httpDate;
}

/**
 * The Connection and Date lines, each with its CR LF.
 *
 * @param date      see `dateOf`
 * @param isHttp11 of the request. HTTP/1.1 keeps a connection open by default, HTTP/1.0 does not
 */
export function tailLines(date: string, keepAlive: boolean, isHttp11 = true): string {
  const connection = keepAlive ? (isHttp11 ? "" : "Connection: keep-alive\r\n") : "Connection: close\r\n";
  return `${connection}Date: ${date}\r\n`;
}

/** Whether the request and the handler's own Connection field let the connection stay open. */
export function keepsAlive(head: RequestHead, response: Response): boolean {
  if (!head.keepAlive) return false;
  if (GraphResponse.linesOf(response) !== null || GraphResponse.readyOf(response) !== undefined) return true;
  return !/(?:^|[\s,])close(?:$|[\s,])/i.test(GraphResponse.headersOf(response).get("connection") ?? "");
}

/**
 * The whole reply, if the body is in memory.
 *
 * @returns null if the body has to wait: a stream, or a file Throws for a reply that cannot be sent: its body was read,
 *   or its status is not final.
 */
export function composeReply(
  head: RequestHead,
  response: Response,
  keepAlive: boolean,
  date: string,
): string | Uint8Array | null {
  if (keepAlive && head.isHttp11 && head.method !== "HEAD" && date.length === DATE_LENGTH) {
    const ready = GraphResponse.readyOf(response);
    if (ready !== undefined) return ready.message(date);
  }
  const text = GraphResponse.textOf(response);
  if (text !== undefined) return composeText(head, response, text, keepAlive, date);
  const kind = GraphResponse.kindOf(response);
  const tail = tailLines(date, keepAlive, head.isHttp11);
  if (kind === "none") return composeHead(response, emptyFraming(head, response), "", tail);
  checkUnread(response);
  if (kind === "stream") {
    if (GraphResponse.fileOf(response) !== undefined) return null;
    // hono makes a response of another's body; as long as nobody has read that, it is the same string.
    const whole = response.body === null ? undefined : textOfStream(response.body);
    return whole === undefined ? null : composeText(head, response, whole, keepAlive, date);
  }
  if (kind === "blob") return null;
  // Read the headers before the body: later they would lack its Content-Type.
  if (GraphResponse.linesOf(response) === null) void GraphResponse.headersOf(response);
  // The bytes of such a body are there at once.
  const bytes = Bun.peek(response.bytes());
  return bytes instanceof Promise ? null : composeBytes(head, response, bytes, BYTES_LINE, tail);
}

function composeText(
  head: RequestHead,
  response: Response,
  text: string,
  keepAlive: boolean,
  date: string,
): string | Uint8Array {
  const lines = GraphResponse.linesOf(response);
  // Nearly all replies are of this kind.
  if (lines !== null && keepAlive && head.isHttp11 && response.status === 200 && head.method !== "HEAD") {
    return `HTTP/1.1 200 OK\r\n${lines}Date: ${date}\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`;
  }
  const tail = tailLines(date, keepAlive, head.isHttp11);
  const message = composeHead(response, Buffer.byteLength(text), text === "" ? "" : TEXT_LINES, tail);
  if (isBodiless(head, response)) return message;
  return typeof message === "string" ? message + text : joinMessage(message, Buffer.from(text));
}

/**
 * A reply with the body's bytes, head and body in one buffer.
 *
 * @param defaultType  see `composeHead`
 * @param tail         see `tailLines`
 */
export function composeBytes(
  head: RequestHead,
  response: Response,
  body: Uint8Array,
  defaultType: string,
  tail: string,
): string | Uint8Array {
  const message = composeHead(response, body.length, body.length === 0 ? "" : defaultType, tail);
  return isBodiless(head, response) ? message : joinMessage(message, body);
}

/**
 * A reply's head.
 *
 * @param defaultType  the Content-Type line for a response that has none
 * @param tail         see `tailLines`
 * @returns a string, or bytes if a value has characters that are not ASCII: they are Latin-1 on the wire
 */
export function composeHead(
  response: Response,
  framing: BodyFraming,
  defaultType: string,
  tail: string,
): string | Uint8Array {
  const { status } = response;
  if (!(status >= 200 && status <= 999))
    throw new RangeError(`A Response with status ${status} cannot be sent: use 200 to 999.`);
  const lines = GraphResponse.linesOf(response) ?? fieldLines(response, defaultType);
  const message = `HTTP/1.1 ${status} ${reasonOf(response)}\r\n${lines}${tail}${framingLine(status, framing)}\r\n`;
  return isAscii(lines) ? message : Buffer.from(message, "latin1");
}

/**
 * A reply of the server's own, complete.
 *
 * @param tail  see `tailLines`
 * @param isHead the reply to HEAD: like the reply to GET, without the body
 */
export function composeOwn(reply: OwnReply, tail: string, isHead: boolean): string {
  const { status, text, headers } = reply;
  let lines = "";
  for (const name in headers) lines += `${name}: ${headers[name]}\r\n`;
  const start = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\n`;
  const end = lines + tail;
  if (status === 204) return `${start}${end}\r\n`;
  const body = `${text}\n`;
  return (
    `${start}Content-Type: text/plain;charset=utf-8\r\n${end}` +
    `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${isHead ? "" : body}`
  );
}

/** Answers with the refusal and ends the connection: the start of the next request is not known any more. */
export function refuse(wire: Wire, refusal: OwnReply, isHead = false): void {
  const { dispatch } = wire;
  dispatch.counters.httpRequests++;
  if (refusal.status >= 500) dispatch.counters.errors++;
  const reply = composeOwn(refusal, tailLines(dispatch.httpDate, false), isHead);
  wire.write(reply);
  if (dispatch.access !== null)
    tellAccess(
      dispatch.access,
      wire.client,
      null,
      0,
      answeredHttp("http/1.1", null, refusal.status, byteLength(reply)),
    );
  wire.finish();
}

/** Whether no body follows the head (RFC 9112 section 6.3). */
export function isBodiless(head: RequestHead, response: Response): boolean {
  return head.method === "HEAD" || response.status === 204 || response.status === 304;
}

/** Throws if the response's body was taken: nothing is left to send. */
export function checkUnread(response: Response): void {
  if (response.bodyUsed)
    throw new TypeError(
      "The handler returned a Response whose body was read already. Return response.clone(), or make a new one.",
    );
}

function framingLine(status: number, framing: BodyFraming): string {
  if (status === 204 || status === 304 || framing === "none" || framing === "until-close") return "";
  if (framing === "chunked") return "Transfer-Encoding: chunked\r\n";
  return `Content-Length: ${framing}\r\n`;
}

/** A reply to HEAD may tell the length of a body that it does not have (RFC 9110 section 8.6). */
export function emptyFraming(head: RequestHead, response: Response): BodyFraming {
  const told =
    head.method === "HEAD" && GraphResponse.linesOf(response) === null
      ? GraphResponse.headersOf(response).get("content-length")
      : null;
  if (told !== null && /^\d{1,15}$/.test(told)) return Number(told);
  // The length of GET's body is not known. It may be missing, but not wrong (RFC 9110 section 8.6).
  return head.method === "HEAD" ? "none" : 0;
}

export function fieldLines(response: Response, defaultType: string): string {
  // toJSON() keeps each Set-Cookie apart, in half the time of iterating.
  const fields: Record<string, string | string[]> = GraphResponse.headersOf(response).toJSON();
  if (decodedResponses.has(response)) delete fields["content-encoding"];
  let lines = fields["content-type"] === undefined ? defaultType : "";
  for (const name in fields) {
    const value = fields[name] ?? "";
    if (typeof value !== "string") for (const one of value) lines += `${name}: ${one}\r\n`;
    else if (!OWN_FIELDS.has(name)) lines += `${name}: ${value}\r\n`;
  }
  return lines;
}

function reasonOf(response: Response): string {
  const given = response.statusText;
  // The standard class accepts any text here, even line ends.
  return given !== "" && /^[ -~]*$/.test(given) ? given : (STATUS_CODES[response.status] ?? "");
}

function isAscii(text: string): boolean {
  // oxlint-disable-next-line no-control-regex -- CR and LF stand between the lines
  return /^[\x00-\x7f]*$/.test(text);
}

/** Head and body in one buffer: two writes cost more than any copy. */
export function joinMessage(head: string | Uint8Array, body: Uint8Array): Uint8Array {
  const headBytes = head.length;
  const message = Buffer.allocUnsafe(headBytes + body.length);
  if (typeof head === "string") message.latin1Write(head, 0);
  else message.set(head, 0);
  message.set(body, headBytes);
  return message;
}
