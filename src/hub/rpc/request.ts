/** Reads messages of JSON-RPC 2.0. Pure. */
import { isUtf8 } from "node:buffer";
import { invalidRequest, parseFailure, type RpcFailure } from "./failure";

export type RpcId = string | number | null;

export interface RpcRequest {
  /** undefined: a notification, which gets no answer. */
  readonly id: RpcId | undefined;
  readonly method: string;
  /** An object or an array. undefined: none were sent. */
  readonly params: unknown;
}

/** Deeper data is refused: schemas and modules that walk it would run out of stack. */
const MAX_LEVELS = 1000;
/** A batch with more entries is refused as a whole. */
export const MAX_BATCH = 1000;

/** Invalid JSON, or JSON above a limit. */
export class Unreadable {
  constructor(readonly failure: RpcFailure) {}
}

/** A text as it came. */
export interface Source {
  readonly bytes: Uint8Array;
}

/**
 * @param source its bytes. Default: the text is known to be valid UTF-8
 * @returns the value, or Unreadable
 */
export function parseJson(text: string, source?: Source): unknown {
  if (text.length > MAX_LEVELS && levelsOf(text) > MAX_LEVELS)
    return new Unreadable(invalidRequest(`the JSON has more than ${MAX_LEVELS} levels`));
  if (source !== undefined && text.includes("\uFFFD") && !isUtf8(source.bytes))
    return new Unreadable(parseFailure("the text is not UTF-8"));
  try {
    return JSON.parse(text);
  } catch (error) {
    return new Unreadable(parseFailure((error as Error).message.replace(/^JSON Parse error: /, "")));
  }
}

const QUOTE = 34;
const BACKSLASH = 92;
const OPEN_LIST = 91;
const CLOSE_LIST = 93;
const OPEN_OBJECT = 123;
const CLOSE_OBJECT = 125;

/** @returns how deep the brackets are nested; at most one more than MAX_LEVELS */
function levelsOf(text: string): number {
  let level = 0;
  let deepest = 0;
  let isText = false;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) isText = !isText;
    else if (isText) {
      if (code === BACKSLASH) at++;
    } else if (code === OPEN_LIST || code === OPEN_OBJECT) {
      if (++level > deepest) deepest = level;
      if (deepest > MAX_LEVELS) return deepest;
    } else if (code === CLOSE_LIST || code === CLOSE_OBJECT) level--;
  }
  return deepest;
}

/** @param value a message, or an entry of a batch. @returns null: it is a request */
export function requestMistake(value: unknown): RpcFailure | null {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return invalidRequest("a request is an object");
  const { jsonrpc, method, params, id } = value as Record<string, unknown>;
  if (jsonrpc !== "2.0") return invalidRequest('"jsonrpc" must be "2.0"');
  if (typeof method !== "string") return invalidRequest('"method" must be a string');
  if (params !== undefined && (typeof params !== "object" || params === null))
    return invalidRequest('"params" must be an object or an array');
  if (id !== undefined && !isId(id))
    return invalidRequest('"id" must be a string, null, or a number that JSON carries exactly');
  return null;
}

/** @returns the id of a message that may be wrong otherwise; null: it has none that can be used */
export function idOf(value: unknown): RpcId {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
  const { id } = value as Record<string, unknown>;
  return isId(id) ? id : null;
}

/** A larger number would come back changed. */
function isId(id: unknown): id is RpcId {
  if (typeof id === "number") return Math.abs(id) <= Number.MAX_SAFE_INTEGER;
  return typeof id === "string" || id === null;
}
