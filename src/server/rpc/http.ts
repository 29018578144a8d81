/** Procedures over HTTP: POST /rpc with a message of JSON-RPC 2.0, and POST /rpc/NAME with the input as the body. */
import { ProcedureCall, type CallTarget } from "../../hub/rpc/call";
import { httpRefused, type RpcFailure, statusOf } from "../../hub/rpc/failure";
import type { Procedures, RpcCaller } from "../../hub/rpc/procedures";
import { parseJson, Unreadable } from "../../hub/rpc/request";
import { type RpcPeer, RpcTalk } from "../../hub/rpc/talk";
import { errorJson, failureText } from "../../hub/rpc/texts";
import type { Client, RequestContext, Session } from "../../module/contract";
import { asBuffer } from "../../protocol/wire";
import { GraphResponse } from "../../protocol/web/response";
import { admit, isCaller, type RpcDoor } from "./door";
import { HttpReply, jsonReply } from "./reply";

type Handler = (request: Request, context: RequestContext) => Promise<Response>;

/** @returns the handler of POST /rpc */
export function messageHandler(procedures: Procedures, door: RpcDoor): Handler {
  return async (request, context) => {
    const refused = (failure: RpcFailure) => jsonReply(failure.status, failureText(null, failure));
    if (!isJson(request)) return refused(NO_JSON);
    const caller = await admit(door, request, context);
    if (!isCaller(caller)) return refused(caller);
    const bytes = await request.bytes();
    const exchange = new MessageExchange(procedures, caller, request);
    return exchange.receive(bytes);
  };
}

/** @returns the handler of POST /rpc/:name */
export function inputHandler(procedures: Procedures, door: RpcDoor): Handler {
  return async (request, context) => {
    const caller = await admit(door, request, context);
    if (!isCaller(caller)) return refusedInput(caller);
    const bytes = await request.bytes();
    if (bytes.length > 0 && !isJson(request)) return refusedInput(NO_JSON);
    const input = bytes.length === 0 ? undefined : parseJson(textOf(bytes), () => bytes);
    if (input instanceof Unreadable) return refusedInput(input.failure);
    return new InputExchange(procedures, context.params.name ?? "", request).begin(input, caller);
  };
}

const NO_JSON = httpRefused(415, "the Content-Type must be application/json");

function refusedInput(failure: RpcFailure): Response {
  return jsonReply(failure.status, `{"error":${errorJson(failure)}}`);
}

/** A page of another site cannot send this type without asking first (CORS). */
function isJson(request: Request): boolean {
  return /^application\/json\s*(?:;|$)/i.test(request.headers.get("content-type") ?? "");
}

function textOf(bytes: Uint8Array): string {
  return asBuffer(bytes).utf8Slice(0, bytes.length);
}

/** One POST with a message. */
class MessageExchange implements RpcPeer {
  readonly client: Client;
  readonly session: Session;
  readonly #request: Request;
  readonly #reply: HttpReply;
  readonly #talk: RpcTalk;

  constructor(procedures: Procedures, { client, session }: RpcCaller, request: Request) {
    this.client = client;
    this.session = session;
    this.#request = request;
    this.#talk = new RpcTalk(procedures, this);
    this.#reply = new HttpReply(request, () => this.#talk.left());
  }

  receive(bytes: Uint8Array): Response | Promise<Response> {
    const text = this.#talk.receive(textOf(bytes), () => bytes);
    if (text !== "") this.answer(text);
    else if (!this.#talk.isBusy) return new GraphResponse(null, { status: 204 });
    return this.#reply.watch(this.#request);
  }

  answer(text: string): void {
    this.#reply.end(statusOf(text), text);
  }

  notify(text: string): boolean {
    return this.#reply.event(text);
  }

  drained(): Promise<void> {
    return this.#reply.drained();
  }

  refusesParts(): RpcFailure | null {
    return this.#reply.refusesEvents();
  }

  settled(): void {}
}

/** One POST with an input. */
class InputExchange implements CallTarget {
  readonly #request: Request;
  readonly #reply: HttpReply;
  readonly #call: ProcedureCall;

  constructor(procedures: Procedures, name: string, request: Request) {
    this.#request = request;
    this.#call = new ProcedureCall(procedures, name, this);
    this.#reply = new HttpReply(request, () => this.#call.end());
  }

  begin(input: unknown, caller: RpcCaller): Promise<Response> {
    this.#call.begin(input, caller);
    return this.#reply.watch(this.#request);
  }

  result(json: string): void {
    this.#reply.end(200, json, this.#reply.areEvents ? "end" : null);
  }

  failure(failure: RpcFailure): void {
    const json = `{"error":${errorJson(failure)}}`;
    this.#reply.end(failure.status, json, "error");
  }

  next(json: string): boolean {
    return this.#reply.event(json);
  }

  drained(): Promise<void> {
    return this.#reply.drained();
  }

  refusesParts(): RpcFailure | null {
    return this.#reply.refusesEvents();
  }
}
