import { GraphRequest, LightRequest } from "./request";
import { GraphResponse } from "./response";

const nativeFetch = fetch;

/** The `fetch` of modules: takes a server's request where the standard one takes a Request. */
export const graphFetch: typeof fetch = Object.assign(
  (input: RequestInfo | URL, init?: RequestInit): Promise<Response> =>
    LightRequest.is(input) ? nativeFetch(...LightRequest.toNative(input, init)) : nativeFetch(input, init),
  { preconnect: nativeFetch.preconnect },
);
Object.defineProperty(graphFetch, "name", { value: "fetch" });

/** For `globals` of a module's graph: the classes that work with the server's own request, and make the common reply cheap. */
export function moduleGlobals(): Record<string, unknown> {
  return { Request: GraphRequest, Response: GraphResponse, fetch: graphFetch };
}
