import { expect, test } from "bun:test";
import { Hono } from "hono";
import { readShape } from "../../src/module/shape/shape";

const handle = (): string => "ok";
const fetch = (): Response => new Response("ok");

const refused: [string, unknown, string][] = [
  ["no default export", undefined, "there is no default export. Write export default defineModule({"],
  ["a function", handle, "the default export is a function. Write export default"],
  ["null", null, "the default export is null."],
  ["no routes", {}, '"routes" is missing.'],
  ["routes as an array", { routes: [handle] }, '"routes" is an array.'],
  ["empty routes", { routes: {} }, '"routes" is empty.'],
  [
    "a misspelt module option",
    { routes: { A: handle }, setUp: handle },
    'the module has the unknown option "setUp". Did you mean "setup"?',
  ],
  ["an unknown module option", { routes: { A: handle }, zzz: 1 }, 'unknown option "zzz". Known are routes, '],
  ["services that are a list", { services: [handle] }, '"services" is an array. Write services: {'],
  ["no services and no routes", { services: {} }, '"routes" is missing'],
  ["a service without a call", { services: { get: {} } }, 'service "get": "call" is missing, and must be a function.'],
  ["a service that is a number", { services: { get: 3 } }, 'service "get" is a number. Write a function'],
  [
    "a service with a name for nobody",
    { services: { constructor: handle } },
    'service "constructor" cannot have that name',
  ],
  ["a service with a bad name", { services: { "a.b": handle } }, 'service "a.b" cannot have that name'],
  ["an unknown option of a service", { services: { get: { call: handle, timeout: 3 } } }, 'Did you mean "timeoutMs"?'],
  [
    "a schema that is none",
    { services: { get: { call: handle, input: {} } } },
    '"input" is an object, and must be a Standard Schema',
  ],
  ["a service that runs nowhere", { services: { get: { call: handle, run: "moon" } } }, '"run" is "moon"'],
  ["a start that is no function", { start: true }, '"start" is a boolean, and must be a function.'],
  ["a stop without anything to stop", { stop: handle }, '"routes" is missing.'],
  [
    "another background",
    { start: handle, background: "pool" },
    '"background" is "pool", and must be "server" or "process".',
  ],
  ["needs that are no array", { routes: { A: handle }, needs: "kv" }, '"needs" is a string. Write needs: ["kv"].'],
  ["a need that is no name", { routes: { A: handle }, needs: ["kv", 1] }, '"needs" holds 1, and must hold names'],
  ["a module that needs itself", { routes: { A: handle }, needs: ["chat"] }, '"needs" names the module itself.'],
  ["a setup that is no function", { routes: { A: handle }, setup: 1 }, '"setup" is a number, and must be a function.'],
  ["a dispose that is no function", { routes: { A: handle }, dispose: "x" }, '"dispose" is a string'],
  [
    "another reload",
    { routes: { A: handle }, reload: "fast" },
    '"reload" is "fast", and must be "swap" or "exclusive".',
  ],
  [
    "another unavailable",
    { routes: { A: handle }, unavailable: 503 },
    '"unavailable" is a number, and must be a string or a Uint8Array.',
  ],
  [
    "an app with a websocket beside it",
    { fetch, websocket: { message: handle } },
    'has both "fetch" and "websocket", as Bun.serve takes them.',
  ],
  [
    "an app of a class with a websocket",
    Object.assign(Object.create({ fetch }) as object, { websocket: {} }),
    'Here a WebSocket is a route: write { routes: { "/": { fetch }, "GET /live": { websocket:',
  ],
  [
    "an app with a setup beside it",
    { fetch, setup: handle },
    'has both "fetch" and "setup". Write { routes: { "/": { fetch } }',
  ],
  [
    "a use that is no list",
    { routes: { A: handle }, use: handle },
    '"use" is a function. Write use: [(request, context, next) => next()].',
  ],
  [
    "a use of something else",
    { routes: { A: handle }, use: ["cors"] },
    '"use" holds a string, and must hold functions only.',
  ],
  [
    "a middleware that is no function",
    { routes: {}, middleware: {} },
    '"middleware" is an object, and must be a function.',
  ],
  ["an empty key", { routes: { "": handle } }, "a route has an empty key."],
  ["a long key", { routes: { ["é".repeat(129)]: handle } }, "is 258 bytes long; at most 256 are possible."],
  ["a path without fetch", { routes: { "/api": handle } }, 'route "/api" is an HTTP path. Give it a "fetch"'],
  ["a path with connect", { routes: { "/api": { connect: handle } } }, 'route "/api" is an HTTP path.'],
  [
    "fetch on no path",
    { routes: { PING: { fetch } } },
    'route "PING" has a "fetch", so its key must be an HTTP path: "/path", "GET /path" or "GET ". For every path of one method write "PING "',
  ],
  [
    "fetch on a method in small letters",
    { routes: { "get /x": { fetch } } },
    'its key must be an HTTP path: "/path", "GET /path" or "GET ".',
  ],
  [
    "a route that is a string",
    { routes: { A: "PONG" } },
    'route "A" is a string. Write a function, or an object with handle, fetch, connect or websocket.',
  ],
  ["no kind", { routes: { A: { framing: "line" } } }, 'route "A" has none of handle, fetch, connect and websocket.'],
  ["a misspelt kind", { routes: { A: { handel: handle } } }, 'it has "handel": did you mean "handle"?'],
  ["two kinds", { routes: { A: { handle, connect: handle } } }, 'route "A" has handle and connect. Write exactly one'],
  [
    "a kind that is no function",
    { routes: { A: { handle: "x" } } },
    'route "A": "handle" is a string, and must be a function.',
  ],
  [
    "a websocket that is no object",
    { routes: { "/live": { websocket: handle } } },
    'route "/live": "websocket" is a function. Write {',
  ],
  [
    "a websocket on no path",
    { routes: { LIVE: { websocket: {} } } },
    'route "LIVE" has a "websocket", so its key must be an HTTP path',
  ],
  [
    "a websocket on POST",
    { routes: { "POST /live": { websocket: {} } } },
    'route "POST /live": a WebSocket begins with a GET.',
  ],
  [
    "a websocket on the pool",
    { routes: { "/live": { websocket: {}, run: "pool" } } },
    'run: "pool" is possible with "handle" and "fetch" only.',
  ],
  [
    "a websocket beside fetch",
    { routes: { "/live": { websocket: {}, fetch } } },
    'route "/live" has fetch and websocket. Write exactly one',
  ],
  [
    "a misspelt WebSocket event",
    { routes: { "/live": { websocket: { mesage: handle } } } },
    'route "/live": "websocket" has the unknown option "mesage". Did you mean "message"?',
  ],
  [
    "a WebSocket event that is no function",
    { routes: { "/live": { websocket: { open: 1 } } } },
    '"websocket.open" is a number, and must be a function.',
  ],
  [
    "a WebSocket limit that is none",
    { routes: { "/live": { websocket: { maxMessageBytes: 0 } } } },
    '"websocket.maxMessageBytes" is 0, and must be a number from 1',
  ],
  [
    "a negative idle time",
    { routes: { "/live": { websocket: { idleTimeoutMs: -1 } } } },
    '"websocket.idleTimeoutMs" is -1, and must be a number from 0',
  ],
  [
    "another perMessageDeflate",
    { routes: { "/live": { websocket: { perMessageDeflate: {} } } } },
    '"websocket.perMessageDeflate" is {}, and must be true or false.',
  ],
  [
    "protocols that are no names",
    { routes: { "/live": { websocket: { protocols: ["a b"] } } } },
    '"websocket.protocols" is [ "a b" ], and must be a list of names such as ["chat.v2"].',
  ],
  [
    "a misspelt route option",
    { routes: { A: { handle, timeoutMS: 5 } } },
    'route "A" has the unknown option "timeoutMS". Did you mean "timeoutMs"?',
  ],
  ["framing on fetch", { routes: { "/": { fetch, framing: "line" } } }, 'route "/" has the unknown option "framing".'],
  [
    "another run",
    { routes: { A: { handle, run: "thread" } } },
    'route "A": "run" is "thread", and must be "inline", "pool" or "process".',
  ],
  [
    "a connect on the pool",
    { routes: { A: { connect: handle, run: "pool" } } },
    'route "A": run: "pool" is possible with "handle" and "fetch" only.',
  ],
  [
    "takesHttp that is no boolean",
    { routes: { A: { handle, takesHttp: 1 } } },
    'route "A": "takesHttp" is 1, and must be true or false',
  ],
  ["takesHttp of an HTTP route", { routes: { "/a": { fetch: handle, takesHttp: true } } }, "takesHttp"],
  [
    "a negative time",
    { routes: { A: { handle, timeoutMs: -1 } } },
    'route "A": "timeoutMs" is -1, and must be a number from 0',
  ],
  ["a time that is no number", { routes: { A: { handle, timeoutMs: "5s" } } }, '"timeoutMs" is "5s"'],
  ["an endless time", { routes: { A: { handle, timeoutMs: Infinity } } }, '"timeoutMs" is Infinity'],
  ["a description that is no text", { routes: { A: { handle, description: 1 } } }, '"description" is a number'],
  [
    "another framing",
    { routes: { A: { handle, framing: "lines" } } },
    'route "A": "framing" is "lines", and must be "chunk", "line", { length: { prefixBytes: 4 } } or a function.',
  ],
  [
    "a prefix of 3 bytes",
    { routes: { A: { handle, framing: { length: { prefixBytes: 3 } } } } },
    '"framing.length.prefixBytes" is 3, and must be 1, 2, 4 or 8.',
  ],
  [
    "another endian",
    { routes: { A: { handle, framing: { length: { prefixBytes: 2, endian: "LE" } } } } },
    '"framing.length.endian" is "LE"',
  ],
  [
    "includesPrefix as a number",
    { routes: { A: { handle, framing: { length: { prefixBytes: 2, includesPrefix: 1 } } } } },
    '"framing.length.includesPrefix" is 1',
  ],
  [
    "a negative offset",
    { routes: { A: { handle, framing: { length: { prefixBytes: 2, offset: -1 } } } } },
    '"framing.length.offset" is -1',
  ],
  [
    "a misspelt prefix option",
    { routes: { A: { handle, framing: { length: { prefixByte: 2 } } } } },
    'unknown option "prefixByte". Did you mean "prefixBytes"?',
  ],
];

test.each(refused)("%s is refused with what to write instead", (_, exported, text) => {
  expect(() => readShape("chat", exported)).toThrow(text);
  expect(() => readShape("chat", exported)).toThrow(/^Module "chat": /);
});

test("a function is a handle route with the defaults", () => {
  const { routes, reload, unavailable } = readShape("m", { routes: { PING: handle } });
  expect(routes).toEqual([
    {
      spec: { key: "PING", index: 0, kind: "handle", run: "inline", timeoutMs: undefined, description: "" },
      handler: handle,
      framing: "chunk",
    },
  ]);
  expect({ reload, unavailable }).toEqual({ reload: "swap", unavailable: null });
});

test.each<[string, object, Record<string, unknown>, unknown]>([
  ["no start and no stop", { routes: { A: handle } }, {}, null],
  ["no routes", { start: handle }, {}, { background: "server", host: "main" }],
  [
    "no routes, and run: process in its settings",
    { start: handle },
    { run: "process" },
    { background: "server", host: "process" },
  ],
  [
    "an inline route",
    { routes: { A: handle, B: { handle, run: "process" } }, stop: handle },
    {},
    { background: "server", host: "main" },
  ],
  [
    "pool routes",
    { routes: { A: { handle, run: "pool" } }, start: handle },
    {},
    { background: "server", host: "main" },
  ],
  [
    "process routes",
    { routes: { A: { handle, run: "process" } }, start: handle, background: "process" },
    {},
    { background: "process", host: "process" },
  ],
  [
    "routes on pool and process",
    { routes: { A: { handle, run: "pool" }, B: { handle, run: "process" } }, start: handle },
    {},
    { background: "server", host: "process" },
  ],
  ["middleware", { start: handle, middleware: handle }, { run: "process" }, { background: "server", host: "main" }],
])("where start and stop run, with %s", (_, definition, config, life) => {
  expect(readShape("m", definition, undefined, config).life as unknown).toEqual(life);
});

test("a module needs each other module once", () => {
  expect(readShape("m", { routes: { A: handle }, needs: ["kv", "db", "kv"] }).needs).toEqual(["kv", "db"]);
  expect(readShape("m", { routes: { A: handle } }).needs).toEqual([]);
});

test("all options of a definition are read", () => {
  const framing = { length: { prefixBytes: 4, endian: "little", includesPrefix: true, offset: 2 } };
  const definition = {
    reload: "exclusive",
    unavailable: "later\n",
    routes: {
      "HASH ": { handle, framing: "line", run: "pool", timeoutMs: 0, description: "hashes" },
      B: { handle, framing },
      C: { handle, framing: () => 1 },
      D: { connect: handle, run: "inline" },
      "GET /users/:id": { fetch },
      "GET ": { fetch },
      "M-SEARCH *": handle,
    },
  };
  const shape = readShape("m", definition);
  expect(shape).toMatchObject({ reload: "exclusive", unavailable: "later\n" });
  expect(shape.definition).toBe(definition as unknown as typeof shape.definition);
  expect(shape.routes.map(({ spec }) => [spec.key, spec.kind, spec.run, spec.index])).toEqual([
    ["HASH ", "handle", "pool", 0],
    ["B", "handle", "inline", 1],
    ["C", "handle", "inline", 2],
    ["D", "connect", "inline", 3],
    ["GET /users/:id", "fetch", "inline", 4],
    ["GET ", "fetch", "inline", 5],
    ["M-SEARCH *", "handle", "inline", 6],
  ]);
  expect(shape.routes[0]?.spec).toMatchObject({ timeoutMs: 0, description: "hashes" });
  expect(shape.routes[1]?.framing).toEqual(framing as never);
});

test("a WebSocket route has all its options, and its upgrade is called as a method", () => {
  const handlers = {
    name: "these",
    upgrade(): object {
      return { data: this.name };
    },
  };
  const [given, bare] = readShape("m", {
    routes: {
      "/a": {
        websocket: {
          protocols: ["v2"],
          maxMessageBytes: 5,
          maxQueuedBytes: 6,
          idleTimeoutMs: 0,
          perMessageDeflate: false,
        },
      },
      "GET /b": { websocket: Object.create(handlers) as object },
    },
  }).routes;
  expect(given?.spec).toMatchObject({ key: "/a", kind: "websocket", run: "inline" });
  const { handlers: _, ...options } = given?.websocket ?? {};
  expect(options).toEqual({
    protocols: ["v2"],
    origins: [],
    maxMessageBytes: 5,
    maxQueuedBytes: 6,
    idleTimeoutMs: 0,
    perMessageDeflate: false,
  });
  expect(bare?.websocket).toMatchObject({
    protocols: [],
    maxMessageBytes: undefined,
    idleTimeoutMs: 120_000,
    perMessageDeflate: true,
  });
  expect((bare!.handler as () => unknown)()).toEqual({ data: "these" });
});

test("an app is bound to every path, is called as a method and gets the context as its environment", async () => {
  class App {
    readonly text = "from the app";
    fetch(_request: Request, env: { name: string }): Response {
      return new Response(`${this.text}, ${env.name}`);
    }
  }
  for (const exported of [new App(), { routes: { "/": new App() } }]) {
    const [route] = readShape("m", exported).routes;
    expect(route?.spec).toMatchObject({ key: "/", kind: "fetch" });
    const call = route?.handler as unknown as (request: Request, context: object) => Response;
    expect(await call(new Request("http://x/"), { name: "m" }).text()).toBe("from the app, m");
  }
});

test("hono's own array of routes is not taken for a module's routes", async () => {
  const app = new Hono<{ Bindings: { name: string } }>().get("/a", (c) => c.text(`hono ${c.env.name}`));
  for (const exported of [app, { routes: { "/a": app } }]) {
    const [route] = readShape("m", exported).routes;
    expect(route?.spec.kind).toBe("fetch");
    const call = route?.handler as unknown as (request: Request, context: object) => Response;
    expect(await (await call(new Request("http://x/a"), { name: "m" })).text()).toBe("hono m");
  }
});

test("public and mcp of a service may depend on the module's settings", () => {
  const service = {
    call: () => 1,
    public: ({ open }: { open?: unknown }) => open === true,
    mcp: (settings: object) => Object.keys(settings).length > 1,
    checksAccess: true,
  };
  const specOf = (config?: Record<string, unknown>) =>
    readShape("m", { services: { get: service } }, undefined, config).services[0]?.spec;
  expect(specOf()).toMatchObject({ isPublic: false, isMcpTool: false, checksAccess: true });
  expect(specOf({ open: true })).toMatchObject({ isPublic: true, isMcpTool: false });
  expect(specOf({ open: true, run: "inline" })).toMatchObject({ isPublic: true, isMcpTool: true });
  for (const wrong of [{ public: () => 1 }, { mcp: async () => true }, { checksAccess: () => true }, { public: "yes" }])
    expect(() => readShape("m", { services: { get: { call: () => 1, ...wrong } } })).toThrow(
      /service "get": "\w+" .* true or false/,
    );
});
