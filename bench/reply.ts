/** Expectations about replies, and their check. Pure: the generator and the rows share it. */

/**
 * The reply is an HTTP/1.1 response with status 200, a Date, a Content-Length that is true, and this Content-Type
 * (spaces do not count).
 */
export interface HttpExpectation {
  readonly type: string;
}

/** JSON, so that it can be sent to the generator's process. */
export interface Expectation {
  /** Regular expression of the whole reply; with `http`, of the body. Anchored by itself. Ignored with `file`. */
  readonly pattern: string;
  readonly http?: HttpExpectation;
  /**
   * Path of a file that the body must equal, byte for byte, for bodies that are too large to keep. Needs `http`; no
   * pipelining.
   */
  readonly file?: string;
}

/** The head of an HTTP/1.1 response. */
interface Head {
  readonly statusLine: string;
  /** By name in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  /** The body's length in the head; NaN: not given. */
  readonly length: number;
  /** Where the body begins. */
  readonly end: number;
}

/** @returns null: incomplete */
export function splitHead(text: string): Head | null {
  const end = text.indexOf("\r\n\r\n");
  if (end === -1) return null;
  const [statusLine = "", ...lines] = text.slice(0, end).split("\r\n");
  const headers = new Map(
    lines.map((line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 1).trim()]),
  );
  return { statusLine, headers, length: Number(headers.get("content-length") ?? Number.NaN), end: end + 4 };
}

/** @returns null if the head is right */
export function headProblem({ statusLine, headers }: Head, expected: HttpExpectation): string | null {
  if (!statusLine.startsWith("HTTP/1.1 200 ")) return `status line ${JSON.stringify(statusLine)}`;
  if (Number.isNaN(Date.parse(headers.get("date") ?? ""))) return `Date ${headers.get("date")}`;
  const type = (headers.get("content-type") ?? "").replaceAll(" ", "").toLowerCase();
  return type === expected.type ? null : `Content-Type ${type}`;
}

/** @returns null if the reply is right, "incomplete" if it may become so, otherwise the mistake */
export function checkReply(text: string, expected: Expectation): string | null {
  if (expected.http === undefined) return matches(text, expected.pattern) ? null : "incomplete";
  const head = splitHead(text);
  if (head === null) return "incomplete";
  const problem = headProblem(head, expected.http);
  if (problem !== null) return problem;
  const body = text.slice(head.end);
  if (body.length < head.length) return "incomplete";
  if (body.length !== head.length) return `Content-Length ${head.length}, body of ${body.length}`;
  return matches(body, expected.pattern) ? null : "the body";
}

function matches(text: string, pattern: string): boolean {
  return new RegExp(`^(?:${pattern})$`).test(text);
}

/** A pattern that matches exactly this text. */
export function exactly(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
}
