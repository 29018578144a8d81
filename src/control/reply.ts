/** Replies of the control API. */

/** The `Server` header of replies. Clients recognize hrmr behind a socket by it. */
export const SERVER_NAME = "hrmr";

/** Headers of every reply. A connection carries one request, so that none is left open when the server ends. */
export const HEADERS = { Server: SERVER_NAME, Connection: "close" } as const;

/** A refused request: its status, message and hint are the reply. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly hint: string,
    readonly headers: Record<string, string> = {},
  ) {
    super(message);
  }
}

/** A request that cannot be understood. */
export function badRequest(message: string, hint: string): Refused {
  return new Refused(400, message, hint);
}

/** A line of JSON. */
export function reply(status: number, body: unknown, headers: Record<string, string> = {}): Response {
  const type = { "Content-Type": "application/json; charset=utf-8" };
  return new Response(`${JSON.stringify(body)}\n`, { status, headers: { ...HEADERS, ...type, ...headers } });
}

export function replyRefused({ status, message, hint, headers }: Refused): Response {
  return reply(status, { error: message, hint }, headers);
}
