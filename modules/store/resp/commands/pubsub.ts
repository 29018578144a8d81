/** Messages: SUBSCRIBE, PUBLISH and their kin. The channel is the topic of an event. */
import { matchesTopic } from "hrmr";
import { type Call, type CommandSpec, NO_KEYS, type Run } from "../call";
import { fail } from "../errors";
import { globMatcher } from "../glob";
import { isKeyspace, type ListKind, mustBeTopic, shown } from "../pubsub/wish";
import { bytesAt, jsonOf, textAt } from "../values";
import { subcommands } from "./subcommands";

/** Those that change what a client hears: their replies leave before the first message. */
export const HEARING = new Set(["subscribe", "psubscribe", "unsubscribe", "punsubscribe"]);
/** In RESP2 messages look like replies. */
export const WHILE_HEARING = new Set([...HEARING, "ping", "quit", "reset"]);

const subscribe =
  (kind: ListKind, word: string): Run =>
  async ({ args, out, peer: { hears } }) => {
    const names = namesOf(args);
    hears.check(kind, names);
    const before = new Set(hears.names(kind));
    try {
      for (const name of names) {
        await hears.add(kind, name);
        tell(out, word, name, hears.size);
      }
    } catch (error) {
      // The reply is the error alone: none of them is heard.
      for (const name of names) if (!before.has(name)) hears.remove(kind, name);
      throw error;
    }
  };

const unsubscribe =
  (kind: ListKind, word: string): Run =>
  ({ args, out, peer: { hears } }) => {
    const names = args.length > 1 ? namesOf(args) : hears.names(kind);
    if (names.length === 0) tell(out, word, null, hears.size);
    for (const name of names) {
      hears.remove(kind, name);
      tell(out, word, name, hears.size);
    }
  };

function tell(out: Call["out"], word: string, name: string | null, count: number): void {
  out.push(3);
  out.bulk(word);
  out.bulkOrNull(name);
  out.integer(count);
}

function namesOf(args: Call["args"], from = 1): string[] {
  return Array.from({ length: args.length - from }, (_, at) => textAt(args, from + at, "channel"));
}

/** Behind MULTI the event leaves after the commit. */
function publish({ args, out, peer }: Call): void {
  const { context, settings, hearing } = peer.face;
  const channel = textAt(args, 1, "channel");
  if (isKeyspace(channel)) fail(`ERR ${shown(channel)} is the store's own channel: it tells changes of documents`);
  mustBeTopic(channel);
  const refusal = peer.refusal(`events:${channel}`);
  if (refusal !== null) fail(refusal);
  if (!settings.emit.some((pattern) => matchesTopic(pattern, channel)))
    fail(`NOPERM ${shown(channel)} is not open to clients: modules.store.emit in hrmr.json lists those that are`);
  try {
    context.events.emit(channel, jsonOf(bytesAt(args, 2)));
  } catch (error) {
    fail(`ERR ${(error as Error).message.replace(/^events\.\w+: /, "")}`);
  }
  let count = 0;
  for (const each of hearing) count += each.countOf(channel);
  out.integer(count);
}

/** Others' channels are told only to those that may hear them. */
function channels({ args, out, peer }: Call): void {
  const matches = args.length > 2 ? globMatcher(textAt(args, 2, "pattern")) : () => true;
  const found = new Set([...peer.face.hearing].flatMap((each) => each.names("channel")));
  const told = [...found].filter((name) => matches(name) && isOpenTo(peer, name));
  out.array(told.length);
  for (const name of told) out.bulk(name);
}

function isOpenTo(peer: Call["peer"], channel: string): boolean {
  const collection = /^__key\w+@(.*?)__:/.exec(channel)?.[1];
  return peer.refusal(collection === undefined ? `events:${channel}` : `store:${collection}:read`) === null;
}

function counts({ args, out, peer }: Call): void {
  const names = namesOf(args, 2);
  const all = [...peer.face.hearing].map((each) => new Set(each.names("channel")));
  out.array(names.length * 2);
  for (const name of names) {
    out.bulk(name);
    out.integer(isOpenTo(peer, name) ? all.filter((each) => each.has(name)).length : 0);
  }
}

function patterns({ out, peer }: Call): void {
  out.integer(new Set([...peer.face.hearing].flatMap((each) => each.names("pattern"))).size);
}

const pubsub = subcommands("pubsub", { channels: [-2, channels], numsub: [-2, counts], numpat: [2, patterns] });

const command = (name: string, arity: number, summary: string, run: Run, since = "2.0.0"): CommandSpec => ({
  name,
  arity,
  use: HEARING.has(name) ? "session" : "nothing",
  keys: NO_KEYS,
  group: "pubsub",
  since,
  summary,
  run,
});

export const PUBSUB: readonly CommandSpec[] = [
  command("subscribe", -2, "Hears the events of topics.", subscribe("channel", "subscribe")),
  command("psubscribe", -2, "Hears the events of all topics that match.", subscribe("pattern", "psubscribe")),
  command("unsubscribe", -1, "Hears them no more.", unsubscribe("channel", "unsubscribe")),
  command("punsubscribe", -1, "Hears them no more.", unsubscribe("pattern", "punsubscribe")),
  command("publish", 3, "Emits an event.", publish),
  command("pubsub", -2, "Tells what clients of this process hear.", pubsub, "2.8.0"),
];
