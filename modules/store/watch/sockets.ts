/**
 * Watches over WebSockets: each change is one message. Sockets stay open over reloads of the module: each version goes on
 * where the previous one has stopped.
 */
import type { ModuleContext, ServerWebSocket, Session } from "hrmr";
import { type Asker, type Guarded, mustBeAllowed } from "../access";
import { errorJson, Refusal, refusalOf } from "../refusal";
import { ClientWatch, type Told, type WatchWish } from "./client-watch";
import type { WatchGuards } from "./guards";
import { textOf } from "./texts";

/** Of a socket. Plain data: it outlives versions. */
export interface SocketData {
  readonly collection: string;
  readonly wish: WatchWish;
  /** It must show a token in a message first. */
  mustShowToken: boolean;
  /** Of the token in a message. */
  session?: Session;
  /** The version behind which it goes on. null: it has not begun. */
  at: number | null;
  /** The generation whose watch feeds it. */
  feeder: number;
}

type Socket = ServerWebSocket<SocketData>;

/** RFC 6455 section 7.4.1: the client may not do it; the server cannot go on. */
const POLICY = 1008;
const TRY_LATER = 1013;
/** How long a socket may wait with its token. In milliseconds. */
const TOKEN_MS = 10_000;
const TOO_LONG = new Refusal(413, "TOO_LARGE", "a changed document is longer than a message may be: read it over HTTP");
const TOKEN_NEEDED = new Refusal(401, "UNAUTHENTICATED", 'a token is needed: {"auth":"TOKEN"} as the first message');

interface Feed {
  readonly watch: ClientWatch<string>;
  /** Called when the client has taken all that waited for it. null: nothing waits. */
  onDrained: (() => void) | null;
}

export class WatchSockets {
  readonly #open: Set<Socket>;
  readonly #context: Guarded & Pick<ModuleContext, "generation" | "log">;
  readonly #guards: WatchGuards;
  readonly #feeds = new Map<Socket, Feed>();
  /** Those that must show a token. */
  readonly #waiting = new Map<Socket, Timer>();

  /** @param open those of all versions */
  constructor(open: Set<Socket>, context: Guarded & Pick<ModuleContext, "generation" | "log">, guards: WatchGuards) {
    this.#open = open;
    this.#context = context;
    this.#guards = guards;
  }

  opened(socket: Socket): void {
    this.#open.add(socket);
    this.#begin(socket);
  }

  /** A message `{"auth":"TOKEN"}` shows a token. Any other message is ignored, unless a token is needed. */
  async received(socket: Socket, message: string | Buffer): Promise<void> {
    const { data } = socket;
    const token = typeof message === "string" ? shownToken(message) : null;
    if (token === null) return data.mustShowToken ? refuse(socket, TOKEN_NEEDED) : undefined;
    const session = await this.#context.access.authenticate(socket.client, token);
    if (socket.readyState !== 1) return;
    if ("status" in session) return refuse(socket, new Refusal(session.status, session.code, session.message));
    data.session = session;
    try {
      this.#check(socket);
    } catch (error) {
      return refuse(socket, refusalOf(error));
    }
    socket.send(JSON.stringify({ auth: session.identity }));
    const wasNeeded = data.mustShowToken;
    data.mustShowToken = false;
    if (wasNeeded) this.#begin(socket);
  }

  drained(socket: Socket): void {
    const feed = this.#feeds.get(socket);
    const goOn = feed?.onDrained ?? null;
    if (feed !== undefined) feed.onDrained = null;
    goOn?.();
  }

  closed(socket: Socket): void {
    this.#open.delete(socket);
    this.#admit(socket);
    this.#feeds.get(socket)?.watch.close();
    this.drained(socket);
    this.#feeds.delete(socket);
  }

  /** Takes over the sockets of the previous version. */
  goOn(): void {
    for (const socket of this.#open) if (!this.#feeds.has(socket)) this.#begin(socket);
  }

  /** The sockets stay for the next version. */
  close(): void {
    for (const socket of this.#waiting.keys()) this.#admit(socket);
  }

  #begin(socket: Socket): void {
    if (!socket.data.mustShowToken) {
      this.#admit(socket);
      return this.#feed(socket);
    }
    const late = (): void => refuse(socket, TOKEN_NEEDED);
    this.#waiting.set(socket, setTimeout(late, TOKEN_MS));
  }

  /** It no longer waits. */
  #admit(socket: Socket): void {
    clearTimeout(this.#waiting.get(socket));
    this.#waiting.delete(socket);
  }

  /** @throws Refusal */
  #check(socket: Socket): void {
    const { session = socket.session, collection } = socket.data;
    const asker: Asker = { client: socket.client, session };
    mustBeAllowed(this.#context.access, asker, { name: collection, action: "read" });
  }

  #feed(socket: Socket): void {
    const { data } = socket;
    data.feeder = this.#context.generation;
    const { store } = this.#context;
    const watch = new ClientWatch({
      collection: store.collection(data.collection, { text: true }),
      wish: data.at === null ? data.wish : { ...data.wish, after: data.at },
      guards: this.#guards,
      check: () => this.#check(socket),
    });
    const feed: Feed = { watch, onDrained: null };
    this.#feeds.set(socket, feed);
    void this.#pump(socket, feed);
  }

  /** Never rejects. */
  async #pump(socket: Socket, feed: Feed): Promise<void> {
    try {
      for await (const told of feed.watch) {
        // The next version sends this one.
        if (socket.data.feeder !== this.#context.generation || socket.readyState !== 1) break;
        await this.#send(socket, feed, told);
      }
    } catch (error) {
      refuse(socket, this.#refusalOf(error));
    }
  }

  #refusalOf(error: unknown): Refusal {
    try {
      return refusalOf(error);
    } catch {
      this.#context.log.error("a watch of a client has failed:", error);
      return new Refusal(500, "FAILED", "the watch has failed; the server's log says why");
    }
  }

  /** Resolves when the client takes more. */
  #send(socket: Socket, feed: Feed, told: Told<string>): Promise<void> | undefined {
    const sent = socket.send(textOf(told));
    if (sent === 0 && socket.readyState === 1) throw TOO_LONG;
    if (!("isStored" in told)) socket.data.at = told.version;
    return sent === -1 ? new Promise((resolve) => (feed.onDrained = resolve)) : undefined;
  }
}

function refuse(socket: Socket, refusal: Refusal): void {
  socket.send(errorJson(refusal));
  // A reason has at most 123 bytes. The message before has all of it.
  socket.close(refusal.status < 500 ? POLICY : TRY_LATER, refusal.code);
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

const TOKEN_PROTOCOL = "hrmr.token.";

/** Whether a client may still show a token, in its first message: its request has none. */
export function mayShowToken({ headers }: Request, { code }: Refusal): boolean {
  if (code !== "UNAUTHENTICATED" || headers.has("authorization")) return false;
  return !(headers.get("sec-websocket-protocol") ?? "").includes(TOKEN_PROTOCOL);
}
