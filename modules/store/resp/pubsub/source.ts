/** Where the messages of a subscription come from: the events of modules, or a watch of a collection. */
import { matchesTopic, type ModuleContext } from "hrmr";
import { Refusal } from "../../refusal";
import { ClientWatch } from "../../watch/client-watch";
import type { WatchGuards } from "../../watch/guards";
import { type Bytes, bytesOf } from "../values";
import { notificationsOf, type Wish } from "./wish";

/** Of an event, or a version of the store. */
export type Position = string | number;

export interface Heard {
  /** Another subscription goes on behind it. */
  readonly position: Position;
  readonly messages: readonly (readonly [channel: string, payload: Bytes])[];
}

export interface Source extends AsyncIterable<Heard> {
  /** Of its begin. */
  readonly position: Position;
  /** Idempotent. The iterator ends, also one that waits. */
  close(): void;
}

export interface SourceOptions {
  readonly context: Pick<ModuleContext, "store" | "events" | "log">;
  readonly guards: WatchGuards;
  /** Patterns of the topics that clients may hear. */
  readonly topics: readonly string[];
  /** Where it goes on. null: from now on. */
  readonly after: Position | null;
  /** @returns why the client may not hear it any more; null: it may */
  readonly refusal: () => string | null;
}

/** Resolves when it misses nothing from here on. @throws StoreError */
export async function openSource(wish: Wish, options: SourceOptions): Promise<Source> {
  return "topics" in wish ? eventsOf(wish, options) : await changesOf(wish, options);
}

function eventsOf(wish: Extract<Wish, { topics: string }>, { context, topics, after }: SourceOptions): Source {
  const subscription = context.events.subscribe(wish.topics, { after: typeof after === "string" ? after : null });
  return {
    position: subscription.position,
    close: () => void subscription.return?.(),
    async *[Symbol.asyncIterator]() {
      for await (const { topic, data } of subscription) {
        const isWanted = wish.wants(topic) && topics.some((pattern) => matchesTopic(pattern, topic));
        const payload = isWanted ? payloadOf(data) : null;
        if (isWanted && payload === null)
          context.log.warn(`the data of an event ${topic} are no JSON: no message of it`);
        yield { position: subscription.position, messages: payload === null ? [] : [[topic, payload]] };
      }
    },
  };
}

/** @returns null: it cannot be written as JSON */
function payloadOf(data: unknown): Bytes | null {
  if (data === undefined) return "";
  try {
    return bytesOf(data) ?? null;
  } catch {
    return null;
  }
}

async function changesOf(wish: Exclude<Wish, { topics: string }>, options: SourceOptions): Promise<Source> {
  const { context, guards, after, refusal } = options;
  const watch = new ClientWatch({
    collection: context.store.collection(wish.collection, { text: true }),
    wish: { key: wish.key, prefix: wish.prefix, after: typeof after === "number" ? after : null, isFull: false },
    guards,
    check() {
      const reason = refusal();
      if (reason !== null) throw new Refusal(403, "FORBIDDEN", reason);
    },
  });
  const told = watch[Symbol.asyncIterator]();
  const { value: begin } = await told.next();
  return {
    position: begin?.version ?? 0,
    close: () => watch.close(),
    async *[Symbol.asyncIterator]() {
      for await (const each of told) {
        const isChange = each.kind !== "ready" && each.kind !== "gone";
        const messages = isChange
          ? notificationsOf(wish.collection, each).filter(([channel]) => wish.wants(channel))
          : [];
        yield { position: each.version, messages };
      }
    },
  };
}
