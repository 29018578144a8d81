/** Chromium without a window, driven over its debugging protocol: no package needed. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UNTIL_MS } from "./until";

const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) =>
  existsSync(path),
);

/** Why there is no browser here; null if there is one. */
export const NO_BROWSER: string | null =
  CHROMIUM === undefined ? "no chromium in /usr/bin (apt-get install chromium)" : null;

/** The events while a page was loaded. */
export interface LoadedPage {
  readonly status: number;
  /** By path: the status of everything that the page asked for, itself included. */
  readonly requests: Map<string, number>;
  /** Errors in the console: scripts that threw, missing files, the page's own lines. */
  readonly errors: string[];
  /** Runs an expression in the page. Promises are awaited. */
  evaluate(expression: string): Promise<unknown>;
}

type Params = Record<string, unknown>;

export class Browser {
  readonly #child: Bun.Subprocess<"ignore", "ignore", "pipe">;
  readonly #profile: string;
  readonly #socket: WebSocket;
  readonly #replies = new Map<number, PromiseWithResolvers<Params>>();
  readonly #listeners = new Set<(session: string, method: string, params: Params) => void>();
  #lastId = 0;

  private constructor(child: Bun.Subprocess<"ignore", "ignore", "pipe">, profile: string, socket: WebSocket) {
    this.#child = child;
    this.#profile = profile;
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#receive(JSON.parse(String(data)) as Params);
  }

  /** @param more  flags of Chromium */
  static async start(more: readonly string[] = []): Promise<Browser> {
    if (CHROMIUM === undefined) throw new Error(NO_BROWSER ?? "");
    const profile = mkdtempSync(join(tmpdir(), "hrmr-browser-"));
    const flags = [
      "--headless=new",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-background-networking",
      "--disable-component-update",
      ...more,
    ];
    const child = Bun.spawn(
      [CHROMIUM, ...flags, "--no-first-run", "--remote-debugging-port=0", `--user-data-dir=${profile}`, "about:blank"],
      { stdin: "ignore", stdout: "ignore", stderr: "pipe" },
    );
    try {
      const url = await within("chromium's debugging port", debuggingUrl(child.stderr));
      const socket = new WebSocket(url);
      await within("the connection to chromium", new Promise<unknown>((resolve) => (socket.onopen = resolve)));
      return new Browser(child, profile, socket);
    } catch (error) {
      child.kill("SIGKILL");
      rmSync(profile, { recursive: true, force: true });
      throw error;
    }
  }

  /**
   * Opens `url` in a tab of its own and waits for its load event and for `settled` requests behind it, the icon's among
   * them.
   */
  async open(url: string, settled: (page: LoadedPage) => boolean = () => true): Promise<LoadedPage> {
    const { targetId } = await this.#send("Target.createTarget", { url: "about:blank" });
    const { sessionId } = (await this.#send("Target.attachToTarget", { targetId, flatten: true })) as {
      sessionId: string;
    };
    const changed = { now: Promise.withResolvers<void>(), isLoaded: false, status: 0 };
    const paths = new Map<unknown, string>();
    const page = {
      requests: new Map<string, number>(),
      errors: [] as string[],
      get status() {
        return changed.status;
      },
      evaluate: async (expression: string) => {
        const reply = await this.#send(
          "Runtime.evaluate",
          { expression, returnByValue: true, awaitPromise: true },
          sessionId,
        );
        if (reply.exceptionDetails !== undefined)
          throw new Error(`in the page: ${JSON.stringify(reply.exceptionDetails)}`);
        return (reply.result as Params).value;
      },
    };
    this.#listeners.add((session, method, params) => {
      if (session !== sessionId) return;
      if (method === "Page.loadEventFired") changed.isLoaded = true;
      if (method === "Network.requestWillBeSent")
        paths.set(params.requestId, new URL((params.request as { url: string }).url).pathname);
      if (method === "Network.responseReceived") {
        const { status } = params.response as { status: number };
        page.requests.set(paths.get(params.requestId) ?? "", status);
        if (params.type === "Document") changed.status = status;
      }
      if (method === "Log.entryAdded") addError(page.errors, params.entry as Params);
      if (method === "Runtime.exceptionThrown") page.errors.push(JSON.stringify(params.exceptionDetails));
      if (method === "Runtime.consoleAPICalled" && params.type === "error")
        page.errors.push(JSON.stringify(params.args));
      changed.now.resolve();
      changed.now = Promise.withResolvers<void>();
    });
    for (const domain of ["Page", "Network", "Log", "Runtime"]) await this.#send(`${domain}.enable`, {}, sessionId);
    await this.#send("Page.navigate", { url }, sessionId);
    const load = async () => {
      while (!changed.isLoaded || !settled(page)) await changed.now.promise;
    };
    await within(`${url} in chromium (so far: ${JSON.stringify([...page.requests])})`, load());
    return page;
  }

  async close(): Promise<void> {
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), 5000);
    this.#send("Browser.close", {}).catch(() => undefined);
    await this.#child.exited;
    clearTimeout(timer);
    this.#socket.close();
    // Its helpers may still write their last files.
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 10 });
  }

  async #send(method: string, params: Params, sessionId?: string): Promise<Params> {
    const id = ++this.#lastId;
    const reply = Promise.withResolvers<Params>();
    this.#replies.set(id, reply);
    this.#socket.send(JSON.stringify({ id, method, params, sessionId }));
    return await within(method, reply.promise);
  }

  #receive(message: Params): void {
    if (typeof message.id === "number") {
      const reply = this.#replies.get(message.id);
      this.#replies.delete(message.id);
      if (message.error === undefined) reply?.resolve(message.result as Params);
      else reply?.reject(new Error(JSON.stringify(message.error)));
      return;
    }
    for (const listener of this.#listeners)
      listener(String(message.sessionId), String(message.method), message.params as Params);
  }
}

function addError(errors: string[], entry: Params): void {
  if (entry.level === "error") errors.push(`${String(entry.text)} ${String(entry.url ?? "")}`);
}

async function debuggingUrl(stderr: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<string> {
  const [mine, rest] = stderr.tee();
  // Read to its end, so that a full pipe never stops the browser.
  void rest.pipeTo(new WritableStream()).catch(() => undefined);
  let text = "";
  for await (const piece of mine.pipeThrough(new TextDecoderStream())) {
    text += piece;
    const url = /DevTools listening on (ws:\S+)/.exec(text)?.[1];
    if (url !== undefined) return url;
  }
  throw new Error(`chromium ended early:\n${text}`);
}

async function within<T>(what: string, promise: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`${what}: not within ${UNTIL_MS} ms`)), UNTIL_MS);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
