/** JSON-RPC 2.0 over a WebSocket at /rpc: each message is one of JSON-RPC. */
import type { Procedures } from "../../hub/rpc/procedures";
import { type RpcPeer, RpcTalk } from "../../hub/rpc/talk";
import { errorJson } from "../../hub/rpc/texts";
import type { Client, RequestContext, ServerWebSocket, Session, WebSocketUpgrade } from "../../module/contract";
import { ownFetchRoute } from "../../module/own-routes";
import type { BoundRoute, WebSocketSpec } from "../../module/route";
import { nextTurn, WriteTurns } from "../../protocol/turns";
import { admit, isCaller, type RpcDoor } from "./door";
import { jsonReply } from "./reply";

const IDLE_TIMEOUT_MS = 120_000;
const MAX_QUEUED_BYTES = 16_777_216;

/** @param page answers a GET that asks for no WebSocket */
export function socketRoute(procedures: Procedures, door: RpcDoor, page: BoundRoute): BoundRoute {
  const upgrade = async (request: Request, context: RequestContext): Promise<WebSocketUpgrade | Response> => {
    const caller = await admit(door, request, context);
    return isCaller(caller)
      ? { data: { client: caller.client } satisfies Opened }
      : jsonReply(caller.status, `{"error":${errorJson(caller)}}`);
  };
  const talks = new WeakMap<ServerWebSocket, SocketTalk>();
  const websocket: WebSocketSpec = {
    handlers: {
      open: (socket) => void talks.set(socket, new SocketTalk(procedures, socket)),
      message: (socket, data) => talks.get(socket)?.receive(data),
      drain: (socket) => talks.get(socket)?.wake(),
      close: (socket) => talks.get(socket)?.left(),
    },
    maxMessageBytes: undefined,
    idleTimeoutMs: IDLE_TIMEOUT_MS,
    perMessageDeflate: true,
    origins: [],
    protocols: [],
    maxQueuedBytes: MAX_QUEUED_BYTES,
  };
  return { ...ownFetchRoute("GET /rpc", undefined, upgrade), kind: "websocket", websocket, page };
}

/** `socket.data`. */
interface Opened {
  readonly client: Client;
}

class SocketTalk implements RpcPeer {
  readonly client: Client;
  readonly #socket: ServerWebSocket;
  readonly #rpc: RpcTalk;
  readonly #turns = new WriteTurns();
  #isFull = false;
  #wake: (() => void)[] = [];

  constructor(procedures: Procedures, socket: ServerWebSocket) {
    this.#socket = socket;
    this.client = (socket.data as Opened).client;
    this.#rpc = new RpcTalk(procedures, this);
  }

  receive(data: string | Buffer): void {
    const answer =
      typeof data === "string" ? this.#rpc.receive(data) : this.#rpc.receive(data.toString("utf8"), { bytes: data });
    if (answer !== "") this.#socket.send(answer);
  }

  /** All bytes are sent. */
  wake(): void {
    this.#isFull = false;
    const waiting = this.#wake;
    this.#wake = [];
    for (const goOn of waiting) goOn();
  }

  left(): void {
    this.#rpc.left();
    this.wake();
  }

  // ---- RpcPeer ----

  get session(): Session {
    return this.#socket.session;
  }

  answer(text: string): void {
    this.#socket.send(text);
  }

  notify(text: string): boolean {
    if (this.#socket.send(text) <= 0 && this.#socket.readyState === 1) this.#isFull = true;
    return !this.#turns.count(text.length) && !this.#isFull;
  }

  async drained(): Promise<void> {
    if (this.#isFull) await new Promise<void>((resolve) => this.#wake.push(resolve));
    await nextTurn();
  }

  refusesParts(): null {
    return null;
  }

  settled(): void {}
}
