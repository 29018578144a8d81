/**
 * The Model Context Protocol over HTTP (modelcontextprotocol.io, revision 2025-11-25, "Streamable HTTP"): a POST is one
 * message, a GET a stream of notifications. This file and the official SDK are loaded by the first request.
 *
 * A session is only a name for the requests of one client: nothing is kept for it, so every process of the server takes
 * it, and it outlives restarts. Each POST has a `Server` of the SDK of its own. Its transport is not the SDK's: that one
 * queues without bound for a client that reads slowly, and its streams would be cut by a shutdown.
 */
import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import {
  CallToolRequestSchema,
  ErrorCode,
  isJSONRPCErrorResponse,
  isJSONRPCNotification,
  isJSONRPCRequest,
  isJSONRPCResultResponse,
  type JSONRPCNotification,
  type JSONRPCRequest,
  ListToolsRequestSchema,
  McpError,
  SUPPORTED_PROTOCOL_VERSIONS,
} from "@modelcontextprotocol/sdk/types.js";
import { version } from "../../../package.json";
import { quoted } from "../../config/quoted";
import { invalidRequest, type RpcFailure } from "../../hub/rpc/failure";
import type { RpcCaller } from "../../hub/rpc/caller";
import type { Procedure, Procedures } from "../../hub/rpc/procedures";
import { parseJson, Unreadable } from "../../hub/rpc/request";
import { failureText } from "../../hub/rpc/texts";
import { isTool } from "../../module/route";
import { LightRequest } from "../../protocol/web/request";
import { GraphResponse } from "../../protocol/web/response";
import { asBuffer } from "../../protocol/wire";
import { jsonReply } from "../rpc/reply";
import { ToolCall } from "./call";
import { Exchange } from "./exchange";
import { Listeners } from "./listeners";
import { toolsOf } from "./tools";

const SESSION = "mcp-session-id";
/** As the protocol has it: visible ASCII. */
const SESSION_FORM = /^[!-~]{1,128}$/;
/** For `refusalOf`: whether a token is needed at all. */
const NO_TOOL = "";

/** A call that its client wants no more, on its way to the process that runs it. Plain data. */
export interface Cancelled {
  readonly session: string;
  /** undefined: all calls of the session. */
  readonly id: string | number | undefined;
}

export class McpEndpoint {
  readonly #procedures: Procedures;
  readonly #tellOthers: (cancelled: Cancelled) => void;
  readonly #listeners: Listeners;
  /** Functions that cancel the calls under way, by session and id. */
  readonly #open = new Map<string, Map<string | number, () => void>>();

  /** @param tellOthers passes it to the other processes of the server */
  constructor(procedures: Procedures, tellOthers: (cancelled: Cancelled) => void) {
    this.#procedures = procedures;
    this.#tellOthers = tellOthers;
    this.#listeners = new Listeners(procedures);
  }

  /** @param caller admitted already */
  async handle(request: Request, caller: RpcCaller): Promise<Response> {
    const refusal = refusalOf(request.headers) ?? this.#procedures.refusalOf(caller, NO_TOOL);
    // A client with a token gets its own tools, whatever its scopes are.
    if (refusal !== null && refusal.status !== 403) return refused(refusal);
    const session = sessionOf(request.headers, caller);
    switch (request.method) {
      case "POST":
        return await this.#post(request, caller, session);
      case "DELETE":
        return this.#delete(session);
      default:
        return this.#listeners.open(request, caller, session);
    }
  }

  async #post(request: Request, caller: RpcCaller, session: string | null): Promise<Response> {
    const bytes = await LightRequest.collect(request);
    const message = parseJson(asBuffer(bytes).utf8Slice(0, bytes.length), { bytes });
    if (message instanceof Unreadable) return refused(message.failure);
    if (Array.isArray(message)) return refused(invalidRequest("MCP has no batches: send each message in a POST"));
    if (isJSONRPCRequest(message)) return await this.#ask(message, request, caller, session);
    if (isJSONRPCNotification(message)) this.#notified(message, session);
    else if (!isJSONRPCResultResponse(message) && !isJSONRPCErrorResponse(message))
      return refused(invalidRequest("this is not a message of MCP"));
    return new GraphResponse(null, { status: 202 });
  }

  /** The client ends its session. */
  #delete(session: string | null): Response {
    if (session === null) return refused(invalidRequest(`the header ${SESSION} is missing`));
    const cancelled = { session, id: undefined };
    this.cancel(cancelled);
    this.#tellOthers(cancelled);
    return new GraphResponse(null, { status: 204 });
  }

  /** Other modules serve now. */
  swapped(): void {
    this.#listeners.swapped();
  }

  cancel({ session, id }: Cancelled): void {
    const open = this.#open.get(session);
    if (id !== undefined) return open?.get(id)?.();
    this.#listeners.close(session);
    for (const cancel of Array.from(open?.values() ?? [])) cancel();
  }

  #notified({ method, params }: JSONRPCNotification, session: string | null): void {
    const id = params?.["requestId"];
    if (method !== "notifications/cancelled" || session === null) return;
    if (typeof id !== "string" && typeof id !== "number") return;
    if (this.#open.get(session)?.has(id) === true) this.cancel({ session, id });
    else this.#tellOthers({ session, id });
  }

  async #ask(message: JSONRPCRequest, request: Request, caller: RpcCaller, session: string | null): Promise<Response> {
    if (session !== null && this.#open.get(session)?.has(message.id) === true)
      return refused(invalidRequest(`a request with the id ${JSON.stringify(message.id)} is still under way`));
    const exchange = new Exchange(message, request);
    const server = new Server({ name: "hrmr", version }, { capabilities: { tools: { listChanged: true } } });
    server.setRequestHandler(ListToolsRequestSchema, () => ({ tools: toolsOf(this.#procedures.list(caller)) }));
    server.setRequestHandler(CallToolRequestSchema, ({ params }) => {
      const call = new ToolCall(this.#procedures, this.#find(params.name, caller), exchange);
      const over = this.#opened(session, message.id, () => exchange.cancel(call));
      exchange.onLeft = () => call.end();
      return call.begin(params.arguments ?? {}, caller).finally(over);
    });
    await server.connect(exchange);
    exchange.onmessage?.(message);
    const response = await exchange.reply.watch(request);
    if (message.method === "initialize") response.headers.set(SESSION, crypto.randomUUID());
    return response;
  }

  /** @returns a function to call when the call is over */
  #opened(session: string | null, id: string | number, cancel: () => void): () => void {
    if (session === null) return () => undefined;
    const open = this.#open.get(session) ?? new Map<string | number, () => void>();
    this.#open.set(session, open.set(id, cancel));
    return () => {
      open.delete(id);
      if (open.size === 0 && this.#open.get(session) === open) this.#open.delete(session);
    };
  }

  /** @throws McpError for a name that is no tool of this client's */
  #find(name: string, caller: RpcCaller): Procedure {
    const found = this.#procedures.describe(caller, name);
    if ("status" in found && found.word !== "METHOD_NOT_FOUND")
      throw new McpError(found.code, found.message, found.data);
    if ("status" in found || !isTool(found.service.service))
      throw new McpError(ErrorCode.InvalidParams, `there is no tool ${quoted(name)}`);
    return found;
  }
}

function refused(failure: RpcFailure): Response {
  return jsonReply(failure.status, failureText(null, failure));
}

function refusalOf(headers: Headers): RpcFailure | null {
  const revision = headers.get("mcp-protocol-version");
  if (revision !== null && !SUPPORTED_PROTOCOL_VERSIONS.includes(revision))
    return invalidRequest(
      `this revision of MCP is not known here: send one of ${SUPPORTED_PROTOCOL_VERSIONS.join(", ")}`,
    );
  const session = headers.get(SESSION);
  return session === null || SESSION_FORM.test(session) ? null : invalidRequest(`the header ${SESSION} is not valid`);
}

/** A session belongs to the token that it was opened with. null: the client has none */
function sessionOf(headers: Headers, { session: { identity } }: RpcCaller): string | null {
  const session = headers.get(SESSION);
  return session === null ? null : `${session} ${identity ?? ""}`;
}
