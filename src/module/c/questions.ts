/** The questions that C may ask about the call that it answers. */
import type { Client, Message, RequestContext, Session } from "../contract";
import { currentFrame } from "../service/frame";
import type { SocketEventHead } from "./socket-messages";

/** The values that `hrmr__ask` may ask for, in the order of its enum. */
export const QUESTIONS = [
  "header",
  "param",
  "queryParam",
  "client",
  "clientPort",
  "identity",
  "caller",
  "topic",
  "json",
  "config",
  "dataDir",
  "socketEvent",
  "socket",
  "closeCode",
] as const;
type OfCall = Exclude<(typeof QUESTIONS)[number], "json" | "config" | "dataDir">;

/** C seldom asks, so each answer is made only when asked for. */
export type Current = Message | RequestContext | HubCall | SocketCall;

/** An event of a WebSocket. */
export class SocketCall {
  readonly client: Client;
  readonly session: Pick<Session, "identity">;
  readonly socketEvent: string;
  readonly socket: string;
  readonly closeCode: string;

  /** @param head  of `readSocketEvent` */
  constructor({ client, session }: Pick<Message, "client" | "session">, { event, socket, code }: SocketEventHead) {
    this.client = client;
    this.session = session;
    this.socketEvent = String(event);
    this.socket = String(socket);
    this.closeCode = String(code);
  }
}

/** A call of a service, an event, or a run of a task. */
export class HubCall {
  /** "": no module calls. */
  readonly caller: string;
  /** "": it is no event. */
  readonly topic: string;

  constructor({ caller = "", topic = "" }: { caller?: string; topic?: string }) {
    this.caller = caller;
    this.topic = topic;
  }

  /** null: no client began it. */
  get client(): Client | null {
    const client = currentFrame()?.client ?? null;
    // Hosts name a client for every call.
    return client?.connection === 0 ? null : client;
  }

  get session(): Pick<Session, "identity"> {
    return { identity: currentFrame()?.identity ?? null };
  }
}

/**
 * @param request of a call by HTTP; else null
 * @returns null: there is none
 */
export function answerOf(current: Current, request: Request | null, what: OfCall, name: string): string | null {
  switch (what) {
    case "header":
      return isToken(name) ? (request?.headers.get(name) ?? null) : null;
    case "param":
      return "params" in current ? (current.params[name] ?? null) : null;
    case "queryParam":
      return request === null ? null : new URLSearchParams(targetOf(request.url).query).get(name);
    case "client":
      return current.client?.address ?? null;
    case "clientPort":
      return current.client === null ? null : String(current.client.port);
    case "identity":
      return current.session.identity;
    case "caller":
    case "topic":
      return current instanceof HubCall ? current[what] || null : null;
    default:
      return current instanceof SocketCall ? current[what] : null;
  }
}

/** Headers throws for a name that no field can have. */
function isToken(name: string): boolean {
  return /^[\w!#$%&'*+.^`|~-]+$/.test(name);
}

export function targetOf(url: string): { path: string; query: string } {
  // The path begins behind "http://" and the host.
  const start = url.indexOf("/", url.indexOf("//") + 2);
  const end = url.indexOf("?", start);
  return end < 0 ? { path: url.slice(start), query: "" } : { path: url.slice(start, end), query: url.slice(end + 1) };
}

/**
 * @param path names and indexes with dots between: "rows.0.id"; "": all of it
 * @returns a text as it is, other values as JSON. null: it is not there, or `json` is not JSON
 */
export function jsonAt(json: string, path: string): string | null {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return null;
  }
  for (const name of path === "" ? [] : path.split(".")) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) return null;
    value = (value as Record<string, unknown>)[name];
  }
  return typeof value === "string" ? value : JSON.stringify(value);
}
