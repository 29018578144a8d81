/** `fetch` routes: the message becomes a Request, and the Response a reply, whole or as a stream. */
import { toBytes } from "../../module/graph/returned";
import type { Message, ModuleContext, Reply, RequestContext } from "../../module/contract";
import { requestContext } from "../../module/shape/request-context";
import { trailerLines, Trailers, TRAILERS } from "../../module/shape/trailers";
import {
  BODY,
  decodeRequest,
  encodeResponse,
  type Fields,
  fieldsOf,
  PART_BYTES,
  WHOLE_RESPONSE_BYTES,
} from "../remote/fetch-messages";
import { fromLatin1, toLatin1 } from "../remote/messages";
import type { HostedMessage } from "./message";
import { HostedResponse } from "./response";

type Fetch = (request: Request, context: RequestContext) => unknown;

/** @returns the handler that replaces the module's `fetch` */
export function fetchHandler(
  key: string,
  fetch: Fetch,
): (message: Message, context: ModuleContext) => Reply | Promise<Reply> {
  return (message, context) => {
    const hosted = message as HostedMessage;
    const trailers = new Trailers(() => hosted.trailers);
    const value = callFetch(key, fetch, hosted, context, trailers);
    if (value instanceof Response) return replyOf(value, trailers);
    if (value instanceof Promise) return value.then((settled) => replyOf(checked(key, settled), trailers));
    return replyOf(checked(key, value), trailers);
  };
}

function callFetch(
  key: string,
  fetch: Fetch,
  message: HostedMessage,
  context: ModuleContext,
  trailers: Trailers,
): unknown {
  const { url, method, fields, way, body, path, params, requestId } = decodeRequest(message.latin1);
  const mayHaveBody = method !== "GET" && method !== "HEAD";
  const init: RequestInit & { duplex?: "half" } = { method, headers: fields, signal: message.signal };
  if (mayHaveBody && way === BODY.bytes) init.body = fromLatin1(body) as Uint8Array<ArrayBuffer>;
  if (mayHaveBody && way === BODY.stream) {
    init.body = message.openBody();
    init.duplex = "half";
  }
  const id = { requestId, [TRAILERS]: trailers };
  return fetch(makeRequest(url, init, method), requestContext(context, message, path, key, params, id));
}

/** The standard class silently turns unknown methods (such as QUERY) into GET. */
function makeRequest(url: string, init: RequestInit, method: string): Request {
  const request = new Request(url, init);
  return request.method === method ? request : Object.defineProperty(request, "method", { value: method });
}

function checked(key: string, value: unknown): Response {
  if (value instanceof Response) return value;
  const got = value === null ? "null" : typeof value;
  throw new TypeError(`Route "${key}": fetch returned ${got}. It must return a Response, or a promise of one.`);
}

function replyOf(response: Response, trailers: Trailers): string | ResponseParts {
  if (response.bodyUsed)
    throw new TypeError(
      "The handler returned a Response whose body was read already. Return response.clone(), or make a new one.",
    );
  // Before the body is read: afterwards they would lack its Content-Type.
  const fields = fieldsOf(response.headers);
  const body = trailers.asked === null ? HostedResponse.bodyOf(response) : undefined;
  if (typeof body === "string") return encode(response, fields, BODY.text, body);
  if (body !== undefined && body.length <= WHOLE_RESPONSE_BYTES)
    return encode(response, fields, BODY.bytes, toLatin1(body));
  if (response.body === null && trailers.asked === null) return encode(response, fields, BODY.none, "");
  // Over HTTP/1.1 a body of a told length has no trailers.
  const head = trailers.asked === null ? framed(response, fields) : fields;
  return new ResponseParts(encode(response, head, BODY.stream, ""), response.body ?? emptyStream(), trailers);
}

/** Adds the body's length to the head, if known. The server then need not send the body in chunks. */
function framed(response: Response, fields: Fields): Fields {
  const size = HostedResponse.sizeOf(response);
  if (HostedResponse.isDecoded(response))
    return fields.filter(([name]) => name !== "content-length" && name !== "content-encoding");
  return size === undefined
    ? fields
    : [...fields.filter(([name]) => name !== "content-length"), ["content-length", String(size)]];
}

function encode(
  { status, statusText }: Response,
  fields: Fields,
  way: (typeof BODY)[keyof typeof BODY],
  body: string,
): string {
  return encodeResponse({ status, statusText, fields, way, body });
}

function emptyStream(): ReadableStream {
  return new ReadableStream({ start: (controller) => controller.close() });
}

/** A reply that streams: the head, then the body's parts, which are bytes, then the trailers as text, if there are any. */
class ResponseParts implements AsyncIterableIterator<string | Uint8Array> {
  readonly #reader: ReadableStreamDefaultReader<unknown>;
  #head: string | null;
  /** The rest of a part that was too large for one message. */
  #rest: Uint8Array | null = null;
  #trailers: Trailers | null;

  constructor(head: string, body: ReadableStream, trailers: Trailers) {
    this.#trailers = trailers;
    this.#head = head;
    this.#reader = body.getReader() as ReadableStreamDefaultReader<unknown>;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<string | Uint8Array>> {
    const head = this.#head;
    this.#head = null;
    if (head !== null) return { done: false, value: head };
    let bytes = this.#rest;
    if (bytes === null) {
      const { done, value } = await this.#reader.read();
      if (done) return this.#end();
      bytes = toBytes(value);
    }
    this.#rest = bytes.length > PART_BYTES ? bytes.subarray(PART_BYTES) : null;
    return { done: false, value: bytes.subarray(0, PART_BYTES) };
  }

  #end(): IteratorResult<string | Uint8Array> {
    const lines = this.#trailers?.asked == null ? "" : trailerLines(this.#trailers.asked);
    this.#trailers = null;
    return lines === "" ? { done: true, value: undefined } : { done: false, value: lines };
  }

  /** A reader's `cancel` ends a read that is pending, where an iterator's `return` would wait behind it. */
  async return(): Promise<IteratorResult<string | Uint8Array>> {
    await this.#reader.cancel();
    return { done: true, value: undefined };
  }
}
