/** Decides which events a client may receive and emit, by the settings and the scopes of its token. */
import { type Client, type HubEvent, matchesTopic, type ModuleContext, type Session, type Subscription } from "hrmr";
import type { Settings } from "./settings";

/** A message, a socket, a connection, or the context of a request. */
export interface Asker {
  readonly client: Client;
  readonly session: Session;
}

/** The reason for a refusal to a client. */
export class Refusal extends Error {
  readonly code: string;
  /** For HTTP. */
  readonly status: number;

  constructor(code: string, status: number, message: string) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

const MAX_TOPICS = 100;

export class Gate {
  readonly #settings: Settings;
  readonly #context: Pick<ModuleContext, "events" | "access">;

  constructor(settings: Settings, context: Pick<ModuleContext, "events" | "access">) {
    this.#settings = settings;
    this.#context = context;
  }

  /** @param after see `events.subscribe`; an invalid value is ignored. @throws Refusal */
  subscribe(asker: Asker, topics: readonly string[], after: string | null, request?: Request): Subscription {
    this.check(asker, topics, request);
    return this.open(topics, after);
  }

  /** Checks that a client may receive all these topics. @throws Refusal if it may not, or if a topic is invalid */
  check(asker: Asker, topics: readonly string[], request?: Request): void {
    if (topics.length > 0 && topics.length <= MAX_TOPICS) this.#checkRights(asker, topics, request);
    this.checkTopics(topics);
  }

  /** Checks that the topics are valid, and open to clients that have the rights. @throws Refusal */
  checkTopics(topics: readonly string[]): void {
    if (topics.length === 0) throw new Refusal("INVALID_TOPIC", 400, "name a topic: ?topic=user.*");
    if (topics.length > MAX_TOPICS)
      throw new Refusal("INVALID_TOPIC", 400, `there are ${topics.length} topics; at most ${MAX_TOPICS} are possible`);
    void this.open(topics, null).return?.();
    for (const topic of topics) this.#checkIsOpen(topic, "topics");
  }

  /** The reason why a client may not receive these topics. null: it may, if they are open to clients */
  refusal(asker: Asker, topics: readonly string[], request?: Request): Refusal | null {
    try {
      this.#checkRights(asker, topics, request);
      return null;
    } catch (error) {
      if (error instanceof Refusal) return error;
      throw error;
    }
  }

  /** @returns the session of the token, at once for a right one. @throws Refusal, late */
  async authenticate({ client }: Asker, token: string): Promise<Session> {
    const shown = await this.#context.access.authenticate(client, token);
    if ("status" in shown) throw new Refusal(shown.code, shown.status, shown.message);
    return shown;
  }

  /** Whether the settings open an event to clients. A client's pattern may match more events than they do. */
  lets({ topic }: HubEvent): boolean {
    return this.#settings.topics.some((pattern) => matchesTopic(pattern, topic));
  }

  /** @param json the data; "": none. @throws Refusal */
  emit(asker: Asker, topic: string, json: string, request?: Request): void {
    this.#checkRights(asker, [topic], request);
    this.#checkIsOpen(topic, "emit");
    if (/[*>]/.test(topic))
      throw new Refusal("INVALID_TOPIC", 400, `${shown(topic)} has a wildcard: an event is emitted to one topic`);
    let data: unknown;
    try {
      data = json.trim() === "" ? undefined : JSON.parse(json);
    } catch (error) {
      throw new Refusal("INVALID_DATA", 400, `the data is not valid JSON: ${(error as Error).message}`);
    }
    try {
      this.#context.events.emit(topic, data);
    } catch (error) {
      throw new Refusal("INVALID_TOPIC", 400, textOf(error));
    }
  }

  #checkRights(asker: Asker, topics: readonly string[], request?: Request): void {
    for (const topic of topics) {
      const refusal = this.#context.access.refusal(asker, `events:${topic}`, request);
      if (refusal !== null) throw new Refusal(refusal.code, refusal.status, refusal.message);
    }
  }

  #checkIsOpen(topic: string, key: "topics" | "emit"): void {
    const allowed = this.#settings[key];
    if (allowed.some((pattern) => overlap(pattern, topic))) return;
    const where = `modules.events.${key} in hrmr.json lists those that are`;
    throw new Refusal("FORBIDDEN", 403, `${shown(topic)} is not open to clients: ${where}`);
  }

  /** For clients that were already checked. @throws Refusal if a topic is invalid */
  open(topics: readonly string[], after: string | null): Subscription {
    try {
      return this.#context.events.subscribe(topics, { after });
    } catch (error) {
      if (after !== null) return this.open(topics, null);
      throw new Refusal("INVALID_TOPIC", 400, textOf(error));
    }
  }
}

/** Whether a topic matches both patterns. */
function overlap(one: string, other: string): boolean {
  const [names, others] = [one.split("."), other.split(".")];
  const length = Math.min(names.length, others.length);
  for (let i = 0; i < length; i++) {
    if (names[i] === ">" || others[i] === ">") return true;
    if (names[i] !== others[i] && names[i] !== "*" && others[i] !== "*") return false;
  }
  return names.length === others.length;
}

const MAX_SHOWN_LETTERS = 100;

/** A client may send a topic as long as a message. */
function shown(topic: string): string {
  return JSON.stringify(topic.length > MAX_SHOWN_LETTERS ? `${topic.slice(0, MAX_SHOWN_LETTERS)}…` : topic);
}

function textOf(error: unknown): string {
  return (error as Error).message.replace(/^events\.\w+: /, "");
}
