/**
 * Replies that are repeated: a module may mark a reply as right for every equal request of the next moment
 * (`GraphResponse.repeatableOf`). Such a request is known by its head, which the fast path remembers, and is answered
 * without its handler. Nothing may stand in front of the handler: middleware must see each request.
 */
import { beginCall, endCall, tellAccess } from "../../host/inline";
import type { BoundRoute } from "../../module/route";
import { answeredHttp } from "../access";
import { endpointAt, type Repeat } from "../routing";
import { keepOpen } from "../web/kept-files";
import { GraphResponse } from "../web/response";
import type { Dispatch, Wire } from "../wire";
import type { RequestHead } from "./head";
import { dateOf } from "./reply";

/** Only the most frequent heads are worth it. */
const MAX_REPEATS = 256;
/** Below this, copying a body costs the kernel less than the second system call. In bytes. */
const MIN_FILE_BYTES = 65_536;

/**
 * Answers a request without a body by the reply that an equal one got.
 *
 * @returns false if there is none that is still right: call the handler
 */
export function repeatReply(wire: Wire, head: RequestHead): boolean {
  const { dispatch } = wire;
  const { repeats } = dispatch.routing;
  if (repeats.size === 0) return false;
  const repeat = repeats.get(head);
  if (repeat === undefined || !isRight(repeat, wire)) return false;
  const { route, message, headBytes, fd } = repeat;
  const startedAt = beginCall(route, dispatch.access !== null);
  repeat.repeatable.asked++;
  if (fd >= 0 && wire.canSendFile) wire.writeFile(message, headBytes, fd);
  else wire.write(message);
  endCall(route, startedAt);
  if (dispatch.access !== null)
    tellAccess(dispatch.access, wire.client, route, startedAt, answeredHttp("http/1.1", head, 200, message.length));
  return true;
}

function isRight({ date, isSecure, until }: Repeat, { dispatch, isSecure: isSecureNow }: Wire): boolean {
  return (
    performance.now() < until && date === dateOf(dispatch, true) && isSecure === isSecureNow && !dispatch.isDraining
  );
}

/**
 * Remembers a reply, if its maker lets it be repeated.
 *
 * @param head     of a request without a body
 * @param message  the complete reply, which keeps the connection open
 */
export function noteReply(wire: Wire, head: RequestHead, route: BoundRoute, response: Response, message: Buffer): void {
  const repeatable = GraphResponse.repeatableOf(response);
  if (repeatable === undefined || response.status !== 200 || route.isBehindMiddleware === true) return;
  const { until } = repeatable;
  // llhttp makes a new head of each request.
  if (typeof head.fields !== "string" || until <= performance.now()) return;
  const { dispatch, isSecure } = wire;
  const { repeats } = dispatch.routing;
  // Some clients get this path from the server itself.
  if (endpointAt(dispatch.routing, head.method, head.path as string) !== null) return;
  if (repeats.size >= MAX_REPEATS) repeats.clear();
  const headBytes = GraphResponse.readyOf(response)?.headBytes ?? message.length;
  const fd = fileOf(response, message.length - headBytes, until, dispatch);
  repeats.set(head, { route, message, headBytes, fd, repeatable, date: dateOf(dispatch, true), isSecure, until });
}

/** @returns a descriptor of the file with the body; -1: none */
function fileOf(response: Response, bodyBytes: number, until: number, { files }: Dispatch): number {
  const file = bodyBytes < MIN_FILE_BYTES ? undefined : GraphResponse.repeatedFileOf(response);
  return file === undefined || file.end - file.start !== bodyBytes ? -1 : keepOpen(file, until, files);
}
