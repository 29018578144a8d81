/** The Response of modules on a pool thread: the standard class, which remembers what its body was made of, if that is at hand. */
const NativeResponse = Response;

export class PoolResponse extends Response {
  /** undefined: it has to be read as a stream. */
  #body: string | Uint8Array | undefined;

  constructor(body?: Bun.BodyInit | null, init?: ResponseInit) {
    super(body, init);
    if (typeof body === "string") this.#body = body;
    // A copy, as the standard class makes one: the module may change its own.
    else if (body instanceof Uint8Array || body instanceof ArrayBuffer) this.#body = new Uint8Array(body);
  }

  // Responses made elsewhere (by fetch, by HTMLRewriter) are Responses too.
  static override [Symbol.hasInstance](value: unknown): boolean {
    return this === PoolResponse ? value instanceof NativeResponse : Function.prototype[Symbol.hasInstance].call(this, value);
  }

  static override json(data: unknown, init?: ResponseInit | number): Response {
    const text = JSON.stringify(data) as string | undefined;
    // The standard one throws the right error for what has no JSON.
    if (text === undefined || typeof init === "number") return NativeResponse.json(data, init as ResponseInit);
    const headers = new Headers(init?.headers as Bun.HeadersInit | undefined);
    if (!headers.has("content-type")) headers.set("content-type", "application/json;charset=utf-8");
    return new PoolResponse(text, {
      ...(init?.status === undefined ? {} : { status: init.status }),
      statusText: init?.statusText ?? "",
      headers,
    });
  }

  /** What the body was made of, while nobody has read it; undefined: read it as a stream. */
  static bodyOf(response: Response): string | Uint8Array | undefined {
    return #body in response ? response.#body : undefined;
  }

  override clone(): Response {
    return this.#body === undefined || this.bodyUsed
      ? (super.clone() as Response)
      : new PoolResponse(this.#body, this as unknown as ResponseInit);
  }
}
Object.defineProperty(PoolResponse, "name", { value: "Response" });
