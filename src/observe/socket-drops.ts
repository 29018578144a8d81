/** Counts messages that slow WebSockets did not get: their queue (`maxQueuedBytes`) was full. */
import type { SocketDropSnapshot } from "./snapshot";

/** Topics may come from clients. Messages of further ones are counted together. */
const MAX_TOPICS = 1000;
const OTHERS = "(others)";
/** The clients that are named for each topic: the last ones. */
const MAX_CLIENTS = 20;

interface SlowClient {
  readonly address: string;
  readonly port: number;
  readonly connection: number;
}

interface TopicDrops {
  readonly module: string;
  readonly topic: string;
  dropped: number;
  /** By connection. */
  readonly clients: Map<number, { readonly client: string; dropped: number }>;
}

export class SocketDrops {
  readonly #topics = new Map<string, TopicDrops>();

  /** @param topic  of `publish`; "": it was sent to this socket only */
  note(module: string, topic: string, { address, port, connection }: SlowClient, messages: number): void {
    const drops = this.#of(module, topic);
    drops.dropped += messages;
    const { clients } = drops;
    const known = clients.get(connection) ?? { client: port === 0 ? address : `${address}:${port}`, dropped: 0 };
    known.dropped += messages;
    // The client of the last drop is the last one.
    clients.delete(connection);
    clients.set(connection, known);
    if (clients.size > MAX_CLIENTS) clients.delete(clients.keys().next().value as number);
  }

  #of(module: string, topic: string): TopicDrops {
    const key = `${module}\0${topic}`;
    const known = this.#topics.get(key);
    if (known !== undefined) return known;
    if (this.#topics.size >= MAX_TOPICS && topic !== OTHERS) return this.#of(module, OTHERS);
    const drops: TopicDrops = { module, topic, dropped: 0, clients: new Map() };
    this.#topics.set(key, drops);
    return drops;
  }

  snapshot(): SocketDropSnapshot[] {
    return [...this.#topics.values()].map(({ clients, ...drops }) => ({
      ...drops,
      clients: [...clients].map(([connection, each]) => ({ connection, ...each })).reverse(),
    }));
  }
}
