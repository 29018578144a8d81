/**
 * The channels and patterns that one client hears. `data.heard` of the connection holds their positions: the next version
 * of the module goes on there.
 */
import { type Connection, matchesTopic } from "hrmr";
import { Refusal } from "../../refusal";
import type { Settings } from "../../settings";
import { ReplyError } from "../errors";
import { Writer } from "../writer";
import { type Heard, openSource, type Position, type Source, type SourceOptions } from "./source";
import { type ListKind, shown, type Wish, wishOf } from "./wish";

/** By name. Plain data. */
export type Positions = Readonly<Record<ListKind, Map<string, Position>>>;

/** What all clients share. */
export interface Air extends Pick<SourceOptions, "context" | "guards"> {
  readonly settings: Pick<Settings, "topics" | "emit">;
  /** Those of this process that hear something. */
  readonly hearing: Set<Subscriptions>;
}

/** The client. */
export interface Listener {
  readonly connection: Connection;
  readonly face: Air;
  readonly data: { readonly version: 2 | 3; readonly heard: Positions };
  /** @returns the error that is the reply; null: it may */
  refusal(action: string): string | null;
}

interface Open {
  readonly kind: ListKind;
  readonly name: string;
  readonly wish: Wish;
  readonly source: Source;
}

/** Of a connection. */
const MAX = { channel: 1000, pattern: 100 };

export class Subscriptions {
  readonly #listener: Listener;
  readonly #open = { channel: new Map<string, Open>(), pattern: new Map<string, Open>() };
  /** Their messages come behind the reply to SUBSCRIBE. */
  #waiting: Open[] = [];
  readonly #pumps = new Set<Promise<void>>();
  #guard: { end(): void } | null = null;

  constructor(listener: Listener) {
    this.#listener = listener;
  }

  get channels(): number {
    return this.#open.channel.size;
  }

  get size(): number {
    return this.#open.channel.size + this.#open.pattern.size;
  }

  names(kind: ListKind): string[] {
    return [...this.#open[kind].keys()];
  }

  /** @returns how many messages it gets of an event */
  countOf(topic: string): number {
    const { topics } = this.#listener.face.settings;
    if (!topics.some((pattern) => matchesTopic(pattern, topic))) return 0;
    let count = this.#open.channel.has(topic) ? 1 : 0;
    for (const { wish } of this.#open.pattern.values()) if ("topics" in wish && wish.wants(topic)) count++;
    return count;
  }

  /** Before any of several is opened. @throws ReplyError if one of them cannot be heard */
  check(kind: ListKind, names: readonly string[]): void {
    if (new Set([...this.names(kind), ...names]).size > MAX[kind])
      throw new ReplyError(`ERR a connection has at most ${MAX.channel} channels and ${MAX.pattern} patterns`);
    for (const name of names) this.#checked(kind, name);
  }

  /** Opens it: it hears what comes from now on, and tells it after `begin`. @throws ReplyError, StoreError */
  async add(kind: ListKind, name: string, after: Position | null = null): Promise<void> {
    if (this.#open[kind].has(name)) return;
    const wish = this.#checked(kind, name);
    const { face, data } = this.#listener;
    const { context, guards, settings } = face;
    const refusal = (): string | null => this.#listener.refusal(wish.action);
    const source = await openSource(wish, { context, guards, topics: settings.topics, after, refusal });
    const open = { kind, name, wish, source };
    this.#open[kind].set(name, open);
    data.heard[kind].set(name, source.position);
    this.#waiting.push(open);
    this.#guard ??= guards.add(() => this.#look());
    face.hearing.add(this);
  }

  /** Idempotent. No message of it follows. */
  remove(kind: ListKind, name: string): void {
    this.#open[kind].get(name)?.source.close();
    this.#open[kind].delete(name);
    this.#listener.data.heard[kind].delete(name);
    if (this.size === 0) this.#rest();
  }

  /** The replies are written: messages may follow. */
  begin(): void {
    for (const open of this.#waiting.splice(0)) {
      const pump = this.#pump(open).finally(() => this.#pumps.delete(pump));
      this.#pumps.add(pump);
    }
  }

  /** Takes over from the previous version. A client that may not hear all of it any more has to connect again. */
  async goOn(): Promise<void> {
    const { heard } = this.#listener.data;
    try {
      for (const kind of ["channel", "pattern"] as const)
        for (const [name, position] of heard[kind]) await this.add(kind, name, position);
      this.begin();
    } catch (error) {
      await this.#fail(error);
    }
  }

  /** Forgets all. */
  clear(): void {
    for (const kind of ["channel", "pattern"] as const) for (const name of this.names(kind)) this.remove(kind, name);
  }

  /** The connection ends here, or the next version goes on with it. The positions stay. */
  async close(): Promise<void> {
    for (const kind of ["channel", "pattern"] as const)
      for (const { source } of this.#open[kind].values()) source.close();
    this.#rest();
    await Promise.all(this.#pumps);
  }

  #rest(): void {
    this.#guard?.end();
    this.#guard = null;
    this.#listener.face.hearing.delete(this);
  }

  #checked(kind: ListKind, name: string): Wish {
    const wish = wishOf(kind, name);
    const refusal = this.#listener.refusal(wish.action);
    if (refusal !== null) throw new ReplyError(refusal);
    const { topics } = this.#listener.face.settings;
    const isOpen = !("topics" in wish) || mayHear(topics, kind, name);
    if (!isOpen) throw new ReplyError(`NOPERM ${shown(name)} is not open to clients: ${WHERE}`);
    return wish;
  }

  /** A token that is revoked ends the connection, as Redis does: a reply without a command would confuse clients. */
  #look(): void {
    for (const kind of ["channel", "pattern"] as const)
      for (const { wish } of this.#open[kind].values())
        if (this.#listener.refusal(wish.action) !== null) return void this.#leave();
  }

  async #leave(): Promise<void> {
    this.clear();
    await this.#listener.connection.end().catch(() => undefined);
  }

  /** Never rejects. */
  async #pump(open: Open): Promise<void> {
    const { connection, data } = this.#listener;
    const { kind, name, source } = open;
    try {
      for await (const heard of source) {
        // The next version writes this one and all later ones.
        if (connection.replaced || this.#open[kind].get(name) !== open) return;
        if (heard.messages.length > 0 && !(await this.#write(this.#frames(open, heard)))) return;
        if (this.#open[kind].get(name) === open) data.heard[kind].set(name, heard.position);
      }
    } catch (error) {
      if (!connection.replaced) await this.#fail(error);
    } finally {
      source.close();
    }
  }

  /** @returns false: the client is gone */
  #write(bytes: Uint8Array): Promise<boolean> {
    return this.#listener.connection.write(bytes).then(
      () => true,
      () => false,
    );
  }

  #frames({ kind, name }: Open, { messages }: Heard): Uint8Array {
    const out = new Writer();
    out.version = this.#listener.data.version;
    for (const [channel, payload] of messages) {
      out.push(kind === "channel" ? 3 : 4);
      out.bulk(kind === "channel" ? "message" : "pmessage");
      if (kind === "pattern") out.bulk(name);
      out.bulk(channel);
      out.bulk(payload);
    }
    return out.take();
  }

  /** Messages would be missed: the client has to connect again. */
  async #fail(error: unknown): Promise<void> {
    const isExpected = error instanceof Refusal || error instanceof ReplyError;
    if (!isExpected) this.#listener.face.context.log.warn("a subscription of a client of Redis has ended:", error);
    await this.#leave();
  }
}

const WHERE = "modules.store.topics in hrmr.json lists those that are";

/** A pattern may choose more than is open: the rest is left out. */
function mayHear(topics: readonly string[], kind: ListKind, name: string): boolean {
  return kind === "pattern" ? topics.length > 0 : topics.some((pattern) => matchesTopic(pattern, name));
}
