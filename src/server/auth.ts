/** The built-in command AUTH: a client of raw messages shows its token, once for its connection. */
import type { AccessControl } from "../hub/access/access-control";
import type { Message } from "../module/contract";
import { OWN_ROUTES } from "../module/own-routes";
import type { BoundRoute } from "../module/route";
import { LastReply } from "../protocol/raw/reply-queue";
import type { Guessers } from "./token";
import type { RawMessage } from "../protocol/raw/message";

const WORD = "AUTH";

/** @returns the route. A module that claims the word gets its messages */
export function authRoute(access: AccessControl, guessers: Guessers): BoundRoute {
  return {
    key: WORD,
    index: 0,
    kind: "command",
    run: "inline",
    timeoutMs: 0,
    description: "AUTH TOKEN: show who you are, for this connection",
    module: OWN_ROUTES.name,
    keyBytes: WORD.length,
    framing: "line",
    handler: (message: Message) => authenticate(access, guessers, message as RawMessage),
    generation: OWN_ROUTES,
    isUnavailable: false,
    givesWay: true,
  };
}

/**
 * `OK name`, and the session holds for later messages, also for those that came with this one. A wrong token is
 * answered late, and ends the connection.
 */
function authenticate(
  access: AccessControl,
  guessers: Guessers,
  message: RawMessage,
): string | LastReply | Promise<LastReply> {
  const { client } = message;
  // A datagram has no connection.
  if (client.transport === "udp") return "ERR AUTH is not accepted over UDP\n";
  const token = message.text.slice(WORD.length).trim();
  if (token === "" || /\s/.test(token)) return "ERR AUTH takes one token: AUTH TOKEN\n";
  // In line behind the reply that ends the connection: nobody gets this one.
  if (guessers.has(client)) return new LastReply("ERR the token is wrong\n");
  const session = access.authenticate(token, client);
  if (session instanceof Promise) {
    guessers.add(client);
    return session.then(({ message: why }) => new LastReply(`ERR ${why}\n`));
  }
  message.openSession(session);
  return `OK ${session.identity}\n`;
}
