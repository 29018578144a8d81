/** Failures of procedures, by the codes of JSON-RPC 2.0 (section 5.1), and their texts for clients. Pure. */
import type { ServiceError } from "../../module/service/error";

export interface RpcFailure {
  /** JSON-RPC's. -32768 to -32000 are reserved; the server's own lie from -32099 on. */
  readonly code: number;
  /** The same as a word: "INVALID_INPUT". */
  readonly word: string;
  /** One sentence, without its end. */
  readonly message: string;
  /** `code` is a word for programs. undefined: there is nothing more to say. */
  readonly data?: Readonly<Record<string, unknown>>;
  /** For POST /rpc/NAME. */
  readonly status: number;
}

const PARSE_ERROR = -32700;
const INVALID_REQUEST = -32600;
const METHOD_NOT_FOUND = -32601;
const INVALID_PARAMS = -32602;
const INTERNAL_ERROR = -32603;
/** The service's own error. */
const REFUSED = -32000;
const UNAUTHORIZED = -32001;

interface Kind {
  readonly code: number;
  readonly status: number;
}

/** The server's own codes of ServiceError. All others are the services' own. */
const KINDS: Readonly<Record<string, Kind>> = {
  INVALID_INPUT: { code: INVALID_PARAMS, status: 400 },
  // Of a service that checks the rights of clients itself.
  UNAUTHENTICATED: { code: UNAUTHORIZED, status: 401 },
  FORBIDDEN: { code: UNAUTHORIZED, status: 403 },
  TIMEOUT: { code: -32002, status: 504 },
  BUSY: { code: -32003, status: 429 },
  UNAVAILABLE: { code: -32004, status: 503 },
  DEPTH: { code: -32005, status: 500 },
  CANCELLED: { code: -32006, status: 500 },
};

/** Errors that the service did not mean for its caller. Their text may reveal internals of the module. */
const HIDDEN = new Set(["FAILED", "INVALID_OUTPUT", "MODULE_MISSING", "SERVICE_MISSING"]);

export function parseFailure(why: string): RpcFailure {
  return { code: PARSE_ERROR, word: "PARSE_ERROR", message: `Parse error: ${why}`, status: 400 };
}

export function invalidRequest(why: string): RpcFailure {
  return { code: INVALID_REQUEST, word: "INVALID_REQUEST", message: `Invalid Request: ${why}`, status: 400 };
}

/** @param hint "Did you mean ...?"; "" for none */
export function notFound(method: string, hint: string): RpcFailure {
  const name = JSON.stringify(method.length > 100 ? `${method.slice(0, 100)}…` : method);
  return {
    code: METHOD_NOT_FOUND,
    word: "METHOD_NOT_FOUND",
    message: `Method not found: there is no procedure ${name}${hint === "" ? "" : `. ${hint}`}`,
    status: 404,
  };
}

export function busy(why: string): RpcFailure {
  return { ...(KINDS.BUSY as Kind), word: "BUSY", message: why, data: { code: "BUSY" } };
}

export function notAllowed(refusal: { code: string; status: number; message: string }): RpcFailure {
  const { code, message, status } = refusal;
  return { code: UNAUTHORIZED, word: code, message, data: { code }, status };
}

/** The request comes from a page of another origin. */
export function pageRefused(): RpcFailure {
  return notAllowed({ code: "FORBIDDEN", status: 403, message: "pages of this Origin may not call procedures here" });
}

/** A request of HTTP that cannot be answered as it is. @param status 406, 415 */
export function httpRefused(status: number, why: string): RpcFailure {
  return { ...invalidRequest(why), status };
}

/** @param detail what a client may know, such as a path */
export function internalFailure(name: string, detail = "the server's log says why"): RpcFailure {
  return { code: INTERNAL_ERROR, word: "FAILED", message: `Internal error: ${name} failed; ${detail}`, status: 500 };
}

/** Whether the error is for the log, and not for the client. `FAILED` is in the log already. */
export function isHidden({ code }: ServiceError): boolean {
  return HIDDEN.has(code);
}

/** @param name "kv.get" */
export function failureOf(name: string, error: ServiceError): RpcFailure {
  const { code, message, data } = error;
  if (HIDDEN.has(code)) return internalFailure(name);
  const kind = Object.hasOwn(KINDS, code) ? (KINDS[code] as Kind) : null;
  // The reason may be the text of an error in the module's file.
  if (code === "UNAVAILABLE")
    return { ...(kind as Kind), word: code, message: `${name} cannot be called now`, data: { code } };
  return { ...(kind ?? { code: REFUSED, status: 400 }), word: code, message, data: { ...fieldsOf(data), code } };
}

function fieldsOf(data: unknown): Record<string, unknown> {
  if (data === undefined) return {};
  return typeof data === "object" && data !== null && !Array.isArray(data) ? { ...data } : { data };
}

/**
 * The status of HTTP for an answer of JSON-RPC. A failed call has the status of a successful call. A missing token and
 * an invalid message have a status of their own, since clients without JSON-RPC, such as proxies, should see them.
 *
 * @param answer a text of `failureText` or `resultText`, or a batch of them
 */
export function statusOf(answer: string): number {
  if (!answer.startsWith(ERROR_START)) return 200;
  const code = Number.parseInt(answer.slice(ERROR_START.length), 10);
  if (code === PARSE_ERROR || code === INVALID_REQUEST) return 400;
  if (code !== UNAUTHORIZED) return 200;
  return answer.includes('"FORBIDDEN"') ? 403 : 401;
}

const ERROR_START = '{"jsonrpc":"2.0","error":{"code":';
