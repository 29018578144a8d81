/**
 * The types for authors of modules: `import { defineModule } from "hrmr"`.
 *
 * This file is the whole public surface. `hrmr init` writes it beside the modules as hrmr.d.ts, and the server uses the
 * same types, so the two cannot differ. It imports nothing.
 */

/** A framing function's answer while later bytes could still change it. */
export const NEED_MORE: -1;

/**
 * The identity function, for the types: `export default defineModule({ ... })`. `context.state` gets the type of what
 * `setup` returns (write `setup` before `routes`), and `context.params` that of the route's key. Leave the type
 * arguments out: TypeScript infers all of them or none.
 */
export function defineModule<
  State = unknown,
  Key extends string = string,
  Config = Settings,
  Offered extends Record<string, Service> = Record<never, never>,
  Asked extends string = never,
>(
  definition: Omit<ModuleDefinition<State, Config>, "routes" | "services" | "program"> & {
    program?: ProgramOptions<Asked>;
    routes?: { [K in Key]: Route<State, ParamsOf<K>, Config> };
    services?: Offered & Record<string, Service<NoInfer<State>, NoInfer<Config>>>;
  },
): ModuleDefinition<State, Config> & {
  routes: Record<string, Route<State, Record<string, string>, Config>>;
  readonly services: Offered & { readonly [Name in Asked]: { call(input: any): any } };
};

/**
 * Returns its argument. It gives types to one service with options: `input` gets the type of the schema's output.
 * `services: { add: service({ input: z.object({ n: z.number() }), call: ({ n }) => n + 1 }) }`.
 */
export function service<Input, Output, State = any>(
  options: Omit<ServiceOptions<State>, "call" | "input" | "output"> & {
    input?: StandardSchema<Input>;
    output?: StandardSchema<any>;
    call(input: Input, context: ServiceContext<State>): Output;
  },
): ServiceOptions<State> & { call(input: Input, context: ServiceContext<State>): Output };

/**
 * The failure of a service. Throw it in a service: the caller gets code, message and data, but no stack. The server's
 * own codes are MODULE_MISSING, SERVICE_MISSING, INVALID_INPUT, INVALID_OUTPUT, TIMEOUT, CANCELLED, BUSY, UNAVAILABLE,
 * DEPTH (the calls go too deep, or a service waits for itself) and FAILED (the service threw another error).
 */
export class ServiceError extends Error {
  /** @param data for programs: any value that can be cloned. Default: none */
  constructor(code: string, message: string, data?: unknown);
  readonly code: string;
  readonly data: unknown;
}

/** A module's settings, as hrmr.json has them. */
export type Settings = Record<string, unknown>;

/** A schema of zod, valibot, arktype or any other library that follows Standard Schema (https://standardschema.dev). */
export interface StandardSchema<Output = unknown> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>;
    readonly types?: { readonly input: unknown; readonly output: Output } | undefined;
    /** Standard JSON Schema: converts the schema to JSON Schema. */
    readonly jsonSchema?:
      | {
          readonly input: (options: { readonly target: any }) => Record<string, unknown>;
          readonly output: (options: { readonly target: any }) => Record<string, unknown>;
        }
      | undefined;
  };
}

/** The result of a schema: the value, or its mistakes. */
export type StandardResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | {
      readonly issues: readonly {
        readonly message: string;
        readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
      }[];
    };

/** The params of a route's key: `{ id: string }` for "GET /users/:id", `{ "*": string }` for "/files/*". */
export type ParamsOf<Key extends string> = string extends Key
  ? Record<string, string>
  : { readonly [Name in ParamNames<Key>]: string };

type ParamNames<Path extends string> = Path extends `${infer First}/${infer Rest}`
  ? ParamName<First> | ParamNames<Rest>
  : ParamName<Path>;
type ParamName<Segment extends string> = Segment extends `:${infer Name}` ? Name : Segment extends "*" ? "*" : never;

/** One module: the default export of its file. An object with a `fetch` of its own (hono's app) is a module too. */
export interface ModuleDefinition<State = unknown, Config = Settings> {
  /**
   * Checks the module's settings, `modules.NAME` of hrmr.json without the server's own keys. Its output is
   * `context.config`, and must be plain data. A version whose settings do not fit is refused. Write it before `setup`
   * and `routes`.
   */
  config?: StandardSchema<Config>;
  /**
   * Key to route. A key is the first bytes of a message: "PING", "GREET ". With `fetch` it is an HTTP route instead:
   * "/api" (every method), "GET /users/:id", "GET /files/*" or "GET " (every path of that method). May be missing beside
   * `start`, `middleware`, `services`, `on` or `schedule`.
   */
  routes?: Record<string, Route<State, Record<string, string>, Config>>;
  /**
   * Functions that other modules call, by name: `await context.services.NAME.SERVICE(input)`. The newest version of the
   * module answers.
   */
  services?: Record<string, Service<State, Config>>;
  /**
   * Handlers of events, by pattern. "user.created" is one topic. In "user.*" the `*` is any one name. In "user.>" the
   * `>` is one or more names at the end. An event runs a handler once in the whole server, on the newest version, in
   * the host where `start` runs. With `background: "process"` it runs once in each process. A handler gets one event at
   * a time.
   */
  on?: Record<string, EventHandler<State, Config>>;
  /**
   * Tasks on a schedule, by name: `{ tidy: { when: "0 3 * * *", run: (context) => tidyUp(context) } }`. Short form,
   * with the time as the key: `"every 10s": (context) => poll(context)`. A task runs once in the whole server. Its runs
   * never overlap.
   */
  schedule?: Record<string, Task<State, Config>>;
  /**
   * Collections of the store that `find` searches, with their indexes: `{ scores: { indexes: ["user", "address.city"]
   * } }`. An index is complete before `setup`. It goes when no serving module declares it any more.
   */
  collections?: Record<string, CollectionOptions>;
  /**
   * Changes of the store's documents, by name: `{ "001-scores": async (tx) => { ... } }`. Each runs once a store, in the
   * order in which they are written, in a transaction of its own, in the main thread, before `setup`. If one fails, the
   * version is refused. Those that have run stay then, so write them so that the version before can live with them.
   */
  migrations?: Record<string, Migration>;
  /**
   * A program in any language answers messages and offers services: `{ command: ["python3", "bot.py"], protocol:
   * "lines", routes: ["BOT "] }`. It runs as long as the version, and is started again when it ends. A module with a
   * program has no setup, check, handoff or dispose.
   */
  program?: ProgramOptions;
  /** Runs before the module's own `fetch` routes and the upgrades of its WebSocket routes, in this order. */
  use?: Middleware<State, Config>[];
  /**
   * If the config's `http.use` names this module: runs before every HTTP route and WebSocket upgrade of every module. A
   * named export, `export const middleware = ...`, is the same. Runs inline.
   */
  middleware?: Middleware<State, Config>;
  /**
   * How a reload replaces this module. "swap" (default): no client waits. "exclusive": the old version is disposed
   * before the new one's setup.
   */
  reload?: "swap" | "exclusive";
  /** The reply to clients other than HTTP while the module is being replaced. Default: an HTTP 503 message. */
  unavailable?: string | Uint8Array;
  /**
   * Runs once in each host that serves the module (the main thread; each pool thread; its process), before any message.
   * Its result is `context.state`.
   */
  setup?(context: ModuleContext<unknown, Config>, handoff: unknown): State | Promise<State>;
  /**
   * Runs after setup and before the first message. If it throws or returns false, this version is refused: the old one
   * still serves.
   */
  check?(context: ModuleContext<State, Config>): void | boolean | Promise<void | boolean>;
  /**
   * Runs when this version begins to serve. Open connections, begin timers and add listeners here. Do not await work
   * that never ends. If `start` fails, or takes longer than `timeouts.loadMs`, the version still serves, and `start` is
   * tried again after 1, 2, 5, 10 and 30 s, then every 30 s.
   */
  start?(context: ModuleContext<State, Config>): unknown;
  /**
   * Runs when this version stops serving, if its `start` has succeeded. End here the work that `start` began. The next
   * version's `start` waits for it, `timeouts.loadMs` at most.
   */
  stop?(context: ModuleContext<State, Config>, reason: StopReason): unknown;
  /**
   * Where `start`, `stop` and `on` run. "server" (default): in one process of the server; if it ends, another process
   * takes over. "process": in each process.
   */
  background?: "server" | "process";
  /**
   * Names of modules that must serve before this one. `setup` and `start` run after theirs. If one is missing, this
   * version is refused.
   */
  needs?: string[];
  /**
   * Called on the version that is about to leave. Its result (structured-cloneable) is the next setup's second
   * argument.
   */
  handoff?(state: State): unknown;
  /**
   * Runs after the last message of this version. The server closes timers, servers and sockets that the module opened
   * in any case.
   */
  dispose?(state: State): void | Promise<void>;
}

/**
 * Why a version has to stop. "replaced": another version of the module serves. "removed": the module is gone, or
 * switched off. "moved": another process of the server takes the work over. "shutdown": the server ends.
 */
export type StopReason = "replaced" | "removed" | "moved" | "shutdown";

/**
 * A route: a function (the whole read is the message), or an object with exactly one of handle, fetch, connect and
 * websocket.
 */
export type Route<State = unknown, Params = Record<string, string>, Config = Settings> =
  | Handle<State, Config>
  | (HandleRoute<State, Config> & Without<"fetch" | "connect" | "websocket">)
  | (FetchRoute<State, Params, Config> & Without<"handle" | "connect" | "websocket">)
  | (ConnectRoute<State, Config> & Without<"handle" | "fetch" | "websocket">)
  | (WebSocketRoute<State, Params, Config> & Without<"handle" | "fetch" | "connect">);

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
export interface HandleRoute<State = unknown, Config = Settings> extends RawRouteOptions {
  handle: Handle<State, Config>;
  /** Where a message ends. Default "chunk": the bytes of one read are the message. */
  framing?: Framing;
  /**
   * Where the handler runs: "inline" (default) on the event loop, "pool" on a thread of the pool, "process" in a
   * process of the module's own.
   */
  run?: "inline" | "pool" | "process";
}

/** HTTP: a standard Request in, a standard Response out. */
export interface FetchRoute<State = unknown, Params = Record<string, string>, Config = Settings> extends RouteOptions {
  fetch(request: Request, context: RequestContext<State, Params, Config>): Response | Promise<Response>;
  /**
   * Where it runs: "inline" (default) on the event loop, "pool" on a thread of the pool, "process" in a process of the
   * module's own, `use` with it. Bodies cross as they are read; small ones with the call.
   */
  run?: "inline" | "pool" | "process";
}

/** Handles the connection itself, as sequential code. Runs inline; waiting takes no thread. */
export interface ConnectRoute<State = unknown, Config = Settings> extends RawRouteOptions {
  connect(connection: Connection, context: ModuleContext<State, Config>): void | Promise<void>;
}

/**
 * A WebSocket endpoint (RFC 6455). Sockets stay open when the module is reloaded: each event goes to the newest
 * version's handlers, and `socket.data` stays.
 */
export interface WebSocketRoute<
  State = unknown,
  Params = Record<string, string>,
  Config = Settings,
> extends RouteOptions {
  websocket: WebSocketHandlers<State, Params, Config>;
}

/**
 * All are optional. A handler may be async: the version is kept until its promise settles. A handler that fails closes
 * the socket with 1011.
 */
export interface WebSocketHandlers<State = unknown, Params = Record<string, string>, Config = Settings> {
  /**
   * Before the socket is opened. A Response refuses; an object accepts with options for the socket; undefined accepts.
   * Its limit is the route's timeoutMs.
   */
  upgrade?(
    request: Request,
    context: RequestContext<State, Params, Config>,
  ): WebSocketUpgrade | Response | void | Promise<WebSocketUpgrade | Response | void>;
  /** Answers requests that ask for no upgrade. Default: they get 426. */
  fetch?(request: Request, context: RequestContext<State, Params, Config>): Response | Promise<Response>;
  open?(socket: ServerWebSocket, context: ModuleContext<State, Config>): unknown;
  /** One whole message: a string for text, bytes (yours to keep) for binary. */
  message?(socket: ServerWebSocket, data: string | Buffer, context: ModuleContext<State, Config>): unknown;
  /** The server has sent the pong. */
  ping?(socket: ServerWebSocket, data: Buffer, context: ModuleContext<State, Config>): unknown;
  pong?(socket: ServerWebSocket, data: Buffer, context: ModuleContext<State, Config>): unknown;
  /** After a send that returned -1 or 0: all bytes have left, so send on. */
  drain?(socket: ServerWebSocket, context: ModuleContext<State, Config>): unknown;
  /**
   * Once, when the socket is over. `code` is the client's, or the server's own; 1005: the client gave none; 1006: the
   * connection ended without a closing handshake.
   */
  close?(socket: ServerWebSocket, code: number, reason: string, context: ModuleContext<State, Config>): unknown;
  /**
   * The longest message, after decompression too; a longer one closes the socket with 1009. In bytes. Default:
   * `limits.maxWebSocketMessageBytes`, which is 16777216.
   */
  maxMessageBytes?: number;
  /**
   * A socket that is silent for so long is closed. It gets a ping after half of the time. In milliseconds. Default
   * 120000. 0 waits for ever.
   */
  idleTimeoutMs?: number;
  /**
   * Whether to compress with clients that can (RFC 7692): texts from 1 KB on, and messages that `send` is asked to
   * compress. Default true.
   */
  perMessageDeflate?: boolean;
  /** Supported subprotocols: the server chooses the first of the client's that is in this list. Default: none. */
  protocols?: string[];
  /**
   * Origins whose pages may open a socket here. Pages of this server's own origin always may. Write an origin as a
   * browser sends it: "https://app.example.com", or "null" for pages without an origin; "*" allows all. Pages of other
   * origins get 403. Clients that send no Origin, such as programs, are not checked. Default: none.
   */
  origins?: "*" | string[];
  /**
   * The most bytes that may wait for one client. Messages above it are dropped, and `send` returns 0. In bytes. Default
   * 16777216.
   */
  maxQueuedBytes?: number;
}

/** Options for a socket, as `upgrade` may return them. */
export interface WebSocketUpgrade {
  /** The first value of `socket.data`. */
  data?: unknown;
  /** Further header fields of the 101, such as cookies. */
  headers?: ConstructorParameters<typeof Headers>[0];
  /** The subprotocol: one of those that the client offers. */
  protocol?: string;
}

/**
 * One client's socket, like Bun.serve's. All events of a connection, and all versions of the module, get the same
 * object. Sending to a closed socket does nothing and returns 0.
 */
export interface ServerWebSocket<Data = unknown> {
  /** For your own use. Stays over reloads. Write `socket: ServerWebSocket<MyData>` in a handler to give it a type. */
  data: Data;
  /** 1: open; 2: closing; 3: closed. */
  readonly readyState: 1 | 2 | 3;
  readonly client: Client;
  /** The client's session when it opened the socket. */
  readonly session: Session;
  readonly remoteAddress: string;
  /** The topics that it is subscribed to. */
  readonly subscriptions: string[];
  /**
   * Sends one message: text for a string, else binary.
   *
   * @param compress  true: from 64 bytes on; false: never; default: text from 1 KB on
   * @returns the number of bytes taken (1 for an empty message); -1 if they wait for the client to read, and `drain`
   *   will be called; 0 if they were dropped
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
  /** Sends to all subscribers of the topic except this one. @returns as `send`; 0 also if there is none */
  publish(topic: string, data: string | ArrayBufferLike | ArrayBufferView, compress?: boolean): number;
  publishText(topic: string, data: string, compress?: boolean): number;
  publishBinary(topic: string, data: ArrayBufferLike | ArrayBufferView, compress?: boolean): number;
  /** How much waits to be sent. In bytes. */
  getBufferedAmount(): number;
  /** Messages sent within `fn` leave in one piece. Within a handler of a message they always do. */
  cork<R>(fn: (socket: this) => R): R;
}

/** Checks whether clients may use the guarded parts of the server: procedures, events, the store. */
export interface ModuleAccess {
  /**
   * Checks an action of a client against the scopes of its token and `access.required`. A page of another origin is
   * always refused.
   *
   * @param asker   a message, a socket, a connection, or the context of a request
   * @param action  "events:user.created", "store:scores:read"
   * @param request the client's HTTP request, if there is one
   * @returns null: it may
   */
  refusal(
    asker: { readonly client: Client; readonly session: Session },
    action: string,
    request?: Request,
  ): AccessRefusal | null;
  /**
   * Checks a token that a client has shown in a protocol of the module's own. The answer to a wrong one comes late, as
   * guessing must be slow: end the connection after it.
   *
   * @returns the client's session from now on, for `refusal`
   */
  authenticate(client: Client, token: string): Promise<Session | AccessRefusal>;
}

/** The reason for a refusal. */
export interface AccessRefusal {
  /**
   * UNAUTHENTICATED: the client must show a valid token. FORBIDDEN: its token lacks the scope, or the page is of
   * another origin. TOO_MANY_GUESSES: too many wrong tokens came from its address.
   */
  readonly code: "UNAUTHENTICATED" | "FORBIDDEN" | "TOO_MANY_GUESSES";
  /** The HTTP status. Send a 401 with the header `WWW-Authenticate: Bearer` (RFC 6750 section 3). */
  readonly status: 401 | 403 | 429;
  /** For the client: a sentence in lower case, without a full stop. */
  readonly message: string;
}

/** Whether a pattern ("user.*") matches a topic. An invalid pattern or topic matches nothing. */
export function matchesTopic(pattern: string, topic: string): boolean;

/** An event. Each subscriber gets its own copy. */
export interface HubEvent {
  readonly topic: string;
  /** A structured clone of the emitted data. */
  readonly data: any;
  /** The module that emitted it. */
  readonly emitter: string;
  /** Unique among the events of the server. */
  readonly id: string;
}

/** A handler of events. A failure, or a time above `timeouts.handlerMs`, is logged. It then gets the next event. */
export type EventHandler<State = any, Config = any> = (
  event: HubEvent,
  context: ModuleContext<State, Config>,
) => unknown;

/** Events between the modules of the server. */
export interface ModuleEvents {
  /**
   * Sends an event to all subscribers, in all modules, hosts and processes of the server. Returns at once, without
   * waiting for them. In the function of `store.transaction` it leaves after the commit.
   *
   * @param topic names with dots between: "user.created". At most 255 characters
   * @param data  a structured clone of it is sent. At most 1 MB
   */
  emit(topic: string, data?: unknown): void;
  /**
   * Returns an iterator of the events from now on, in the process or thread of the caller. It ends when another version
   * of the module serves, or by `return` (`break` in a `for await`). At most 10,000 events or 8 MB wait for a slow
   * reader; further events are dropped.
   *
   * @param topic a pattern as in `on`, or a list. An event that matches two of them is delivered once
   */
  subscribe(topic: string | readonly string[], options?: SubscribeOptions): Subscription;
}

export interface SubscribeOptions {
  /**
   * Begin after this point: the `position` of a subscription, or the `id` of an event. The server keeps the last 1,000
   * events (at most 4 MB). Default: only events from now on.
   */
  after?: string | null;
}

/** The iterator of `events.subscribe`. */
export interface Subscription extends AsyncIterableIterator<HubEvent> {
  /** The reader's place in the events. Pass it as `after`, and another subscription goes on from there. */
  readonly position: string;
}

/** A service: a function, or an object with `call` and options. */
export type Service<State = any, Config = any> = ServiceFunction<State, Config> | ServiceOptions<State, Config>;

/**
 * Input and result are structured clones, in every host. Throw a ServiceError to give the caller a reason. An async
 * generator streams its result: the caller gets an async iterable.
 */
export interface ServiceFunction<State = any, Config = any> {
  (input: any, context: ServiceContext<State, Config>): unknown;
  /** Only for inference: without it, `call` of a service with options would be taken for that of a function. */
  readonly call?: (input: any, context: ServiceContext<State, Config>) => unknown;
}

export interface ServiceOptions<State = any, Config = any> {
  call: ServiceFunction<State, Config>;
  /** Checks the input. `call` gets the schema's output. Invalid input fails with INVALID_INPUT. */
  input?: StandardSchema<any>;
  /** Checks the result. An invalid result fails with INVALID_OUTPUT. */
  output?: StandardSchema<any>;
  /**
   * Whether clients may call it, as the procedure "MODULE.SERVICE". A function decides by the module's settings, as
   * hrmr.json has them. Default false.
   */
  public?: boolean | ((settings: Settings) => boolean);
  /** Whether AI agents may call it, as a tool. Default false. */
  mcp?: boolean | ((settings: Settings) => boolean);
  /**
   * Whether it checks the rights of clients itself, by `context.access.refusal(context.asker, …)`. Then a client's token
   * needs no scope "rpc:MODULE.SERVICE". A client that must show a token and has none is refused before. Default false.
   */
  checksAccess?: boolean;
  description?: string;
  /**
   * How long a call may take, within the time that its caller has left. In milliseconds. Default: `timeouts.handlerMs`
   * of the configuration, 30000. 0 waits for ever.
   */
  timeoutMs?: number;
  /** Where it runs, as for a route. Default "inline". */
  run?: "inline" | "pool" | "process";
}

/** The second argument of a service: the module's context, with the facts of one call. */
export interface ServiceContext<State = unknown, Config = Settings> extends ModuleContext<State, Config> {
  /** The module that calls, or "rpc" for a client. */
  readonly caller: string;
  /** The identity of the client that began the chain of calls. null: it has none, or no client began it. */
  readonly identity: string | null;
  /**
   * The client that calls it as a procedure, for `access.refusal`. null: a module calls it, or it runs elsewhere than
   * inline.
   */
  readonly asker: { readonly client: Client; readonly session: Session } | null;
  /** Aborted when the result is no longer needed: a caller gave up, or the time is over. */
  readonly signal: AbortSignal;
}

export interface ProgramOptions<Asked extends string = string> {
  /** The program and its arguments. It runs in the folder of the module's file. Changes of these files reload it. */
  command: readonly string[];
  /**
   * "lines": each message is sent as a line, and the program's next line is the reply. One message at a time.
   * "json-rpc": JSON-RPC 2.0 in both directions, one message per line. Many calls at a time.
   */
  protocol: "lines" | "json-rpc";
  /** Keys of raw routes, framed by lines: "BOT ". With JSON-RPC, a message calls the program's method "message". */
  routes?: readonly string[];
  /** Services, with JSON-RPC: names of the program's methods. */
  services?: readonly Asked[];
  /**
   * The time from a message to its answer. In milliseconds. Default: the module's `timeouts.handlerMs`, else 30000.
   * 0: no limit.
   */
  timeoutMs?: number;
  /** Shown by HELP. */
  description?: string;
}

/** A task of a schedule: a function with a time as its key ("every 10s", "0 3 * * *", "@daily"), or an object. */
export type Task<State = unknown, Config = Settings> = TaskOptions<State, Config>["run"] | TaskOptions<State, Config>;

export interface TaskOptions<State = unknown, Config = Settings> {
  /**
   * "every 10s", "every 5m", "every 2h", "every 1d", five fields of cron (minute hour day month weekday), or "@hourly",
   * "@daily", "@weekly", "@monthly", "@yearly". Default: the task's key.
   */
  when?: string;
  run(context: TaskContext<State, Config>, run: TaskRun): unknown;
  /** For a cron line: an IANA name, such as "Europe/Berlin". Default: `schedule.timeZone`, else the system's. */
  timeZone?: string;
  /** Whether a start makes up one run that was missed while the server was down. Default false. */
  catchUp?: boolean;
  /**
   * How long a run may take. After that `context.signal` aborts, and the run has failed. In milliseconds. Default:
   * `timeouts.handlerMs` of the configuration, 30000. 0: no limit.
   */
  timeoutMs?: number;
  /** Shown by `hrmr status`. */
  description?: string;
}

/** The first argument of a task: the module's context, with the facts of one run. */
export interface TaskContext<State = unknown, Config = Settings> extends ModuleContext<State, Config> {
  /** Aborted when the run exceeds its time limit, or when the server stops. */
  readonly signal: AbortSignal;
}

/** One run of a task. */
export interface TaskRun {
  /** The task's name. */
  readonly task: string;
  /** "due": its time has come. "missed": it is made up. "asked": by `hrmr run`. */
  readonly why: "due" | "missed" | "asked";
  /** When it was due, or was asked for. */
  readonly dueAt: Date;
}

/** Options of one call of a service. */
export interface ServiceCallOptions {
  /** The time limit of the call. The caller's own remaining time is a limit, too. In milliseconds. */
  timeoutMs?: number;
  /** Cancels the call, which then fails with CANCELLED. */
  signal?: AbortSignal;
}

/**
 * The services of all modules, by module and name. `hrmr types` adds the types of this project's modules. Other modules
 * can be called without types.
 */
export interface ModuleServices {
  readonly [module: string]: any;
}

/** The services of a module, with the types for its callers: `ServicesOf<typeof import("./kv").default>`. */
export type ServicesOf<Definition> = Definition extends { readonly services: infer Offered }
  ? { readonly [Name in keyof Offered]: ServiceCall<Offered[Name]> }
  : Record<never, never>;

// A function has a `call` of its own.
type ServiceCall<One> = One extends (...args: any[]) => unknown
  ? CallOf<One>
  : One extends { call: infer Call }
    ? CallOf<Call>
    : never;
type CallOf<Call> = Call extends () => infer Output
  ? (input?: undefined, options?: ServiceCallOptions) => Promise<Awaited<Output>>
  : Call extends (input: infer Input, ...rest: any[]) => infer Output
    ? undefined extends Input
      ? (input?: Input, options?: ServiceCallOptions) => Promise<Awaited<Output>>
      : (input: Input, options?: ServiceCallOptions) => Promise<Awaited<Output>>
    : never;

/**
 * Runs before HTTP routes: answers itself, passes the request on (changed or not), or changes the Response that comes
 * back.
 *
 * @param context  as for `fetch`; in `middleware` that of the module with the middleware, with the client, params and
 *   id of the request
 */
export type Middleware<State = unknown, Config = Settings> = (
  request: Request,
  context: RequestContext<State, Record<string, string>, Config>,
  next: Next,
) => Response | Promise<Response>;

/**
 * Calls the next middleware, or the route. Call it once at most: a second call fails. Rejects with the error of the
 * call. For an accepted WebSocket upgrade the Response has the status 101: return that one.
 *
 * @param request default: the request that this middleware got
 */
export type Next = (request?: Request) => Promise<Response>;

export type Handle<State = unknown, Config = Settings> = (
  message: Message,
  context: ModuleContext<State, Config>,
) => Reply | Promise<Reply>;

/**
 * "chunk": the bytes of one read. "line": up to LF; LF and a CR before it are stripped. Length prefix: an unsigned
 * integer of `prefixBytes` near the start of the message (at `offset`) counts the bytes behind it, or the whole message
 * with `includesPrefix`. A function: the message's length in bytes, counted from its first byte, or NEED_MORE.
 */
export type Framing = "chunk" | "line" | { length: LengthPrefix } | ((bytes: Uint8Array) => number);

export interface LengthPrefix {
  prefixBytes: 1 | 2 | 4 | 8;
  /** Default "big". */
  endian?: "big" | "little";
  /** Whether the number also counts the prefix and the bytes before it. Default false. */
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
  /** The whole message, the route's key included. You may keep it. */
  readonly bytes: Uint8Array;
  /** The same, decoded as UTF-8. */
  readonly text: string;
  readonly client: Client;
  /** The client's session, set by AUTH. */
  readonly session: Session;
  /** Aborted when nobody waits for the reply any more: the client left, or the time is over. */
  readonly signal: AbortSignal;
}

/** The identity and the rights of a client, from a token of `hrmr token add`. */
export interface Session {
  /** The token's name. null: the client has shown no token, or its token is no longer valid. */
  readonly identity: string | null;
  /** The token's scopes: "rpc:accounts.*", "http". Empty without an identity. */
  readonly scopes: readonly string[];
}

/** Who sent it. A unix socket's client has the address "unix" and port 0. */
export interface Client {
  readonly address: string;
  readonly port: number;
  readonly transport: "tcp" | "unix" | "udp";
  /** Whether it is on the same machine: a loopback address or a unix socket. */
  readonly isLocal: boolean;
  /** The connection's number, as the log shows it. */
  readonly connection: number;
  /** The result of the TLS handshake; null or missing for a client without TLS. */
  readonly tls?: ClientTls | null;
  /** The client's user, on a unix socket (Linux): the kernel vouches for it. Missing for other clients. */
  readonly uid?: number;
}

export interface ClientTls {
  /** "TLSv1.2" or "TLSv1.3". */
  readonly version: string;
  /** The protocol agreed on by ALPN: "http/1.1"; null if the client offered none. */
  readonly alpn: string | null;
  /** The name that the client asked for (SNI), in lower case. It chose the certificate, but proves nothing. */
  readonly serverName: string | null;
  /**
   * Whether the client showed a certificate of one of the authorities in tls.clientCaFile. Check this before `peer`.
   */
  readonly authorized: boolean;
  /** The client's certificate, whoever signed it; null if it showed none or was not asked for one. */
  readonly peer: ClientCertificate | null;
}

export interface ClientCertificate {
  /** By short name: { CN: "bob", O: "Example" }. The values of a repeated name are joined by ", ". */
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

/**
 * The hub's store. It has the same semantics on every database and in every host. A write resolves when it is durable;
 * within `transaction`, at once. Rejects with a StoreError.
 */
export interface Store extends StoreReader {
  collection<T = any>(name: string): Collection<T>;
  /** The same, with values as JSON texts. */
  collection(name: string, form: ValueForm & { readonly text: true }): Collection<string>;
  /**
   * Writes to several collections: all of these, if the checks hold, or none. With versions that its caller has read
   * before, it is a transaction without a function.
   *
   * @returns for each write its version (0: there was nothing to delete); `value`: the document after patch, increment
   * @throws StoreError CONFLICT: a document has another version
   */
  batch(writes: readonly StoreWrite[], options?: StoreBatchOptions): Promise<StoreWritten[]>;
  /**
   * Runs a function as one serialisable transaction, and returns its result. What it read is checked at the commit. If
   * another client has changed it, the function runs again, at most 20 times; so it must do nothing but read and write the
   * transaction, and emit events. These leave after the commit, once, and never without it.
   */
  transaction<R>(run: (tx: StoreTransaction) => R | Promise<R>, options?: TransactionOptions): Promise<Awaited<R>>;
  /**
   * Sends SQL to the database itself: `await context.store.sql`SELECT 1 AS one``. Values become parameters. Use tables of
   * your own. On SQLite, PostgreSQL and MySQL only (UNSUPPORTED elsewhere).
   *
   * @returns the rows; empty for a statement without any
   */
  sql<Row = any>(text: TemplateStringsArray, ...values: readonly unknown[]): Promise<Row[]>;
}

/** How a collection hands out values, and takes them. */
export interface ValueForm {
  /** true: values are JSON texts. They are not parsed when they are read. Default false. */
  readonly text?: boolean;
}

export type StoreWrite<T = any> = BatchWrite<T> & { readonly collection: string };

export interface StoreBatchOptions {
  /** At most 1,000. Default: none. */
  readonly checks?: readonly StoreCheck[];
}

/** A document has this version; 0: there is none. */
export interface StoreCheck {
  readonly collection: string;
  readonly key: string;
  readonly version: number;
}

export interface StoreWritten {
  readonly version: number;
  readonly value?: any;
}

export interface TransactionOptions {
  /** When it is given up with TIMEOUT, runs on conflict included. In milliseconds. Default 10,000. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** A transaction: reads see its own writes. It is over when its function has returned. */
export interface StoreTransaction extends StoreReader {
  collection<T = any>(name: string): TransactionCollection<T>;
}

interface StoreReader {
  /**
   * @param name 1 to 64 letters, digits, "_", "-" and ".". A collection needs no creation
   * @throws StoreError INVALID_NAME
   */
  collection<T = any>(name: string): CollectionReader<T>;
}

/** A document: any JSON value with its version. */
export interface StoreDocument<T = any> {
  readonly value: T;
  /** Each write in the store gives the next higher number. */
  readonly version: number;
  /** When it is gone, in milliseconds since 1970. null: it stays. */
  readonly expiresAt: number | null;
}

export interface StoreEntry<T = any> extends StoreDocument<T> {
  readonly key: string;
}

export interface CollectionReader<T> {
  readonly name: string;
  /** @param key at most 1,024 bytes of UTF-8; any characters. @returns null: there is none */
  get(key: string): Promise<StoreDocument<T> | null>;
  /** @param keys at most 1,000. @returns in the same order */
  getMany(keys: readonly string[]): Promise<(StoreDocument<T> | null)[]>;
  /** Documents in the order of their keys (by their UTF-8 bytes). Next page: `after` the last key. */
  list(options?: ListOptions): Promise<StoreEntry<T>[]>;
  /**
   * Documents by an index, in the order null, false, true, numbers, strings, then by key. Next page: `after` the last
   * entry.
   *
   * @param index one that a module declares in its `collections`: a field, "user" or "address.city"
   * @throws StoreError INDEX_MISSING
   */
  find(index: string, options?: FindOptions): Promise<StoreEntry<T>[]>;
}

export interface ListOptions {
  /** Only keys that begin with it. */
  readonly prefix?: string;
  /** Only keys behind this one, in the order of the list. */
  readonly after?: string;
  /** 1 to 1,000, default 100. A page also ends behind 4 MB of values. */
  readonly limit?: number;
  /** Default false. */
  readonly reverse?: boolean;
}

export interface FindOptions {
  /** The field has this value. Without it, and without `from` and `to`: every document that has the field. */
  readonly equals?: IndexValue;
  /** The lowest value. */
  readonly from?: IndexValue;
  /** The highest value, included. */
  readonly to?: IndexValue;
  /** The last entry of the page before. */
  readonly after?: StoreEntry;
  /** 1 to 1,000, default 100. A page also ends behind 4 MB of values. */
  readonly limit?: number;
  /** Default false. */
  readonly reverse?: boolean;
}

/**
 * One of a module's `migrations`. It may run again when another client has changed what it read. It has
 * `timeouts.loadMs`.
 */
export type Migration = (tx: StoreTransaction) => unknown;

/** A collection in a module's definition. */
export interface CollectionOptions {
  /** Fields that `find` searches: "user", "address.city". At most 32. */
  readonly indexes?: readonly string[];
}

/** What an index holds. A field with another value, or without one, is not in it. */
export type IndexValue = null | boolean | number | string;

export interface SetOptions extends WriteOptions {
  /** The document is gone after so many milliseconds. Default: it stays. "keep": as the document before had it. */
  readonly ttlMs?: number | "keep";
  /** In place of `ttlMs`: the moment when it is gone, in milliseconds since 1970. */
  readonly expiresAt?: number;
}

export interface WriteOptions {
  /** Only if the document has this version; 0: only if there is none. @throws StoreError CONFLICT */
  readonly ifVersion?: number;
}

/** Writes of one collection. In a transaction they resolve at once, with version 0 (it is known at the commit). */
export interface TransactionCollection<T> extends CollectionReader<T> {
  /** @returns the version. @throws StoreError CONFLICT, TOO_LARGE, INVALID_VALUE (it is not JSON) */
  set(key: string, value: T, options?: SetOptions): Promise<number>;
  /** Merges an object into the document (RFC 7396); a missing document is an empty object. @returns the document after it */
  patch(key: string, patch: unknown, options?: SetOptions): Promise<StoreDocument<T>>;
  /** @returns whether there was one */
  delete(key: string, options?: WriteOptions): Promise<boolean>;
  /**
   * Adds to a number. A missing document or field is 0.
   *
   * @param by    default 1
   * @param options `field`: of an object, "wins" or "total.wins"
   * @returns the number after it. @throws StoreError NOT_A_NUMBER
   */
  increment(key: string, by?: number, options?: SetOptions & { readonly field?: string }): Promise<number>;
  /** Changes only when the document is gone. @param ttlMs null: it stays. @returns whether there is a document */
  expire(key: string, ttlMs: number | null, options?: WriteOptions): Promise<boolean>;
}

export interface Collection<T> extends TransactionCollection<T> {
  /** All of these or none. @returns a version for each; 0 where there was nothing to delete */
  batch(writes: readonly BatchWrite<T>[]): Promise<number[]>;
  /** How many documents it has. Those whose time is over count until they are swept. It costs little. */
  count(): Promise<number>;
  /**
   * Changes of documents from now on, or from behind a version. It ends when another version of the module serves, or by
   * `return` (`break` in a `for await`). It fails with StoreError GONE if changes behind `after` are not kept any more, or
   * if the reader is too slow: read the documents again then.
   */
  watch(options?: WatchOptions): StoreWatch<T>;
}

export type BatchWrite<T = any> =
  | ({ readonly set: string; readonly value: T } & SetOptions)
  | ({ readonly patch: string; readonly value: unknown } & SetOptions)
  | ({ readonly delete: string } & WriteOptions)
  | ({ readonly increment: string; readonly by?: number; readonly field?: string } & SetOptions);

export interface WatchOptions {
  /** Only this key. */
  readonly key?: string;
  readonly prefix?: string;
  /** A version: changes behind it first. Default: changes from now on. */
  readonly after?: number;
}

export interface StoreWatch<T> extends AsyncIterableIterator<StoreChange<T>> {
  /** The store's version when the watch began: a document read from now on has all changes up to it. */
  readonly ready: Promise<number>;
}

export interface StoreChange<T = any> {
  readonly collection: string;
  readonly key: string;
  readonly kind: "set" | "delete" | "expire";
  /** null for "delete" and "expire". */
  readonly value: T | null;
  /** That of the change: the document's, if there is one. */
  readonly version: number;
}

/**
 * The failure of the store: CONFLICT, TOO_LARGE, INVALID_KEY, INVALID_NAME, INVALID_VALUE, NOT_A_NUMBER, INDEX_MISSING,
 * UNSUPPORTED, GONE, TIMEOUT, CANCELLED, BUSY (too much waits), FULL (no space on the disk), READ_ONLY, UNAVAILABLE (the
 * database cannot be reached) or FAILED. Nothing was written, but for UNKNOWN: the connection was lost, or
 * the disk failed, while the commit was under way.
 */
export class StoreError extends Error {
  constructor(code: string, message: string);
  readonly code: string;
}

export interface ModuleContext<State = unknown, Config = Settings> {
  /** The module's name, as in RELOAD name. */
  readonly name: string;
  /** 1 for the first loaded version; each swap adds one. */
  readonly generation: number;
  /** The result of setup in this host. */
  readonly state: State;
  /** The module's own settings: `modules.NAME` of hrmr.json; with a `config` schema, its output. */
  readonly config: Config;
  /** The folder of the module's source file. */
  readonly dir: string;
  /** This module's own folder for files. Made at the first use; it outlives reloads and restarts. */
  readonly dataDir: string;
  /** Where this copy runs: "main", "process", or the number of its pool thread. */
  readonly host: "main" | "process" | number;
  readonly log: Log;
  /** Resources that outlive this version: a database, a cache, a connection. */
  readonly shared: SharedResources;
  /**
   * The services of all modules: `await context.services.kv.get("x")`. Rejects with a ServiceError. The call inherits
   * the deadline and the cancellation of the message that is being handled.
   */
  readonly services: ModuleServices;
  /** Access checks, for a module that offers guarded parts of the server to clients. On the main thread only. */
  readonly access: ModuleAccess;
  /** Events of all modules: `context.events.emit("user.created", { id: 7 })`. */
  readonly events: ModuleEvents;
  /** The store that all modules share: collections of JSON documents, on the database that hrmr.json names. */
  readonly store: Store;
  /**
   * Sends to every WebSocket of this module that is subscribed to the topic. On the main thread only.
   *
   * @param data    a list: several messages, which each socket gets in one write
   * @param options `onlyHere`: sends only to sockets of this process of the server. Default false
   * @returns bytes taken; -1 if some wait for their client to read; 0 if nobody is subscribed, or all dropped it
   */
  publish(
    topic: string,
    data: string | ArrayBufferLike | ArrayBufferView | readonly (string | ArrayBufferLike | ArrayBufferView)[],
    options?: { readonly onlyHere?: boolean },
  ): number;
}

/**
 * Resources that the host keeps open over all versions of a module, and closes when the server ends. Each host has its
 * own store, and so has each pool thread.
 */
export interface SharedResources extends SharedScope {
  /** The same for all modules of this host: the first module to open a name opens it for all. */
  readonly global: SharedScope;
}

export interface SharedScope {
  /**
   * @param name  yours to choose
   * @param open called if nothing of that name is open in this host. The resource belongs to the host: a reload does
   *   not close it. If `open` fails, so does this call, and the next one tries again
   * @param close called with the value when the server ends or the module is removed, after the last call; the last
   *   opened first. The newest `close` counts. Default: the value's own Symbol.asyncDispose, Symbol.dispose or `close`
   * @returns the result of `open`, the same for every version. A database, a Map or a plain object is fine; a function,
   *   or an object of a class of yours, keeps the version that made it in memory
   */
  open<T>(name: string, open: () => T | Promise<T>, close?: (value: T) => void | Promise<void>): Promise<T>;
  /** Closes it now; the next `open` opens it again. @returns false: there was none */
  close(name: string): Promise<boolean>;
}

export interface RequestContext<
  State = unknown,
  Params = Record<string, string>,
  Config = Settings,
> extends ModuleContext<State, Config> {
  readonly client: Client;
  /**
   * The client's session, from the request's `Authorization: Bearer` (for a WebSocket, also from a subprotocol), else
   * from AUTH on its connection. A token that the server does not know gives no identity; the module may check it
   * itself.
   */
  readonly session: Session;
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
  /**
   * The request's trailers, once its body has been read: over HTTP/2, and over HTTP/1.1 with a chunked body. Empty if
   * there are none. Rejects if the body breaks off.
   */
  readonly requestTrailers: Promise<Headers>;
  /**
   * Trailers of the reply. Set them before its body ends. They are sent over HTTP/2, and over HTTP/1.1 to a client that
   * sends `TE: trailers`, if the reply's length is not told. Fields that frame a message are left out.
   */
  readonly responseTrailers: Headers;
}

export interface Log {
  debug(...values: unknown[]): void;
  info(...values: unknown[]): void;
  warn(...values: unknown[]): void;
  error(...values: unknown[]): void;
}

/** The connection of a `connect` handler. It is closed when the handler returns, unless a new version takes it over. */
export interface Connection extends AsyncIterable<Uint8Array> {
  readonly client: Client;
  /** The client's session, set by AUTH before the handler got the connection. */
  readonly session: Session;
  /** Yours. Stays with the connection when a new version of the module takes it over. */
  data: unknown;
  /** True once a new version waits for this connection: the iterators have ended; return, and its `connect` goes on. */
  readonly replaced: boolean;
  /** Aborted when the client is gone, the server shuts down or the drain deadline has passed. */
  readonly signal: AbortSignal;
  /**
   * `count` bytes, or null if the client ended first or a new version waits. Without `count`: all bytes that have
   * arrived, at least one.
   */
  read(count?: number): Promise<Uint8Array | null>;
  /** The bytes up to `delimiter`, with it; null as for read. Fails with a RangeError beyond maxMessageBytes. */
  readUntil(delimiter: string | Uint8Array): Promise<Uint8Array | null>;
  /** Lines as text, without their LF or CR LF. */
  lines(): AsyncIterableIterator<string>;
  /**
   * Resolves when the bytes are accepted; under backpressure, when there is room again. Rejects if the client is gone.
   */
  write(data: string | Uint8Array): Promise<void>;
  /** Sends the queued bytes, then closes. */
  end(data?: string | Uint8Array): Promise<void>;
}
