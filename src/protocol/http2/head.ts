/**
 * A request's head: fields of HTTP/2 (RFC 9113 section 8.3) to the head that all versions of HTTP share, or the reason
 * why there is none.
 */
import type { Limits } from "../../config/options";
import type { BoundRoute } from "../../module/route";
import { HTTP_METHODS } from "../../router/sniff";
import type { RouteTable } from "../../router/table";
import {
  BAD_HOST,
  BAD_LENGTH,
  BAD_TARGET,
  CHUNKED,
  isValidHost,
  NO_CONNECT,
  NO_HOST,
  readOrigin,
  type RequestHead,
  TWO_HOSTS,
  UNKNOWN_EXPECT,
} from "../http1/head";
import { NOT_ENCODED, TARGET_TOO_LONG, TOO_MANY_FIELDS, UNKNOWN_METHOD } from "../http1/refusal";
import { OwnReply } from "../web/own-reply";
import { STATIC_INDEX } from "./hpack/static-table";

/** A checked head, and the route that was found for it. Requests with the same block share one. */
export interface Http2Head extends RequestHead {
  readonly fields: string | readonly string[];
  /** The value of `:protocol` (RFC 8441 section 4); "": the request is no extended CONNECT. */
  readonly protocol: string;
  /** The table that `knownRoute` is of. null: none is known. */
  knownTable: RouteTable<BoundRoute> | null;
  knownRoute: BoundRoute | null;
  knownParams: Readonly<Record<string, string>> | null;
}

/** The request breaks a rule of HTTP/2 itself: its stream is reset with PROTOCOL_ERROR (RFC 9113 section 8.1.1). */
export const MALFORMED = "malformed";

const COLON = 0x3a;
const DIFFERENT_HOSTS = new OwnReply(400, "The Host field differs from :authority.");

const UNKNOWN_PROTOCOL = new OwnReply(501, "The only :protocol supported is websocket.");

const NAME = /^[!#$%&'*+.^_`|~0-9a-z-]+$/;
// Without white space at its ends (RFC 9113 section 8.2.1).
const VALUE = /^(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?$/;
const METHOD = /^[!#$%&'*+.^_`|~\w-]+$/;
const SCHEME = /^[a-z][a-z0-9+.-]*$/i;
const ASCII_TARGET = /^[!-~]+$/;
const TARGET = /^[!-~\x80-\xff]+$/;
/** Fields of one connection only (RFC 9113 section 8.2.2). */
const CONNECTION_FIELDS = new Set(["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"]);

/** The fields of one request, read one by one. */
class FieldReader {
  method = "";
  scheme = "";
  path = "";
  protocol = "";
  authority: string | null = null;
  hosts = 0;
  host = "";
  length: string | null = null;
  expect: string | null = null;
  cookie: string | null = null;
  /** The others, names and values in turn. */
  readonly others: string[] = [];
  #hasFields = false;

  /** @returns false: the request is malformed */
  read(name: string, value: string): boolean {
    if (name.charCodeAt(0) === COLON) return !this.#hasFields && this.#readPseudo(name, value);
    this.#hasFields = true;
    if (!STATIC_INDEX.has(name) && !NAME.test(name)) return false;
    if (CONNECTION_FIELDS.has(name) || !VALUE.test(value)) return false;
    switch (name) {
      case "host":
        this.hosts++;
        this.host = value;
        return true;
      case "cookie":
        // It may come in pieces (RFC 9113 section 8.2.3).
        this.cookie = this.cookie === null ? value : `${this.cookie}; ${value}`;
        return true;
      case "te":
        if (value.toLowerCase() !== "trailers") return false;
        break;
      case "content-length":
        if (this.length !== null) return false;
        this.length = value;
        break;
      case "expect":
        this.expect = value;
        break;
      default:
    }
    this.others.push(name, value);
    return true;
  }

  /** Each comes once, and with a value; only an authority may be empty. */
  #readPseudo(name: string, value: string): boolean {
    switch (name) {
      case ":authority":
        if (this.authority !== null) return false;
        this.authority = value;
        return true;
      case ":method":
        if (this.method !== "") return false;
        this.method = value;
        return HTTP_METHODS.has(value) || METHOD.test(value);
      case ":scheme":
        if (this.scheme !== "") return false;
        this.scheme = value;
        return value === "http" || value === "https" || SCHEME.test(value);
      case ":path":
        if (this.path !== "") return false;
        this.path = value;
        return value !== "";
      case ":protocol":
        if (this.protocol !== "") return false;
        this.protocol = value;
        return METHOD.test(value);
      default:
        return false;
    }
  }

  /** Whether the pseudo-fields belong together (RFC 9113 sections 8.3.1 and 8.5, RFC 8441 section 4). */
  get isComplete(): boolean {
    if (this.method === "CONNECT" && this.protocol === "")
      return this.scheme === "" && this.path === "" && (this.authority ?? "") !== "";
    if (this.protocol !== "" && this.method !== "CONNECT") return false;
    return this.method !== "" && this.scheme !== "" && this.path !== "";
  }
}

/** Checks the fields of a request. @param fields  names and values in turn, as they came */
export function readHead(fields: readonly string[], limits: Limits): Http2Head | OwnReply | typeof MALFORMED {
  const read = new FieldReader();
  for (let at = 0; at < fields.length; at += 2)
    if (!read.read(fields[at] as string, fields[at + 1] as string)) return MALFORMED;
  if (!read.isComplete) return MALFORMED;
  const { method, protocol, length, expect, others } = read;
  if (method === "CONNECT" && protocol === "") return NO_CONNECT;
  if (fields.length > 2 * limits.maxHeaderFields) return TOO_MANY_FIELDS;
  const host = hostOf(read);
  if (host instanceof OwnReply) return host;
  if (!HTTP_METHODS.has(method)) return UNKNOWN_METHOD;
  if (expect !== null && expect.toLowerCase() !== "100-continue") return UNKNOWN_EXPECT;
  if (length !== null && !/^\d+$/.test(length)) return BAD_LENGTH;
  const target = readTarget(method, read.path, limits);
  if (target instanceof OwnReply) return target;
  if (protocol !== "" && protocol.toLowerCase() !== "websocket") return UNKNOWN_PROTOCOL;
  if (read.cookie !== null) others.push("cookie", read.cookie);
  return new CheckedHead(read, target, host);
}

/** A head whose fields are put together when somebody reads them. */
class CheckedHead implements Http2Head {
  readonly method: string;
  readonly target: string;
  readonly path: RequestHead["path"];
  readonly host: string;
  readonly bodyBytes: number;
  readonly protocol: string;
  readonly expectsContinue: boolean;
  readonly isHttp11 = true;
  readonly keepAlive = true;
  knownTable: Http2Head["knownTable"] = null;
  knownRoute: Http2Head["knownRoute"] = null;
  knownParams: Http2Head["knownParams"] = null;
  readonly #others: readonly string[];
  #fields: string | readonly string[] | null = null;

  constructor({ method, protocol, length, expect, others }: FieldReader, { target, path }: Target, host: string) {
    // To its route and to the module, a WebSocket begins as over HTTP/1.1.
    this.method = protocol === "" ? method : "GET";
    this.target = target;
    this.path = path;
    this.host = host;
    this.bodyBytes = length === null ? CHUNKED : Number(length);
    this.protocol = protocol;
    this.#others = others;
    this.expectsContinue = expect !== null;
  }

  get fields(): string | readonly string[] {
    const { host, protocol } = this;
    return (this.#fields ??= protocol === "" ? linesOf(host, this.#others) : ["host", host, ...this.#others]);
  }
}

type Target = Pick<RequestHead, "target" | "path">;

function hostOf({ authority, host, hosts }: FieldReader): string | OwnReply {
  if (hosts > 1) return TWO_HOSTS;
  if ((authority ?? "") === "" && hosts === 0) return NO_HOST;
  if (authority && hosts > 0 && host.toLowerCase() !== authority.toLowerCase()) return DIFFERENT_HOSTS;
  const asked = authority || host;
  return isValidHost(asked) ? asked : BAD_HOST;
}

/** Checks trailers (RFC 9113 section 8.1). @returns null if they are malformed */
export function readTrailers(fields: readonly string[]): readonly string[] | null {
  for (let at = 0; at < fields.length; at += 2) {
    const name = fields[at] as string;
    const value = fields[at + 1] as string;
    if (!NAME.test(name) || CONNECTION_FIELDS.has(name) || !VALUE.test(value)) return null;
    if (name === "te" && value.toLowerCase() !== "trailers") return null;
  }
  return fields;
}

/** Origin-form, or "*" of OPTIONS; the path of CONNECT with a protocol is in origin-form, too. */
function readTarget(method: string, raw: string, limits: Limits): Target | OwnReply {
  if (raw.length > limits.maxHeaderBytes) return TARGET_TOO_LONG;
  if (raw === "*") return method === "OPTIONS" ? { target: "*", path: "*" } : BAD_TARGET;
  if (raw.charCodeAt(0) !== 0x2f) return BAD_TARGET;
  if (ASCII_TARGET.test(raw)) return readOrigin("", raw);
  return TARGET.test(raw) ? NOT_ENCODED : BAD_TARGET;
}

/** Header lines, as those of HTTP/1.1: the form that is cheap to look a field up in. */
function linesOf(host: string, fields: readonly string[]): string {
  let lines = `host: ${host}\r\n`;
  for (let at = 0; at < fields.length; at += 2) lines += `${fields[at]}: ${fields[at + 1]}\r\n`;
  return lines;
}
