/**
 * Adds to the engine's Request the facts that the engine cannot know: the client used TLS; the handler's time is over.
 * The rest stays native.
 */
const nativeSignal = getterOf<AbortSignal>("signal");
const nativeUrl = getterOf<string>("url");
const nativeClone = Request.prototype.clone;

/** Controllers of requests whose signal was asked for, or aborted. */
const abortions = new WeakMap<object, AbortController>();

/** Requests of connections that are gone. The engine may learn of it later. */
const resets = new WeakSet<object>();

function getterOf<T>(name: "signal" | "url"): (this: unknown) => T {
  const getter = Object.getOwnPropertyDescriptor(Request.prototype, name)?.get;
  if (getter === undefined) throw new Error(`Request.prototype.${name} is no getter in this version of Bun.`);
  return getter as () => T;
}

class Http2Request {
  get signal(): AbortSignal {
    return (abortions.get(this) ?? followNative(this)).signal;
  }

  clone(): Request {
    const copy = nativeClone.call(this as unknown as Request) as unknown as Request;
    const url = Object.getOwnPropertyDescriptor(this, "url");
    if (url !== undefined) Object.defineProperty(copy, "url", url);
    // One signal for both: the client that vanishes is the same.
    abortions.set(copy, abortions.get(this) ?? followNative(this));
    Object.setPrototypeOf(copy, Object.getPrototypeOf(this) as object);
    return copy;
  }
}
Object.setPrototypeOf(Http2Request.prototype, Request.prototype);

class SecureHttp2Request extends Http2Request {
  get url(): string {
    return nativeUrl.call(this).replace(/^http:/, "https:");
  }
}

/** Makes an engine's request one of ours, in place. */
export function adoptRequest(request: Request, isSecure: boolean): void {
  Object.setPrototypeOf(request, isSecure ? SecureHttp2Request.prototype : Http2Request.prototype);
}

/**
 * Gives a request the URL that was routed, if the engine has another spelling of it.
 */
export function restateUrl(request: Request, url: string, isSecure: boolean): void {
  Object.defineProperty(request, "url", { value: isSecure ? url.replace(/^http:/, "https:") : url });
}

/** The method and target of a request, for the access log. */
export function askedOf(request: Request): { method: string; target: string } {
  const url = nativeUrl.call(request);
  // The path begins behind "http://" and the host.
  const at = url.indexOf("/", url.indexOf("//") + 2);
  return { method: request.method, target: at < 0 ? url : url.slice(at) };
}

/** The connection of a request is gone. */
export function noteReset(request: Request): void {
  resets.add(request);
}

/** Aborts `request.signal`, now or when it is first asked for. */
export function abortRequest(request: Request, reason: unknown): void {
  let abortion = abortions.get(request);
  if (abortion === undefined) abortions.set(request, (abortion = new AbortController()));
  abortion.abort(reason);
}

/**
 * Whether the client has reset the request's stream, or closed its connection. False once the server itself has ended
 * the request.
 */
export function hasBeenReset(request: Request): boolean {
  return resets.has(request) || nativeSignal.call(request).aborted;
}

function followNative(request: object): AbortController {
  const abortion = new AbortController();
  abortions.set(request, abortion);
  const native = nativeSignal.call(request);
  if (native.aborted) abortion.abort(native.reason);
  else native.addEventListener("abort", () => abortion.abort(native.reason), { once: true });
  return abortion;
}
