/** The beginning of an HTTP/2 connection (RFC 9113 section 3.4). */
import { NEED_MORE } from "../../../router/match";

/** The first bytes of an HTTP/2 client. No HTTP/1 request begins so. */
export const PREFACE: Buffer = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

const UPPER_P = 0x50;
const UPPER_R = 0x52;

/** @returns whether the preface stands at `from`; NEED_MORE while the bytes could become it */
export function matchPreface(bytes: Uint8Array, from: number): boolean | typeof NEED_MORE {
  // The usual case: POST, PUT and PATCH differ in the second byte.
  if (bytes[from] !== UPPER_P || (from + 1 < bytes.length && bytes[from + 1] !== UPPER_R)) return false;
  const count = Math.min(bytes.length - from, PREFACE.length);
  for (let at = 0; at < count; at++) if (bytes[from + at] !== PREFACE[at]) return false;
  return count === PREFACE.length ? true : NEED_MORE;
}
