/** The types of "hrmr/test": the helpers that `hrmr test` gives to tests of modules. */
export interface TestServerOptions {
  /**
   * A folder of modules, relative to the working directory; or files by name: `{ "greet.ts": "export default …" }`.
   * Default "modules".
   */
  modules?: string | Readonly<Record<string, string>>;
  /** The content of hrmr.json. Default: empty; the project's own file is not read. */
  config?: object;
  /** More flags of `hrmr start`. */
  args?: readonly string[];
  /**
   * true: the server starts without a module that fails, as usual. Default false: the start rejects with the reasons.
   */
  mayFail?: boolean;
}

export interface TestServer extends AsyncDisposable {
  /** `http://127.0.0.1:PORT`. */
  readonly url: string;
  readonly port: number;
  /** Like the global `fetch`, with a path. */
  fetch(path: string, init?: RequestInit): Promise<Response>;
  /**
   * Sends bytes on a new connection, then the end of input. Resolves with the whole reply once the server has ended it
   * too.
   */
  send(message: string | Uint8Array): Promise<string>;
  /** Sends RELOAD. Resolves with its answer. */
  reload(): Promise<string>;
  /** The log so far. */
  log(): string;
  /** Idempotent. A server that still runs ends with the tests. */
  stop(): Promise<void>;
}

/**
 * Starts a separate server on a free port: the program itself, as its users run it. Rejects with its output if it does
 * not serve, or a module was not loaded.
 */
export declare function startTestServer(options?: TestServerOptions): Promise<TestServer>;
