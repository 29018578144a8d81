/**
 * JSON-RPC 2.0 over a WebSocket at /rpc: each message is one of JSON-RPC. A message `{"auth":"TOKEN"}` shows a token: a
 * page in a browser cannot set a header.
 */
import type { Procedures } from "../../hub/rpc/procedures";
import { type RpcPeer, RpcTalk } from "../../hub/rpc/talk";
import { errorJson } from "../../hub/rpc/texts";
import type {
  AccessRefusal,
  Client,
  RequestContext,
  ServerWebSocket,
  Session,
  WebSocketUpgrade,
} from "../../module/contract";
import { ownFetchRoute } from "../../module/own-routes";
import type { BoundRoute, WebSocketSpec } from "../../module/route";
import { POLICY } from "../../protocol/websocket/frames";
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
      open: (socket) => void talks.set(socket, new SocketTalk(procedures, door, socket)),
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
  readonly #access: RpcDoor["access"];
  readonly #socket: ServerWebSocket;
  readonly #rpc: RpcTalk;
  readonly #turns = new WriteTurns();
  /** Of the token that a message has shown. null: none has. */
  #session: Session | null = null;
  #hasGuessed = false;
  #isFull = false;
  #wake: (() => void)[] = [];

  constructor(procedures: Procedures, { access }: RpcDoor, socket: ServerWebSocket) {
    this.#access = access;
    this.#socket = socket;
    this.client = (socket.data as Opened).client;
    this.#rpc = new RpcTalk(procedures, this);
  }

  receive(data: string | Buffer): void {
    // The socket closes soon.
    if (this.#hasGuessed) return;
    const token = typeof data === "string" ? shownToken(data) : null;
    if (token !== null) return this.#authenticate(token);
    const answer =
      typeof data === "string" ? this.#rpc.receive(data) : this.#rpc.receive(data.toString("utf8"), { bytes: data });
    if (answer !== "") this.#socket.send(answer);
  }

  #authenticate(token: string): void {
    const session = this.#access.authenticate(token, this.client);
    if (session instanceof Promise) {
      this.#hasGuessed = true;
      return void session.then((refusal) => closeRefused(this.#socket, refusal));
    }
    this.#session = session;
    this.#socket.send(JSON.stringify({ auth: session.identity }));
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
    return this.#session === null ? this.#socket.session : this.#access.current(this.#session);
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

const MAX_SHOWN_LETTERS = 1000;

/** @returns the token of a message `{"auth":"TOKEN"}`; null: it is another message */
function shownToken(text: string): string | null {
  if (text.length > MAX_SHOWN_LETTERS || !/^\s*\{\s*"auth"/.test(text)) return null;
  try {
    const { auth } = JSON.parse(text) as { auth: unknown };
    return typeof auth === "string" ? auth : null;
  } catch {
    return null;
  }
}

function closeRefused(socket: ServerWebSocket, { code, message }: AccessRefusal): void {
  socket.send(JSON.stringify({ error: { code, message } }));
  socket.close(POLICY, message);
}
