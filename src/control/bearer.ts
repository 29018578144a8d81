/**
 * Checks the token of requests to the control API over TCP.
 */
import type { ServerLog } from "../observe/log/log";
import { ipVersion } from "../system/address";
import { Guesses } from "../hub/access/guesses";
import { readToken } from "../server/token";
import { Refused } from "./reply";

export class Bearer {
  readonly #file: string;
  readonly #guesses: Guesses;
  #digest: Buffer;

  /** @throws UserError TOKEN_FILE */
  constructor(file: string, log: Pick<ServerLog, "warn">) {
    this.#file = file;
    this.#guesses = new Guesses("control.listen: a request", log);
    this.#digest = digestOf(readToken(file));
  }

  /** Reads the file again. @throws UserError TOKEN_FILE; the old token stays */
  refresh(): void {
    this.#digest = digestOf(readToken(this.#file));
  }

  /**
   * @param address  of the client
   * @throws Refused 401 for a missing or wrong token, 429 after many wrong tokens from the same address
   */
  async check(request: Request, address: string): Promise<void> {
    const given = /^Bearer +(\S+)$/i.exec(request.headers.get("Authorization") ?? "")?.[1];
    if (given === undefined) throw unauthorized("The request has no token.");
    if (!this.#guesses.mayLook(address))
      throw new Refused(429, "Too many wrong tokens came from this address.", "Try again in a second.", {
        "Retry-After": "1",
      });
    // Digests have one length, so the comparison takes the same time for every wrong token.
    if (crypto.timingSafeEqual(digestOf(given), this.#digest)) return;
    await this.#guesses.wrong(address);
    throw unauthorized("The token is wrong.");
  }

  close(): void {
    this.#guesses.close();
  }
}

/**
 * Refuses requests that a page made a browser send: a page whose host name now leads to this machine (DNS rebinding),
 * or any page of another origin.
 *
 * @param ownHost the configured host
 * @param isTls the certificate has proved the name
 * @throws Refused 403
 */
export function mustNotBeBrowser(request: Request, ownHost: string, isTls: boolean): void {
  if (request.headers.has("Origin"))
    throw new Refused(403, "Pages in browsers may not use this.", "Use `hrmr`, or curl.");
  const hostname = URL.parse(`http://${request.headers.get("Host") ?? ""}`)?.hostname ?? "";
  const bare = hostname.replace(/^\[|\]$/g, "");
  if (isTls || ipVersion(bare) !== 0 || bare === "localhost" || bare === ownHost.toLowerCase()) return;
  throw new Refused(
    403,
    `This server is not called ${JSON.stringify(hostname)}.`,
    "Use its address, or the name in control.listen.",
  );
}

function unauthorized(message: string): Refused {
  return new Refused(401, message, "Send `Authorization: Bearer TOKEN`; `hrmr` takes it from --token-file FILE.", {
    "WWW-Authenticate": 'Bearer realm="hrmr"',
  });
}

function digestOf(text: string): Buffer {
  return new Bun.CryptoHasher("sha256").update(text).digest();
}
