/**
 * The Request that handlers get: light, made of the parsed head. Costly parts are made on demand. Its prototype is
 * chained to the standard one's, so `instanceof Request` holds.
 */
import { type IncomingBody, ownBytes } from "../http1/body";
import { noTrailers, Trailers, TRAILERS } from "../../module/shape/trailers";
import type { RequestHead } from "../http1/head";

/** Makes native headers. @param fields names and values in turn, or header lines */
function makeHeaders(fields: readonly string[] | string): Headers {
  const headers = new Headers();
  if (typeof fields !== "string") {
    for (let i = 0; i + 1 < fields.length; i += 2) headers.append(fields[i] ?? "", fields[i + 1] ?? "");
    return headers;
  }
  let at = 0;
  while (at < fields.length) {
    const colon = fields.indexOf(":", at);
    const end = fields.indexOf("\r\n", colon);
    // append() strips the white space around the value.
    headers.append(fields.slice(at, colon), fields.slice(colon + 1, end));
    at = end + 2;
  }
  return headers;
}

/** By the requested name: modules ask for the same few. */
const fieldPatterns = new Map<string, RegExp>();
const MAX_PATTERNS = 256;
const FIELD_NAME = /^[\w-]+$/;

function patternOf(name: string): RegExp | null {
  let pattern = fieldPatterns.get(name);
  if (pattern === undefined) {
    if (!FIELD_NAME.test(name)) return null;
    if (fieldPatterns.size >= MAX_PATTERNS) fieldPatterns.clear();
    pattern = new RegExp(`^${name}:`, "im");
    fieldPatterns.set(name, pattern);
  }
  return pattern;
}

/** A request's headers. The prototype is chained to the standard one's, so `instanceof Headers` holds. */
export class LightHeaders {
  readonly #fields: readonly string[] | string;
  #native: Headers | null = null;

  /** @param fields names and values in turn, or header lines, each with its CR LF */
  constructor(fields: readonly string[] | string) {
    this.#fields = fields;
  }

  get #headers(): Headers {
    return (this.#native ??= makeHeaders(this.#fields));
  }

  /** Whether the text alone shows that there is no such field. */
  #lacks(name: string): boolean {
    if (this.#native !== null || typeof this.#fields !== "string") return false;
    const pattern = patternOf(name);
    return pattern !== null && !pattern.test(this.#fields);
  }

  get(name: string): string | null {
    return this.#lacks(name) ? null : this.#headers.get(name);
  }
  has(name: string): boolean {
    return !this.#lacks(name) && this.#headers.has(name);
  }
  set(name: string, value: string): void {
    this.#headers.set(name, value);
  }
  append(name: string, value: string): void {
    this.#headers.append(name, value);
  }
  delete(name: string): void {
    this.#headers.delete(name);
  }
  getAll(name: "set-cookie" | "Set-Cookie"): string[] {
    return this.#headers.getAll(name);
  }
  getSetCookie(): string[] {
    return this.#headers.getSetCookie();
  }
  forEach(callback: (value: string, name: string, headers: Headers) => void, self?: unknown): void {
    for (const [name, value] of this.#headers) callback.call(self, value, name, this as unknown as Headers);
  }
  entries(): ReturnType<Headers["entries"]> {
    return this.#headers.entries();
  }
  keys(): ReturnType<Headers["keys"]> {
    return this.#headers.keys();
  }
  values(): ReturnType<Headers["values"]> {
    return this.#headers.values();
  }
  [Symbol.iterator](): ReturnType<Headers["entries"]> {
    return this.#headers.entries();
  }
  get count(): number {
    return this.#headers.count;
  }
  toJSON(): ReturnType<Headers["toJSON"]> {
    return this.#headers.toJSON();
  }
  get [Symbol.toStringTag](): string {
    return "Headers";
  }
}
Object.setPrototypeOf(LightHeaders.prototype, Headers.prototype);

const NativeRequest = Request;

const EMPTY = new Uint8Array(0);
const utf8 = new TextDecoder();

function decodeText(bytes: Uint8Array): string {
  return bytes.length === 0 ? "" : utf8.decode(bytes);
}

async function attempt<T>(convert: (bytes: Uint8Array) => T | Promise<T>, bytes: Uint8Array): Promise<T> {
  return convert(bytes);
}

/** One request. It has the standard interface, but only the server constructs it. */
export class LightRequest {
  readonly #head: RequestHead;
  #body: IncomingBody | null;
  #url: string | null = null;
  #headers: Headers | null = null;
  #abortion: AbortController | null = null;
  #abortReason: unknown = undefined;
  #trailers: Trailers | null = null;
  readonly #isSecure: boolean;

  /**
   * @param body  null when the request has none
   * @param isSecure  whether it came over TLS: `url` says https
   */
  constructor(head: RequestHead, body: IncomingBody | null, isSecure = false) {
    this.#head = head;
    this.#body = body;
    this.#isSecure = isSecure;
  }

  /** Whether `value` is one of these, and not a native Request. */
  static is(value: unknown): value is LightRequest {
    return typeof value === "object" && value !== null && #head in value;
  }

  /** Aborts `request.signal`, now or when it is first asked for. */
  static abort(request: LightRequest, reason: unknown): void {
    if (request.#abortReason !== undefined) return;
    request.#abortReason = reason;
    request.#abortion?.abort(reason);
  }

  /** The reason with which its signal was, or would be, aborted; undefined: not aborted. */
  static abortReasonOf(request: LightRequest): unknown {
    return request.#abortReason;
  }

  /** The trailers of its reply, if a handler has asked for them. */
  static responseTrailersOf(request: LightRequest): Headers | null {
    return request.#trailers === null ? null : request.#trailers.asked;
  }

  /**
   * The body of any request, at once if it has arrived. The bytes are not the caller's own: read them before anything
   * else happens.
   */
  static collect(request: Request): Uint8Array | Promise<Uint8Array> {
    if (!LightRequest.is(request) || request.bodyUsed) return request.bytes();
    return request.#body === null ? EMPTY : request.#body.collect();
  }

  /** Whether trailers have come behind its body. */
  static hasTrailers(request: LightRequest): boolean {
    return request.#body !== null && request.#body.hasTrailers;
  }

  get [TRAILERS](): Trailers {
    const body = this.#body;
    return (this.#trailers ??= new Trailers(body === null ? noTrailers : () => body.awaitTrailers()));
  }

  /**
   * The native equivalent of a request, overridden by `init` as in `new Request(request, init)`. Takes the body, unless
   * `init` has one.
   */
  static toNative(request: LightRequest, init: RequestInit | undefined): [url: string, init: RequestInit] {
    const { method } = request;
    const own: RequestInit & { duplex?: "half" } = { method, headers: request.headers, signal: request.signal };
    const takesBody = request.#body !== null && init?.body == null && method !== "GET" && method !== "HEAD";
    if (takesBody) {
      own.body = request.body;
      own.duplex = "half";
    }
    return [request.url, init === undefined ? own : { ...own, ...init }];
  }

  get method(): string {
    return this.#head.method;
  }

  /** Absolute. An HTTP/1.0 request without Host gets "localhost". */
  get url(): string {
    const scheme = this.#isSecure ? "https" : "http";
    return (this.#url ??= `${scheme}://${this.#head.host || "localhost"}${this.#head.target === "*" ? "/*" : this.#head.target}`);
  }

  get headers(): Headers {
    return (this.#headers ??= new LightHeaders(this.#head.fields) as unknown as Headers);
  }

  get signal(): AbortSignal {
    return this.#abortionController().signal;
  }

  get body(): ReadableStream<Uint8Array> | null {
    return this.#body === null ? null : this.#body.stream();
  }

  get bodyUsed(): boolean {
    return this.#body !== null && this.#body.isDisturbed;
  }

  text(): Promise<string> {
    return this.#read(decodeText);
  }

  json(): Promise<unknown> {
    return this.#read((bytes) => JSON.parse(decodeText(bytes)) as unknown);
  }

  bytes(): Promise<Uint8Array> {
    return this.#read((bytes) => ownBytes(bytes));
  }

  arrayBuffer(): Promise<ArrayBuffer> {
    return this.#read((bytes) => ownBytes(bytes).buffer as ArrayBuffer);
  }

  blob(): Promise<Blob> {
    return this.#read((bytes) => new Blob([ownBytes(bytes)], { type: this.headers.get("content-type") ?? "" }));
  }

  formData(): Promise<FormData> {
    const type = this.headers.get("content-type");
    const headers: Record<string, string> = type === null ? {} : { "content-type": type };
    return this.#read((bytes) => new Response(ownBytes(bytes), { headers }).formData() as unknown as Promise<FormData>);
  }

  clone(): Request {
    if (this.bodyUsed) throw new TypeError("The request's body was read already; clone it before reading.");
    const copy = new LightRequest(this.#head, this.#body?.fork() ?? null, this.#isSecure);
    copy.#headers = this.#headers === null ? null : new Headers(this.#headers);
    // One signal for both, since they have the same client.
    copy.#abortion = this.#abortionController();
    return copy as unknown as Request;
  }

  #abortionController(): AbortController {
    if (this.#abortion === null) {
      this.#abortion = new AbortController();
      if (this.#abortReason !== undefined) this.#abortion.abort(this.#abortReason);
    }
    return this.#abortion;
  }

  #read<T>(convert: (bytes: Uint8Array) => T | Promise<T>): Promise<T> {
    const body = this.#body;
    if (body === null) return attempt(convert, EMPTY);
    if (body.isDisturbed) return Promise.reject(new TypeError("The request's body was read already."));
    const bytes = body.collect();
    return bytes instanceof Promise ? bytes.then(convert) : attempt(convert, bytes);
  }
}
Object.setPrototypeOf(LightRequest.prototype, NativeRequest.prototype);

/** The values of a request that a browser did not make. */
const ALWAYS: Partial<Request> = {
  cache: "default",
  credentials: "include",
  destination: "",
  integrity: "",
  keepalive: false,
  mode: "navigate",
  redirect: "follow",
  referrer: "",
  referrerPolicy: "",
};
for (const [name, value] of Object.entries(ALWAYS))
  Object.defineProperty(LightRequest.prototype, name, { get: () => value, configurable: true });

/** The `Request` of modules: also takes a server's request in place of a Request. */
export class GraphRequest extends Request {
  constructor(input: string | URL | Request, init?: RequestInit) {
    if (LightRequest.is(input)) super(...LightRequest.toNative(input, init));
    else super(input as Request, init);
  }

  // Requests of other makers are Requests too. Only the module's own subclasses keep the strict meaning.
  static override [Symbol.hasInstance](value: unknown): boolean {
    return this === GraphRequest
      ? value instanceof NativeRequest
      : Function.prototype[Symbol.hasInstance].call(this, value);
  }
}
Object.defineProperty(GraphRequest, "name", { value: "Request" });
