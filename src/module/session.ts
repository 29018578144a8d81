/** Sessions of clients: on the server's side and in the hosts. A client without one is anonymous. */
import type { Client, Session } from "./contract";

/** The session of every client that has shown no token. Shared by all. */
export const ANONYMOUS: Session = Object.freeze({ identity: null, scopes: Object.freeze([]) });
/** That of a client whose token is wrong, revoked or expired: it may do less than a client that has shown none. */
export const NOT_VALID: Session = Object.freeze({ identity: null, scopes: Object.freeze([]) });

/** How a server finds the sessions of its clients. `src/hub/access` implements it. */
export interface Sessions {
  /**
   * The session of one HTTP request: that of its token, else its connection's.
   *
   * @param own  the connection's session
   */
  ofRequest(headers: Pick<Headers, "get">, client: Client, own: Session): Session;
  /** The session as it is now: tokens change, are revoked and expire while clients are connected. */
  current(session: Session): Session;
}

/**
 * By client, since all that a client asks for names its Client: a message, a request, a call on another host. A Client
 * keeps its session for ever: for another session it is copied.
 */
const sessions = new WeakMap<Client, Session>();
/** The last copy of a client. */
const copies = new WeakMap<Client, Client>();

export function sessionOf(client: Client): Session {
  return sessions.get(client) ?? ANONYMOUS;
}

/** @returns the client with that session: itself, or a copy. The same copy again, as long as the session is the same */
export function withSession(client: Client, session: Session): Client {
  if (sessionOf(client) === session) return client;
  const last = copies.get(client);
  if (last !== undefined && sessionOf(last) === session) return last;
  const copy = { ...client };
  sessions.set(copy, session);
  copies.set(client, copy);
  return copy;
}
