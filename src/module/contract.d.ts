/**
 * What a module's author sees: `import { defineModule } from "hrmr"`.
 *
 * This file is the whole public surface. `hrmr init` writes it beside the modules as hrmr.d.ts, and the server's own
 * parts take their types from it, so the two cannot drift. It imports nothing.
 */

/** A framing function's answer while later bytes could still change it. */
export const NEED_MORE: -1;

/**
 * The identity function, for the types: `export default defineModule({ ... })`. `context.state` gets the type of what
 * `setup` returns (write `setup` before `routes`), and `context.params` that of the route's key. Leave the type
 * arguments out: TypeScript infers all of them or none.
 */
export function defineModule<State = unknown, Key extends string = string>(
  definition: Omit<ModuleDefinition<State>, "routes"> & { routes: { [K in Key]: Route<State, ParamsOf<K>> } },
): ModuleDefinition<State>;

/**
 * What the segments of a route's key match: `{ id: string }` for "GET /users/:id", `{ "*": string }` for "/files/*".
 */
export type ParamsOf<Key extends string> = string extends Key
  ? Record<string, string>
  : { readonly [Name in ParamNames<Key>]: string };

type ParamNames<Path extends string> = Path extends `${infer First}/${infer Rest}`
  ? ParamName<First> | ParamNames<Rest>
  : ParamName<Path>;
type ParamName<Segment extends string> = Segment extends `:${infer Name}` ? Name : Segment extends "*" ? "*" : never;

/** One module: what its file exports by default. An object with a `fetch` of its own (hono's app) is a module too. */
export interface ModuleDefinition<State = unknown> {
  /**
   * Key to route. A key is the first bytes of a message: "PING", "GREET ". With `fetch` it is an HTTP route instead:
   * "/api" (every method), "GET /users/:id", "GET /files/*" or "GET " (every path of that method). May be empty beside
   * `middleware`.
   */
  routes: Record<string, Route<State>>;
  /** What stands before the module's own `fetch` routes and the upgrades of its WebSocket routes, in this order. */
  use?: Middleware<State>[];
  /**
   * Where the config's `http.use` names this module: stands before every HTTP route and WebSocket upgrade of every
   * module. A named export, `export const middleware = ...`, is the same. Runs inline.
   */
  middleware?: Middleware<State>;
  /**
   * How a reload replaces this module. "swap" (default): nobody waits. "exclusive": the old one is gone before the new
   * one's setup.
   */
  reload?: "swap" | "exclusive";
  /** What those who are no HTTP clients are told while the module is being replaced. Default: an HTTP 503 message. */
  unavailable?: string | Uint8Array;
  /**
   * Runs once in each host that serves the module (the main thread; each pool thread; its process), before any message.
   * Its result is `context.state`.
   */
  setup?(context: ModuleContext, handoff: unknown): State | Promise<State>;
  /**
   * Runs after setup and before the first message. Throwing, or returning false, refuses this version: the old one goes
   * on serving.
   */
  check?(context: ModuleContext<State>): void | boolean | Promise<void | boolean>;
  /**
   * Called on the version that is about to leave. What it returns (structured-cloneable) is the next setup's second
   * argument.
   */
  handoff?(state: State): unknown;
  /**
   * Runs after the last message of this version. Timers, servers and sockets that the module opened are closed for it
   * anyway.
   */
  dispose?(state: State): void | Promise<void>;
}

/**
 * A route: a function (the whole read is the message), or an object with exactly one of handle, fetch, connect and
 * websocket.
 */
export type Route<State = unknown, Params = Record<string, string>> =
  | Handle<State>
  | (HandleRoute<State> & Without<"fetch" | "connect" | "websocket">)
  | (FetchRoute<State, Params> & Without<"handle" | "connect" | "websocket">)
  | (ConnectRoute<State> & Without<"handle" | "fetch" | "websocket">)
  | (WebSocketRoute<State, Params> & Without<"handle" | "fetch" | "connect">);

type Without<Kinds extends string> = { [Kind in Kinds]?: never };

interface RouteOptions {
  /** Shown by HELP. */
  description?: string;
  /**
   * How long a call may take. In milliseconds. Default: `timeouts.handlerMs` of the configuration, 30000. 0 waits for
   * ever.
   */
  timeoutMs?: number;
}

interface RawRouteOptions extends RouteOptions {
  /**
   * Whether HTTP/1 requests that begin with the key are messages of this route too, with their header lines and bodies:
   * then `"GET "` takes every GET. The start, the verdict of a reload, `hrmr validate` and HELP name such routes.
   * Default false.
   */
  takesHttp?: boolean;
}

/** Message in, reply out. */
export interface HandleRoute<State = unknown> extends RawRouteOptions {
  handle: Handle<State>;
  /** Where a message ends. Default "chunk": what one read delivered is the message. */
  framing?: Framing;
  /**
   * Where the handler runs: "inline" (default) on the event loop, "pool" on a thread of the pool, "process" in a
   * process of the module's own.
   */
  run?: "inline" | "pool" | "process";
}

/** HTTP: a standard Request in, a standard Response out. */
export interface FetchRoute<State = unknown, Params = Record<string, string>> extends RouteOptions {
  fetch(request: Request, context: RequestContext<State, Params>): Response | Promise<Response>;
  /**
   * Where it runs: "inline" (default) on the event loop, "pool" on a thread of the pool, "process" in a process of the
   * module's own, `use` with it. Bodies cross as they are read; small ones with the call.
   */
  run?: "inline" | "pool" | "process";
}

/** The connection itself, as sequential code. Runs inline; it waits without a thread or a stack. */
export interface ConnectRoute<State = unknown> extends RawRouteOptions {
  connect(connection: Connection, context: ModuleContext<State>): void | Promise<void>;
}

/**
 * A WebSocket endpoint (RFC 6455). Sockets stay open when the module is reloaded: each event goes to the newest
 * version's handlers, and `socket.data` stays.
 */
export interface WebSocketRoute<State = unknown, Params = Record<string, string>> extends RouteOptions {
  websocket: WebSocketHandlers<State, Params>;
}

/**
 * All are optional. A handler may be async: the version is kept until its promise settles. One that fails closes the
 * socket with 1011.
 */
export interface WebSocketHandlers<State = unknown, Params = Record<string, string>> {
  /**
   * Before the socket is opened. A Response refuses; an object says more about the socket to be; nothing accepts. May
   * take as long as the route's timeoutMs.
   */
  upgrade?(
    request: Request,
    context: RequestContext<State, Params>,
  ): WebSocketUpgrade | Response | void | Promise<WebSocketUpgrade | Response | void>;
  open?(socket: ServerWebSocket, context: ModuleContext<State>): unknown;
  /** One whole message: a string for text, bytes (yours to keep) for binary. */
  message?(socket: ServerWebSocket, data: string | Buffer, context: ModuleContext<State>): unknown;
  /** The pong is sent already. */
  ping?(socket: ServerWebSocket, data: Buffer, context: ModuleContext<State>): unknown;
  pong?(socket: ServerWebSocket, data: Buffer, context: ModuleContext<State>): unknown;
  /** After a send that returned -1 or 0: everything was taken by the network, send on. */
  drain?(socket: ServerWebSocket, context: ModuleContext<State>): unknown;
  /**
   * Once, when the socket is over. `code` is the client's, or the one that it was told; 1005: the client gave none;
   * 1006: the connection ended without a closing handshake.
   */
  close?(socket: ServerWebSocket, code: number, reason: string, context: ModuleContext<State>): unknown;
  /**
   * The longest message, after decompression too; a longer one closes the socket with 1009. In bytes. Default:
   * `limits.maxWebSocketMessageBytes`, which is 16777216.
   */
  maxMessageBytes?: number;
  /**
   * A socket that says nothing for that long is closed. It is pinged after half of it. In milliseconds. Default 120000.
   * 0 waits for ever.
   */
  idleTimeoutMs?: number;
  /**
   * Whether to compress with clients that can (RFC 7692): texts from 1 KB on, and what `send` is told to. Default true.
   */
  perMessageDeflate?: boolean;
  /** Subprotocols that are spoken: the first of the client's that stands here is chosen. Default: none. */
  protocols?: string[];
  /**
   * Origins whose pages may open a socket here. Pages of this server's own origin always may. Write an origin as a
   * browser sends it: "https://app.example.com", or "null" for pages without an origin; "*" allows all. Pages of other
   * origins get 403. Clients that send no Origin, such as programs, are not checked. Default: none.
   */
  origins?: "*" | string[];
  /**
   * What may wait to be sent to one client; what is over it is dropped, and `send` returns 0. In bytes. Default
   * 16777216.
   */
  maxQueuedBytes?: number;
}

/** What `upgrade` may say about a socket. */
export interface WebSocketUpgrade {
  /** `socket.data` from the start. */
  data?: unknown;
  /** Further header fields of the 101: cookies. */
  headers?: ConstructorParameters<typeof Headers>[0];
  /** The subprotocol: one of those that the client offers. */
  protocol?: string;
}

/**
 * One client's socket, as Bun.serve has it. The same object in every event of a connection, in every version of the
 * module. Sending to a socket that is closed does nothing and returns 0.
 */
export interface ServerWebSocket<Data = unknown> {
  /** Yours. Stays over reloads. Write `socket: ServerWebSocket<MyData>` in a handler to give it a type. */
  data: Data;
  /** 1: open; 2: closing; 3: closed. */
  readonly readyState: 1 | 2 | 3;
  readonly client: Client;
  readonly remoteAddress: string;
  /** The topics it is subscribed to. */
  readonly subscriptions: string[];
  /**
   * Sends one message: text for a string, else binary.
   *
   * @param compress  true: from 64 bytes on; false: never; default: text from 1 KB on
   * @returns how many bytes were taken (1 for an empty message); -1 when they wait for the client to read, and `drain`
   *   will be called; 0 when they were dropped
   */
  send(data: string | ArrayBufferLike | ArrayBufferView, compress?: boolean): number;
  sendText(data: string, compress?: boolean): number;
  sendBinary(data: ArrayBufferLike | ArrayBufferView, compress?: boolean): number;
  /** At most 125 bytes. */
  ping(data?: string | ArrayBufferLike | ArrayBufferView): number;
  pong(data?: string | ArrayBufferLike | ArrayBufferView): number;
  /**
   * Begins the closing handshake. `code` is 1000 (default) to 1003, 1007 to 1014 or 3000 to 4999; `reason` at most 123
   * bytes.
   */
  close(code?: number, reason?: string): void;
  /** Cuts the connection. */
  terminate(): void;
  /**
   * Topics belong to the module: sockets of all its routes and versions share them. @returns false if it was subscribed
   */
  subscribe(topic: string): boolean;
  unsubscribe(topic: string): boolean;
  isSubscribed(topic: string): boolean;
  /** Sends to all that are subscribed to the topic but this one. @returns as `send`; 0 also when there is none */
  publish(topic: string, data: string | ArrayBufferLike | ArrayBufferView, compress?: boolean): number;
  publishText(topic: string, data: string, compress?: boolean): number;
  publishBinary(topic: string, data: ArrayBufferLike | ArrayBufferView, compress?: boolean): number;
  /** What waits to be sent. In bytes. */
  getBufferedAmount(): number;
  /** What is sent within `fn` leaves in one piece. Within a handler of an arriving message that is so anyway. */
  cork<R>(fn: (socket: this) => R): R;
}

/**
 * Stands before HTTP routes: answers by itself, hands the request on, changed or not, or changes the Response that
 * comes back.
 *
 * @param context  as for `fetch`; in `middleware` that of the module with the middleware, with the client, params and
 *   id of the request
 */
export type Middleware<State = unknown> = (
  request: Request,
  context: RequestContext<State>,
  next: Next,
) => Response | Promise<Response>;

/**
 * Calls what stands behind: the next middleware, or the route. Once at most: the second call fails. Rejects with what
 * that threw. Of a WebSocket upgrade that is accepted, the Response has the status 101: return that one.
 *
 * @param request  default: the one that this middleware got
 */
export type Next = (request?: Request) => Promise<Response>;

export type Handle<State = unknown> = (message: Message, context: ModuleContext<State>) => Reply | Promise<Reply>;

/**
 * "chunk": what one read delivered. "line": up to LF; LF and a CR before it are stripped. Length prefix: an unsigned
 * integer of `prefixBytes` stands at the start of the message (at `offset`) and counts the bytes behind it, or the
 * whole message with `includesPrefix`. A function: the message's length in bytes, counted from its first byte, or
 * NEED_MORE.
 */
export type Framing = "chunk" | "line" | { length: LengthPrefix } | ((bytes: Uint8Array) => number);

export interface LengthPrefix {
  prefixBytes: 1 | 2 | 4 | 8;
  /** Default "big". */
  endian?: "big" | "little";
  /** Whether the number counts the prefix (and what stands before it) too. Default false. */
  includesPrefix?: boolean;
  /** Bytes before the number, such as the route's own key. Default: the length of the route's key. */
  offset?: number;
}

/** Text, bytes, a stream of either (sent as it comes, at the client's pace), or nothing. */
export type Reply =
  | string
  | Uint8Array
  | AsyncIterable<string | Uint8Array>
  | ReadableStream<string | Uint8Array>
  | void
  | null
  | undefined;

export interface Message {
  /** The whole message, the route's key included. Yours to keep. */
  readonly bytes: Uint8Array;
  /** The same, decoded as UTF-8. */
  readonly text: string;
  readonly client: Client;
  /** Aborted when nobody waits for the reply any more: the client went away, or the time was up. */
  readonly signal: AbortSignal;
}

/** Who sent it. A unix socket's client has the address "unix" and port 0. */
export interface Client {
  readonly address: string;
  readonly port: number;
  readonly transport: "tcp" | "unix" | "udp";
  /** On the same machine: a loopback address or a unix socket. */
  readonly isLocal: boolean;
  /** The connection's number, as the log shows it. */
  readonly connection: number;
  /** What the TLS handshake found out; null (or not there) for a client that speaks plain text. */
  readonly tls?: ClientTls | null;
  /** The client's user, on a unix socket (Linux): the kernel vouches for it. Missing for other clients. */
  readonly uid?: number;
}

export interface ClientTls {
  /** "TLSv1.2" or "TLSv1.3". */
  readonly version: string;
  /** The protocol agreed on by ALPN: "http/1.1"; null if the client offered none. */
  readonly alpn: string | null;
  /**
   * The name the client asked for (SNI), in lower case. Its word only: it chose the certificate, and proves nothing.
   */
  readonly serverName: string | null;
  /**
   * Whether the client showed a certificate of one of the authorities in tls.clientCaFile. Check this before `peer`.
   */
  readonly authorized: boolean;
  /** The client's certificate, whoever signed it; null if it showed none or was not asked for one. */
  readonly peer: ClientCertificate | null;
}

export interface ClientCertificate {
  /** By short name: { CN: "bob", O: "Example" }. Of a name that occurs more than once, the values joined by ", ". */
  readonly subject: Record<string, string>;
  readonly issuer: Record<string, string>;
  /** "DNS:a.example, IP Address:10.0.0.1"; "" if it has none. */
  readonly subjectAltName: string;
  /** Hexadecimal. */
  readonly serialNumber: string;
  /** SHA-256 of the whole certificate: pairs of hexadecimal digits with ":" between. */
  readonly fingerprint: string;
  /** "Nov 20 12:00:00 2026 GMT". */
  readonly validFrom: string;
  readonly validTo: string;
}

export interface ModuleContext<State = unknown> {
  /** The module's name, as in RELOAD name. */
  readonly name: string;
  /** 1 for the first loaded version, one more for each that was swapped in. */
  readonly generation: number;
  /** What setup returned in this host. */
  readonly state: State;
  /** The module's own settings: `modules.NAME` of hrmr.json. */
  readonly config: Record<string, unknown>;
  /** The folder of the module's source file. */
  readonly dir: string;
  /** A folder that is this module's own to write to. Made at the first use; it outlives reloads and restarts. */
  readonly dataDir: string;
  /** Where this copy runs: "main", "process", or the number of its pool thread. */
  readonly host: "main" | "process" | number;
  readonly log: Log;
  /** What outlives this version: a database, a cache, a connection. */
  readonly shared: SharedResources;
  /**
   * Sends to every WebSocket of this module that is subscribed to the topic. On the main thread only.
   *
   * @returns bytes taken; -1 when some wait for their client to read; 0 when nobody is subscribed, or all dropped it
   */
  publish(topic: string, data: string | ArrayBufferLike | ArrayBufferView): number;
}

/**
 * Things that the host keeps open over all versions of a module, and closes when the server ends. One store a host:
 * each pool thread has its own.
 */
export interface SharedResources extends SharedScope {
  /** The same for all modules of this host: whoever opens a name first, opens it for all. */
  readonly global: SharedScope;
}

export interface SharedScope {
  /**
   * @param name  yours to choose
   * @param open  called if nothing of that name is open in this host. What it opens belongs to the host: a reload does
   *   not close it. If it fails, so does this call, and the next one tries again
   * @param close called with the value when the server ends, after the last call; the last opened first. The newest one
   *   that was given counts
   * @returns what `open` returned, the same for every version. A database, a Map or a plain object is fine; a function,
   *   or an object of a class of yours, keeps the version that made it in memory
   */
  open<T>(name: string, open: () => T | Promise<T>, close?: (value: T) => void | Promise<void>): Promise<T>;
  /** Closes it now; the next `open` opens it anew. @returns false: there was none */
  close(name: string): Promise<boolean>;
}

export interface RequestContext<State = unknown, Params = Record<string, string>> extends ModuleContext<State> {
  readonly client: Client;
  /**
   * The path that was routed, in its canonical spelling: no "//", "." or "..", no escapes of letters, digits and -._~,
   * other escapes in upper case. It is percent-encoded, as in `request.url`. To decide about access, look at this or at
   * `route`.
   */
  readonly path: string;
  /** The key of the request's route, as its module wrote it: "GET /users/:id". "" in middleware if no route matches. */
  readonly route: string;
  /**
   * The values of the `:name` segments and of `*` in the route's key, percent-decoded. A `:name` may hold "/", which
   * came as %2F. No part between slashes is "." or "..".
   */
  readonly params: Params;
  /**
   * For logs, and for the reply's X-Request-Id: that of the request's own X-Request-Id if it is sane (at most 128
   * letters, digits and
   * -_.:;,@+/=~), else a new one. The same in every middleware and handler of the request.
   */
  readonly requestId: string;
}

export interface Log {
  debug(...values: unknown[]): void;
  info(...values: unknown[]): void;
  warn(...values: unknown[]): void;
  error(...values: unknown[]): void;
}

/**
 * A connection in a `connect` handler's hands. It is closed when the handler returns, unless the handler was asked to
 * hand over.
 */
export interface Connection extends AsyncIterable<Uint8Array> {
  readonly client: Client;
  /** Yours. Stays with the connection when a new version of the module takes it over. */
  data: unknown;
  /** True once a new version waits for this connection: the iterators have ended; return, and its `connect` goes on. */
  readonly replaced: boolean;
  /** Aborted when the client is gone, the server shuts down or the drain deadline has passed. */
  readonly signal: AbortSignal;
  /**
   * `count` bytes, or null if the client ended first or a new version waits. Without `count`: what has arrived, at
   * least one byte.
   */
  read(count?: number): Promise<Uint8Array | null>;
  /** Up to and with `delimiter`, or null as for read. Fails with a RangeError beyond maxMessageBytes. */
  readUntil(delimiter: string | Uint8Array): Promise<Uint8Array | null>;
  /** Lines as text, without their LF or CR LF. */
  lines(): AsyncIterableIterator<string>;
  /**
   * Resolves when the bytes are accepted; under backpressure that is when there is room again. Rejects once the client
   * is gone.
   */
  write(data: string | Uint8Array): Promise<void>;
  /** Sends what is queued, then closes. */
  end(data?: string | Uint8Array): Promise<void>;
}
