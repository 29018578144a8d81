/** The types of "hrmr/test": what `hrmr test` gives the tests of modules. */
export interface TestServerOptions {
  /**
   * A folder of modules, relative to the working directory; or files by name: `{ "greet.ts": "export default …" }`.
   * Default "modules".
   */
  modules?: string | Readonly<Record<string, string>>;
  /** What hrmr.json would hold. Default: nothing; the project's own file is not read. */
  config?: object;
  /** More flags of `hrmr start`. */
  args?: readonly string[];
  /** true: a module that fails is left out, as at any start. Default false: the start rejects with the reasons. */
  mayFail?: boolean;
}

export interface TestServer extends AsyncDisposable {
  /** `http://127.0.0.1:PORT`. */
  readonly url: string;
  readonly port: number;
  /** As the global one, with a path. */
  fetch(path: string, init?: RequestInit): Promise<Response>;
  /**
   * Sends bytes on a connection of their own, then the end of input. Resolves with all that comes back, once the server
   * has ended it too.
   */
  send(message: string | Uint8Array): Promise<string>;
  /** What RELOAD answers. */
  reload(): Promise<string>;
  /** What it has logged so far. */
  log(): string;
  /** Idempotent. A server that is left running ends with the tests. */
  stop(): Promise<void>;
}

/**
 * Starts a server of its own on a free port: the program itself, as its users run it. Rejects with its output when it
 * does not serve, or a module was not loaded.
 */
export declare function startTestServer(options?: TestServerOptions): Promise<TestServer>;
