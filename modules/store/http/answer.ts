/** Answers over HTTP: documents as the store has them, and errors as `{ "error": { "code", "message" } }`. */
import type { StoreDocument } from "hrmr";
import { errorJson, type Refusal, refusalOf } from "../refusal";

const JSON_TYPE = "application/json;charset=utf-8";

/** @param text JSON. @param fields further header fields */
export function jsonResponse(
  text: string,
  fields: Readonly<Record<string, string>> = NOT_KEPT,
  status = 200,
): Response {
  return new Response(text, { status, headers: { "Content-Type": JSON_TYPE, ...fields } });
}

export const NOT_KEPT = { "Cache-Control": "no-store" };

/** @throws every error that is neither a Refusal nor a StoreError: a fault of this module */
export function errorResponse(error: unknown): Response {
  const refusal = refusalOf(error);
  const { status, headers } = refusal;
  return jsonResponse(errorJson(refusal), { ...NOT_KEPT, ...headers, ...fieldsFor(status) }, status);
}

function fieldsFor(status: Refusal["status"]): Record<string, string> | null {
  // RFC 6750 section 3.
  if (status === 401) return { "WWW-Authenticate": "Bearer" };
  return status === 429 || status === 503 ? { "Retry-After": "1" } : null;
}

/** The header fields of a document. A cache may keep it, but must ask each time (RFC 9111 section 5.2.2.4). */
export function fieldsOf({ version, expiresAt }: Pick<StoreDocument, "version" | "expiresAt">): Record<string, string> {
  const expiry = expiresAt === null ? null : { "X-Expires-At": new Date(expiresAt).toISOString() };
  return { ETag: `"${version}"`, "Cache-Control": "private, no-cache", ...expiry };
}
