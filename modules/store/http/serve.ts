/** Requests to /store: checks the client's rights, and leads to the function for the method. */
import type { Collection, RequestContext } from "hrmr";
import { type Action, mustBeAllowed, openFor } from "../access";
import { Refusal } from "../refusal";
import type { Settings } from "../settings";
import { ClientWatch } from "../watch/client-watch";
import type { WatchGuards } from "../watch/guards";
import { mayShowToken, type SocketData } from "../watch/sockets";
import { errorResponse, jsonResponse, NOT_KEPT } from "./answer";
import { postBatch } from "./batch";
import { readText } from "./body";
import { deleteDocument, getDocument, incrementDocument, patchDocument, putDocument, type Target } from "./document";
import { listDocuments } from "./listing";
import { queryOf, readQuery, ttlOf } from "./query";
import { asksToWatch, eventStream, noEvents, wishOf } from "./watching";

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
type Context = Pick<RequestContext, "store" | "access" | "client" | "session" | "path">;
type InCollection = Context & { readonly params: { readonly collection: string; readonly key?: string } };

/** What all requests share. */
export interface HttpFace {
  readonly settings: Settings;
  readonly guards: WatchGuards;
}

/** /store */
export function serveStore(request: Request, context: Context, face: HttpFace): Promise<Response> {
  return answered(face, async () => {
    if (request.method !== "POST") throw notAllowed("POST");
    return postBatch(request, context);
  });
}

/** /store/COLLECTION/KEY, /store/COLLECTION, and /store/COLLECTION?key=KEY for keys that no path can hold. */
export function serveCollection(request: Request, context: InCollection, face: HttpFace): Promise<Response> {
  return answered(face, async () => {
    const { method } = request;
    const { collection: name } = context.params;
    const key = keyOf(request, context);
    const isRead = method === "GET" || method === "HEAD";
    if (isRead && asksToWatch(request)) return watchEvents(request, context, face);
    if (key !== null) return await serveKey(request, context, name, key);
    if (isRead) return await listDocuments(openFor(context, context, { name, action: "read", request }), request);
    if (method !== "POST") throw notAllowed("GET, HEAD, POST");
    return await addDocument(openFor(context, context, { name, action: "write", request }), request);
  });
}

/** A WebSocket on the same addresses. @returns its data; or a refusal */
export function upgradeToWatch(request: Request, context: InCollection, face: HttpFace): SocketData | Response {
  try {
    mustBeOn(face);
    const wish = wishOf(request, keyOf(request, context));
    const { collection } = context.params;
    return { collection, wish, mustShowToken: mustShowToken(request, context), at: null, feeder: 0 };
  } catch (error) {
    return errorResponse(error);
  }
}

/** @throws Refusal if no token helps, or if it is the token that does not */
function mustShowToken(request: Request, context: InCollection): boolean {
  try {
    openFor(context, context, { name: context.params.collection, action: "read", request });
    return false;
  } catch (error) {
    if (error instanceof Refusal && mayShowToken(request, error)) return true;
    throw error;
  }
}

function watchEvents(request: Request, context: InCollection, { settings, guards }: HttpFace): Response {
  const name = context.params.collection;
  const collection = openFor(context, context, { name, action: "read", request });
  const wish = wishOf(request, keyOf(request, context));
  if (request.method === "HEAD") return noEvents();
  const { access, client, session } = context;
  const check = (): void => mustBeAllowed(access, { client, session }, { name, action: "read" });
  return eventStream(new ClientWatch({ collection, wish, guards, check }), settings.heartbeatMs);
}

/** @returns null: it is about the collection */
function keyOf({ url }: Request, { params, path }: InCollection): string | null {
  const { key } = params;
  if (key === undefined) return /[?&]key=/.test(url) ? (readQuery(url).get("key") ?? null) : null;
  // Bytes that are no UTF-8 would become the key of another document.
  if (key.includes("\uFFFD") && !isUtf8(path))
    throw new Refusal(400, "INVALID_KEY", "the key is not percent-encoded UTF-8");
  return key;
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

function mustBeOn({ settings }: HttpFace): void {
  if (!settings.http) throw new Refusal(404, "NOT_FOUND", OFF);
}

async function answered(face: HttpFace, answer: () => Promise<Response>): Promise<Response> {
  try {
    mustBeOn(face);
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
