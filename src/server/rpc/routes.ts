/** All ways in which clients reach procedures, as routes of the server's own. */
import { openApi } from "../../hub/rpc/openapi";
import { httpRefused } from "../../hub/rpc/failure";
import type { Procedures } from "../../hub/rpc/procedures";
import { errorJson } from "../../hub/rpc/texts";
import type { RequestContext } from "../../module/contract";
import { ownFetchRoute } from "../../module/own-routes";
import type { BoundRoute } from "../../module/route";
import { callRoute } from "./call-command";
import { admit, isCaller, type RpcDoor } from "./door";
import { inputHandler, messageHandler } from "./http";
import { procedurePage } from "./page";
import { rawRoutes } from "./raw";
import { jsonReply } from "./reply";
import { socketRoute } from "./websocket";

/** The services have deadlines of their own. */
const NO_TIMEOUT = 0;

/** @returns routes for the table while a module has procedures. They give way to modules */
export function procedureRoutes(procedures: Procedures, door: RpcDoor): BoundRoute[] {
  const describe = async (request: Request, context: RequestContext): Promise<Response> => {
    const caller = await admit(door, request, context);
    return isCaller(caller)
      ? jsonReply(200, openApi(procedures.list(caller)))
      : jsonReply(caller.status, `{"error":${errorJson(caller)}}`);
  };
  return [
    ...rawRoutes(procedures),
    callRoute(procedures),
    described("POST /rpc", "A message of JSON-RPC 2.0", messageHandler(procedures, door)),
    described("POST /rpc/:name", "A procedure's input, as JSON", inputHandler(procedures, door)),
    described("GET /rpc/:name", "Not allowed: POST calls a procedure", () => onlyPost()),
    described("GET /openapi.json", "The procedures, by OpenAPI 3.1", describe),
    {
      ...socketRoute(procedures, door, ownFetchRoute("GET /rpc", NO_TIMEOUT, procedurePage)),
      description: "JSON-RPC 2.0 over WebSocket; a page of the procedures in a browser",
    },
  ];
}

function onlyPost(): Response {
  const failure = httpRefused(405, "a procedure is called by POST, with its input as the body");
  return jsonReply(failure.status, `{"error":${errorJson(failure)}}`, { allow: "POST" });
}

function described(key: string, description: string, handler: Parameters<typeof ownFetchRoute>[2]): BoundRoute {
  return { ...ownFetchRoute(key, NO_TIMEOUT, handler), description };
}
