/**
 * Responses on their way to the engine: what may not be sent is found here, where the handler can still be blamed for
 * it.
 */
import type { BoundRoute } from "../../module/route";
import { GraphResponse } from "../web/response";
import { countStatus, noResponse } from "../web/handler-reply";
import { asResponse, type OwnReply } from "../web/own-reply";
import type { Dispatch } from "../wire";
import { hasBeenReset } from "./request";

/**
 * What a handler returned, if the engine can send it.
 *
 * @throws TypeError for what is no Response, or was read already; RangeError for a status that is no final one
 */
export function checkedResponse(dispatch: Dispatch, route: BoundRoute, request: Request, value: unknown): Response {
  if (!(value instanceof Response)) throw noResponse(route, value);
  const { status } = value;
  if (status < 200) throw new RangeError(`A Response with status ${status} cannot be sent: use 200 to 999.`);
  if (value.bodyUsed)
    throw new TypeError(
      "The handler returned a Response whose body was read already. Return response.clone(), or make a new one.",
    );
  countStatus(dispatch, route, status, status >= 500 && hasBeenReset(request));
  return value;
}

/** Of a body that is at hand, for the access log; what the handler said of others, else 0. */
export function bodyBytes(response: Response): number {
  const text = GraphResponse.textOf(response);
  if (text !== undefined) return Buffer.byteLength(text);
  return GraphResponse.blobOf(response)?.size ?? (Number(GraphResponse.headersOf(response).get("content-length")) || 0);
}

/** Whether the body is made while it is sent. */
export function isStreamed(response: Response): boolean {
  return GraphResponse.textOf(response) === undefined && GraphResponse.kindOf(response) === "stream";
}

/** A reply of the server's own, counted as an error if it is one. */
export function ownResponse(dispatch: Dispatch, reply: OwnReply): Response {
  if (reply.status >= 500) dispatch.counters.errors++;
  return asResponse(reply);
}

/**
 * Whether a handler failed since the engine refused to read on in a body above maxBodyBytes: the client is to blame.
 */
export function isBodyTooLarge(error: unknown): boolean {
  return error instanceof Error && error.message === "Request body exceeded maxRequestBodySize";
}
