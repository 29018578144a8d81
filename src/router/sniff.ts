import { NEED_MORE, NO_MATCH } from "./match";
import { PrefixTrie } from "./trie";

const LF = 0x0a;
const SLASH = 0x2f;
const TLS_HANDSHAKE = 0x16;
const TLS_MAJOR_VERSION = 0x03;

/** The default of `limits.maxPrefixBytes`, and of `maxHeaderBytes`: a longer request line is refused anyway. */
const MAX_FIRST_LINE_BYTES = 8192;

/** RFC 9110 section 9.1 and PATCH of RFC 5789. Other methods are known by their first line. */
const METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"].map((method) => `${method} `);
/** As far as the preface of HTTP/2 (RFC 9113 section 3.4) has to come to be told by its first line. */
const HTTP2_PREFACE = "PRI * HTTP/";

const METHOD_TRIE = trieOf(METHODS);
const OPENING_TRIE = trieOf([...METHODS, HTTP2_PREFACE]);

function trieOf(keys: readonly string[]): PrefixTrie<true> {
  return PrefixTrie.build(keys.map((key) => ({ key: new TextEncoder().encode(key), value: true as const })));
}

/**
 * Tells whether a message is meant as HTTP: it begins with a known method and a space, or its first line holds "HTTP/". The second rule
 * takes in the HTTP/2 preface (RFC 9113 section 3.4) and malformed requests, which so get a 400 and not an unknown command's answer.
 *
 * @param isFinal   true when nothing more will come: decided on what is there
 * @param maxBytes  how far a first line is searched for "HTTP/". Default 8192.
 * @returns NEED_MORE (never with isFinal) while there is no line end and "HTTP/" could still come; false after `maxBytes` without either
 */
export function looksLikeHttp(
  bytes: Uint8Array,
  from: number,
  isFinal: boolean,
  maxBytes = MAX_FIRST_LINE_BYTES,
): boolean | typeof NEED_MORE {
  if (METHOD_TRIE.match(bytes, from, true) !== NO_MATCH) return true;
  const end = Math.min(bytes.length, from + maxBytes);
  for (let at = from; at < end; at++) {
    if (bytes[at] === LF) return false;
    if (bytes[at] === SLASH && at - from >= 4 && spellsHttp(bytes, at - 4)) return true;
  }
  return isFinal || end === from + maxBytes ? false : NEED_MORE;
}

/** True while the bytes, at least one, could grow into a known method and a space, or the preface of HTTP/2; false once they are one. */
export function mayBecomeMethod(bytes: Uint8Array, from: number): boolean {
  return from < bytes.length && OPENING_TRIE.match(bytes, from, false) === NEED_MORE;
}

function spellsHttp(bytes: Uint8Array, at: number): boolean {
  return bytes[at] === 0x48 && bytes[at + 1] === 0x54 && bytes[at + 2] === 0x54 && bytes[at + 3] === 0x50;
}

/** True for the beginning of a TLS handshake record (RFC 8446 section 5.1), on its first byte already; two tell it better. */
export function looksLikeTls(bytes: Uint8Array, from: number): boolean {
  if (bytes[from] !== TLS_HANDSHAKE) return false;
  return from + 1 >= bytes.length || bytes[from + 1] === TLS_MAJOR_VERSION;
}
