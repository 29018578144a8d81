/** Middleware and the pool behind HTTP/2: with prior knowledge, and over TLS by ALPN. */
import { describe, expect, test } from "bun:test";
import http2 from "node:http2";
import { type Ask, readReply, type Reply } from "../../support/http2";
import { type Hub, moduleSource, reuseHubs } from "../../support/hub";
import { pairFiles, serverCertificate, TLS_FLAGS } from "../../support/tls";
import { eventually } from "../../support/until";

const reused = reuseHubs();

const TOKEN = "a-long-random-text";
const BEARER = { authorization: `Bearer ${TOKEN}` };

const APP = moduleSource(`{
  use: [async (request, context, next) => {
    if (request.headers.has("x-stop")) return new Response("stopped by " + context.name, { status: 403 });
    if (request.headers.has("x-throw")) throw new Error("the app's own middleware threw");
    const response = await next();
    response.headers.set("x-app", context.name + " v" + context.generation + " " + (context.client.tls?.alpn ?? "plain"));
    return response;
  }],
  routes: {
    "GET /api": { fetch: (request) => new Response("api " + request.headers.get("x-changed")) },
    "GET /late": { fetch: async () => { await Bun.sleep(2); return new Response("late"); } },
    "GET /stream": { fetch: () => new Response((async function* () { for (let i = 0; i < 5; i++) { yield "part" + i + ";"; await Bun.sleep(1); } })()) },
    "GET /boom": { fetch() { throw new Error("the route threw"); } },
    "POST /upper": { fetch: async (request) => new Response((await request.text()).toUpperCase()) },
  },
}`);

const POOL = moduleSource(`{
  use: [async (request, context, next) => {
    const response = await next();
    response.headers.set("x-host", typeof context.host);
    return response;
  }],
  routes: {
    "GET /pool/small": { run: "pool", fetch: (request, context) => new Response("small " + (typeof context.host)) },
    "GET /pool/large": { run: "pool", fetch: () => new Response(new Uint8Array(1048576).fill(97)) },
    "POST /pool/echo": { run: "pool", fetch: async (request) => new Response(await request.bytes()) },
    "POST /pool/through": { run: "pool", fetch: (request) => new Response(request.body) },
    "GET /pool/throws": { run: "pool", fetch() { throw new Error("the pool's route threw"); } },
  },
}`);

const guard = (name: string) =>
  moduleSource(`{ routes: {}, async middleware(request, context, next) {
    const how = request.headers.get("x-how");
    if (how === "throw") throw new Error("the guard threw at once");
    if (how === "throw behind") { await next(); throw new Error("the guard threw late"); }
    if (how === "change") {
      const changed = new Request(request, { headers: { ...Object.fromEntries(request.headers), "x-changed": "yes" } });
      return next(changed);
    }
    const response = await next();
    response.headers.set("x-guard", "${name}");
    return response;
  } }`);

const SECURE = pairFiles(serverCertificate("localhost"));

/** How the client comes in; `url` of a hub that was started with `flags`. */
const WAYS = [
  { way: "with prior knowledge", flags: [] as string[], url: (hub: Hub) => hub.url },
  { way: "over TLS by ALPN", flags: TLS_FLAGS, url: (hub: Hub) => `https://localhost:${hub.port}` },
];

/** One connection. */
class Client {
  readonly session: http2.ClientHttp2Session;
  readonly goaways: number[] = [];

  constructor(url: string) {
    this.session = http2.connect(url, { ca: SECURE["cert.pem"] });
    this.session.on("goaway", (code) => this.goaways.push(code));
    // Its requests are told too.
    this.session.on("error", () => {});
  }

  ask(path: string, { method, headers = {}, body }: Ask = {}): Promise<Reply> {
    const head = { ":path": path, ":method": method ?? (body === undefined ? "GET" : "POST"), ...headers };
    const stream = this.session.request(head, { endStream: body === undefined });
    const reply = readReply(stream);
    if (body !== undefined) stream.end(body);
    return reply;
  }
}

interface Config {
  use?: string[];
  [name: string]: unknown;
}

describe.each(WAYS)("HTTP/2 $way", ({ flags, url }) => {
  /** A project, and one connection to it. */
  function withClient(
    files: Record<string, string>,
    config: Config,
    run: (client: Client, hub: Hub) => Promise<void>,
  ): Promise<void> {
    const { use = [], ...rest } = config;
    const all = { ...files, ...SECURE, "hrmr.json": JSON.stringify({ http: { use }, ...rest }) };
    return reused(all, flags, async (hub) => {
      const client = new Client(url(hub));
      try {
        await run(client, hub);
      } finally {
        client.session.destroy();
      }
    });
  }

  const statusAndText = ({ status, body }: Reply) => [status, body.toString()];

  test("http.use access lets in who has the token, and nobody else, on paths that a route takes and on others", () =>
    withClient(
      { "modules/app.ts": APP, "static_html/index.html": "<!doctype html>home", "static_html/free.txt": "free" },
      { use: ["access"], modules: { access: { tokens: [TOKEN], open: ["/free.txt"] } } },
      async (client, hub) => {
        const found = ["/", "/index.html", "/api", "/late"];
        const missing = ["/some/page", "/nothing?a=1"];
        for (const path of [...found, ...missing]) {
          const refused = await client.ask(path);
          expect([path, refused.status, refused.headers["www-authenticate"]]).toEqual([
            path,
            401,
            'Bearer realm="hrmr"',
          ]);
          expect((await client.ask(path, { headers: { authorization: "Bearer wrong" } })).status).toBe(401);
          const allowed = await client.ask(path, { headers: BEARER });
          expect([path, allowed.status]).toEqual([path, missing.includes(path) ? 404 : 200]);
          expect(allowed.headers["x-request-id"]).toMatch(/./);
        }
        expect(statusAndText(await client.ask("/", { headers: BEARER }))).toEqual([200, "<!doctype html>home"]);
        expect(statusAndText(await client.ask("/free.txt"))).toEqual([200, "free"]);
        const upload = "x".repeat(1_048_576);
        expect((await client.ask("/upper", { body: upload })).status).toBe(401);
        expect((await client.ask("/upper", { body: upload, headers: BEARER })).body.toString()).toBe(
          upload.toUpperCase(),
        );
        const put = await client.ask("/api", { method: "PUT", headers: BEARER, body: "x" });
        expect([put.status, put.headers.allow]).toEqual([405, "GET, HEAD, OPTIONS"]);
        expect((await client.ask("/api", { method: "PUT", body: "x" })).status).toBe(401);
        const many = await Promise.all(
          Array.from({ length: 100 }, (_, n) =>
            client.ask(n % 2 === 0 ? "/some/page" : "/api", n % 4 < 2 ? {} : { headers: BEARER }),
          ),
        );
        expect(many.map(({ status }) => status)).toEqual(
          many.map((_, n) => (n % 4 < 2 ? 401 : n % 2 === 0 ? 404 : 200)),
        );
        expect((await hub.status()).errors).toBe(0);
      },
    ));

  test("a module's own middleware runs, can answer by itself and sees the client's handshake", () =>
    withClient({ "modules/app.ts": APP, "modules/guard.ts": guard("guard") }, { use: ["guard"] }, async (client) => {
      const alpn = flags.length === 0 ? "plain" : "h2";
      for (const [path, text] of [
        ["/api", "api null"],
        ["/late", "late"],
        ["/stream", "part0;part1;part2;part3;part4;"],
      ] as const) {
        const { status, headers, body } = await client.ask(path);
        expect([status, body.toString(), headers["x-app"], headers["x-guard"]]).toEqual([
          200,
          text,
          `app v1 ${alpn}`,
          "guard",
        ]);
      }
      const stopped = await client.ask("/api", { headers: { "x-stop": "1" } });
      expect([...statusAndText(stopped), stopped.headers["x-app"]]).toEqual([403, "stopped by app", undefined]);
      expect(statusAndText(await client.ask("/api", { headers: { "x-how": "change" } }))).toEqual([200, "api yes"]);
      expect((await client.ask("/upper", { body: "abc" })).body.toString()).toBe("ABC");
      const head = await client.ask("/api", { method: "HEAD" });
      expect([head.status, head.headers["x-guard"], head.body.length]).toEqual([200, "guard", 0]);
    }));

  test("a fetch route on the pool answers, with small bodies and with a megabyte both ways", () =>
    withClient({ "modules/pool.ts": POOL, "modules/guard.ts": guard("guard") }, { use: ["guard"] }, async (client) => {
      const small = await client.ask("/pool/small");
      expect([...statusAndText(small), small.headers["x-host"], small.headers["x-guard"]]).toEqual([
        200,
        "small number",
        "number",
        "guard",
      ]);
      const large = Buffer.alloc(1_048_576, "abcdefg");
      expect((await client.ask("/pool/large")).body.equals(Buffer.alloc(1_048_576, "a"))).toBe(true);
      for (const path of ["/pool/echo", "/pool/through"]) {
        expect((await client.ask(path, { body: "tiny" })).body.toString()).toBe("tiny");
        const replies = await Promise.all([1, 2, 3].map(() => client.ask(path, { body: large })));
        expect(replies.map(({ status, body }) => [status, body.equals(large)])).toEqual(
          [1, 2, 3].map(() => [200, true]),
        );
      }
    }));

  test("what a middleware or a route throws is a 500 that is logged under its module", () =>
    withClient(
      { "modules/app.ts": APP, "modules/pool.ts": POOL, "modules/guard.ts": guard("guard") },
      { use: ["guard"] },
      async (client, hub) => {
        const fails = async (path: string, headers: Record<string, string>, logged: RegExp) => {
          expect([path, (await client.ask(path, { headers })).status]).toEqual([path, 500]);
          await hub.program.waitFor(logged);
        };
        await fails("/api", { "x-how": "throw" }, /error .*\bguard v1\b.*the guard threw at once/);
        await fails("/no/such", { "x-how": "throw" }, /error .*\bguard v1\b.*the guard threw at once/);
        await fails("/stream", { "x-how": "throw behind" }, /error .*\bguard v1\b.*the guard threw late/);
        await fails("/api", { "x-throw": "1" }, /error .*\bapp v1\b.*the app's own middleware threw/);
        await fails("/boom", {}, /error .*\bapp v1\b.*the route threw/);
        await fails("/pool/throws", {}, /error .*\bpool v1\b.*the pool's route threw/);
        await eventually(async () => expect((await hub.status()).errors).toBe(6));
        expect(statusAndText(await client.ask("/api"))).toEqual([200, "api null"]);
      },
    ));

  test("no request fails while a middleware and a route's module are reloaded under load", () =>
    withClient(
      { "modules/app.ts": APP, "modules/pool.ts": POOL, "modules/guard.ts": guard("1") },
      { use: ["guard"] },
      async (client, hub) => {
        const wrong: unknown[] = [];
        const seen = new Set<string>();
        let isOver = false;
        let count = 0;
        const visit = async (path: string, text: string) => {
          for (; (!isOver || count < 400) && wrong.length < 10; count++) {
            const reply = await client.ask(path).catch((error: unknown) => error as Error);
            if (reply instanceof Error || reply.status !== 200 || reply.body.toString() !== text) wrong.push(reply);
            else seen.add(reply.headers["x-guard"] ?? "none");
          }
        };
        const visitors = ["/api", "/late", "/pool/small", "/stream"].flatMap((path) => {
          const text =
            { "/api": "api null", "/late": "late", "/pool/small": "small number" }[path] ??
            "part0;part1;part2;part3;part4;";
          return [visit(path, text), visit(path, text)];
        });
        expect((await client.ask("/api")).headers["x-guard"]).toBe("1");
        seen.add("1");
        for (let n = 2; n <= 7; n++) {
          hub.write("modules/guard.ts", guard(String(n)));
          if (n % 2 === 0) hub.write("modules/app.ts", `${APP}// ${n}\nexport const n = ${n};\n`);
          expect(await hub.ask("RELOAD")).toMatch(/^OK /);
          expect((await client.ask("/api")).headers["x-guard"]).toBe(String(n));
        }
        isOver = true;
        await Promise.all(visitors);
        expect(wrong).toEqual([]);
        expect([...seen].toSorted()).toEqual(["1", "2", "3", "4", "5", "6", "7"]);
        expect(count).toBeGreaterThanOrEqual(400);
        expect(client.goaways).toEqual([]);
      },
    ));
});
