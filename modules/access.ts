/**
 * Guards all modules: every HTTP request must bring a token, and gets an id that logs and other services can share. It
 * ships with hrmr, and does nothing until hrmr.json sends every request through it:
 *
 *   "http": { "use": ["access"] },
 *   "modules": { "access": { "open": ["/favicon.svg"] } }
 *
 *   hrmr token add web --scope http                              # prints a token
 *   curl -i localhost:8080/                                      # 401
 *   curl -i -H 'Authorization: Bearer hrmr_...' localhost:8080/  # 200
 *
 * Good are the tokens of `hrmr token` with the scope "http", and the texts of the setting `tokens`.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { defineModule, type Log, type RequestContext, type Session } from "hrmr";

/** Logs the first refusal at once, and the number of further ones each second: strangers must not fill the log. */
class Refusals {
  readonly #log: Log;
  #untold = 0;
  #last = "";
  #timer: Timer | null = null;

  constructor(log: Log) {
    this.#log = log;
  }

  note(text: string): void {
    if (this.#timer === null) {
      this.#log.warn(text);
      this.#wait();
      return;
    }
    this.#untold++;
    this.#last = text;
  }

  /** Logs the remaining number, and stops the timer. */
  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#tellUntold();
  }

  #wait(): void {
    this.#timer = setTimeout(() => {
      this.#timer = null;
      if (this.#tellUntold()) this.#wait();
    }, 1000);
    this.#timer.unref();
  }

  #tellUntold(): boolean {
    const count = this.#untold;
    if (count === 0) return false;
    this.#untold = 0;
    this.#log.warn(
      `${count} more ${count === 1 ? "request was" : "requests were"} refused within a second, the last: ${this.#last}`,
    );
    return true;
  }
}

/** Delay of the answer to a wrong token. In milliseconds. */
const GUESS_MS = 500;
/** Delayed answers of one address. Further ones are refused at once, so that they hold no connection. */
const MAX_DELAYED = 32;

/** Makes guessing slow. */
class Guesses {
  /** Delayed answers, by address. */
  readonly #delayed = new Map<string, number>();

  /** Resolves when the answer may be sent. @returns false, at once: too many wait already */
  async wait(address: string): Promise<boolean> {
    const count = this.#delayed.get(address) ?? 0;
    if (count >= MAX_DELAYED) return false;
    this.#delayed.set(address, count + 1);
    await Bun.sleep(GUESS_MS);
    const left = (this.#delayed.get(address) ?? 1) - 1;
    if (left > 0) this.#delayed.set(address, left);
    else this.#delayed.delete(address);
    return true;
  }
}

function hashOf(token: string): Buffer {
  return createHash("sha256").update(token).digest();
}

function textsOf(value: unknown, name: string): string[] {
  if (Array.isArray(value) && value.every((text) => typeof text === "string" && text !== "")) return value as string[];
  throw new Error(`modules.access.${name} must be a list of texts`);
}

function isKnown(authorization: string | null, tokens: readonly Buffer[]): boolean {
  const token = /^Bearer +(\S.*)$/i.exec(authorization ?? "")?.[1];
  if (token === undefined) return false;
  const hash = hashOf(token.trimEnd());
  // Compares all of them, even after a match.
  return tokens.filter((known) => timingSafeEqual(known, hash)).length > 0;
}

export default defineModule({
  routes: {},
  setup({ config, log }) {
    // Compare hashes, which have one length: the comparison's time would otherwise reveal a token's length.
    const tokens = textsOf(config.tokens ?? [], "tokens").map(hashOf);
    // People write paths without escapes: "/café" is "/caf%C3%A9" in a request.
    const open = textsOf(config.open ?? [], "open").map((path) => new URL(path, "http://localhost").pathname);
    return { tokens, open: new Set(open), refusals: new Refusals(log), guesses: new Guesses() };
  },
  dispose: ({ refusals }) => refusals.close(),
  async middleware(request, context, next) {
    const { tokens, open, refusals, guesses } = context.state;
    const isAllowed =
      open.has(context.path) ||
      isKnown(request.headers.get("authorization"), tokens) ||
      context.session.scopes.includes("http");
    if (!isAllowed) {
      refusals.note(`${context.requestId}: ${context.client.address} was refused: ${whyRefused(context.session)}`);
    }
    const response = isAllowed ? await next() : await refuse(request, context, guesses);
    // A WebSocket's 101 takes no headers here: its module sets them.
    if (response.status !== 101) response.headers.set("x-request-id", context.requestId);
    return response;
  },
});

/** A token without the scope is the most likely mistake of an operator. */
function whyRefused({ identity }: Session): string {
  return identity === null
    ? "it had no good token (make one: hrmr token add NAME --scope http)"
    : `its token "${identity}" has not the scope http`;
}

/** A wrong token is refused late. A request without one, or with one that may do other things, is refused at once. */
async function refuse(request: Request, { client, session }: RequestContext, guesses: Guesses): Promise<Response> {
  // RFC 6750 section 3: the challenge. It says why only to a client that is known.
  if (session.identity !== null)
    return refusal(403, "The token has not the scope http.", {
      "www-authenticate": 'Bearer realm="hrmr", error="insufficient_scope", scope="http"',
    });
  const isGuess = request.headers.has("authorization");
  if (!isGuess || (await guesses.wait(client.address)))
    return refusal(401, "A token is needed: Authorization: Bearer ...", { "www-authenticate": 'Bearer realm="hrmr"' });
  return refusal(429, "Too many wrong tokens came from this address. Try again in a second.", { "retry-after": "1" });
}

function refusal(status: number, text: string, fields: Record<string, string>): Response {
  return new Response(`${text}\n`, { status, headers: { ...fields, "cache-control": "no-store" } });
}
