/** Requests to /store: checks the client's rights, and leads to the function for the method. */
import type { Collection, RequestContext } from "hrmr";
import { type Action, openFor } from "../access";
import { Refusal } from "../refusal";
import type { Settings } from "../settings";
import { errorResponse, jsonResponse, NOT_KEPT } from "./answer";
import { postBatch } from "./batch";
import { readText } from "./body";
import { deleteDocument, getDocument, incrementDocument, patchDocument, putDocument, type Target } from "./document";
import { listDocuments } from "./listing";
import { queryOf, readQuery, ttlOf } from "./query";

interface Method {
  readonly action: Action;
  readonly answer: (target: Target) => Promise<Response>;
}

const METHODS: Readonly<Record<string, Method>> = {
  GET: { action: "read", answer: getDocument },
  HEAD: { action: "read", answer: getDocument },
  PUT: { action: "write", answer: putDocument },
  PATCH: { action: "write", answer: patchDocument },
  POST: { action: "write", answer: incrementDocument },
  DELETE: { action: "write", answer: deleteDocument },
};

/** The part of a request's context that is used here. */
export type Context = Pick<RequestContext, "store" | "access" | "client" | "session" | "path">;

/** /store */
export function serveStore(request: Request, context: Context, settings: Settings): Promise<Response> {
  return answered(settings, async () => {
    if (request.method !== "POST") throw notAllowed("POST");
    return postBatch(request, context);
  });
}

/** /store/COLLECTION, and /store/COLLECTION?key=KEY for keys that no path can hold. */
export function serveCollection(
  request: Request,
  context: Context & { readonly params: { readonly collection: string } },
  settings: Settings,
): Promise<Response> {
  return answered(settings, async () => {
    const { collection: name } = context.params;
    const key = /[?&]key=/.test(request.url) ? readQuery(request.url).get("key") : undefined;
    if (key !== undefined) return await serveKey(request, context, name, key);
    if (request.method === "POST")
      return await addDocument(openFor(context, context, { name, action: "write", request }), request);
    if (!["GET", "HEAD"].includes(request.method)) throw notAllowed("GET, HEAD, POST");
    return await listDocuments(openFor(context, context, { name, action: "read", request }), request);
  });
}

/** /store/COLLECTION/KEY */
export function serveDocument(
  request: Request,
  context: Context & { readonly params: { readonly collection: string; readonly key: string } },
  settings: Settings,
): Promise<Response> {
  return answered(settings, async () => {
    const { collection, key } = context.params;
    // Bytes that are no UTF-8 would become the key of another document.
    if (key.includes("\uFFFD") && !isUtf8(context.path))
      throw new Refusal(400, "INVALID_KEY", "the key is not percent-encoded UTF-8");
    return await serveKey(request, context, collection, key);
  });
}

function isUtf8(path: string): boolean {
  try {
    decodeURIComponent(path);
    return true;
  } catch {
    return false;
  }
}

function serveKey(request: Request, context: Context, name: string, key: string): Promise<Response> {
  const method = Object.hasOwn(METHODS, request.method) ? METHODS[request.method] : undefined;
  if (method === undefined) throw notAllowed(Object.keys(METHODS).join(", "));
  const collection = openFor(context, context, { name, action: method.action, request });
  return method.answer({ collection, key, request });
}

async function answered({ http }: Settings, answer: () => Promise<Response>): Promise<Response> {
  try {
    if (!http) throw new Refusal(404, "NOT_FOUND", OFF);
    return await answer();
  } catch (error) {
    return errorResponse(error);
  }
}

const OFF = "the store is not served over HTTP: modules.store.http is false in hrmr.json";

/** Writes the body under a new key, behind those of earlier ones. */
async function addDocument(collection: Collection<string>, request: Request): Promise<Response> {
  const options = ttlOf(queryOf(request, ["ttl"]), request);
  const text = await readText(request);
  const key = Bun.randomUUIDv7();
  const version = await collection.set(key, text, { ...options, ifVersion: 0 });
  const fields = { Location: `/store/${collection.name}/${key}`, ETag: `"${version}"`, ...NOT_KEPT };
  return jsonResponse(`{"key":"${key}","version":${version}}`, fields, 201);
}

function notAllowed(allowed: string): Refusal {
  return new Refusal(405, "METHOD_NOT_ALLOWED", `use ${allowed}`, { Allow: allowed });
}
