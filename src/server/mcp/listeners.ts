/** Clients that listen for changes of the tools: a GET of /mcp is an event stream. */
import type { RpcFailure } from "../../hub/rpc/failure";
import { busy, httpRefused } from "../../hub/rpc/failure";
import type { RpcCaller } from "../../hub/rpc/caller";
import type { Procedures } from "../../hub/rpc/procedures";
import { failureText } from "../../hub/rpc/texts";
import { HttpReply, jsonReply } from "../rpc/reply";
import { toolsOf } from "./tools";

const MAX_STREAMS = 1000;
/** Of clients of one address. */
const MAX_OF_ADDRESS = 100;
/** How often the server looks whether a token has become invalid. In milliseconds. */
const LOOK_MS = 1000;
/** Looks from one comment to the next. A comment shows proxies and the server that the stream is still in use. */
const LOOKS_PER_COMMENT = 15;
const CHANGED = '{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}';

const NOT_ASKED = httpRefused(
  406,
  "this is the address of an AI agent (MCP): POST a message, or accept text/event-stream",
);

interface Listener {
  readonly reply: HttpReply;
  readonly caller: RpcCaller;
  readonly session: string | null;
}

export class Listeners {
  readonly #procedures: Procedures;
  readonly #open = new Set<Listener>();
  /** The tools, as the clients that listen know them. */
  #tools = "";
  #timer: Timer | null = null;
  #looks = 0;

  constructor(procedures: Procedures) {
    this.#procedures = procedures;
  }

  open(request: Request, caller: RpcCaller, session: string | null): Response | Promise<Response> {
    // A browser, or curl, would wait for ever.
    const isAsked = /text\/event-stream/i.test(request.headers.get("accept") ?? "");
    const failure = isAsked ? this.#refusalOf(caller) : NOT_ASKED;
    if (failure !== null) return jsonReply(failure.status, failureText(null, failure));
    // One stream for each session: the client has lost the other one.
    if (session !== null) this.close(session);
    if (this.#open.size === 0) this.#begin();
    const reply = new HttpReply(request, () => this.#left(listener));
    const listener = { reply, caller, session };
    this.#open.add(listener);
    reply.comment();
    return reply.watch(request);
  }

  /** Ends the stream of a session. */
  close(session: string): void {
    for (const listener of this.#open) if (listener.session === session) this.#end(listener);
  }

  swapped(): void {
    if (this.#open.size === 0) return;
    const tools = this.#describe();
    if (tools === this.#tools) return;
    this.#tools = tools;
    for (const { reply } of this.#open) reply.event(CHANGED);
  }

  #refusalOf({ client: { address } }: RpcCaller): RpcFailure | null {
    const own = [...this.#open].filter(({ caller }) => caller.client.address === address).length;
    if (own >= MAX_OF_ADDRESS) return busy(`${MAX_OF_ADDRESS} streams of this address are open`);
    return this.#open.size >= MAX_STREAMS ? busy(`${MAX_STREAMS} streams are open`) : null;
  }

  #describe(): string {
    return JSON.stringify(toolsOf(this.#procedures.all()));
  }

  #begin(): void {
    this.#tools = this.#describe();
    this.#timer ??= setInterval(() => this.#look(), LOOK_MS);
    this.#timer.unref();
  }

  #look(): void {
    const isDue = ++this.#looks % LOOKS_PER_COMMENT === 0;
    for (const listener of this.#open) {
      if (this.#procedures.refusalOf(listener.caller, "")?.status === 401) this.#end(listener);
      else if (isDue) listener.reply.comment();
    }
  }

  #end(listener: Listener): void {
    this.#left(listener);
    listener.reply.close();
  }

  #left(listener: Listener): void {
    this.#open.delete(listener);
    if (this.#open.size > 0 || this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }
}
