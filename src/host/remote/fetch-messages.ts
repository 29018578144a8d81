/**
 * The form of HTTP requests and responses between the server and a place: a head in lines, an empty line, and the body
 * if it is small or in memory.
 */
import { failureOf } from "./messages";

/** Request bodies up to this travel with their call. In bytes. */
export const WHOLE_REQUEST_BYTES = 65_536;
/** Response bodies in memory travel whole up to this size, and so keep their Content-Length. In bytes. */
export const WHOLE_RESPONSE_BYTES = 1_048_576;
/** Larger ones travel in parts of at most this. In bytes. */
export const PART_BYTES = 262_144;

/** How a message's body travels. */
export const BODY = {
  none: "n",
  /** Responses: behind the head, as text. */
  text: "t",
  /** Behind the head, as latin1. */
  bytes: "b",
  /** Requests: its parts come on demand. Responses: they follow in the reply's stream. */
  stream: "s",
} as const;
type BodyWay = (typeof BODY)[keyof typeof BODY];

/** A head's fields, in order; Set-Cookie may occur more than once. */
export type Fields = [name: string, value: string][];

interface CarriedRequest {
  readonly method: string;
  readonly url: string;
  readonly requestId: string;
  /** The path that was routed. A middleware may have changed the URL since. */
  readonly path: string;
  readonly params: Record<string, string>;
  readonly fields: Fields;
  readonly way: BodyWay;
  /** As latin1; "" unless `way` says that the body is here. */
  readonly body: string;
}

export interface CarriedResponse {
  readonly status: number;
  readonly statusText: string;
  readonly fields: Fields;
  readonly way: BodyWay;
  readonly body: string;
}

export function encodeRequest({ method, url, requestId, path, params, fields, way, body }: CarriedRequest): string {
  return `${way}${method}\n${url}\n${requestId}\n${path}\n${JSON.stringify(params)}\n${linesOf(fields)}\n${body}`;
}

export function decodeRequest(text: string): CarriedRequest {
  const [start, url, requestId, path, params, end] = splitLines(text, 5);
  const { fields, body } = splitFields(text, end);
  return {
    way: start.charAt(0) as BodyWay,
    method: start.slice(1),
    url,
    requestId,
    path,
    // Without a prototype, like the router's.
    params: Object.assign(Object.create(null), JSON.parse(params)) as Record<string, string>,
    fields,
    body,
  };
}

export function encodeResponse({ status, statusText, fields, way, body }: CarriedResponse): string {
  // The standard class accepts any text as the reason, even with line ends.
  const reason = /^[ -~]*$/.test(statusText) ? statusText : "";
  return `${way}${status} ${reason}\n${linesOf(fields)}\n${body}`;
}

export function decodeResponse(text: string): CarriedResponse {
  const [start, , , , , end] = splitLines(text, 1);
  const space = start.indexOf(" ");
  const { fields, body } = splitFields(text, end);
  return {
    way: start.charAt(0) as BodyWay,
    status: Number(start.slice(1, space)),
    statusText: start.slice(space + 1),
    fields,
    body,
  };
}

export function fieldsOf(headers: Headers): Fields {
  // toJSON() keeps each Set-Cookie apart, in half the time of iterating.
  const named: Record<string, string | string[]> = headers.toJSON();
  return Object.entries(named).flatMap(([name, value]): Fields =>
    typeof value === "string" ? [[name, value]] : value.map((one) => [name, one]),
  );
}

/** The text of a body's failure, for the side that reads it. */
export function failureText(error: unknown): string {
  return failureOf(error).message;
}

function linesOf(fields: Fields): string {
  let lines = "";
  for (const [name, value] of fields) lines += `${name}:${value}\n`;
  return lines;
}

type Lines = [string, string, string, string, string];

/** @returns the first `count` lines (at most 5), and where the next one begins */
function splitLines(text: string, count: number): [...Lines, number] {
  const lines: Lines = ["", "", "", "", ""];
  let at = 0;
  for (let line = 0; line < count; line++) {
    const end = text.indexOf("\n", at);
    lines[line] = text.slice(at, end);
    at = end + 1;
  }
  return [...lines, at];
}

function splitFields(text: string, from: number): { fields: Fields; body: string } {
  const fields: Fields = [];
  let at = from;
  while (text.charAt(at) !== "\n") {
    const colon = text.indexOf(":", at);
    const end = text.indexOf("\n", colon);
    fields.push([text.slice(at, colon), text.slice(colon + 1, end)]);
    at = end + 1;
  }
  return { fields, body: text.slice(at + 1) };
}
