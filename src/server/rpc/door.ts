/** Identifies the caller of procedures over HTTP or WebSocket, and refuses pages of other sites. */
import type { AccessControl } from "../../hub/access/access-control";
import { notAllowed, pageRefused, type RpcFailure } from "../../hub/rpc/failure";
import type { RpcCaller } from "../../hub/rpc/caller";
import type { Client, RequestContext } from "../../module/contract";
import { ANONYMOUS } from "../../module/session";
import { isForeignOrigin, isLocalHost } from "../../protocol/web/origin";
import { splitUrl } from "../../router/paths";

export interface RpcDoor {
  readonly access: Pick<AccessControl, "admit" | "authenticate" | "current">;
  /** Names of this machine besides those that every machine has (`http.localNames`). */
  readonly localNames: () => readonly string[];
}

/**
 * @returns the caller, or the reason to refuse it. A wrong token is answered late
 */
export function admit(
  { access, localNames }: RpcDoor,
  request: Request,
  context: RequestContext,
): RpcCaller | RpcFailure | Promise<RpcFailure> {
  const { headers } = request;
  const { origin } = splitUrl(request.url);
  const host = origin.slice(origin.indexOf("//") + 2);
  if (isForeignOrigin(headers.get("origin"), host)) return pageRefused();
  const client = clientBehind(context.client, host, localNames());
  const hasToken = headers.get("authorization") !== null || headers.get("sec-websocket-protocol") !== null;
  const session = hasToken ? access.admit(headers, client, ANONYMOUS) : context.session;
  return session instanceof Promise ? session.then(notAllowed) : { client, session };
}

/**
 * A page of another site can make its own host name point to this machine (DNS rebinding). A request with such a Host
 * needs a token, as a request from another machine does.
 */
function clientBehind(client: Client, host: string, localNames: readonly string[]): Client {
  return !client.isLocal || client.transport === "unix" || isLocalHost(host, localNames)
    ? client
    : { ...client, isLocal: false };
}

export function isCaller(admitted: RpcCaller | RpcFailure): admitted is RpcCaller {
  return "client" in admitted;
}
