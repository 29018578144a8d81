/**
 * `fetch` routes with `run: "pool"` or `run: "process"`, on the main thread's side: to the protocols they are handlers
 * like any other, which answer with a promise.
 */
import {
  BODY,
  type CarriedResponse,
  decodeResponse,
  encodeRequest,
  fieldsOf,
  WHOLE_REQUEST_BYTES,
} from "../../host/remote/fetch-messages";
import type { Hosts } from "../../host/hosts";
import { fromLatin1, parcelOf, toLatin1 } from "../../host/remote/messages";
import { HandlerError, HostBusyError, HostLostError, UnavailableError } from "../../host/errors";
import type { CallSink } from "../../host/remote/call";
import type { RequestContext } from "../../module/contract";
import { asHost } from "../../module/graph/leave-graph";
import type { BoundRoute } from "../../module/route";
import { hasClientLeft, mayStillRead } from "./client-left";
import { GraphResponse } from "./response";
import type { Dispatch } from "../wire";
import { asResponse, HOST_BUSY, HOST_LATE, inQuarantine } from "./own-reply";

type Reply = Parameters<CallSink["resolve"]>[0];
type Parts = AsyncIterator<string | Uint8Array>;

/**
 * The route as the routing table has it.
 *
 * @param hosts    asked with the call
 * @param dispatch its `timeouts.handlerMs` and `handlerFailed` are used
 */
export function onHost(hosts: Hosts, route: BoundRoute, dispatch: Dispatch): BoundRoute {
  const handler = (request: Request, context: RequestContext): Promise<Response> =>
    asHost(() => callFetch(hosts, route, dispatch, request, context));
  return { ...route, handler: handler as unknown as BoundRoute["handler"] };
}

async function callFetch(
  hosts: Hosts,
  route: BoundRoute,
  dispatch: Dispatch,
  request: Request,
  context: RequestContext,
): Promise<Response> {
  if (request.bodyUsed) {
    throw new TypeError(
      "The request's body was read before it reached the module. Read request.clone() in the middleware instead.",
    );
  }
  const whole = isSmall(request) ? await request.bytes() : null;
  const body = whole === null ? request.body : null;
  const { client, path, params, requestId } = context;
  const way = whole !== null ? BODY.bytes : body !== null ? BODY.stream : BODY.none;
  const { method, url, headers, signal } = request;
  const text = encodeRequest({
    method,
    url,
    requestId,
    path,
    params,
    fields: fieldsOf(headers),
    way,
    body: whole === null ? "" : toLatin1(whole),
  });
  const timeoutMs = route.timeoutMs ?? dispatch.timeouts.handlerMs;
  const answered = Promise.withResolvers<Response>();
  const sink: CallSink = {
    resolve: (reply) => void readReply(reply).then(answered.resolve, answered.reject),
    reject: (error) => refuse(route, dispatch, request, context, error, answered),
  };
  const call = hosts.call({ route, parcel: parcelOf(client, text), body, timeoutMs, sink });
  const giveUp = (): void => {
    if (mayStillRead(signal.reason)) return call.clientEnded();
    call.cancel();
    answered.reject(signal.reason);
  };
  if (signal.aborted) giveUp();
  else signal.addEventListener("abort", giveUp, { once: true });
  return answered.promise;
}

function isSmall({ headers }: Request): boolean {
  const length = Number(headers.get("content-length") ?? NaN);
  return length > 0 && length <= WHOLE_REQUEST_BYTES;
}

/**
 * What the handler threw, or cost its thread its life, is the route's own failure; that there was no answer is told
 * here.
 */
function refuse(
  route: BoundRoute,
  dispatch: Dispatch,
  request: Request,
  { client }: RequestContext,
  error: Error,
  answered: PromiseWithResolvers<Response>,
): void {
  if (error instanceof HandlerError || error instanceof HostLostError) return answered.reject(error);
  if (error instanceof UnavailableError)
    return answered.resolve(asResponse(inQuarantine(route.module, error.retryAfterSeconds)));
  if (error instanceof HostBusyError) return answered.resolve(asResponse(HOST_BUSY));
  dispatch.handlerFailed(route, client, error, hasClientLeft(request));
  answered.resolve(asResponse(HOST_LATE));
}

async function readReply(reply: Reply): Promise<Response> {
  if (typeof reply === "string") {
    const carried = decodeResponse(reply);
    const { way, body } = carried;
    if (way === BODY.none) return new GraphResponse(null, initOf(carried));
    return new GraphResponse(way === BODY.text ? body : (fromLatin1(body) as Uint8Array<ArrayBuffer>), initOf(carried));
  }
  if (reply === null || reply instanceof Uint8Array)
    throw new Error("The module's host answered an HTTP request with what is no Response.");
  const parts = reply[Symbol.asyncIterator]();
  const head = await parts.next();
  if (head.done === true || typeof head.value !== "string")
    throw new Error("A reply of the module's host to an HTTP request has no head.");
  return new GraphResponse(streamOf(parts), initOf(decodeResponse(head.value)));
}

function initOf({ status, statusText, fields }: CarriedResponse): ResponseInit {
  if (fields.length === 0 && statusText === "") return { status };
  // An object with one field has its lines made at once.
  const [first] = fields;
  if (fields.length === 1 && first !== undefined) return { status, statusText, headers: { [first[0]]: first[1] } };
  return { status, statusText, headers: fields };
}

function streamOf(parts: Parts): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value } = await parts.next();
        if (done === true) controller.close();
        else controller.enqueue(typeof value === "string" ? Buffer.from(value) : value);
      },
      cancel: async () => void (await parts.return?.()),
    },
    { highWaterMark: 0 },
  );
}
