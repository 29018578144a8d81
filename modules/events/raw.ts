/**
 * A raw client: it sends lines, and gets each event as one line of JSON. Its subscriptions survive reloads:
 * `connection.data` holds their positions, and the next version continues there.
 */
import type { Connection, Subscription } from "hrmr";
import { type Gate, Refusal } from "./gate";
import type { Rights } from "./rights";
import type { Settings } from "./settings";

/** What all clients of a version share. */
export interface EventsState {
  readonly gate: Gate;
  readonly rights: Rights;
  readonly settings: Settings;
}

/** Topic and position of each subscription. */
type Positions = Map<string, string>;

const HELP = "ERR write SUBSCRIBE topic, UNSUBSCRIBE topic, EMIT topic json or QUIT\n";
const MAX_SUBSCRIPTIONS = 100;

export class RawSubscriber {
  readonly #connection: Connection;
  readonly #gate: Gate;
  readonly #rights: Rights;
  readonly #heartbeatMs: number;
  readonly #positions: Positions;
  readonly #open = new Map<string, Subscription>();
  readonly #pumps = new Set<Promise<void>>();

  constructor(connection: Connection, { gate, rights, settings: { heartbeatMs } }: EventsState) {
    this.#connection = connection;
    this.#gate = gate;
    this.#rights = rights;
    this.#heartbeatMs = heartbeatMs;
    this.#positions = connection.data instanceof Map ? (connection.data as Positions) : new Map();
    connection.data = this.#positions;
  }

  async run(): Promise<void> {
    const connection = this.#connection;
    try {
      await this.#goOn();
      for await (const line of connection.lines()) if (!(await this.#obey(line))) return;
      // A client that has closed its sending side may still read: `printf 'SUBSCRIBE user.*\n' | nc -N localhost 8080`.
      if (!connection.replaced) await this.#outlive();
    } finally {
      for (const subscription of this.#open.values()) void subscription.return?.();
      await Promise.all(this.#pumps);
    }
  }

  /** Resumes the subscriptions of the previous version. */
  async #goOn(): Promise<void> {
    for (const [topic, position] of this.#positions) {
      try {
        this.#start(topic, this.#gate.subscribe(this.#connection, [topic], position));
      } catch (error) {
        this.#positions.delete(topic);
        await this.#connection.write(errorLine(error));
      }
    }
  }

  /** @returns whether the client goes on */
  async #obey(line: string): Promise<boolean> {
    if (line === "") return true;
    if (line === "QUIT") return false;
    const [, word = "", topic = "", rest = ""] = /^(\S+) ?(\S*) ?(.*)$/su.exec(line) ?? [];
    try {
      await this.#connection.write(this.#answer(word, topic, rest));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      await this.#connection.write(errorLine(error));
    }
    return true;
  }

  #answer(word: string, topic: string, rest: string): string {
    switch (word) {
      case "SUBSCRIBE":
        return this.#subscribe(topic);
      case "UNSUBSCRIBE":
        return this.#unsubscribe(topic);
      case "EMIT":
      case "PUBLISH":
        this.#gate.emit(this.#connection, topic, rest);
        return "OK\n";
      default:
        return HELP;
    }
  }

  #subscribe(topic: string): string {
    if (this.#open.has(topic)) return `OK subscribed to ${topic}\n`;
    if (this.#open.size >= MAX_SUBSCRIPTIONS)
      throw new Refusal("TOO_MANY", 429, `a connection has at most ${MAX_SUBSCRIPTIONS} subscriptions`);
    const subscription = this.#gate.subscribe(this.#connection, [topic], null);
    // Events must come after the answer, which is written in this turn.
    this.#start(topic, subscription);
    return `OK subscribed to ${topic}\n`;
  }

  #unsubscribe(topic: string): string {
    const subscription = this.#open.get(topic);
    if (subscription === undefined) throw new Refusal("INVALID_TOPIC", 400, `there is no subscription to ${topic}`);
    this.#open.delete(topic);
    this.#positions.delete(topic);
    void subscription.return?.();
    return `OK unsubscribed from ${topic}\n`;
  }

  #start(topic: string, subscription: Subscription): void {
    this.#open.set(topic, subscription);
    this.#positions.set(topic, subscription.position);
    const pump = this.#pump(topic, subscription)
      // The client is gone. `run` notices that, too.
      .catch(() => undefined)
      .finally(() => this.#pumps.delete(pump));
    this.#pumps.add(pump);
  }

  async #pump(topic: string, subscription: Subscription): Promise<void> {
    const connection = this.#connection;
    let refusal: Refusal | null = null;
    const unwatch = this.#rights.watch(connection, [topic], (reason) => {
      refusal = reason;
      void subscription.return?.();
    });
    try {
      for await (const event of subscription) {
        // The next version writes this event and all later ones.
        if (connection.replaced) return;
        if (refusal === null && this.#gate.lets(event)) await connection.write(`${JSON.stringify(event)}\n`);
        if (this.#open.get(topic) === subscription) this.#positions.set(topic, subscription.position);
      }
    } finally {
      unwatch();
    }
    if (refusal !== null) await this.#refuse(topic, subscription, refusal);
  }

  async #refuse(topic: string, subscription: Subscription, { code, message }: Refusal): Promise<void> {
    if (this.#open.get(topic) !== subscription) return;
    this.#open.delete(topic);
    this.#positions.delete(topic);
    await this.#connection.write(`ERR ${code} ${topic}: ${message}\n`);
  }

  /** Runs until the client is gone, or a new version takes over. An empty line tests whether the client is there. */
  async #outlive(): Promise<void> {
    const connection = this.#connection;
    if (this.#open.size === 0) return;
    const beat = setInterval(() => connection.write("\n").catch(() => this.#leave()), this.#heartbeatMs);
    const leave = (): void => this.#leave();
    connection.signal.addEventListener("abort", leave, { once: true });
    try {
      if (!connection.signal.aborted) await Promise.all(this.#pumps);
    } finally {
      clearInterval(beat);
      connection.signal.removeEventListener("abort", leave);
    }
  }

  #leave(): void {
    for (const subscription of this.#open.values()) void subscription.return?.();
  }
}

/** @throws every error that is not a Refusal */
export function errorLine(error: unknown): string {
  if (error instanceof Refusal) return `ERR ${error.code} ${error.message}\n`;
  throw error;
}
