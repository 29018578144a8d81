/**
 * `fetch` routes with `run: "pool"` or `run: "process"`, on the main thread's side: for the protocols they are ordinary
 * handlers that return a promise.
 */
import {
  BODY,
  type CarriedResponse,
  decodeResponse,
  encodeRequest,
  fieldsOf,
  WHOLE_REQUEST_BYTES,
} from "../../host/remote/fetch-messages";
import { type CallServer, handlerMs } from "../../host/inline";
import type { Hosts } from "../../host/hosts";
import { fromLatin1, toLatin1 } from "../../host/remote/messages";
import { HandlerError, HostBusyError, HostLostError, UnavailableError } from "../../host/errors";
import type { RemoteCallOwner } from "../../host/remote/call";
import type { RequestContext } from "../../module/contract";
import { withSession } from "../../module/session";
import { asHost } from "../../system/leave-graph";
import type { BoundRoute } from "../../module/route";
import { hasClientLeft, mayStillRead } from "./client-left";
import { LightRequest } from "./request";
import { GraphResponse } from "./response";
import { asResponse, HOST_BUSY, HOST_LATE, inQuarantine } from "./own-reply";

type Reply = Parameters<RemoteCallOwner["resolve"]>[0];
type Parts = AsyncIterator<string | Uint8Array>;

/**
 * The route for the routing table.
 *
 * @param server  is told when there is no answer in time
 */
export function onHost(hosts: Hosts, route: BoundRoute, server: CallServer): BoundRoute {
  const handler = (request: Request, context: RequestContext): Promise<Response> =>
    asHost(() => new RemoteFetch(server, route, request, context).call(hosts));
  return { ...route, handler: handler as unknown as BoundRoute["handler"] };
}

/** One request on its way to a host and back. */
class RemoteFetch implements RemoteCallOwner {
  readonly #server: CallServer;
  readonly #route: BoundRoute;
  readonly #request: Request;
  readonly #context: RequestContext;
  readonly #answered = Promise.withResolvers<Response>();

  constructor(server: CallServer, route: BoundRoute, request: Request, context: RequestContext) {
    this.#server = server;
    this.#route = route;
    this.#request = request;
    this.#context = context;
  }

  async call(hosts: Hosts): Promise<Response> {
    const request = this.#request;
    const { signal } = request;
    if (request.bodyUsed) {
      throw new TypeError(
        "The request's body was read before it reached the module. Read request.clone() in the middleware instead.",
      );
    }
    const read = isSmall(request) ? await request.bytes() : null;
    // Trailers travel behind a streamed body.
    const isTrailed = read !== null && LightRequest.is(request) && LightRequest.hasTrailers(request);
    const whole = isTrailed ? null : read;
    const body = isTrailed ? new Response(read).body : whole === null ? request.body : null;
    const call = hosts.call({
      route: this.#route,
      client: withSession(this.#context.client, this.#context.session),
      latin1: this.#encode(whole, body !== null),
      body,
      trailers: async () => fieldsOf(await this.#context.requestTrailers),
      timeoutMs: handlerMs(this.#server, this.#route),
      owner: this,
    });
    const giveUp = (): void => {
      if (mayStillRead(signal.reason)) return call.clientEnded();
      call.cancel();
      this.#answered.reject(signal.reason);
    };
    if (signal.aborted) giveUp();
    else signal.addEventListener("abort", giveUp, { once: true });
    return this.#answered.promise;
  }

  #encode(whole: Uint8Array | null, isStreamed: boolean): string {
    const { method, url, headers } = this.#request;
    const { path, params, requestId } = this.#context;
    return encodeRequest({
      method,
      url,
      requestId,
      path,
      params,
      fields: fieldsOf(headers),
      way: whole !== null ? BODY.bytes : isStreamed ? BODY.stream : BODY.none,
      body: whole === null ? "" : toLatin1(whole),
    });
  }

  // ---- RemoteCallOwner ----

  resolve(reply: Reply): void {
    void readReply(reply, this.#context).then(this.#answered.resolve, this.#answered.reject);
  }

  /** An error of the handler, or the end of its host, is the route's own failure. A missing answer is reported here. */
  reject(error: Error): void {
    const { resolve, reject } = this.#answered;
    if (error instanceof HandlerError || error instanceof HostLostError) return reject(error);
    if (error instanceof UnavailableError)
      return resolve(asResponse(inQuarantine(this.#route.module, error.retryAfterSeconds)));
    if (error instanceof HostBusyError) return resolve(asResponse(HOST_BUSY));
    this.#server.handlerFailed(this.#route, this.#context.client, error, hasClientLeft(this.#request));
    resolve(asResponse(HOST_LATE));
  }
}

function isSmall({ headers }: Request): boolean {
  const length = Number(headers.get("content-length") ?? NaN);
  return length > 0 && length <= WHOLE_REQUEST_BYTES;
}

async function readReply(reply: Reply, context: RequestContext): Promise<Response> {
  if (typeof reply === "string") {
    const carried = decodeResponse(reply);
    const { way, body } = carried;
    if (way === BODY.none) return new GraphResponse(null, initOf(carried));
    return new GraphResponse(way === BODY.text ? body : (fromLatin1(body) as Uint8Array<ArrayBuffer>), initOf(carried));
  }
  if (reply === null || reply instanceof Uint8Array)
    throw new Error("The module's host answered an HTTP request with a value that is not a Response.");
  const parts = reply[Symbol.asyncIterator]();
  const head = await parts.next();
  if (head.done === true || typeof head.value !== "string")
    throw new Error("A reply of the module's host to an HTTP request has no head.");
  return new GraphResponse(streamOf(parts, context), initOf(decodeResponse(head.value)));
}

function initOf({ status, statusText, fields }: CarriedResponse): ResponseInit {
  if (fields.length === 0 && statusText === "") return { status };
  // An object with one field has its lines made at once.
  const [first] = fields;
  if (fields.length === 1 && first !== undefined) return { status, statusText, headers: { [first[0]]: first[1] } };
  return { status, statusText, headers: fields };
}

/** @param context  its reply gets the trailers that come behind the last part, as text */
function streamOf(parts: Parts, context: RequestContext): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value } = await parts.next();
        if (done === true) controller.close();
        else if (typeof value !== "string") controller.enqueue(value);
        else {
          takeTrailers(value, context.responseTrailers);
          controller.close();
          void parts.return?.();
        }
      },
      cancel: async () => void (await parts.return?.()),
    },
    { highWaterMark: 0 },
  );
}

/** @param lines  names and values, each line with its CR LF */
function takeTrailers(lines: string, trailers: Headers): void {
  for (const line of lines.split("\r\n").slice(0, -1)) {
    const colon = line.indexOf(": ");
    trailers.append(line.slice(0, colon), line.slice(colon + 2));
  }
}
