/** Reads the bodies of the control API's requests, with limits of size and time. */
import { asBuffer } from "../protocol/wire";
import { suggest } from "../config/nearest";
import { GatheredBytes } from "../protocol/http1/gathered";
import { badRequest, Refused } from "./reply";
import { underDeadline } from "../system/deadline";

/** The most bytes of a request's body, except an upload's. */
const MAX_BODY_BYTES = 65_536;

/** In milliseconds. */
const BODY_DEADLINE_MS = 10_000;

export type Body = Readonly<Record<string, unknown>>;

/** @returns the JSON object; an empty body is `{}`. @throws Refused */
export async function readJson(request: Request, keys: readonly string[]): Promise<Body> {
  const late = new Refused(408, `The body did not arrive in ${BODY_DEADLINE_MS / 1000} s.`, "Send it in one piece.");
  const tooLarge = new Refused(
    413,
    `The body is larger than ${MAX_BODY_BYTES} bytes.`,
    "Name fewer modules, or leave them out to reload all.",
  );
  const text = (await underDeadline(readBytes(request, MAX_BODY_BYTES, tooLarge), BODY_DEADLINE_MS, late)).toString();
  if (text.trim() === "") return {};
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw badRequest(
      `The body is not JSON: ${(cause as Error).message}.`,
      'Send an object like {"modules": ["greet"]}, or nothing.',
    );
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw badRequest("The body is not a JSON object.", 'Send an object like {"modules": ["greet"]}, or nothing.');
  }
  const unknown = Object.keys(value).find((key) => !keys.includes(key));
  if (unknown === undefined) return value as Body;
  const known = keys.length === 0 ? "It takes none." : `It takes ${keys.map((key) => `"${key}"`).join(", ")}.`;
  throw badRequest(
    `The body has a key that is not known, ${JSON.stringify(unknown)}.`,
    suggest(unknown, keys) || known,
  );
}

/**
 * Reads at most `maxBytes`: a chunked body does not say its length.
 *
 * @param pauseMs ends the read after a pause of this length. 0: no limit
 * @throws Refused `tooLarge`, or 408
 */
export async function readBytes(request: Request, maxBytes: number, tooLarge: Refused, pauseMs = 0): Promise<Buffer> {
  if (Number(request.headers.get("Content-Length") ?? 0) > maxBytes) throw tooLarge;
  if (request.body === null) return Buffer.alloc(0);
  const gathered = new GatheredBytes();
  const reader = request.body.getReader();
  const late = new Refused(408, `Nothing of the body came for ${pauseMs / 1000} s.`, "Send it again.");
  try {
    for (;;) {
      const { done, value } = await (pauseMs === 0 ? reader.read() : underDeadline(reader.read(), pauseMs, late));
      if (done) return asBuffer(gathered.take());
      gathered.add(value);
      if (gathered.length > maxBytes) throw tooLarge;
    }
  } finally {
    // The rest is not needed.
    reader.cancel().catch(() => {});
  }
}
