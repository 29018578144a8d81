/**
 * The part of a client that is the same for all projects: `hrmr client` writes it, with the types of the procedures
 * behind it, into one file. It runs in the user's node, Bun, Deno or browser, and needs no package.
 */

export interface ClientOptions {
  /** Default "127.0.0.1". */
  host?: string;
  /** Default 8080. */
  port?: number;
  /** A unix socket's path, in place of host and port. */
  path?: string;
  /** A WebSocket in place of a raw connection: "wss://example.com/rpc". Default in a browser: of the page's server. */
  url?: string;
  /** Of `hrmr token add`. Default: none. */
  token?: string;
  /** TLS, with the options of node's `tls.connect`. Default: none. */
  tls?: object;
  /** How long a call may take. In milliseconds. Default 30000; 0 waits for ever. */
  timeoutMs?: number;
}

export interface CallOptions {
  /** In milliseconds. Default: that of the client. */
  timeoutMs?: number;
  /** Cancels the call. */
  signal?: AbortSignal;
}

/** The failure of a call. `code` is the service's own word, such as "NO_FUNDS" or "TIMEOUT", or "DISCONNECTED". */
export class CallError extends Error {
  override readonly name = "CallError";
  readonly code: string;
  readonly data: unknown;
  /** JSON-RPC's number; 0: the server did not answer. */
  readonly rpcCode: number;

  constructor(code: string, message: string, data?: unknown, rpcCode = 0) {
    super(message);
    this.code = code;
    this.data = data;
    this.rpcCode = rpcCode;
  }
}

interface Pending {
  resolve(value: unknown): void;
  reject(error: Error): void;
  /** A part of a streamed result. */
  next(value: unknown): void;
}

interface Answer {
  readonly id?: number;
  readonly method?: string;
  readonly params?: { readonly id: number; readonly value: unknown };
  readonly result?: unknown;
  readonly error?: { readonly code: number; readonly message: string; readonly data?: { readonly code?: string } };
}

/** One connection, opened at the first call and again after it was lost. Calls share it, and run at the same time. */
export class Client {
  readonly #options: ClientOptions;
  readonly #pending = new Map<number, Pending>();
  #line: Promise<Line> | null = null;
  #last = 0;
  #isClosed = false;
  /** Failed tries to connect, one after another. */
  #failures = 0;

  constructor(options: ClientOptions = {}) {
    this.#options = options;
  }

  /** Calls a procedure by its name. Rejects with a CallError. */
  async call(method: string, params?: unknown, options: CallOptions = {}): Promise<unknown> {
    const parts: unknown[] = [];
    const result = await this.#ask(method, params, options, (value) => parts.push(value));
    return parts.length > 0 ? parts : result;
  }

  /** Calls a procedure with a streamed result. Leaving the loop cancels the call. */
  async *stream(method: string, params?: unknown, options: CallOptions = {}): AsyncGenerator<unknown> {
    const parts: unknown[] = [];
    let wake = (): void => {};
    let state: { done: boolean; error: Error | null } = { done: false, error: null };
    const leave = new AbortController();
    const signal = options.signal === undefined ? leave.signal : AbortSignal.any([options.signal, leave.signal]);
    this.#ask(method, params, { timeoutMs: 0, ...options, signal }, (value) => {
      parts.push(value);
      wake();
    }).then(
      () => {
        state = { done: true, error: null };
        wake();
      },
      (error: Error) => {
        state = { done: true, error };
        wake();
      },
    );
    try {
      for (;;) {
        while (parts.length > 0) yield parts.shift();
        if (state.error !== null) throw state.error;
        if (state.done) return;
        await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      if (!state.done) leave.abort();
    }
  }

  /** Ends the connection. Open calls fail with DISCONNECTED. */
  close(): void {
    this.#isClosed = true;
    void this.#line?.then((line) => line.end()).catch(() => {});
    this.#failAll(new CallError("DISCONNECTED", "the client was closed"));
  }

  async #ask(
    method: string,
    params: unknown,
    { timeoutMs = this.#options.timeoutMs ?? 30_000, signal }: CallOptions,
    next: (value: unknown) => void,
  ): Promise<unknown> {
    if (this.#isClosed) throw new CallError("DISCONNECTED", "the client is closed");
    signal?.throwIfAborted();
    const line = await (this.#line ??= this.#connect());
    const id = ++this.#last;
    let reject: (error: Error) => void = () => {};
    const promise = new Promise<unknown>((resolve, fail) => {
      reject = fail;
      this.#pending.set(id, { resolve, reject, next });
    });
    const cancel = (error: Error): void => {
      if (!this.#pending.delete(id)) return;
      line.send(JSON.stringify({ jsonrpc: "2.0", method: "$/cancelRequest", params: { id } }));
      reject(error);
    };
    const late = (): void => cancel(new CallError("TIMEOUT", `${method} did not answer within ${timeoutMs} ms`));
    const timer = timeoutMs > 0 ? setTimeout(late, timeoutMs) : null;
    const aborted = (): void => cancel(signal?.reason instanceof Error ? signal.reason : new Error("aborted"));
    signal?.addEventListener("abort", aborted, { once: true });
    line.send(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
    try {
      return await promise;
    } finally {
      if (timer !== null) clearTimeout(timer);
      signal?.removeEventListener("abort", aborted);
    }
  }

  async #connect(): Promise<Line> {
    if (this.#failures > 0)
      await new Promise((resolve) => setTimeout(resolve, Math.min(5000, 50 * 2 ** this.#failures)));
    const { token } = this.#options;
    let isOpen = false;
    let shown = (_answer: string): void => {};
    const answered = new Promise<string>((resolve) => (shown = resolve));
    const ends: Ends = {
      message: (text) => (isOpen ? this.#received(text) : shown(text)),
      lost: (error) => {
        shown("the connection was closed");
        // The calls of a later connection go on.
        if (!isOpen) return;
        isOpen = false;
        this.#line = null;
        const why = error === undefined ? "" : `: ${error.message}`;
        this.#failAll(new CallError("DISCONNECTED", `the connection to hrmr was lost${why}`));
      },
    };
    try {
      const line = await openLine(this.#options, ends);
      if (token !== undefined) {
        line.show(token);
        const answer = await answered;
        if (!/^OK|^\{"auth"/.test(answer)) {
          line.end();
          throw new CallError("UNAUTHORIZED", `hrmr refused the token: ${answer}`);
        }
      }
      this.#failures = 0;
      isOpen = true;
      return line;
    } catch (error) {
      this.#failures++;
      this.#line = null;
      throw error instanceof CallError
        ? error
        : new CallError("DISCONNECTED", `hrmr cannot be reached: ${(error as Error).message}`);
    }
  }

  #received(text: string): void {
    const answer = JSON.parse(text) as Answer;
    if (answer.method === "$/next") this.#pending.get(answer.params?.id ?? 0)?.next(answer.params?.value);
    else this.#answered(answer);
  }

  #answered({ id = 0, error, result }: Answer): void {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if (error === undefined) pending?.resolve(result);
    else pending?.reject(new CallError(error.data?.code ?? String(error.code), error.message, error.data, error.code));
  }

  #failAll(error: Error): void {
    const all = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of all) reject(error);
  }
}

/** A connection: each message is one of JSON-RPC. */
interface Line {
  send(text: string): void;
  /** Shows a token. The answer is the first message. */
  show(token: string): void;
  end(): void;
}

interface Ends {
  message(text: string): void;
  /** The connection is gone. May be called twice, and without a connection. */
  lost(error?: Error): void;
}

function openLine(options: ClientOptions, ends: Ends): Promise<Line> {
  const url = options.url ?? urlInPage(options);
  return url === null ? openTcp(options, ends) : openWebSocket(url, ends);
}

/** A page in a browser can open WebSockets only. @returns null: this is no page */
function urlInPage({ host, port }: ClientOptions): string | null {
  const { document, location } = globalThis as unknown as {
    readonly document?: unknown;
    readonly location?: { readonly protocol: string; readonly host: string; readonly hostname: string };
  };
  if (document === undefined || location === undefined) return null;
  const at = port === undefined ? (host ?? location.host) : `${host ?? location.hostname}:${port}`;
  return `${location.protocol.replace("http", "ws")}//${at}/rpc`;
}

interface TcpSocket {
  setNoDelay(isOn: boolean): void;
  setEncoding(name: string): void;
  write(text: string): void;
  end(): void;
  on(event: string, then: (value: unknown) => void): void;
}

async function openTcp({ host = "127.0.0.1", port = 8080, path, tls }: ClientOptions, ends: Ends): Promise<Line> {
  const where = path === undefined ? { host, port } : { path };
  // A name that bundlers for browsers do not see.
  const module: string = tls === undefined ? "node:net" : "node:tls";
  const { connect } = (await import(/* @vite-ignore */ module)) as { connect(options: object): TcpSocket };
  const socket = connect({ ...where, ...tls });
  socket.setNoDelay(true);
  socket.setEncoding("utf8");
  let rest = "";
  socket.on("data", (text) => {
    const lines = (rest + String(text)).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line !== "") ends.message(line);
  });
  return new Promise((resolve, reject) => {
    const lost = (error?: Error): void => {
      reject(error ?? new Error("the connection was closed"));
      ends.lost(error);
    };
    socket.on("error", (error) => lost(error as Error));
    socket.on("close", () => lost());
    const line = {
      send: (text: string) => socket.write(`${text}\n`),
      show: (token: string) => socket.write(`AUTH ${token}\n`),
      end: () => socket.end(),
    };
    socket.on(tls === undefined ? "connect" : "secureConnect", () => resolve(line));
  });
}

interface Socket {
  send(text: string): void;
  close(): void;
  onopen: () => void;
  onmessage: (event: { readonly data: unknown }) => void;
  onclose: (event: { readonly code: number; readonly reason: string }) => void;
}

function openWebSocket(url: string, ends: Ends): Promise<Line> {
  const { WebSocket } = globalThis as unknown as { WebSocket: new (url: string) => Socket };
  const socket = new WebSocket(url);
  return new Promise((resolve, reject) => {
    socket.onmessage = ({ data }) => ends.message(String(data));
    socket.onclose = ({ code, reason }) => {
      const error = new Error(`the WebSocket was closed with ${code}${reason === "" ? "" : `: ${reason}`}`);
      reject(error);
      ends.lost(error);
    };
    socket.onopen = () =>
      resolve({
        send: (text) => socket.send(text),
        show: (token) => socket.send(JSON.stringify({ auth: token })),
        end: () => socket.close(),
      });
  });
}

/** @returns the client with all procedures as methods: `hub.accounts.get({ id: 1 })` */
export function withProcedures(client: Client): Record<string, unknown> {
  const moduleOf = (module: string): unknown =>
    new Proxy(
      {},
      {
        get:
          (_, name) =>
          (input?: unknown, options?: CallOptions): Promise<unknown> =>
            client.call(`${module}.${String(name)}`, input, options),
      },
    );
  return new Proxy(client as unknown as Record<string, unknown>, {
    get(target, name) {
      const own: unknown = Reflect.get(target, name, target);
      if (own !== undefined) return typeof own === "function" ? own.bind(client) : own;
      return typeof name === "string" && name !== "then" ? moduleOf(name) : undefined;
    },
  });
}
