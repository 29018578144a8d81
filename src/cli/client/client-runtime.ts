/**
 * The part of a client that is the same for all projects: `hrmr client` writes it, with the types of the procedures
 * behind it, into one file. It runs in the user's node or Bun, and needs no package.
 */
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls, type ConnectionOptions } from "node:tls";

export interface ClientOptions {
  /** Default "127.0.0.1". */
  host?: string;
  /** Default 8080. */
  port?: number;
  /** A unix socket's path, in place of host and port. */
  path?: string;
  /** Of `hrmr token add`. Default: none. */
  token?: string;
  /** TLS, with its options. Default: none. */
  tls?: ConnectionOptions;
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
  #socket: Promise<Socket> | null = null;
  #current: Socket | null = null;
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
    void this.#socket?.then((socket) => socket.end()).catch(() => {});
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
    const socket = await (this.#socket ??= this.#connect());
    const id = ++this.#last;
    let reject: (error: Error) => void = () => {};
    const promise = new Promise<unknown>((resolve, fail) => {
      reject = fail;
      this.#pending.set(id, { resolve, reject, next });
    });
    const cancel = (error: Error): void => {
      if (!this.#pending.delete(id)) return;
      socket.write(`${JSON.stringify({ jsonrpc: "2.0", method: "$/cancelRequest", params: { id } })}\n`);
      reject(error);
    };
    const late = (): void => cancel(new CallError("TIMEOUT", `${method} did not answer within ${timeoutMs} ms`));
    const timer = timeoutMs > 0 ? setTimeout(late, timeoutMs) : null;
    const aborted = (): void => cancel(signal?.reason instanceof Error ? signal.reason : new Error("aborted"));
    signal?.addEventListener("abort", aborted, { once: true });
    socket.write(`${JSON.stringify({ jsonrpc: "2.0", id, method, params })}\n`);
    try {
      return await promise;
    } finally {
      if (timer !== null) clearTimeout(timer);
      signal?.removeEventListener("abort", aborted);
    }
  }

  async #connect(): Promise<Socket> {
    if (this.#failures > 0)
      await new Promise((resolve) => setTimeout(resolve, Math.min(5000, 50 * 2 ** this.#failures)));
    const { host = "127.0.0.1", port = 8080, path, tls, token } = this.#options;
    const where = path === undefined ? { host, port } : { path };
    const socket = tls === undefined ? connectTcp(where) : connectTls({ ...where, ...tls });
    const opened = new Promise<void>((resolve, reject) => {
      socket.once(tls === undefined ? "connect" : "secureConnect", resolve);
      socket.once("error", reject);
    });
    this.#current = socket;
    socket.setNoDelay(true);
    const lost = (error?: Error): void => {
      // The calls of a later connection go on.
      if (this.#current !== socket) return;
      this.#current = null;
      this.#socket = null;
      const failure = new CallError(
        "DISCONNECTED",
        `the connection to hrmr was lost${error ? `: ${error.message}` : ""}`,
      );
      this.#failAll(failure);
    };
    socket.on("error", lost);
    socket.on("close", () => lost());
    try {
      const lines = linesOf(socket);
      await opened;
      if (token !== undefined) {
        socket.write(`AUTH ${token}\n`);
        const answer = String((await lines.next()).value ?? "the connection was closed");
        if (!answer.startsWith("OK")) throw new CallError("UNAUTHORIZED", `hrmr refused the token: ${answer}`);
      }
      this.#failures = 0;
      // The socket's events report its end.
      this.#read(lines).catch(() => {});
      return socket;
    } catch (error) {
      this.#failures++;
      this.#socket = null;
      socket.destroy();
      throw error instanceof CallError
        ? error
        : new CallError("DISCONNECTED", `hrmr cannot be reached: ${(error as Error).message}`);
    }
  }

  async #read(lines: AsyncGenerator<string>): Promise<void> {
    for await (const line of lines) {
      const answer = JSON.parse(line) as Answer;
      if (answer.method === "$/next") this.#pending.get(answer.params?.id ?? 0)?.next(answer.params?.value);
      else this.#answered(answer);
    }
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

async function* linesOf(socket: Socket): AsyncGenerator<string> {
  let rest = "";
  socket.setEncoding("utf8");
  for await (const chunk of socket) {
    const lines = (rest + String(chunk)).split("\n");
    rest = lines.pop() ?? "";
    yield* lines.filter((line) => line !== "");
  }
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
