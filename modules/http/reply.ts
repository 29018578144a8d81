/** Replies of the site, made of a form of a file or of a line of text. */
import { FilePiece } from "./file-body";
import type { Form } from "./site";

type Body = ConstructorParameters<typeof Response>[0];

export function wholeBody(form: Form): Body {
  return form.body ?? new FilePiece(form.path, form.facts, 0, form.bytes).stream();
}

/** @param more  header fields besides the form's own */
export function withLength(
  form: Form,
  body: Body,
  status: number,
  length: number,
  more?: Record<string, string>,
): Response {
  return new Response(body, { status, headers: { ...form.init.headers, "content-length": String(length), ...more } });
}

/** A line of text. */
export function plainReply(status: number, body: string, headers: Record<string, string> = {}): Response {
  return new Response(body, {
    status,
    headers: { "content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff", ...headers },
  });
}
