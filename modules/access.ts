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
import { defineModule, type Log, type Session } from "hrmr";

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
    return { tokens, open: new Set(open), refusals: new Refusals(log) };
  },
  dispose: ({ refusals }) => refusals.close(),
  async middleware(request, context, next) {
    const { tokens, open, refusals } = context.state;
    const isAllowed =
      open.has(context.path) ||
      isKnown(request.headers.get("authorization"), tokens) ||
      context.session.scopes.includes("http");
    const response = isAllowed ? await next() : refusal();
    if (!isAllowed) {
      refusals.note(`${context.requestId}: ${context.client.address} was refused: ${whyRefused(context.session)}`);
    }
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

function refusal(): Response {
  // RFC 6750 section 3: the challenge, without the reason.
  const headers = { "www-authenticate": 'Bearer realm="hrmr"', "cache-control": "no-store" };
  return new Response("A token is needed: Authorization: Bearer ...\n", { status: 401, headers });
}
