/**
 * The Response of modules: the standard class, which also remembers a string body. The common reply is then one
 * synchronous write; the standard class gives its body only through a promise or a stream.
 */
import { StandardResponse } from "../../module/graph/standard";
import { STATUS_CODES } from "./status-codes";

const NativeResponse = Response;

/** The kind of a response's body. */
type BodyKind = "none" | "text" | "static" | "blob" | "stream";

/**
 * The text of a stream that a `body` getter made of a string, for `new Response(response.body, response)`, which hono
 * calls after each middleware. Kept on the stream itself: a WeakMap costs half as much again as making the stream.
 */
const TEXT = Symbol("text");

interface TextStream extends ReadableStream {
  [TEXT]?: string;
}

const JSON_INIT: ResponseInit = { headers: { "Content-Type": "application/json;charset=utf-8" } };
const JSON_LINES = "Content-Type: application/json;charset=utf-8\r\n";
export const TEXT_LINES = "Content-Type: text/plain;charset=utf-8\r\n";

/**
 * The property with which its maker marks a stream that is a piece of a file, and the frozen init of a reply whose body
 * is the bytes of one.
 */
const FILE = Symbol.for("hrmr.file");

/**
 * The property of a frozen init with which its maker lets the server repeat the reply: until `until` (by
 * performance.now(), in milliseconds) the same request gets the same reply, from any client. It counts repeats in
 * `asked`.
 */
const REPEATABLE = Symbol.for("hrmr.repeatable");

/** See REPEATABLE. */
interface Repeatable {
  readonly until: number;
  asked: number;
}

export interface FilePiece {
  readonly start: number;
  readonly end: number;
  /**
   * true: the stream is exactly these bytes, so they may be sent from the file. false: it is made from them, and only
   * keeps the file open.
   */
  readonly isWhole: boolean;
  /**
   * @returns a descriptor that others may use too: return it by `close`. Throws if the file is gone or was replaced.
   */
  open(): number;
  close(fd: number): void;
  /** Throws if the file was written to since. */
  check(fd: number): void;
}

/** A reply that is sent again and again: one frozen init, one body. */
class ReadyReply {
  readonly headBytes: number;
  #message: Buffer;
  #date = "";
  readonly #dateAt: number;

  constructor(
    readonly body: string | Blob,
    lines: string,
    status: number,
    bytes: Uint8Array,
  ) {
    const before = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\n${lines}Date: `;
    this.#dateAt = before.length;
    const head = `${before}${" ".repeat(29)}\r\nContent-Length: ${bytes.length}\r\n\r\n`;
    this.headBytes = head.length;
    this.#message = Buffer.concat([Buffer.from(head, "latin1"), bytes]);
  }

  /** @param date  29 characters */
  message(date: string): Buffer {
    if (date !== this.#date) {
      // A copy: bytes of the old one may still wait to be sent.
      this.#message = Buffer.from(this.#message);
      this.#message.latin1Write(date, this.#dateAt);
      this.#date = date;
    }
    return this.#message;
  }
}
const readyReplies = new WeakMap<object, ReadyReply | null>();
const MAX_READY_BYTES = 262_144;

function isDeeplyFrozen(init: ResponseInit | undefined): init is ResponseInit {
  return (
    init !== undefined && Object.isFrozen(init) && typeof init.headers === "object" && Object.isFrozen(init.headers)
  );
}

/** A response's body and head, as far as they are known without reading. */
export class GraphResponse extends StandardResponse {
  /** The body, when it was a string. */
  #text: string | undefined;
  /** All header lines, each with its CR LF; null: read `headers`. */
  #lines: string | null;
  #kind: BodyKind;
  #blob: Blob | undefined;
  /** Its init, if that is frozen and nobody has read the headers or the body. */
  #init: object | null = null;
  #file: FilePiece | undefined;

  constructor(body?: Bun.BodyInit | null, init?: ResponseInit) {
    if (typeof body === "string") {
      super(body, init);
      this.#text = body;
      if (isDeeplyFrozen(init)) {
        this.#init = init;
        this.#lines = null;
      } else this.#lines = init === undefined ? (body === "" ? "" : TEXT_LINES) : readLines(init, body);
      this.#kind = "text";
      return;
    }
    const text = body instanceof ReadableStream ? textOfStream(body) : undefined;
    super(text ?? body, init);
    this.#text = text;
    this.#lines = init === undefined ? null : frozenLines(init.headers);
    this.#kind = text === undefined ? kindOf(body) : "text";
    if (this.#kind === "blob") {
      this.#blob = body as Blob;
      if (isDeeplyFrozen(init)) this.#init = init;
    } else if (this.#kind === "stream" && text === undefined) this.#file = (body as { [FILE]?: FilePiece })[FILE];
  }

  // Responses of other makers (fetch, HTMLRewriter) are Responses too.
  static override [Symbol.hasInstance](value: unknown): boolean {
    return this === GraphResponse
      ? value instanceof NativeResponse
      : Function.prototype[Symbol.hasInstance].call(this, value);
  }

  static override json(data: unknown, init?: ResponseInit | number): Response {
    const text = JSON.stringify(data) as string | undefined;
    // The standard one throws the right error for values without JSON.
    if (text === undefined || typeof init === "number") return NativeResponse.json(data, init as ResponseInit);
    if (init === undefined) return new GraphResponse(text, JSON_INIT);
    const headers = new Headers(init.headers as Bun.HeadersInit | undefined);
    if (!headers.has("content-type")) headers.set("content-type", "application/json;charset=utf-8");
    return new GraphResponse(text, { status: init.status, statusText: init.statusText, headers });
  }

  /** The string body, unless it was read. undefined for all others, and for responses of the standard class. */
  static textOf(response: Response): string | undefined {
    return #text in response && response.#text !== undefined && !response.bodyUsed ? response.#text : undefined;
  }

  /** All header lines; null: read `headers`. Only for a response with `textOf`. */
  static linesOf(response: Response): string | null {
    return #lines in response ? response.#lines : null;
  }

  /** "stream" for responses of the standard class with a body: its source is not visible. */
  static kindOf(response: Response): BodyKind {
    if (#kind in response) return response.#kind;
    return response.body === null ? "none" : "stream";
  }

  /** The reply that was made ready for this init and body, if there is one. */
  static readyOf(response: Response): ReadyReply | undefined {
    if (!(#init in response) || response.#init === null || response.bodyUsed) return undefined;
    const ready = readyReplies.get(response.#init);
    if (ready === null) return undefined;
    if (ready === undefined)
      return response.#text === undefined ? undefined : response.#makeReady(Buffer.from(response.#text));
    return ready.body === (response.#text ?? response.#blob) ? ready : undefined;
  }

  /** Only for a response with `readyOf`. undefined: its maker does not let it be repeated. */
  static repeatableOf(response: Response): Repeatable | undefined {
    if (!(#init in response) || response.#init === null) return undefined;
    return (response.#init as { [REPEATABLE]?: Repeatable })[REPEATABLE];
  }

  /** The file that has exactly the body's bytes, if the init of the same response names one. */
  static repeatedFileOf(response: Response): FilePiece | undefined {
    if (!(#init in response) || response.#init === null) return undefined;
    return (response.#init as { [FILE]?: FilePiece })[FILE];
  }

  /** Remembers the bytes of a Blob that was sent with a frozen init. */
  static keepReady(response: Response, bytes: Uint8Array): void {
    if (#init in response && response.#init !== null) response.#makeReady(bytes);
  }

  #makeReady(bytes: Uint8Array): ReadyReply | undefined {
    const init = this.#init as ResponseInit;
    const body = this.#text ?? this.#blob;
    const lines =
      bytes.length > MAX_READY_BYTES || body === undefined
        ? null
        : joinLines(Object.entries(init.headers as Record<string, unknown>));
    const status = init.status ?? 200;
    const isPlain = lines !== null && body !== undefined && !init.statusText && status !== 204 && status !== 304;
    const ready = isPlain ? new ReadyReply(body, lines, status, bytes) : null;
    readyReplies.set(init, ready);
    return ready ?? undefined;
  }

  /** For reading only: the remembered lines must stay right. */
  static headersOf(response: Response): Headers {
    return #lines in response ? response.#ownHeaders() : response.headers;
  }

  #ownHeaders(): Headers {
    return super.headers;
  }

  static fileOf(response: Response): FilePiece | undefined {
    return #file in response ? response.#file : undefined;
  }

  static blobOf(response: Response): Blob | undefined {
    return #blob in response ? response.#blob : undefined;
  }

  override get headers(): Headers {
    // The caller may change them.
    this.#lines = null;
    this.#init = null;
    return super.headers;
  }

  override get body(): Response["body"] {
    const stream = super.body;
    if (this.#text !== undefined && stream !== null && !stream.locked) (stream as TextStream)[TEXT] = this.#text;
    this.#text = undefined;
    this.#init = null;
    this.#file = undefined;
    if (stream !== null) this.#kind = "stream";
    return stream;
  }

  override clone(): Response {
    const text = this.#text;
    if (text !== undefined && !this.bodyUsed) return new GraphResponse(text, this as unknown as ResponseInit);
    return super.clone() as Response;
  }
}
Object.defineProperty(GraphResponse, "name", { value: "Response" });

/** The text of a stream that a response's `body` getter made, while nobody has read from it. */
export function textOfStream(stream: ReadableStream): string | undefined {
  const text = (stream as TextStream)[TEXT];
  return text === undefined || stream.locked ? undefined : text;
}

function kindOf(body: unknown): BodyKind {
  if (body === null || body === undefined) return "none";
  if (body instanceof Blob) return "blob";
  if (
    body instanceof ArrayBuffer ||
    ArrayBuffer.isView(body) ||
    body instanceof FormData ||
    body instanceof URLSearchParams
  )
    return "static";
  return "stream";
}

// Fields that the server writes itself, or that decide how the message is framed.
const OWN_FIELDS =
  /^(?:connection|content-length|date|keep-alive|proxy-connection|te|trailer|transfer-encoding|upgrade)$/i;
const PLAIN_VALUE = /^[!-~]([ -~]*[!-~])?$/;

/**
 * The header lines of `new Response(text, init)` for the plain inits: a status, at most one header. Read at
 * construction, since the object may be changed later; the standard constructor has validated it before.
 */
function readLines(init: ResponseInit, text: string): string | null {
  if (init === JSON_INIT) return JSON_LINES;
  if (init instanceof NativeResponse || init.statusText) return null;
  const fields: unknown = init.headers;
  const frozen = frozenLines(fields);
  if (frozen !== null) return frozen;
  const defaultLines = text === "" ? "" : TEXT_LINES;
  if (fields === undefined) return defaultLines;
  if (typeof fields !== "object" || fields === null || Object.getPrototypeOf(fields) !== Object.prototype) return null;
  let only: string | null = null;
  for (const name in fields) {
    if (only !== null) return null;
    only = name;
  }
  if (only === null) return defaultLines;
  const value = (fields as Record<string, unknown>)[only];
  return typeof value === "string" ? readLine(only, value, defaultLines) : null;
}

/** The lines of frozen header objects: a module that sends the same fields again and again may freeze them. */
const linesOfFrozen = new WeakMap<object, { lines: string | null }>();

/** @returns the lines of a frozen record with a Content-Type and plain values; null for anything else */
function frozenLines(fields: unknown): string | null {
  if (typeof fields !== "object" || fields === null || !Object.isFrozen(fields)) return null;
  const known = linesOfFrozen.get(fields);
  if (known !== undefined) return known.lines;
  if (Object.getPrototypeOf(fields) !== Object.prototype) return null;
  const lines = joinLines(Object.entries(fields));
  linesOfFrozen.set(fields, { lines });
  return lines;
}

function joinLines(fields: [string, unknown][]): string | null {
  let lines = "";
  let isTyped = false;
  for (const [name, value] of fields) {
    if (OWN_FIELDS.test(name) || typeof value !== "string" || !PLAIN_VALUE.test(value)) return null;
    isTyped ||= /^content-type$/i.test(name);
    lines += `${name}: ${value}\r\n`;
  }
  return isTyped ? lines : null;
}

/** The last line made for each header name: a module sends the same few over and over. */
const lastLines = new Map<string, { value: string; defaultLines: string; lines: string }>();
const MAX_LAST_LINES = 64;

function readLine(name: string, value: string, defaultLines: string): string | null {
  const last = lastLines.get(name);
  if (last !== undefined && last.value === value && last.defaultLines === defaultLines) return last.lines;
  if (OWN_FIELDS.test(name) || !PLAIN_VALUE.test(value)) return null;
  const lines = `${name}: ${value}\r\n${/^content-type$/i.test(name) ? "" : defaultLines}`;
  if (lastLines.size >= MAX_LAST_LINES) lastLines.clear();
  lastLines.set(name, { value, defaultLines, lines });
  return lines;
}
