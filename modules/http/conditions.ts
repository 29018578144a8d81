/** Makes the reply from a form of a file: preconditions first, then ranges (RFC 9110 sections 13.2.2 and 14.2). */
import { rangeReply } from "./ranges";
import { plainReply, wholeBody, withLength } from "./reply";
import type { Form } from "./site";

/** @param range  the Range header of a GET; null for none */
export function replyWith(form: Form, headers: Headers, method: string, range: string | null): Response {
  const condition = checkConditions(form, headers);
  if (condition !== null) return condition;
  if (method === "HEAD") return withLength(form, null, 200, form.bytes);
  if (range !== null) {
    const partial = rangeReply(form, range, headers.get("if-range"));
    if (partial !== null) return partial;
  }
  if (form.body !== null) return new Response(form.body, form.init);
  return withLength(form, wholeBody(form), 200, form.bytes);
}

/** @returns 304 or 412, or null if the request continues */
function checkConditions(form: Form, headers: Headers): Response | null {
  const wanted = headers.get("if-match");
  const unmodified = headers.get("if-unmodified-since");
  if (wanted !== null) {
    if (!matches(wanted, form.etag, true)) return plainReply(412, "");
  } else if (unmodified !== null && seconds(form.lastModified) > seconds(unmodified)) {
    return plainReply(412, "");
  }
  const known = headers.get("if-none-match");
  if (known !== null) return matches(known, form.etag, false) ? notModified(form) : null;
  const since = headers.get("if-modified-since");
  return since !== null && isCurrent(form, since) ? notModified(form) : null;
}

/** A list of entity tags, or `*`. Strong comparison takes no weak tag (RFC 9110 section 8.8.3.2). */
function matches(list: string, etag: string, isStrong: boolean): boolean {
  if (list.trim() === "*") return true;
  const opaque = etag.replace(/^W\//, "");
  if (isStrong && opaque !== etag) return false;
  for (const [tag] of list.matchAll(/(?:W\/)?"[^"]*"/g)) {
    if (tag === opaque || (!isStrong && tag === `W/${opaque}`)) return true;
  }
  return false;
}

function isCurrent(form: Form, since: string): boolean {
  return since === form.lastModified || seconds(form.lastModified) <= seconds(since);
}

/**
 * The three forms of RFC 9110 section 5.6.7. NaN for any other text: every comparison with it is false, so the header
 * is ignored.
 */
function seconds(date: string): number {
  if (/^\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}$/.test(date)) return Date.parse(`${date} GMT`);
  return /^\w+, .* GMT$/.test(date) ? Date.parse(date) : Number.NaN;
}

/** With the fields that a 200 would have had for caches (RFC 9110 section 15.4.5). */
function notModified(form: Form): Response {
  const headers: Record<string, string> = { etag: form.etag, "last-modified": form.lastModified };
  for (const name of ["cache-control", "vary"]) {
    const value = form.init.headers[name];
    if (value !== undefined) headers[name] = value;
  }
  return new Response(null, { status: 304, headers });
}
