/** Procedures over HTTP: POST /rpc with a message of JSON-RPC 2.0, and POST /rpc/NAME with the input as the body. */
import { ProcedureCall, type CallTarget } from "../../hub/rpc/call";
import { httpRefused, type RpcFailure, statusOf } from "../../hub/rpc/failure";
import type { RpcCaller } from "../../hub/rpc/caller";
import type { Procedures } from "../../hub/rpc/procedures";
import { parseJson, Unreadable } from "../../hub/rpc/request";
import { type RpcPeer, RpcTalk } from "../../hub/rpc/talk";
import { errorJson, failureText } from "../../hub/rpc/texts";
import type { Client, RequestContext, Session } from "../../module/contract";
import { asBuffer } from "../../protocol/wire";
import { LightRequest } from "../../protocol/web/request";
import { GraphResponse } from "../../protocol/web/response";
import { admit, isCaller, type RpcDoor } from "./door";
import { HttpReply, jsonReply } from "./reply";

type Answer = Response | Promise<Response>;
type Handler = (request: Request, context: RequestContext) => Answer;

// Not async: a whole request to a service that answers at once is answered in the same turn.

/** @returns the handler of POST /rpc */
export function messageHandler(procedures: Procedures, door: RpcDoor): Handler {
  return (request, context) => {
    if (!isJson(request)) return refusedMessage(NO_JSON);
    const caller = admit(door, request, context);
    if (caller instanceof Promise) return caller.then(refusedMessage);
    if (!isCaller(caller)) return refusedMessage(caller);
    return withBody(request, (bytes) => new MessageExchange(procedures, caller, request).receive(bytes));
  };
}

/** @returns the handler of POST /rpc/:name */
export function inputHandler(procedures: Procedures, door: RpcDoor): Handler {
  return (request, context) => {
    const caller = admit(door, request, context);
    if (caller instanceof Promise) return caller.then(refusedInput);
    if (!isCaller(caller)) return refusedInput(caller);
    return withBody(request, (bytes) => {
      if (bytes.length > 0 && !isJson(request)) return refusedInput(NO_JSON);
      const input = bytes.length === 0 ? undefined : parseJson(textOf(bytes), { bytes });
      if (input instanceof Unreadable) return refusedInput(input.failure);
      return new InputExchange(procedures, context.params.name ?? "", request).begin(input, caller);
    });
  };
}

function withBody(request: Request, answer: (bytes: Uint8Array) => Answer): Answer {
  const bytes = LightRequest.collect(request);
  return bytes instanceof Promise ? bytes.then(answer) : answer(bytes);
}

const NO_JSON = httpRefused(415, "the Content-Type must be application/json");

function refusedMessage(failure: RpcFailure): Response {
  return jsonReply(failure.status, failureText(null, failure));
}

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
    const text = this.#talk.receive(textOf(bytes), { bytes });
    if (text !== "" && !this.#reply.takesEventsOnly) return jsonReply(statusOf(text), text);
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
