/**
 * WebSockets. Sockets with the same topics share one subscription, and one frame for each event. Sockets stay open over
 * reloads of the module, so their feeds are kept outside of its versions: each version continues where the previous
 * version ended.
 */
import type { ModuleContext, ServerWebSocket, Subscription } from "hrmr";
import type { Gate } from "./gate";

/** The feed of some topics. Plain data: it outlives versions. */
interface Feed {
  readonly topics: readonly string[];
  /** Number of sockets with this feed. */
  sockets: number;
  /** The position after the last sent event. null: begin now. */
  position: string | null;
  /** Resolves when the previous version has stopped sending. */
  ended: Promise<void>;
}

/** Events in one write. */
const MAX_TOGETHER = 100;

/** By key: what the sockets' own topic is named. */
type Feeds = Map<string, Feed>;

/** Of a socket, from its upgrade on. */
interface SocketData {
  readonly key: string;
}

export class SocketFeeds {
  readonly #feeds: Feeds;
  readonly #gate: Gate;
  readonly #publish: ModuleContext["publish"];
  /** Feeds that this version reads. null: it waits for the previous version. */
  readonly #open = new Map<string, Subscription | null>();

  private constructor(feeds: Feeds, gate: Gate, publish: ModuleContext["publish"]) {
    this.#feeds = feeds;
    this.#gate = gate;
    this.#publish = publish;
  }

  static async make(context: ModuleContext<unknown, unknown>, gate: Gate): Promise<SocketFeeds> {
    const feeds = await context.shared.open<Feeds>("websockets", () => new Map());
    return new SocketFeeds(feeds, gate, context.publish.bind(context));
  }

  /** @returns the socket's data */
  dataFor(topics: readonly string[]): SocketData {
    return { key: [...new Set(topics)].sort().join(" ") };
  }

  /** Takes over the feeds of the previous version. */
  goOn(): void {
    for (const key of this.#feeds.keys()) this.#ensure(key);
  }

  opened(socket: ServerWebSocket): void {
    const { key } = socket.data as SocketData;
    const feed = this.#feeds.get(key);
    if (feed === undefined)
      this.#feeds.set(key, { topics: key.split(" "), sockets: 1, position: null, ended: Promise.resolve() });
    else feed.sockets++;
    socket.subscribe(key);
    this.#ensure(key);
  }

  closed(socket: ServerWebSocket): void {
    const { key } = socket.data as SocketData;
    const feed = this.#feeds.get(key);
    if (feed === undefined || --feed.sockets > 0) return;
    this.#feeds.delete(key);
    void this.#open.get(key)?.return?.();
    this.#open.delete(key);
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
