/** The opening handshake (RFC 6455 section 4.2): checks the client's request, and makes the 101. */
import type { WebSocketUpgrade } from "../../module/contract";
import type { RequestHead } from "../http1/head";
import { TOKEN_PROTOCOL } from "../../hub/access/access-control";
import { OwnReply } from "../web/own-reply";
import { isForeignOrigin } from "../web/origin";
import { type Deflate, negotiate } from "./deflate";

/** A valid request to open a WebSocket. */
interface Handshake {
  readonly key: string;
  /** The client's subprotocols, in its order of preference, without a token. */
  readonly protocols: readonly string[];
  readonly deflate: Deflate | null;
}

/** Fields of a 400. */
const VERSION = { "Sec-WebSocket-Version": "13" };
/** Fields of a 426. */
const UPGRADE = { Upgrade: "websocket", Connection: "Upgrade", ...VERSION };

/**
 * A subprotocol that every WebSocket route knows, for pages that show their token in another one: a browser closes a
 * socket if it offers subprotocols and none is chosen.
 */
const OWN_PROTOCOL = "hrmr";
const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const TOKEN = /^[!#$%&'*+.^_`|~\w-]+$/;
/** 16 bytes in base64: the last of 22 characters has 4 bits to spare, which are 0. */
const KEY = /^[A-Za-z0-9+/]{21}[AQgw]==$/;
/** Fields that a module cannot set: the handshake has its own. */
const OWN_FIELDS = new Set([
  "connection",
  "content-length",
  "sec-websocket-accept",
  "sec-websocket-extensions",
  "sec-websocket-protocol",
  "transfer-encoding",
  "upgrade",
]);

const FOREIGN_ORIGIN = new OwnReply(403, "Pages of this Origin may not open a WebSocket here.");
/** The request asks for no WebSocket. */
export const NO_UPGRADE = new OwnReply(
  426,
  "This path speaks WebSocket: the request must ask for an upgrade to it.",
  UPGRADE,
);
const NOT_GET = new OwnReply(400, "A WebSocket begins with a GET of HTTP/1.1 without a body.", VERSION);
const NO_CONNECTION = new OwnReply(400, "The Connection field does not list upgrade.", VERSION);
const BAD_KEY = new OwnReply(400, "There is not exactly one Sec-WebSocket-Key with 16 bytes in base64.", VERSION);
const NO_VERSION = new OwnReply(400, "There is not exactly one Sec-WebSocket-Version.", VERSION);
const WRONG_VERSION = new OwnReply(426, "The only Sec-WebSocket-Version supported is 13.", UPGRADE);
/** Without an Upgrade field, which HTTP/2 has not. */
const BAD_VERSION = new OwnReply(400, WRONG_VERSION.text, VERSION);
const BAD_PROTOCOLS = new OwnReply(400, "Sec-WebSocket-Protocol is not a list of different names.", VERSION);
const BAD_EXTENSIONS = new OwnReply(400, "Sec-WebSocket-Extensions is malformed.", VERSION);

/** @returns the refusal of an invalid request */
export function readHandshake(head: RequestHead): Handshake | OwnReply {
  // Only the fast path leaves the fields as text, and it takes no request with Upgrade.
  if (typeof head.fields === "string") return NO_UPGRADE;
  if (!listHas(valuesOf(head.fields, "upgrade"), "websocket")) return NO_UPGRADE;
  // Upgrade means nothing on HTTP/1.0 (RFC 9110 section 7.8).
  if (!head.isHttp11) return NO_UPGRADE;
  if (head.method !== "GET" || head.bodyBytes !== 0) return NOT_GET;
  if (!listHas(valuesOf(head.fields, "connection"), "upgrade")) return NO_CONNECTION;
  const [version, ...otherVersions] = valuesOf(head.fields, "sec-websocket-version");
  if (version === undefined || otherVersions.length > 0) return NO_VERSION;
  if (version !== "13") return WRONG_VERSION;
  const [key, ...otherKeys] = valuesOf(head.fields, "sec-websocket-key");
  if (key === undefined || otherKeys.length > 0 || !KEY.test(key)) return BAD_KEY;
  return readOffers(head.fields, key);
}

/**
 * The same for a stream of HTTP/2 (RFC 8441 section 5): CONNECT stands for the upgrade, and there is no key.
 *
 * @returns the refusal of an invalid request
 */
export function readStreamHandshake({ fields }: RequestHead): Handshake | OwnReply {
  if (typeof fields === "string") return NO_UPGRADE;
  const [version, ...others] = valuesOf(fields, "sec-websocket-version");
  if (version === undefined || others.length > 0) return NO_VERSION;
  return version === "13" ? readOffers(fields, "") : BAD_VERSION;
}

/** What the client offers: subprotocols and compression. */
function readOffers(fields: readonly string[], key: string): Handshake | OwnReply {
  const offered = readProtocols(valuesOf(fields, "sec-websocket-protocol"));
  if (offered === null) return BAD_PROTOCOLS;
  // A token is never chosen: the reply would repeat it.
  const protocols = offered.filter((name) => !name.startsWith(TOKEN_PROTOCOL));
  const deflate = negotiate(valuesOf(fields, "sec-websocket-extensions").join(","));
  if (deflate === "malformed") return BAD_EXTENSIONS;
  return { key, protocols, deflate };
}

/**
 * Checks the page's origin (RFC 6455 section 10.2). A browser lets every page open a socket to every server, with the
 * user's cookies. Only the Origin field separates a foreign page from the server's own.
 *
 * @param allowed  the route's `origins`
 * @returns the refusal; null: the page may open a socket
 */
export function refuseOrigin(head: RequestHead, allowed: "*" | readonly string[]): OwnReply | null {
  if (allowed === "*" || typeof head.fields === "string") return null;
  const origins = valuesOf(head.fields, "origin");
  const [origin] = origins;
  if (origin === undefined) return null;
  if (origins.length > 1) return FOREIGN_ORIGIN;
  const asked = origin.toLowerCase();
  return allowed.includes(asked) || !isForeignOrigin(asked, head.host) ? null : FOREIGN_ORIGIN;
}

/**
 * The 101, complete.
 *
 * @param answer the result of the module's `upgrade`
 * @param listed  the route's `protocols`
 * @throws TypeError for a protocol that the client does not offer, and for invalid header fields
 */
export function composeSwitch(
  handshake: Handshake,
  answer: WebSocketUpgrade | null,
  listed: readonly string[],
  isDeflating: boolean,
): string {
  const accept = `Sec-WebSocket-Accept: ${acceptOf(handshake.key)}\r\n`;
  const lines = accept + acceptLines(handshake, answer, listed, isDeflating);
  return `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n${lines}\r\n`;
}

/** The header lines of an accepted handshake, in all versions of HTTP. Parameters and errors: see `composeSwitch`. */
export function acceptLines(
  handshake: Handshake,
  answer: WebSocketUpgrade | null,
  listed: readonly string[],
  isDeflating: boolean,
): string {
  const protocol = chooseProtocol(handshake, answer?.protocol, listed);
  let lines = "";
  if (protocol !== null) lines += `Sec-WebSocket-Protocol: ${protocol}\r\n`;
  if (isDeflating && handshake.deflate !== null) lines += `Sec-WebSocket-Extensions: ${handshake.deflate.header}\r\n`;
  return answer?.headers === undefined ? lines : lines + moduleLines(new Headers(answer.headers));
}

/** @returns the value of Sec-WebSocket-Accept for a key */
function acceptOf(key: string): string {
  return new Bun.CryptoHasher("sha1").update(key + GUID).digest("base64");
}

function chooseProtocol({ protocols }: Handshake, named: string | undefined, listed: readonly string[]): string | null {
  if (named === undefined)
    return (
      protocols.find((protocol) => listed.includes(protocol)) ?? protocols.find((each) => each === OWN_PROTOCOL) ?? null
    );
  if (protocols.includes(named)) return named;
  throw new TypeError(
    `upgrade chose the protocol ${JSON.stringify(named)}, but the client offers [${protocols.join(", ")}].`,
  );
}

function moduleLines(headers: Headers): string {
  let lines = "";
  for (const [name, value] of headers) if (!OWN_FIELDS.has(name)) lines += `${name}: ${value}\r\n`;
  return lines;
}

/** @returns the values of a header field, in their order. @param name  in lower case */
export function valuesOf(fields: readonly string[], name: string): string[] {
  const values: string[] = [];
  for (let i = 0; i + 1 < fields.length; i += 2)
    if (fields[i]?.toLowerCase() === name) values.push(fields[i + 1] ?? "");
  return values;
}

function listHas(values: string[], token: string): boolean {
  return values.some((value) => value.split(",").some((part) => part.trim().toLowerCase() === token));
}

/** @returns null for a value that is no token, or occurs twice (section 4.1, item 10) */
function readProtocols(values: string[]): string[] | null {
  const names = values.flatMap((value) => value.split(",").map((part) => part.trim())).filter((name) => name !== "");
  return names.every((name) => TOKEN.test(name)) && new Set(names).size === names.length ? names : null;
}
