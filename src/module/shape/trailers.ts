/** The trailers of one request, and of its reply. Made when a handler asks for them. */

/** The property of a request with its trailers. */
export const TRAILERS: unique symbol = Symbol("trailers");

/** Has the trailers of a request. */
export interface TrailerSource {
  readonly requestTrailers: Promise<Headers>;
  readonly responseTrailers: Headers;
}

export class Trailers implements TrailerSource {
  readonly #receive: () => Promise<Headers>;
  #request: Promise<Headers> | null = null;
  #response: Headers | null = null;

  /** @param receive  resolves when the request's body is over */
  constructor(receive: () => Promise<Headers>) {
    this.#receive = receive;
  }

  get requestTrailers(): Promise<Headers> {
    if (this.#request === null) {
      this.#request = this.#receive();
      // A handler that does not wait for them need not catch that the body broke off.
      this.#request.catch(() => undefined);
    }
    return this.#request;
  }

  get responseTrailers(): Headers {
    return (this.#response ??= new Headers());
  }

  /** The reply's, if a handler has asked for them. */
  get asked(): Headers | null {
    return this.#response;
  }
}

/** Trailers of a request without any. */
export function noTrailers(): Promise<Headers> {
  return Promise.resolve(new Headers());
}

/**
 * The header lines of a reply's trailers, each with its CR LF. Fields that frame a message, or say where it goes, are
 * left out (RFC 9110 section 6.5.1).
 */
export function trailerLines(trailers: Headers): string {
  let lines = "";
  for (const [name, value] of trailers) if (!NO_TRAILERS.has(name)) lines += `${name}: ${value}\r\n`;
  return lines;
}

const NO_TRAILERS = new Set([
  "authorization",
  "connection",
  "content-encoding",
  "content-length",
  "content-range",
  "content-type",
  "host",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);
