/** POST, GET and DELETE of /mcp: procedures as tools of AI agents. Its code is loaded by the first request. */
import type { Procedures } from "../../hub/rpc/procedures";
import { failureText } from "../../hub/rpc/texts";
import { httpRefused } from "../../hub/rpc/failure";
import type { RequestContext } from "../../module/contract";
import { ownFetchRoute } from "../../module/own-routes";
import type { BoundRoute } from "../../module/route";
import { admit, isCaller, type RpcDoor } from "../rpc/door";
import { jsonReply } from "../rpc/reply";
import type { Cancelled, McpEndpoint } from "./endpoint";

const PATH = "/mcp";
/** The services have deadlines of their own. */
const NO_TIMEOUT = 0;
const NO_JSON = httpRefused(415, "the Content-Type must be application/json");

interface McpOptions {
  readonly procedures: Procedures;
  readonly door: RpcDoor;
  /** Passes a cancelled call to the other processes of the server. */
  readonly tellOthers: (cancelled: Cancelled) => void;
}

export class Mcp {
  /** For the table while a module has a tool. They give way to modules. */
  readonly routes: readonly BoundRoute[];
  readonly #options: McpOptions;
  #loading: Promise<McpEndpoint> | null = null;
  #endpoint: McpEndpoint | null = null;

  constructor(options: McpOptions) {
    this.#options = options;
    const handler = (request: Request, context: RequestContext): Promise<Response> => this.#handle(request, context);
    this.routes = [
      ["POST", "A message of an AI agent (MCP)"],
      ["GET", "News of the tools, for AI agents (MCP)"],
      ["DELETE", "The end of an AI agent's session (MCP)"],
    ].map(([method, description = ""]) => ({
      ...ownFetchRoute(`${method} ${PATH}`, NO_TIMEOUT, handler),
      description,
    }));
  }

  /** Other modules serve now. */
  swapped(): void {
    this.#endpoint?.swapped();
  }

  /** @param cancelled of another process's `tellOthers` */
  cancel(cancelled: Cancelled): void {
    this.#endpoint?.cancel(cancelled);
  }

  async #handle(request: Request, context: RequestContext): Promise<Response> {
    const { door } = this.#options;
    const isPost = request.method === "POST";
    // A page of another site cannot send this type without asking first (CORS).
    if (isPost && !/^application\/json\s*(?:;|$)/i.test(request.headers.get("content-type") ?? ""))
      return jsonReply(NO_JSON.status, failureText(null, NO_JSON));
    const caller = await admit(door, request, context);
    if (!isCaller(caller)) return jsonReply(caller.status, failureText(null, caller));
    this.#endpoint ??= await (this.#loading ??= this.#load());
    return await this.#endpoint.handle(request, caller);
  }

  async #load(): Promise<McpEndpoint> {
    const { McpEndpoint } = await import("./endpoint");
    const { procedures, tellOthers } = this.#options;
    return new McpEndpoint(procedures, tellOthers);
  }
}
