/**
 * WebSockets. Sockets with the same topics share one subscription, and one frame for each event. Sockets stay open over
 * reloads of the module, so their feeds are kept outside of its versions: each version continues where the previous
 * version ended.
 */
import type { ModuleContext, ServerWebSocket, Session, Subscription } from "hrmr";
import { type Asker, type Gate, Refusal } from "./gate";
import type { Rights } from "./rights";
import { errorJson } from "./sse";

/** The feed of some topics. It outlives versions. */
interface Feed {
  readonly topics: readonly string[];
  readonly sockets: Set<ServerWebSocket>;
  /** The position after the last sent event. null: begin now. */
  position: string | null;
  /** Resolves when the previous version has stopped sending. */
  ended: Promise<void>;
}

/** Events in one write. */
const MAX_TOGETHER = 100;

/** By key: what the sockets' own topic is named. */
type Feeds = Map<string, Feed>;

/** What all versions share. */
interface Shared {
  readonly feeds: Feeds;
  /** Sockets that must show a token in a message before they get events, and the time that they have for it. */
  readonly waiting: Map<ServerWebSocket, number>;
}

/** Of a socket, from its upgrade on. Plain data: it outlives versions. */
interface SocketData {
  readonly key: string;
  /** It must show a token in a message. */
  readonly mustShowToken: boolean;
  /** Of the token in a message. */
  session?: Session;
}

/** How long a socket may wait with its token. In milliseconds. */
const TOKEN_MS = 10_000;
const LOOK_MS = 500;
/** Close code of WebSocket (RFC 6455 section 7.4.1). */
const POLICY = 1008;

export class SocketFeeds {
  readonly #feeds: Feeds;
  readonly #waiting: Shared["waiting"];
  readonly #gate: Gate;
  readonly #rights: Rights;
  readonly #publish: ModuleContext["publish"];
  /** Feeds that this version reads. null: it waits for the previous version. */
  readonly #open = new Map<string, Subscription | null>();
  readonly #watches = new Map<ServerWebSocket, () => void>();
  #timer: ReturnType<typeof setInterval> | null = null;

  private constructor({ feeds, waiting }: Shared, gate: Gate, rights: Rights, publish: ModuleContext["publish"]) {
    this.#feeds = feeds;
    this.#waiting = waiting;
    this.#gate = gate;
    this.#rights = rights;
    this.#publish = publish;
  }

  static async make(context: ModuleContext<unknown, unknown>, gate: Gate, rights: Rights): Promise<SocketFeeds> {
    const shared = await context.shared.open<Shared>("websockets", () => ({ feeds: new Map(), waiting: new Map() }));
    return new SocketFeeds(shared, gate, rights, context.publish.bind(context));
  }

  /** @param mustShowToken  in its first message. @returns the socket's data */
  dataFor(topics: readonly string[], mustShowToken: boolean): SocketData {
    return { key: [...new Set(topics)].sort().join(" "), mustShowToken };
  }

  /** Takes over the sockets of the previous version. */
  goOn(): void {
    for (const [key, { sockets }] of this.#feeds) {
      this.#ensure(key);
      for (const socket of sockets) this.#watch(socket);
    }
    this.#awaitTokens();
  }

  opened(socket: ServerWebSocket): void {
    if (!(socket.data as SocketData).mustShowToken) return this.#feed(socket);
    this.#waiting.set(socket, performance.now() + TOKEN_MS);
    this.#awaitTokens();
  }

  #feed(socket: ServerWebSocket): void {
    const { key } = socket.data as SocketData;
    const feed = this.#feeds.get(key);
    if (feed === undefined)
      this.#feeds.set(key, {
        topics: key.split(" "),
        sockets: new Set([socket]),
        position: null,
        ended: Promise.resolve(),
      });
    else feed.sockets.add(socket);
    socket.subscribe(key);
    this.#watch(socket);
    this.#ensure(key);
  }

  #watch(socket: ServerWebSocket): void {
    const { key } = socket.data as SocketData;
    const unwatch = this.#rights.watch(askerOf(socket), key.split(" "), (refusal) => {
      socket.unsubscribe(key);
      refuse(socket, refusal);
    });
    this.#watches.set(socket, unwatch);
  }

  closed(socket: ServerWebSocket): void {
    this.#waiting.delete(socket);
    this.#watches.get(socket)?.();
    this.#watches.delete(socket);
    const { key } = socket.data as SocketData;
    const feed = this.#feeds.get(key);
    if (feed === undefined || !feed.sockets.delete(socket) || feed.sockets.size > 0) return;
    this.#feeds.delete(key);
    void this.#open.get(key)?.return?.();
    this.#open.delete(key);
  }

  /** A message `{"auth":"TOKEN"}` shows a token. Any other message is ignored, unless a token is needed. */
  async received(socket: ServerWebSocket, message: string | Buffer): Promise<void> {
    const isNeeded = this.#waiting.has(socket);
    const token = typeof message === "string" ? shownToken(message) : null;
    if (token === null) return isNeeded ? refuse(socket, TOKEN_NEEDED) : undefined;
    const data = socket.data as SocketData;
    try {
      const session = await this.#gate.authenticate(socket, token);
      if (socket.readyState !== 1) return;
      this.#gate.check({ client: socket.client, session }, data.key.split(" "));
      data.session = session;
      socket.send(JSON.stringify({ auth: session.identity }));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return refuse(socket, error);
    }
    this.#watches.get(socket)?.();
    if (this.#waiting.delete(socket)) this.#feed(socket);
    else this.#watch(socket);
  }

  #awaitTokens(): void {
    if (this.#waiting.size > 0) this.#timer ??= setInterval(() => this.#refuseLate(), LOOK_MS);
  }

  #refuseLate(): void {
    const now = performance.now();
    for (const [socket, until] of this.#waiting) if (now >= until) refuse(socket, TOKEN_NEEDED);
    if (this.#waiting.size > 0 || this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }

  /** The sockets stay for the next version. */
  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  #ensure(key: string): void {
    const feed = this.#feeds.get(key);
    if (feed === undefined || this.#open.has(key)) return;
    this.#open.set(key, null);
    if (feed.position === null) this.#begin(key, feed);
    else void feed.ended.then(() => this.#begin(key, feed));
  }

  #begin(key: string, feed: Feed): void {
    // Its last socket has closed meanwhile.
    if (this.#feeds.get(key) !== feed) return;
    const subscription = this.#gate.open(feed.topics, feed.position);
    this.#open.set(key, subscription);
    feed.position = subscription.position;
    feed.ended = this.#read(key, feed, subscription);
  }

  /** Ends with its version, or with the last socket. */
  async #read(key: string, feed: Feed, subscription: Subscription): Promise<void> {
    let texts: string[] = [];
    const flush = (): void => {
      if (texts.length > 0) this.#publish(key, texts, { onlyHere: true });
      texts = [];
      feed.position = subscription.position;
    };
    for await (const event of subscription) {
      if (!this.#gate.lets(event)) continue;
      // The events of one turn of the loop are sent to each socket in one write.
      if (texts.push(JSON.stringify(event)) === 1) setImmediate(flush);
      else if (texts.length === MAX_TOGETHER) flush();
    }
    flush();
  }
}

const TOKEN_NEEDED = new Refusal("UNAUTHENTICATED", 401, 'a token is needed: {"auth":"TOKEN"} as the first message');

function refuse(socket: ServerWebSocket, refusal: Refusal): void {
  socket.send(errorJson(refusal));
  // A reason has at most 123 bytes. The message before has all of it.
  socket.close(POLICY, refusal.code);
}

function askerOf(socket: ServerWebSocket): Asker {
  return { client: socket.client, session: (socket.data as SocketData).session ?? socket.session };
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
export function mayShowToken({ headers }: Request, refusal: Refusal): boolean {
  return (
    refusal.code === "UNAUTHENTICATED" &&
    !headers.has("authorization") &&
    !(headers.get("sec-websocket-protocol") ?? "").includes(TOKEN_PROTOCOL)
  );
}
