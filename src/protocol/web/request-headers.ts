/**
 * The headers of a request: the standard interface over the received text. Asking for a missing field, which is the
 * usual case, allocates nothing. All else makes the native Headers, once.
 */

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
