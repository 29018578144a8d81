/**
 * HTTP/1.1 on a connection (RFC 9112). A request enters this folder here.
 *
 *   fast, parser -> head (checked) -> answer -> reply         the plain request: one read, one write, nothing kept
 *                                  -> exchange -> stream      a body or a reply that has to be waited for
 */
import { refuse } from "./reply";
import { asBuffer, type Wire } from "../wire";
import { answer, CLOSE, KEEP, type NextStep } from "./answer";
import { IncomingBody } from "./body";
import { ChunkedDecoder } from "./chunked";
import { Exchange } from "./exchange";
import { plainBody, readPlainBody, readPlainGet } from "./fast";
import { CHUNKED, type RequestHead } from "./head";
import { RequestParser } from "./parser";
import { Waiting } from "./replying";
import { BODY_TOO_LARGE, OwnReply } from "../web/own-reply";
import { INCOMPLETE, MALFORMED } from "./refusal";

/**
 * Reads one request of a connection that is between messages. All earlier replies are written.
 *
 * @param bytes  what has arrived; the request begins at `from`
 * @returns the offset behind the request, if its reply is completely written. Otherwise bytes.length: a protocol has
 *   the connection until the end of the reply, or the connection is ending.
 */
export function beginHttp1(wire: Wire, bytes: Uint8Array, from: number): number {
  const buffer = asBuffer(bytes);
  const { limits } = wire.dispatch;
  const head = readPlainGet(buffer, from, limits);
  if (head !== null) return conclude(wire, answer(wire, head, null), buffer, buffer.length);
  const withBody = readPlainBody(buffer, from, limits);
  if (withBody !== null) return beginCounted(wire, withBody, buffer, plainBody.start);
  return beginParsed(wire, buffer, from);
}

/** The same without the fast path: llhttp reads every request. */
export function beginParsed(wire: Wire, bytes: Buffer, from: number): number {
  const { limits } = wire.dispatch;
  const parser = RequestParser.acquire(limits);
  const head = parser.readHead(bytes, from, limits);
  if (head === null && !wire.hasEnded) {
    new Exchange(wire).awaitHead(parser);
    return bytes.length;
  }
  const end = from + parser.consumed;
  parser.release();
  if (head === null || head instanceof OwnReply) {
    refuse(wire, head ?? INCOMPLETE, parser.isHead);
    return bytes.length;
  }
  return head.bodyBytes === CHUNKED ? beginChunked(wire, head, bytes, end) : beginCounted(wire, head, bytes, end);
}

/** The body's length is known, and may be 0. */
function beginCounted(wire: Wire, head: RequestHead, bytes: Buffer, from: number): number {
  const end = from + head.bodyBytes;
  if (end > bytes.length) return awaitBody(wire, head, bytes, from);
  const body = head.bodyBytes === 0 ? null : new IncomingBody(null, bytes.subarray(from, end));
  return conclude(wire, answer(wire, head, body), bytes, end);
}

function beginChunked(wire: Wire, head: RequestHead, bytes: Buffer, from: number): number {
  const { limits } = wire.dispatch;
  const decoder = new ChunkedDecoder(limits.maxHeaderBytes);
  let whole = bytes.subarray(0, 0) as Uint8Array;
  const end = decoder.decode(bytes, from, (part) => void (whole = part));
  if (end < 0) return refused(wire, MALFORMED, head, bytes);
  // Most chunked bodies take several reads; the exchange decodes them from their start.
  if (!decoder.isComplete) return awaitBody(wire, head, bytes, from);
  if (whole.length > limits.maxBodyBytes) return refused(wire, BODY_TOO_LARGE, head, bytes);
  return conclude(wire, answer(wire, head, new IncomingBody(null, whole, decoder.trailers)), bytes, end);
}

function awaitBody(wire: Wire, head: RequestHead, bytes: Buffer, from: number): number {
  if (wire.hasEnded) return refused(wire, INCOMPLETE, head, bytes);
  new Exchange(wire).awaitBody(head, bytes, from);
  return bytes.length;
}

function refused(wire: Wire, refusal: OwnReply, head: RequestHead, bytes: Buffer): number {
  refuse(wire, refusal, head.method === "HEAD");
  return bytes.length;
}

/** @param end  the offset behind the request */
function conclude(wire: Wire, next: NextStep, bytes: Buffer, end: number): number {
  if (next === KEEP) return end;
  if (next === CLOSE) wire.finish();
  else (next instanceof Waiting ? new Exchange(wire).awaitReply(next) : next).hold(bytes.subarray(end));
  return bytes.length;
}
