/** MULTI, EXEC and WATCH. */
import { ALL_KEYS, type Call, type CommandSpec, type KeyPlaces, NO_KEYS, type Ready, type Run } from "../call";
import { fail, ReplyError } from "../errors";
import { COLLECTION, type Peer } from "../peer";
import { Command } from "../reader";
import { inTransaction } from "../together";
import { keysFrom } from "../values";

/** What waits behind MULTI, in commands and in bytes. */
const MAX_QUEUED = 100_000;
const MAX_QUEUED_BYTES = 67_108_864;
/** These run at once, also behind MULTI. */
export const NEVER_QUEUED = new Set(["multi", "exec", "discard", "watch", "quit", "reset"]);
const MAX_WATCHED = 10_000;

function multi({ out, peer: { data } }: Call): void {
  if (data.queue !== null) fail("ERR MULTI calls can not be nested");
  data.queue = [];
  data.isQueueBroken = false;
  out.ok();
}

function discard({ out, peer }: Call): void {
  if (peer.data.queue === null) fail("ERR DISCARD without MULTI");
  forget(peer);
  out.ok();
}

function forget({ data }: Peer): void {
  data.queue = null;
  data.queuedCollection = null;
  data.isQueueBroken = false;
  data.watched.clear();
  queuedBytes.delete(data);
}

/** By the data of the peer. */
const queuedBytes = new WeakMap<Peer["data"], number>();

/** A command behind MULTI. */
export function enqueue(peer: Peer, { spec, args }: Ready): void {
  const { data, out } = peer;
  const bytes = (queuedBytes.get(data) ?? 0) + args.size;
  const queue = data.queue as (readonly Uint8Array[])[];
  if (spec.use === "session") return refuse(peer, "ERR Command not allowed inside a transaction");
  if (queue.length >= MAX_QUEUED || bytes > MAX_QUEUED_BYTES)
    return refuse(peer, "ERR the transaction is too large: it has more than 100,000 commands or 64 MB");
  queuedBytes.set(data, bytes);
  const kept = args.kept();
  if (spec.name === "select") data.queuedCollection = selectedBy(args) ?? data.queuedCollection;
  queue.push(Array.from({ length: kept.length }, (_, at) => kept.bytes(at)));
  out.simple("QUEUED");
}

/** @returns null: SELECT will refuse it */
function selectedBy(args: Command): string | null {
  const name = args.latin1(1);
  return COLLECTION.test(name) ? name : null;
}

/** What queued commands are: each with the rights in the collection that is selected before it. */
function readied(queue: readonly (readonly Uint8Array[])[], peer: Peer, ready: Readies): (Ready | string)[] {
  let { collection } = peer.data;
  return queue.map((parts) => {
    const args = Command.of(parts);
    const item = ready(args, peer, collection);
    if (typeof item !== "string" && item.spec.name === "select") collection = selectedBy(args) ?? collection;
    return item;
  });
}

type Readies = (args: Command, peer: Peer, collection: string) => Ready | string;

/** EXEC will fail. */
export function refuse({ data, out }: Peer, error: string): void {
  data.isQueueBroken = true;
  out.error(error);
}

/** @param ready finds what a queued command is */
const exec =
  (ready: Readies): Run =>
  async ({ out, peer }) => {
    const { queue, isQueueBroken } = peer.data;
    if (queue === null) fail("ERR EXEC without MULTI");
    const watched = [...peer.data.watched];
    forget(peer);
    if (isQueueBroken) fail("EXECABORT Transaction discarded because of previous errors.");
    const items = readied(queue, peer, ready);
    const refused = items.find((item) => typeof item === "string");
    if (refused !== undefined) throw new ReplyError(refused);
    await inTransaction(peer, async (run, tx) => {
      for (const [name, versions] of watched) {
        const documents = tx.collection(name);
        for (const [key, version] of versions)
          if (((await documents.get(key))?.version ?? 0) !== version) return out.nullArray();
      }
      out.array(items.length);
      for (const item of items as Ready[]) await run.one(item);
    });
  };

async function watch({ args, out, peer }: Call): Promise<void> {
  const { data, face } = peer;
  if (data.queue !== null) fail("ERR WATCH inside MULTI is not allowed");
  const keys = keysFrom(args, 1);
  const known = data.watched.get(data.collection) ?? new Map<string, number>();
  data.watched.set(data.collection, known);
  const watchedNow = [...data.watched.values()].reduce((sum, versions) => sum + versions.size, 0);
  if (watchedNow + keys.length > MAX_WATCHED) fail(`ERR too many watched keys: at most ${MAX_WATCHED} are possible`);
  const documents = face.context.store.collection(data.collection);
  // A key that is watched twice keeps the version of its first WATCH.
  for (const key of keys) if (!known.has(key)) known.set(key, (await documents.get(key))?.version ?? 0);
  out.ok();
}

function unwatch({ out, peer: { data } }: Call): void {
  data.watched.clear();
  out.ok();
}

const command = (
  name: string,
  arity: number,
  use: CommandSpec["use"],
  since: string,
  summary: string,
  run: Run,
  keys: KeyPlaces = NO_KEYS,
): CommandSpec => ({ name, arity, use, keys, group: "transactions", since, summary, run });

/** @param ready finds what a queued command is */
export function transactions(ready: Readies): readonly CommandSpec[] {
  return [
    command("multi", 1, "session", "1.2.0", "Begins a transaction.", multi),
    command("exec", 1, "session", "1.2.0", "Runs the commands of a transaction.", exec(ready)),
    command("discard", 1, "session", "2.0.0", "Forgets the commands of a transaction.", discard),
    command("watch", -2, "session", "2.2.0", "Lets EXEC do nothing if one of these keys changes.", watch, ALL_KEYS),
    command("unwatch", 1, "nothing", "2.2.0", "Forgets watched keys.", unwatch),
  ];
}
