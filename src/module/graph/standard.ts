/** The standard's Response and fetch, as the server's own, which modules get, stand on them. */

/** The standard class's instances: an interface, so that its properties may be overridden by accessors. */
export interface StandardResponse extends Response {
  readonly headers: Headers;
  readonly body: Response["body"];
}

export const StandardResponse = Response as unknown as {
  new (body?: Bun.BodyInit | null, init?: ResponseInit): StandardResponse;
  json(data: unknown, init?: ResponseInit | number): Response;
};

/**
 * Responses of `fetch` with a decoded body. Their Content-Encoding and Content-Length still describe the encoded one.
 */
export const decodedResponses = new WeakSet<Response>();

/** The codings that Bun's fetch decodes. */
const DECODED = /^(?:gzip|x-gzip|deflate|br|zstd)$/i;
const nativeFetch = fetch;

type Init = RequestInit & { decompress?: boolean };

/** @returns a `fetch` for modules. @param toNative  makes a Request of the server's own a standard one */
export function moduleFetch(
  toNative: (input: string | URL | Request, init?: Init) => Parameters<typeof fetch> = (...args) => args,
): typeof fetch {
  const own = async (input: string | URL | Request, init?: Init): Promise<Response> => {
    const response = await nativeFetch(...toNative(input, init));
    if (init?.decompress !== false && DECODED.test(response.headers.get("content-encoding") ?? ""))
      decodedResponses.add(response);
    return response;
  };
  return Object.defineProperty(Object.assign(own, { preconnect: nativeFetch.preconnect }), "name", { value: "fetch" });
}
