/** The channels and patterns of SUBSCRIBE and PSUBSCRIBE: topics of events, or changes of a collection. Pure. */
import { matchesTopic, type StoreChange } from "hrmr";
import { fail } from "../errors";
import { globMatcher, isLiteral, literalPrefix, type Matcher } from "../glob";

/** Events whose topic is the channel. */
interface TopicWish {
  /** For `events.subscribe`. It may choose more than is wanted. */
  readonly topics: string;
  /** The scope that a client needs. */
  readonly action: string;
  readonly wants: Matcher;
}

/** Changes of documents, as Redis tells them in its keyspace notifications. */
interface KeyspaceWish {
  readonly collection: string;
  /** null: all with the prefix. */
  readonly key: string | null;
  readonly prefix: string;
  readonly action: string;
  /** Of channels. */
  readonly wants: Matcher;
}

export type Wish = TopicWish | KeyspaceWish;
export type ListKind = "channel" | "pattern";

const KEYSPACE = "__key";
const ONE_COLLECTION = /^(__key[^@]*)@([A-Za-z0-9_.-]{1,64})__:([^]*)$/;
const HOW = "write __keyspace@COLLECTION__:KEY or __keyevent@COLLECTION__:EVENT, with one collection";
const CHANNELS = "write names with dots between, as user.created, without spaces, * and >, of at most 255 characters";
const MAX_SHOWN = 100;
/** Every event is compared with every pattern. In letters. */
const MAX_PATTERN = 512;

/** Whether a channel, or the letters before the first special one of a pattern, are those of keyspace notifications. */
export function isKeyspace(channel: string): boolean {
  return channel.startsWith(KEYSPACE);
}

/** @throws ReplyError */
export function wishOf(kind: ListKind, name: string): Wish {
  if (kind === "channel") return isKeyspace(name) ? keyspaceWish(name, (channel) => channel === name) : topicWish(name);
  if (name.length > MAX_PATTERN)
    fail(`ERR a pattern has at most ${MAX_PATTERN} characters, and one has ${name.length}`);
  const matches = globMatcher(name);
  const prefix = literalPrefix(name);
  if (isKeyspace(prefix)) return keyspaceWish(name, matches);
  // Only of such a form can topics be chosen before they are compared: "user.cr*" are some of "user.>".
  const topics = isLiteral(name) ? name : `${prefix.slice(0, prefix.lastIndexOf(".") + 1)}>`;
  // A valid pattern matches the topic that has "x" in place of each wildcard.
  if (!matchesTopic(topics, topics.replaceAll(/[*>]/g, "x")))
    fail(`ERR ${shown(name)} matches no channel: ${CHANNELS}`);
  return { topics, action: `events:${isLiteral(name) ? name : `${prefix}*`}`, wants: matches };
}

function topicWish(channel: string): TopicWish {
  mustBeTopic(channel);
  return { topics: channel, action: `events:${channel}`, wants: (topic) => topic === channel };
}

/** @throws ReplyError */
export function mustBeTopic(channel: string): void {
  if (/[*>]/.test(channel) || !matchesTopic(">", channel)) fail(`ERR ${shown(channel)} is no channel: ${CHANNELS}`);
}

function keyspaceWish(name: string, wants: Matcher): KeyspaceWish {
  const [, kind = "", collection = "", rest = ""] = ONE_COLLECTION.exec(name) ?? fail(`ERR ${shown(name)}: ${HOW}`);
  const isOfKeys = kind === "__keyspace";
  return {
    collection,
    key: isOfKeys && isLiteral(rest) ? rest : null,
    prefix: isOfKeys ? literalPrefix(rest) : "",
    action: `store:${collection}:read`,
    wants,
  };
}

const EVENTS = { set: "set", delete: "del", expire: "expired" } as const;

/** @returns channel and message, each: what Redis tells of a change */
export function notificationsOf(
  collection: string,
  { key, kind }: Pick<StoreChange, "key" | "kind">,
): [string, string][] {
  const event = EVENTS[kind];
  return [
    [`__keyspace@${collection}__:${key}`, event],
    [`__keyevent@${collection}__:${event}`, key],
  ];
}

/** A client may send a name of any length. */
export function shown(name: string): string {
  return JSON.stringify(name.length > MAX_SHOWN ? `${name.slice(0, MAX_SHOWN)}…` : name);
}
