import { GraphRequest, LightRequest } from "./request";
import { decodedResponses, GraphResponse } from "./response";

const nativeFetch = fetch;

/** The codings that Bun's fetch decodes. */
const DECODED = /^(?:gzip|x-gzip|deflate|br|zstd)$/i;

/** The `fetch` of modules: also takes a server's request in place of a Request. */
const graphFetch: typeof fetch = Object.assign(
  async (input: string | URL | Request, init?: RequestInit & { decompress?: boolean }): Promise<Response> => {
    const response = await (LightRequest.is(input)
      ? nativeFetch(...LightRequest.toNative(input, init))
      : nativeFetch(input, init));
    // The header of such a response names a coding that its body no longer has.
    if (init?.decompress !== false && DECODED.test(response.headers.get("content-encoding") ?? ""))
      decodedResponses.add(response);
    return response;
  },
  { preconnect: nativeFetch.preconnect },
);
Object.defineProperty(graphFetch, "name", { value: "fetch" });

/**
 * For `globals` of a module's graph: the classes that work with the server's own request, and make the common reply
 * cheap.
 */
export function moduleGlobals(): Record<string, unknown> {
  return { Request: GraphRequest, Response: GraphResponse, fetch: graphFetch };
}
