/**
 * The modules that ship with hrmr, the examples and what `hrmr init` writes: each has a valid shape and does what its
 * header says.
 */
import { describe, expect, test } from "bun:test";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { bunTypeFiles } from "../src/cli/bun-types";
import { defaultOptions } from "../src/config/options";
import type {
  ConnectRoute,
  Connection,
  FetchRoute,
  HandleRoute,
  Message,
  ModuleContext,
  ModuleDefinition,
} from "../src/module/contract";
import { readShape } from "../src/module/shape/shape";

const ROOT = resolve(import.meta.dir, "..");
const FOLDERS = ["modules", "examples", "examples/init/modules"];
const FILES = FOLDERS.flatMap((folder) => readdirSync(join(ROOT, folder)).map((name) => join(folder, name))).filter(
  (path) => path.endsWith(".ts"),
);

/** They all have routes. */
type Example = ModuleDefinition<never> & Required<Pick<ModuleDefinition<never>, "routes">>;

async function load(path: string): Promise<Example> {
  return (await import(join(ROOT, path))).default;
}

/** A module set up as in the main thread; `state` is what its setup made of `handoff`. */
async function start(path: string, handoff?: unknown) {
  const module = await load(path);
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  const base = { name: "x", generation: 1, config: {}, dir: ROOT, dataDir: ROOT, host: "main", log };
  const context = { ...base } as unknown as ModuleContext<never>;
  const state = await module.setup?.(context, handoff);
  const full = { ...base, state } as unknown as ModuleContext<never>;
  await module.check?.(full);
  return {
    module,
    handoff: () => structuredClone(module.handoff?.(state as never)),
    async say(key: string, message: string | Uint8Array): Promise<string> {
      const route = module.routes[key];
      const handle = typeof route === "function" ? route : (route as HandleRoute<never>).handle;
      const bytes = typeof message === "string" ? Buffer.from(message) : message;
      return (await handle({ bytes, text: Buffer.from(bytes).toString() } as Message, full)) as string;
    },
    async fetch(key: string, request: Request, params: Record<string, string> = {}): Promise<Response> {
      return (module.routes[key] as FetchRoute<never>).fetch(request, { ...full, params } as never);
    },
    connect: (key: string, connection: Connection) =>
      (module.routes[key] as ConnectRoute<never>).connect(connection, full),
  };
}

/** A client's side of a connection: its input comes from `type`, its output is in `seen`. */
class Client {
  readonly seen: string[] = [];
  data: unknown = undefined;
  replaced = false;
  readonly client = { connection: 7 };
  #typed: string[] = [];
  #wake: (() => void) | null = null;
  #waiting: { text: string; resolve: () => void }[] = [];
  #isOver = false;

  type(line: string): void {
    this.#typed.push(line);
    this.#wake?.();
  }

  /** The iterators end: the client left, or a new version waits. */
  stop(replaced: boolean): void {
    this.replaced = replaced;
    this.#isOver = true;
    this.#wake?.();
  }

  /** The next version's view of the same connection. */
  continue(): void {
    this.replaced = false;
    this.#isOver = false;
  }

  async write(text: string): Promise<void> {
    this.seen.push(text);
    this.#waiting = this.#waiting.filter((wait) => {
      if (text.includes(wait.text)) wait.resolve();
      return !text.includes(wait.text);
    });
  }

  end(text: string): Promise<void> {
    return this.write(text);
  }

  sees(text: string): Promise<void> {
    if (this.seen.some((piece) => piece.includes(text))) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ text, resolve }));
  }

  async *lines(): AsyncGenerator<string> {
    for (;;) {
      while (this.#typed.length > 0) yield this.#typed.shift()!;
      if (this.#isOver) return;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  async readUntil(): Promise<Uint8Array | null> {
    for await (const line of this.lines()) return Buffer.from(line + "\n");
    return null;
  }

  asConnection(): Connection {
    return this as unknown as Connection;
  }
}

describe("shape", () => {
  test.each(FILES)("%s is a module that the server takes", async (path) => {
    const shape = readShape(path, await load(path));
    expect(shape.routes.length + (shape.middleware === null ? 0 : 1)).toBeGreaterThan(0);
  });

  test.each(FILES)("%s imports nothing that its folder does not have", (path) => {
    const imports = [...readFileSync(join(ROOT, path), "utf8").matchAll(/from "([^"]+)"/g)].map(
      ([, name]) => name ?? "",
    );
    const isAllowed = (name: string) =>
      name === "hrmr" ||
      name === "hono" ||
      name.startsWith("bun:") ||
      (path.startsWith("modules/") && name.startsWith("node:"));
    expect(imports.filter((name) => !isAllowed(name))).toEqual([]);
  });

  test("no two shipped modules, and no two of init's, claim the same key", async () => {
    for (const folder of ["modules", "examples/init/modules"]) {
      const modules = await Promise.all(FILES.filter((path) => path.startsWith(`${folder}/`)).map(load));
      const keys = modules.flatMap((module) => Object.keys(module.routes));
      expect(new Set(keys).size).toBe(keys.length);
    }
  });
});

describe("shipped modules", () => {
  test("ECHO and POST /echo give back what they got", async () => {
    const echo = await start("modules/echo.ts");
    expect(await echo.say("ECHO ", "ECHO hello ECHO ")).toBe("hello ECHO \n");
    const body = Uint8Array.from({ length: 256 }, (_, index) => index);
    const request = new Request("http://x/echo", { method: "POST", body, headers: { "content-type": "image/png" } });
    const response = await echo.fetch("POST /echo", request);
    expect(response.headers.get("content-type")).toBe("image/png");
    expect(await response.bytes()).toEqual(body);
  });

  test("TALK answers line by line, goes on in the next version, and says good-bye once", async () => {
    const client = new Client();
    client.type("TALK");
    const first = (await start("modules/echo.ts")).connect("TALK", client.asConnection());
    client.type("one");
    await client.sees("1: one");
    client.stop(true);
    await first;
    client.continue();
    const second = (await start("modules/echo.ts")).connect("TALK", client.asConnection());
    client.type("two");
    client.type("BYE");
    await second;
    expect(client.seen).toEqual(["Talk to me. BYE ends it.\n", "1: one\n", "2: two\n", "Bye after 2 lines.\n"]);
  });

  test("COUNT goes on where the version before stopped, and starts anew from nonsense", async () => {
    const first = await start("modules/counter.ts");
    expect([await first.say("COUNT", "COUNT\n"), await first.say("COUNT", "COUNT\n")]).toEqual(["1\n", "2\n"]);
    expect(await (await start("modules/counter.ts", first.handoff())).say("COUNT", "COUNT\n")).toBe("3\n");
    for (const nonsense of [{ count: "5" }, 7, null]) {
      expect(await (await start("modules/counter.ts", nonsense)).say("COUNT", "COUNT\n")).toBe("1\n");
    }
  });

  test("HASH and PRIME run on the pool and are right", async () => {
    const counter = await start("modules/counter.ts");
    for (const key of ["HASH ", "PRIME "]) expect((counter.module.routes[key] as HandleRoute).run).toBe("pool");
    expect(await counter.say("HASH ", "HASH a")).toMatch(/^[0-9a-f]{64} \(thread main\)\n$/);
    expect(await counter.say("HASH ", "HASH a")).toBe(await counter.say("HASH ", "HASH a"));
    for (const [text, answer] of [
      ["2", "2 is prime\n"],
      ["1000003", "1000003 is prime\n"],
      ["25", "25 is not prime: 5 divides it\n"],
      ["4", "4 is not prime: 2 divides it\n"],
      ["0", "0 is not prime\n"],
      ["1", "1 is not prime\n"],
    ]) {
      expect(await counter.say("PRIME ", `PRIME ${text}`)).toBe(answer!);
    }
    for (const text of ["", "-7", "x", "9007199254740993", "1e3"])
      expect(await counter.say("PRIME ", `PRIME ${text}`)).toStartWith("ERR ");
  });
});

describe("examples", () => {
  test("greet answers PING and GREET", async () => {
    const greet = await start("examples/greet.ts");
    expect(await greet.say("PING", "PING")).toBe("PONG\n");
    expect(await greet.say("GREET ", "GREET bob")).toBe("Hello, bob\n");
  });

  test("hono-app answers as an app of its own", async () => {
    const { default: app } = await import("../examples/hono-app");
    expect(await (await app.request("/users/42")).json()).toEqual({ id: "42" });
    const created = await app.request("/users", {
      method: "POST",
      body: '{"name":"ada"}',
      headers: { "content-type": "application/json" },
    });
    expect(created.status).toBe(201);
  });

  test("redis-like answers PING, ECHO, SET and GET, and keeps its data over a reload", async () => {
    const redis = await start("examples/redis-like.ts");
    const ask = async (...words: string[]) =>
      Buffer.from((await redis.say("*", resp(words))) as unknown as Uint8Array).toString("latin1");
    expect(await ask("PING")).toBe("+PONG\r\n");
    expect(Buffer.from(await ask("ECHO", "grüße"), "latin1").toString()).toBe("$7\r\ngrüße\r\n");
    expect(await ask("get", "color")).toBe("$-1\r\n");
    expect(await ask("SET", "color", "b\r\nlue")).toBe("+OK\r\n");
    expect(await ask("GET", "color")).toBe("$6\r\nb\r\nlue\r\n");
    expect(await ask("SET", "color")).toBe("-ERR wrong number of arguments for 'set' command\r\n");
    expect(await ask("SET", "color", "red", "NX")).toBe("-ERR syntax error\r\n");
    expect(await ask()).toBe("");
    const next = await start("examples/redis-like.ts", redis.handoff());
    expect(Buffer.from((await next.say("*", resp(["GET", "color"]))) as unknown as Uint8Array).toString()).toBe(
      "$6\r\nb\r\nlue\r\n",
    );
  });

  test("redis-like refuses unknown commands as Redis does, in one line", async () => {
    const redis = await start("examples/redis-like.ts");
    const ask = async (...words: string[]) =>
      Buffer.from((await redis.say("*", resp(words))) as unknown as Uint8Array).toString("latin1");
    expect(await ask("HELLO", "3")).toBe("-ERR unknown command 'HELLO', with args beginning with: '3' \r\n");
    expect(await ask("client", "SETNAME", "me")).toBe(
      "-ERR unknown command 'client', with args beginning with: 'SETNAME' 'me' \r\n",
    );
    expect(await ask("INFO")).toMatch(/^-ERR unknown command 'INFO'.*NOPERM.*\r\n$/);
    expect(await ask("NO\r\n+OK", "\r\n")).toBe("-ERR unknown command 'NO  +OK', with args beginning with: '  ' \r\n");
    for (const name of ["constructor", "__proto__", ""])
      expect(await ask(name, "x".repeat(9999))).toMatch(/^-ERR unknown command [^\r\n]{3,300}\r\n$/);
  });

  test("redis-like's framing waits at every split, and refuses what is no command", async () => {
    const redis = await load("examples/redis-like.ts");
    const framing = (redis.routes["*"] as HandleRoute<never>).framing as (bytes: Uint8Array) => number;
    const message = resp(["SET", "grüße", "a\r\nb"]);
    for (let end = 1; end < message.length; end++) expect([end, framing(message.subarray(0, end))]).toEqual([end, -1]);
    expect(framing(Buffer.concat([message, message]))).toBe(message.length);
    for (const broken of ["*x\r\n", "*-1\r\n", "*1\r\n:5\r\n", "*1\r\n$99999999\r\n"])
      expect(() => framing(Buffer.from(broken))).toThrow();
  });

  test("length-prefixed sums what it is sent", async () => {
    const sum = await start("examples/length-prefixed.ts");
    const message = Buffer.from([...Buffer.from("SUM!"), 0, 0, 0, 4, 0xff, 0xff, 0, 2]);
    const reply = await sum.say("SUM!", message);
    expect(Buffer.from(reply as unknown as Uint8Array)).toEqual(
      Buffer.from([...Buffer.from("SUM!"), 0, 0, 0, 4, 0, 1, 0, 1]),
    );
  });

  test("chat brings people together, and nobody leaves when a new version takes over", async () => {
    const [ada, bob] = [new Client(), new Client()];
    const first = await start("examples/chat.ts");
    const enter = (room: typeof first, who: Client) => Promise.resolve(room.connect("CHAT", who.asConnection()));
    ada.type("CHAT ada");
    const adaInFirst = enter(first, ada);
    await ada.sees("hello ada");
    bob.type("CHAT bob");
    const bobInFirst = enter(first, bob);
    await ada.sees("bob came in");
    bob.type("hi");
    await ada.sees("bob: hi");
    for (const who of [ada, bob]) who.stop(true);
    await Promise.all([adaInFirst, bobInFirst]);

    for (const who of [ada, bob]) who.continue();
    const second = await start("examples/chat.ts");
    const adaInSecond = enter(second, ada);
    const bobInSecond = enter(second, bob);
    ada.type("/who");
    await ada.sees("* ada, bob");
    ada.type("still here");
    await bob.sees("ada: still here");
    expect([...ada.seen, ...bob.seen].filter((text) => text.includes("left"))).toEqual([]);
    bob.type("/bye");
    await bobInSecond;
    await ada.sees("bob left");
    ada.stop(false);
    await adaInSecond;
  });

  test("sse goes on behind Last-Event-ID, ends by itself, and refuses nonsense", async () => {
    const sse = await start("examples/sse.ts");
    const request = new Request("http://x/events?count=1", { headers: { "last-event-id": "41" } });
    const response = await sse.fetch("GET /events", request);
    expect(response.headers.get("content-type")).toBe("text/event-stream");
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    expect((await reader.read()).value).toBe("retry: 2000\n\n");
    expect((await reader.read()).value).toStartWith('id: 42\nevent: tick\ndata: {"id":42,');
    await reader.cancel();
    const none = await sse.fetch("GET /events", new Request("http://x/events?count=0"));
    expect(await none.text()).toBe("retry: 2000\n\n");
    expect((await sse.fetch("GET /events", new Request("http://x/events?count=x"))).status).toBe(400);
  });
});

function resp(words: string[]): Buffer {
  return Buffer.from(
    `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join("")}`,
  );
}

describe("what hrmr init writes", () => {
  test("the modules answer as their headers say", async () => {
    const greet = await start("examples/init/modules/greet.ts");
    expect(await (await start("examples/init/modules/hello.ts")).say("HELLO", "HELLO")).toBe("Hello from hrmr\n");
    expect(await greet.say("GREET ", "GREET ada")).toBe("Hello, ada. You are number 1.\n");
    const next = await start("examples/init/modules/greet.ts", greet.handoff());
    expect(await next.say("GREET ", "GREET bob")).toBe("Hello, bob. You are number 2.\n");
    expect(await greet.say("FIB ", "FIB 20")).toBe("6765\n");
    expect(await greet.say("FIB ", "FIB x")).toStartWith("ERR ");
  });

  test("the API keeps notes, also over a reload", async () => {
    const api = await start("examples/init/modules/api.ts");
    const post = (body: string) =>
      api.fetch("POST /api/notes", new Request("http://x/api/notes", { method: "POST", body }));
    const created = await post("buy milk");
    expect([created.status, created.headers.get("location")]).toEqual([201, "/api/notes/1"]);
    expect((await post(" ")).status).toBe(400);
    const next = await start("examples/init/modules/api.ts", api.handoff());
    expect(await (await next.fetch("GET /api/notes", new Request("http://x/"))).json()).toEqual([
      { id: 1, text: "buy milk" },
    ]);
    expect(await (await next.fetch("GET /api/notes/:id", new Request("http://x/"), { id: "1" })).json()).toEqual({
      id: 1,
      text: "buy milk",
    });
    expect((await next.fetch("GET /api/notes/:id", new Request("http://x/"), { id: "nope" })).status).toBe(404);
  });

  test("hrmr.json is valid as it is, and shows every option with its default", () => {
    const text = readFileSync(join(ROOT, "examples/init/hrmr.json"), "utf8");
    const groups = {
      limits: {},
      timeouts: {},
      log: {},
      control: {},
      tls: {},
      access: {},
      schedule: {},
      store: {},
      http: {},
      http2: {},
      versions: {},
      modules: {},
    };
    expect(Bun.JSONC.parse(text)).toEqual({ $schema: "./hrmr.schema.json", ...groups });
    const {
      modules,
      $schema: _schema,
      ...shown
    } = Bun.JSONC.parse(text.replaceAll(/^(\s*)\/\/ (?=")/gm, "$1")) as Record<string, unknown>;
    const { modules: _, ...defaults } = defaultOptions();
    // Shown by name: the default means the folder `modules` beside this file.
    expect(shown).toEqual({ ...defaults, modulesDir: "modules" });
    expect(modules).toEqual({ hello: { enabled: true, external: [] } });
  });

  test("a new project passes bun check without any package", () => {
    const folder = mkdtempSync(join(tmpdir(), "hrmr-init-"));
    try {
      cpSync(join(ROOT, "examples/init"), folder, { recursive: true });
      cpSync(join(ROOT, "src/module/contract.d.ts"), join(folder, "hrmr.d.ts"));
      for (const [path, text] of bunTypeFiles()) {
        mkdirSync(dirname(join(folder, path)), { recursive: true });
        writeFileSync(join(folder, path), text);
      }
      for (const name of readdirSync(join(ROOT, "examples"))) {
        if (name.endsWith(".ts") && name !== "hono-app.ts")
          cpSync(join(ROOT, "examples", name), join(folder, "modules", `example-${name}`));
      }
      for (const name of readdirSync(join(ROOT, "examples/new"))) {
        if (name !== "hono.ts") cpSync(join(ROOT, "examples/new", name), join(folder, "modules", `new-${name}`));
      }
      const check = Bun.spawnSync([process.execPath, "check"], { cwd: folder, stdout: "pipe", stderr: "pipe" });
      expect(`${check.stdout}${check.stderr}`).not.toContain("error TS");
      expect(check.exitCode).toBe(0);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
