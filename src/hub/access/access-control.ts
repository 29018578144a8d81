/**
 * Access control: decides the rights of each client. The parts of the server that guard something (procedures, events,
 * the store) ask `refusalOf`, with the session of the message or request and the action: "rpc:accounts.get".
 */
import type { AccessOptions } from "../../config/options";
import { quoted } from "../../config/quoted";
import type { AccessRefusal, Client, Session } from "../../module/contract";
import { NOT_VALID, type Sessions } from "../../module/session";
import type { Guesses } from "./guesses";
import type { KnownTokens } from "./known-tokens";
import { allows } from "./scopes";
import { TOKEN_PREFIX } from "./tokens";

/** A token among the subprotocols of a WebSocket begins with it: pages in browsers can set no header. */
export const TOKEN_PROTOCOL = "hrmr.token.";

const WRONG: AccessRefusal = { code: "UNAUTHENTICATED", status: 401, message: "the token is wrong" };
const OVER: AccessRefusal = { code: "UNAUTHENTICATED", status: 401, message: "the token is not valid any more" };
const NEEDED: AccessRefusal = { code: "UNAUTHENTICATED", status: 401, message: "a token is needed" };
const TOO_MANY: AccessRefusal = {
  code: "TOO_MANY_GUESSES",
  status: 429,
  message: "too many wrong tokens came from this address: try again in a second",
};

export class AccessControl implements Sessions {
  readonly #options: () => AccessOptions;
  readonly #tokens: KnownTokens;
  readonly #guesses: Guesses;

  /** @param options  asked at each check: a reload may change them */
  constructor(options: () => AccessOptions, tokens: KnownTokens, guesses: Guesses) {
    this.#options = options;
    this.#tokens = tokens;
    this.#guesses = guesses;
  }

  /**
   * Whether a session allows an action. Clients of this machine need no token, unless `access.required` is true. A
   * client that has shown a token has the rights of that token, wherever it is.
   *
   * @param action  "rpc:accounts.get", "events:user.created", "store:scores:read", "http", "admin"
   * @returns null: it may
   */
  refusalOf(session: Session, client: Client, action: string): AccessRefusal | null {
    const { identity, scopes } = this.current(session);
    if (identity !== null)
      return scopes.some((scope) => allows(scope, action))
        ? null
        : { code: "FORBIDDEN", status: 403, message: lacks(identity, action) };
    if (session.identity !== null || session === NOT_VALID) return OVER;
    return this.#needsToken(client) ? NEEDED : null;
  }

  #needsToken({ isLocal }: Client): boolean {
    const { required } = this.#options();
    return required === "auto" ? !isLocal : required;
  }

  /**
   * Checks a token that a client shows: by AUTH, or in the first message of a WebSocket.
   *
   * @returns its session, at once; or the refusal, late: guessing must be slow. End the connection after it
   */
  authenticate(token: string, { address }: Client): Session | Promise<AccessRefusal> {
    // A right token is always taken: its 256 bits cannot be guessed however fast the answers are, and behind a proxy all
    // clients have one address, which a single guesser must not close for them.
    const session = this.#tokens.find(token);
    if (session !== null) return session;
    if (!this.#guesses.mayLook(address)) return Promise.resolve(TOO_MANY);
    return this.#guesses.wrong(address).then(() => WRONG);
  }

  /**
   * The session of an HTTP request to a guarded part. A wrong token is refused, even if the client needs no token.
   *
   * @param own  its connection's session
   * @returns as `authenticate` does
   */
  admit(headers: Pick<Headers, "get">, client: Client, own: Session): Session | Promise<AccessRefusal> {
    const token = tokenOf(headers);
    return token === null ? this.current(own) : this.authenticate(token, client);
  }

  /**
   * The same for a module's own route, which may use the header for its own tokens. Only a wrong token in our form is
   * counted as a guess.
   */
  ofRequest(headers: Pick<Headers, "get">, { address }: Client, own: Session): Session {
    const token = tokenOf(headers);
    if (token === null) return this.current(own);
    const session = this.#tokens.find(token);
    if (session !== null) return session;
    if (!token.startsWith(TOKEN_PREFIX)) return this.current(own);
    this.#guesses.note(address);
    return NOT_VALID;
  }

  current(session: Session): Session {
    return session.identity === null ? session : this.#tokens.current(session);
  }

  /** Whether a session has a scope for an action. Unlike `refusalOf`, it gives nothing to clients without a token. */
  isAllowed(session: Session, action: string): boolean {
    return this.current(session).scopes.some((scope) => allows(scope, action));
  }

  /** Whether any token has this scope. */
  hasTokenFor(scope: string): boolean {
    return this.#tokens.hasAny(scope);
  }

  /** Whether a token allows an action. For callers that count wrong tokens themselves. */
  isGood(token: string, action: string): boolean {
    const session = this.#tokens.find(token);
    return session !== null && this.isAllowed(session, action);
  }
}

function lacks(identity: string, action: string): string {
  return `the token ${quoted(identity)} has no scope for ${quoted(action)}`;
}

/** @returns the token of a request: `Authorization: Bearer`, or a subprotocol; null: it has none */
function tokenOf(headers: Pick<Headers, "get">): string | null {
  const bearer = /^Bearer +(\S+)\s*$/i.exec(headers.get("authorization") ?? "")?.[1];
  if (bearer !== undefined) return bearer;
  const protocols = headers.get("sec-websocket-protocol");
  if (protocols === null) return null;
  const named = protocols
    .split(",")
    .map((name) => name.trim())
    .find((name) => name.startsWith(TOKEN_PROTOCOL));
  return named === undefined ? null : named.slice(TOKEN_PROTOCOL.length);
}
