/**
 * The Response of modules on the pool and in processes: the standard class, which also remembers a body that is in
 * memory.
 */
import { decodedResponses, moduleFetch, StandardResponse } from "../../module/graph/standard";

const NativeResponse = Response;

/** Marks a stream whose content is known. hono makes `new Response(response.body, response)` after each middleware. */
const WHOLE = Symbol("whole");

type AtHand = string | Uint8Array<ArrayBuffer>;

interface WholeStream extends ReadableStream {
  [WHOLE]?: AtHand;
}

/** `fetch` for the same modules. */
export const hostedFetch = moduleFetch();

export class HostedResponse extends StandardResponse {
  /** undefined: read it as a stream. */
  #body: AtHand | undefined;
  #blob: Blob | undefined;

  constructor(body?: Bun.BodyInit | null, init?: ResponseInit) {
    const whole = body instanceof ReadableStream ? wholeOf(body) : undefined;
    super(whole ?? body, init);
    if (whole !== undefined) this.#body = whole;
    else if (typeof body === "string") this.#body = body;
    // A copy, like the standard class makes: the module may change its own.
    else if (body instanceof ArrayBuffer) this.#body = new Uint8Array(body.slice(0));
    else if (ArrayBuffer.isView(body))
      this.#body = new Uint8Array(new Uint8Array(body.buffer, body.byteOffset, body.byteLength));
    else if (body instanceof Blob) this.#blob = body;
    else if (body instanceof URLSearchParams || body instanceof FormData) {
      // The bytes are known at once. Read the headers before the body: later they would lack the body's Content-Type.
      void super.headers;
      const bytes = Bun.peek(super.clone().bytes());
      if (!(bytes instanceof Promise)) this.#body = bytes as Uint8Array<ArrayBuffer>;
    }
  }

  // Responses of other makers (fetch, HTMLRewriter) are Responses too.
  static override [Symbol.hasInstance](value: unknown): boolean {
    return this === HostedResponse
      ? value instanceof NativeResponse
      : Function.prototype[Symbol.hasInstance].call(this, value);
  }

  static override json(data: unknown, init?: ResponseInit | number): Response {
    const text = JSON.stringify(data) as string | undefined;
    // The standard one throws the right error for values without JSON.
    if (text === undefined || typeof init === "number") return NativeResponse.json(data, init as ResponseInit);
    const headers = new Headers(init?.headers as Bun.HeadersInit | undefined);
    if (!headers.has("content-type")) headers.set("content-type", "application/json;charset=utf-8");
    return new HostedResponse(text, {
      ...(init?.status === undefined ? {} : { status: init.status }),
      statusText: init?.statusText ?? "",
      headers,
    });
  }

  /** The body's content, while nobody has read it; undefined: read it as a stream. */
  static bodyOf(response: Response): string | Uint8Array | undefined {
    return #body in response ? response.#body : undefined;
  }

  /** The length of a body that is read as a stream. In bytes. undefined: not known. */
  static sizeOf(response: Response): number | undefined {
    if (!(#body in response)) return undefined;
    const size = typeof response.#body === "string" ? undefined : (response.#body?.length ?? response.#blob?.size);
    return Number.isSafeInteger(size) ? size : undefined;
  }

  /** Whether its Content-Encoding and Content-Length describe the body before it was decoded. */
  static isDecoded(response: Response): boolean {
    return decodedResponses.has(response);
  }

  override get body(): Response["body"] {
    const stream = super.body;
    if (stream !== null && this.#body !== undefined && !stream.locked) (stream as WholeStream)[WHOLE] = this.#body;
    return stream;
  }

  override clone(): Response {
    const whole = this.#body ?? this.#blob;
    return whole === undefined || this.bodyUsed
      ? (super.clone() as Response)
      : new HostedResponse(whole, this as unknown as ResponseInit);
  }
}

function wholeOf(stream: ReadableStream): AtHand | undefined {
  return stream.locked ? undefined : (stream as WholeStream)[WHOLE];
}

Object.defineProperty(HostedResponse, "name", { value: "Response" });
