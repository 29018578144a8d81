import { moduleFetch } from "../../module/graph/standard";
import { GraphRequest, LightRequest } from "./request";
import { GraphResponse } from "./response";

/** The `fetch` of modules: also takes a server's request in place of a Request. */
const graphFetch = moduleFetch((input, init) =>
  LightRequest.is(input) ? LightRequest.toNative(input, init) : [input, init],
);

/**
 * For `globals` of a module's graph: the classes that work with the server's own request, and make the common reply
 * cheap.
 */
export function moduleGlobals(): Record<string, unknown> {
  return { Request: GraphRequest, Response: GraphResponse, fetch: graphFetch };
}
