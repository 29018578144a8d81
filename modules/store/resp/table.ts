/** All commands, and which of them a client may run. */
import { OWN } from "../access";
import type { CommandSpec } from "./call";
import { CONNECTION } from "./commands/connection";
import { EXPIRY } from "./commands/expiry";
import { HASHES } from "./commands/hashes";
import { introspection } from "./commands/introspection";
import { KEYS } from "./commands/keys";
import { LISTS } from "./commands/lists";
import { PUBSUB, WHILE_HEARING } from "./commands/pubsub";
import { SERVER } from "./commands/server";
import { SETS } from "./commands/sets";
import { SORTED_SETS } from "./commands/sorted-sets";
import { STRINGS } from "./commands/strings";
import { fits } from "./commands/subcommands";
import { transactions } from "./commands/transactions";
import { wrongArity } from "./errors";
import type { Peer } from "./peer";
import type { Command } from "./reader";

/** By name, in lower case. */
export const COMMANDS: ReadonlyMap<string, CommandSpec> = new Map(
  [
    ...CONNECTION,
    ...SERVER,
    introspection(() => COMMANDS),
    ...KEYS,
    ...EXPIRY,
    ...STRINGS,
    ...HASHES,
    ...LISTS,
    ...SETS,
    ...SORTED_SETS,
    ...PUBSUB,
    ...transactions((args, peer, collection) => {
      const spec = chosen(peer, args, collection);
      return typeof spec === "string" ? spec : { spec, args };
    }),
  ].map((spec) => [spec.name, spec]),
);

/** As clients write them mostly: looked up without a new string in lower case. */
const BY_SPELLING = new Map(
  [...COMMANDS].flatMap(([name, spec]) => [[name, spec] as const, [name.toUpperCase(), spec] as const]),
);

/** These are for clients that have not shown their token yet. */
const FOR_STRANGERS = new Set(["auth", "hello", "quit", "reset"]);
const MAX_SHOWN = 128;

/**
 * @param collection that the command will be about
 * @returns the command's specification; or the error that is the reply
 */
export function chosen(peer: Peer, args: Command, collection = peer.data.collection): CommandSpec | string {
  const name = args.latin1(0);
  const spec = BY_SPELLING.get(name) ?? COMMANDS.get(name.toLowerCase());
  if (spec === undefined) return unknown(args);
  if (!fits(args.length, spec.arity)) return wrongArity(spec.name);
  if (peer.hears.size > 0 && peer.data.version === 2 && !WHILE_HEARING.has(spec.name)) return notNow(spec.name);
  if (FOR_STRANGERS.has(spec.name)) return spec;
  const right = spec.use === "write" ? "write" : "read";
  if (right === "write" && collection.startsWith(OWN)) return `NOPERM ${collection} belongs to the server`;
  const refusal = peer.refusal(`store:${collection}:${right}`);
  if (refusal === null) return spec;
  // A client that has a token may always say which collection it wants.
  return refusal.startsWith("NOPERM") && (spec.use === "nothing" || spec.use === "session") ? spec : refusal;
}

function notNow(name: string): string {
  const allowed = "(P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET";
  return `ERR Can't execute '${name}': only ${allowed} are allowed in this context`;
}

function unknown(args: Command): string {
  let shown = "";
  for (let at = 1; at < args.length && shown.length < MAX_SHOWN; at++)
    shown += `'${args.utf8(at).slice(0, MAX_SHOWN - shown.length)}' `;
  return `ERR unknown command '${args.utf8(0).slice(0, MAX_SHOWN)}', with args beginning with: ${shown}`;
}
