/** What a reply has to be, and whether it is. Pure: the generator and the rows share it. */

/** JSON, so that it can be sent to the generator's process. */
export interface Expectation {
  /** Regular expression of the whole reply; with `http`, of the body. Anchored by itself. */
  readonly pattern: string;
  /** The reply is an HTTP/1.1 response with status 200, a Date, a Content-Length that is true, and this Content-Type (spaces do not count). */
  readonly http?: { readonly type: string };
}

/** @returns null if the reply is right, "incomplete" if it may become so, else what is wrong */
export function checkReply(text: string, expected: Expectation): string | null {
  if (expected.http === undefined) return matches(text, expected.pattern) ? null : "incomplete";
  const headEnd = text.indexOf("\r\n\r\n");
  if (headEnd === -1) return "incomplete";
  const [statusLine = "", ...lines] = text.slice(0, headEnd).split("\r\n");
  const headers = new Map(lines.map((line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 1).trim()]));
  const body = text.slice(headEnd + 4);
  const length = Number(headers.get("content-length") ?? Number.NaN);
  if (!statusLine.startsWith("HTTP/1.1 200 ")) return `status line ${JSON.stringify(statusLine)}`;
  if (body.length < length) return "incomplete";
  if (body.length !== length) return `Content-Length ${length}, body of ${body.length}`;
  if (Number.isNaN(Date.parse(headers.get("date") ?? ""))) return `Date ${headers.get("date")}`;
  const type = (headers.get("content-type") ?? "").replaceAll(" ", "").toLowerCase();
  if (type !== expected.http.type) return `Content-Type ${type}`;
  return matches(body, expected.pattern) ? null : "the body";
}

function matches(text: string, pattern: string): boolean {
  return new RegExp(`^(?:${pattern})$`).test(text);
}

/** A pattern that matches exactly this text. */
export function exactly(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
}
