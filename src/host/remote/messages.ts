/**
 * Messages between the server and a place where handlers run: a thread of the pool or the process of a module. "The
 * server" is the thread that has the connections.
 *
 * Calls and replies travel in flat arrays, with one postMessage for each tick and direction: an array of primitives is
 * cloned many times faster than objects, and a message costs more than its content. Bytes travel as latin1 strings: a
 * Uint8Array costs 27 times as much, a transferred buffer nine times. A string can also be sent again to another place
 * if the first is lost.
 */
import type { Client, Session, StopReason } from "../../module/contract";
import { ANONYMOUS, sessionOf, withSession } from "../../module/session";
import type { EventVersion, EventWish } from "../../module/event/record";
import type { AskBatch, ToldBatch } from "../services/messages";
import type { StoreAsks, StoreTold } from "../store/messages";
import type { ModuleErrorData } from "../../module/graph/describe-error";
import type { RemoteShape } from "../../module/graph/remote";
import type { LogFields } from "../../observe/log/fields";
import type { StoredState } from "../process/handoff-file";
import type { LoadSpec } from "../../module/version";

/** Memory that both sides see: a SharedArrayBuffer, or the same pages mapped into two processes. */
export type SharedMemory = Int32Array<ArrayBufferLike>;

/**
 * Words of the SharedMemory of a place and the server.
 *
 * HEAD is the sequence number of the next call that may begin. Only a compare-and-exchange moves it. The place moves it
 * from n to n + 1 to begin call n. The server moves it to the end of the sent calls, to take back all that have not
 * begun. The side that succeeds owns the call, so no call runs twice or is lost. Numbers wrap at 2^31.
 */
export const HEAD = 0;
/** The call whose handler is on the stack now, in its first synchronous stretch; 0: none. */
export const ON_STACK = 1;
/** Bytes of replies saved behind the words: see saved-replies.ts. */
export const SAVED = 2;
export const SHARED_WORDS = 4;

/** @returns whether call `seq` has begun, or was taken back, if HEAD is `head` */
export function isBefore(seq: number, head: number): boolean {
  return ((head - seq) | 0) > 0;
}

/**
 * First element: the first call's number; the others have the numbers after it. Then CALL_FIELDS elements for each
 * call.
 */
export type CallBatch = (number | string)[];
/**
 * A target (`targetOf`), a client (`SentClients.fieldOf`), and the message, one character for each byte. Each element
 * costs some 30 ns, so there are few.
 */
export const CALL_FIELDS = 3;

/**
 * First element: microseconds spent in handlers since the last batch, and the number of calls; then REPLY_FIELDS for
 * each reply.
 */
export type ReplyBatch = (number | string | null | FailureData)[];
export const REPLY_HEADER = 2;
/** A label (`labelOf`: call number and one of REPLY) and a value. */
export const REPLY_FIELDS = 2;

/** The kinds of a reply, or of a part of one. */
export const REPLY = {
  text: 0,
  /** As latin1. */
  bytes: 1,
  nothing: 2,
  /** FailureData. */
  failed: 3,
  /** The reply is a stream; its parts follow. */
  streamOpen: 4,
  streamText: 5,
  /** As latin1. */
  streamBytes: 6,
  streamEnd: 7,
  /** FailureData. */
  streamFailed: 8,
} as const;

const MAX_ROUTES = 65_536;
const MAX_KINDS = 16;

/** A generation's load id and a route's index as one number. */
export function targetOf(loadId: number, routeIndex: number): number {
  return loadId * MAX_ROUTES + routeIndex;
}

export function readTarget(target: number): { loadId: number; routeIndex: number } {
  const loadId = Math.floor(target / MAX_ROUTES);
  return { loadId, routeIndex: target - loadId * MAX_ROUTES };
}

/** A call's number and the kind of its reply, as one number. */
export function labelOf(seq: number, kind: number): number {
  return seq * MAX_KINDS + kind;
}

/** Numbers may be negative: they wrap. */
export function seqOf(label: number): number {
  return Math.floor(label / MAX_KINDS);
}

export function kindOf(label: number): number {
  return label - seqOf(label) * MAX_KINDS;
}

export interface FailureData {
  readonly name: string;
  readonly message: string;
  readonly stack: string;
}

/** "ended": the client has sent its FIN, but still waits for the reply. */
export type CancelReason = "gone" | "timeout" | "ended";

/** A part of a request's body, server to place. */
export interface BodyPart {
  /** As latin1. null: there are no more. */
  readonly text: string | null;
  /** With null: why the body broke off. */
  readonly error?: string;
  /** With null: the request's trailers. */
  readonly trailers?: [name: string, value: string][];
}

/** How many parts of a stream may be sent ahead of the reader. */
export const STREAM_WINDOW = 4;

/** About events of modules in a place, place to server. */
export type EventMessage =
  | { readonly type: "eventEmit"; readonly version: EventVersion; readonly topic: string; readonly text: string }
  /** `feed`: the place's number for the subscription. */
  | { readonly type: "eventSubscribe"; readonly feed: number; readonly version: EventVersion; readonly wish: EventWish }
  /** Its reader has taken so many more events. */
  | { readonly type: "eventTaken"; readonly feed: number; readonly count: number }
  | { readonly type: "eventLeave"; readonly feed: number };

/** An event for a subscription in a place, server to place. */
export interface EventSent {
  readonly type: "event";
  readonly feed: number;
  /** "begin": `text` is its position. "end": there are no more events. */
  readonly kind: "begin" | "event" | "end";
  /** An encoded event or position. */
  readonly text: string;
}

/** Server to place, beside call batches. */
export type ToPlace =
  | {
      readonly type: "init";
      readonly shared: SharedMemory | null;
      readonly host: number | "process";
      readonly loadTimeoutMs: number;
      readonly maxMemoryMb?: number;
    }
  /** The import alone: only the module's top level runs. The following "load" continues with it. */
  | { readonly type: "import"; readonly spec: LoadSpec }
  /**
   * `previousId`: hands over from this generation, in the same place. `handed`: the state of one in another process.
   */
  | {
      readonly type: "load";
      readonly spec: LoadSpec;
      readonly previousId: number | null;
      readonly handed?: StoredState;
    }
  | { readonly type: "handoff"; readonly id: number }
  /** Runs the author's `start`. */
  | { readonly type: "goLive"; readonly id: number }
  /** Runs the author's `stop`. */
  | { readonly type: "endLife"; readonly id: number; readonly reason: StopReason }
  /** isGone: the whole module is removed. */
  | { readonly type: "retire"; readonly id: number; readonly isGone: boolean }
  | { readonly type: "cancel"; readonly seq: number; readonly reason: CancelReason }
  | { readonly type: "credit"; readonly seq: number }
  | { readonly type: "part"; readonly seq: number; readonly part: BodyPart }
  | EventSent
  /** Results of service calls, or parts of them: see services/messages.ts. */
  | { readonly type: "told"; readonly told: ToldBatch }
  | StoreTold
  | { readonly type: "ping"; readonly ping: number };

/** The result of a task. */
export interface TaskDone {
  readonly type: "done";
  /** For the verdict. */
  readonly notes: readonly string[];
  /** Of an import. */
  readonly shape?: RemoteShape;
  /** Of a handoff: the content of its file, or why there is none. null: the module has none. */
  readonly handoff?: StoredState | { readonly error: string } | null;
}

/**
 * Place to server, beside reply batches. Imports, loads, handoffs, starts, stops and retirements are answered one by
 * one, in their order.
 */
export type FromPlace =
  | { readonly type: "stage" }
  | TaskDone
  | { readonly type: "failed"; readonly module: ModuleErrorData | null; readonly error: FailureData }
  | { readonly type: "pong"; readonly ping: number }
  /** A handler reads its request's body. 0: it needs no more of it. */
  | { readonly type: "want"; readonly seq: number; readonly parts: number }
  | EventMessage
  | StoreAsks
  /** Modules there call services: see services/messages.ts. */
  | { readonly type: "asks"; readonly asks: AskBatch }
  /** The caller in the place no longer waits for this call. */
  | { readonly type: "askCancel"; readonly ask: number }
  /** The reader of a call's result has taken a part. */
  | { readonly type: "askCredit"; readonly ask: number }
  | {
      readonly type: "log";
      readonly level: "debug" | "info" | "warn" | "error";
      readonly text: string;
      readonly fields: LogFields;
      /** Set for events that a client may cause. Events of one kind share one limit (see `ServerLog.bounded`). */
      readonly kind?: string;
    };

/** How many clients a place remembers. With one more, both sides forget all. */
const MAX_CLIENTS = 4096;

/** The server's side: the clients that it has told one place. */
export class SentClients {
  #numbers = new WeakMap<Client, number>();
  #count = 0;

  /** The place has started: it knows no client. */
  clear(): void {
    this.#numbers = new WeakMap();
    this.#count = 0;
  }

  /** @returns for a call: the client's number; as text, the first time, and the place gives it the next number */
  fieldOf(client: Client): number | string {
    const known = this.#numbers.get(client);
    if (known !== undefined) return known;
    if (this.#count === MAX_CLIENTS) this.clear();
    this.#numbers.set(client, this.#count++);
    return encodeClient(client);
  }
}

/** The place's side. */
export class ToldClients {
  #texts: string[] = [];

  /**
   * Call it for each call of each batch, in order: also for a call that is not begun.
   *
   * @param field  of `SentClients.fieldOf`
   * @returns the client, for `decodeClient`
   */
  textOf(field: number | string): string {
    if (typeof field === "number") return this.#texts[field] ?? "";
    if (this.#texts.length === MAX_CLIENTS) this.#texts = [];
    this.#texts.push(field);
    return field;
  }
}

function encodeClient(client: Client): string {
  const tls = client.tls === undefined ? "" : encodeURIComponent(JSON.stringify(client.tls));
  const session = sessionOf(client);
  const shown = session.identity === null ? "" : encodeURIComponent(JSON.stringify(session));
  return `${client.connection} ${client.port} ${client.transport} ${client.isLocal ? 1 : 0} ${tls} ${shown} ${client.address}`;
}

/** The text of a decoded client, which goes back to the server as it came. */
const clientTexts = new WeakMap<Client, string>();

/** @returns for `decodeClient`. @param client  of `decodeClient` in this place, or another one */
export function clientText(client: Client): string {
  return clientTexts.get(client) ?? encodeClient(client);
}

export function decodeClient(text: string): Client {
  const [connection, port, transport, isLocal, tls, session = "", ...address] = text.split(" ");
  const client: Client = {
    connection: Number(connection),
    port: Number(port),
    transport: transport as Client["transport"],
    isLocal: isLocal === "1",
    address: address.join(" "),
    tls: tls === "" || tls === undefined ? undefined : (JSON.parse(decodeURIComponent(tls)) as Client["tls"]),
  };
  const shown = withSession(client, session === "" ? ANONYMOUS : (JSON.parse(decodeURIComponent(session)) as Session));
  clientTexts.set(shown, text);
  return shown;
}

/** @returns the bytes as a string of the same length, one character a byte */
export function toLatin1(bytes: Uint8Array): string {
  const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return buffer.latin1Slice(0, buffer.length);
}

export function fromLatin1(text: string): Uint8Array {
  // A separate buffer and not a piece of Buffer's pool: authors may keep, transfer or resize it.
  const bytes = new Uint8Array(text.length);
  Buffer.from(bytes.buffer).latin1Write(text);
  return bytes;
}

/** @param thrown any value that a handler threw. Never throws itself */
export function failureOf(thrown: unknown): FailureData {
  try {
    return readFailure(thrown);
  } catch {
    const text = "threw a value that cannot be shown";
    return { name: "Error", message: text, stack: text };
  }
}

function readFailure(thrown: unknown): FailureData {
  if (thrown instanceof Error)
    return { name: String(thrown.name), message: String(thrown.message), stack: String(thrown.stack) };
  const text = `threw ${Bun.inspect(thrown)}, which is not an Error`;
  return { name: "Error", message: text, stack: text };
}
