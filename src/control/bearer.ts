/**
 * Who may use the control API over TCP: whoever has the token.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { isIP } from "node:net";
import type { ServerLog } from "../observe/log";
import { readToken } from "../server/token";
import { Refused } from "./reply";

/** A wrong token is answered so much later, whatever was wrong with it. In milliseconds. */
const WRONG_TOKEN_DELAY_MS = 500;
/** Requests that wait for that answer. More are not looked at: a guess costs its sender, and not the server. */
const MAX_DELAYED = 32;
/** Of the log's lines about wrong tokens. In milliseconds. */
const LOG_PAUSE_MS = 10_000;

export class Bearer {
  readonly #file: string;
  readonly #log: Pick<ServerLog, "warn">;
  #digest: Buffer;
  #delayed = 0;
  #untold = 0;
  #timer: Timer | null = null;

  /** @throws UserError TOKEN_FILE */
  constructor(file: string, log: Pick<ServerLog, "warn">) {
    this.#file = file;
    this.#log = log;
    this.#digest = digestOf(readToken(file));
  }

  /** Reads the file anew. @throws UserError TOKEN_FILE; the old token stays */
  refresh(): void {
    this.#digest = digestOf(readToken(this.#file));
  }

  /**
   * @param address  of the client
   * @throws Refused 401 for a token that is missing or wrong, 429 when many were wrong
   */
  async check(request: Request, address: string): Promise<void> {
    const given = /^Bearer +(\S+)$/i.exec(request.headers.get("Authorization") ?? "")?.[1];
    if (given === undefined) throw unauthorized("The request has no token.");
    // Digests are of one length, so that the comparison takes the same time for every wrong one.
    if (timingSafeEqual(digestOf(given), this.#digest)) return;
    this.#note(address);
    if (this.#delayed >= MAX_DELAYED)
      throw new Refused(429, "There were many wrong tokens.", "Try again in a moment.", { "Retry-After": "1" });
    this.#delayed++;
    await Bun.sleep(WRONG_TOKEN_DELAY_MS);
    this.#delayed--;
    throw unauthorized("The token is wrong.");
  }

  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  /** The first one at once, those that follow as a number. */
  #note(address: string): void {
    this.#untold++;
    if (this.#timer !== null) return;
    const tell = () => {
      const count = this.#untold;
      this.#untold = 0;
      this.#timer = null;
      if (count === 0) return;
      this.#log.warn(`control.listen: ${count === 1 ? "a request" : `${count} requests`} with a wrong token, the last from ${address}`);
      this.#timer = setTimeout(tell, LOG_PAUSE_MS);
      this.#timer.unref();
    };
    tell();
  }
}

/**
 * Refuses what a browser was made to send: a page of somebody's whose host name turned into this machine's address, or any page that
 * asks another origin.
 *
 * @param ownHost  as it was configured
 * @param isTls    a certificate has proved the name already
 * @throws Refused 403
 */
export function mustNotBeBrowser(request: Request, ownHost: string, isTls: boolean): void {
  if (request.headers.has("Origin")) throw new Refused(403, "Pages in browsers may not use this.", "Use `hrmr`, or curl.");
  const hostname = URL.parse(`http://${request.headers.get("Host") ?? ""}`)?.hostname ?? "";
  const bare = hostname.replace(/^\[|\]$/g, "");
  if (isTls || isIP(bare) !== 0 || bare === "localhost" || bare === ownHost.toLowerCase()) return;
  throw new Refused(403, `This server is not called ${JSON.stringify(hostname)}.`, "Use its address, or the name in control.listen.");
}

function unauthorized(message: string): Refused {
  return new Refused(401, message, "Send `Authorization: Bearer TOKEN`; `hrmr` takes it from --token-file FILE.", {
    "WWW-Authenticate": 'Bearer realm="hrmr"',
  });
}

function digestOf(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
