/** Responses on their way to the engine. Invalid ones are found here, where the error still belongs to the handler. */
import type { BoundRoute } from "../../module/route";
import { GraphResponse } from "../web/response";
import { countStatus, noResponse } from "../web/handler-reply";
import { asResponse, type OwnReply } from "../web/own-reply";
import type { Dispatch } from "../wire";
import { hasBeenReset } from "./request";

/**
 * A handler's response, if the engine can send it.
 *
 * @throws TypeError if it is no Response, or was already read; RangeError for a status that is not final
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

/** The body's length for the access log: the real one if it is in memory, otherwise the handler's, or 0. */
export function bodyBytes(response: Response): number {
  const text = GraphResponse.textOf(response);
  if (text !== undefined) return Buffer.byteLength(text);
  return GraphResponse.blobOf(response)?.size ?? (Number(GraphResponse.headersOf(response).get("content-length")) || 0);
}

/** Whether the body is produced while it is sent. */
export function isStreamed(response: Response): boolean {
  return GraphResponse.textOf(response) === undefined && GraphResponse.kindOf(response) === "stream";
}

/** A reply of the server's own, counted as an error if it is one. */
export function ownResponse(dispatch: Dispatch, reply: OwnReply): Response {
  if (reply.status >= 500) dispatch.counters.errors++;
  return asResponse(reply);
}

/** Whether a handler failed because the engine stopped reading a body above maxBodyBytes: the client is to blame. */
export function isBodyTooLarge(error: unknown): boolean {
  return error instanceof Error && error.message === "Request body exceeded maxRequestBodySize";
}
