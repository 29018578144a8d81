/** Middleware: `use` of a module, and modules that `http.use` of hrmr.json names. */
import { describe, expect, test } from "bun:test";
import { type Hub, makeProject, moduleSource, reuseHubs, shareHub, withHub } from "../../support/hub";
import { runProgram } from "../../support/program";
import { rmSync } from "node:fs";
import { until } from "../../support/until";

const reused = reuseHubs();

const mark = (name: string) => `async (request, context, next) => {
  const response = await next();
  response.headers.set("x-order", (response.headers.get("x-order") ?? "") + "${name}");
  return response;
}`;

const APP = moduleSource(`{
  use: [
    ${mark("1")},
    (request, context, next) => (request.headers.has("x-stop") ? new Response("stopped", { status: 403 }) : next()),
    ${mark("2")},
  ],
  routes: {
    "GET /plain": { fetch: () => new Response("plain") },
    "GET /late": { fetch: async () => { await Bun.sleep(20); return new Response("late"); } },
    "GET /id": { fetch: (request, context) => new Response(context.requestId + " " + request.headers.get("x-changed")) },
    "POST /body": { fetch: async (request) => new Response((await request.text()).toUpperCase()) },
    "GET /boom": { fetch() { throw new Error("the route threw"); } },
    "GET /live": { websocket: { upgrade: () => ({ data: "let in" }), message(socket, data) { socket.send(socket.data + ": " + data); } } },
    "GET /ticks": { fetch: () => new Response(new ReadableStream({ async pull(c) { await Bun.sleep(5); c.enqueue("data: x\\n\\n"); } }), { headers: { "content-type": "text/event-stream" } }) },
    "PING": () => "PONG\\n",
  },
}`);

const guard = (body: string, more = "") =>
  moduleSource(`{ routes: {}, ${more} async middleware(request, context, next) { ${body} } }`);
const USE_GUARD = '{ "http": { "use": ["guard"] } }';

const get = (hub: Hub, path: string, headers: Record<string, string> = {}) => fetch(`${hub.url}${path}`, { headers });

/** For a handler of a test: waits until the test writes this file. */
const whenThere = (file: string): string =>
  `const { existsSync } = await import("node:fs"); while (!existsSync("${file}")) await Bun.sleep(5);`;

describe("use of a module", () => {
  const withApp = shareHub({ "modules/app.ts": APP });

  test("stands before its fetch routes in order, answers by itself, and leaves raw routes alone", () =>
    withApp(async (hub) => {
      for (const path of ["/plain", "/late"]) {
        const reply = await get(hub, path);
        expect([await reply.text(), reply.headers.get("x-order")]).toEqual([path.slice(1), "21"]);
      }
      const stopped = await get(hub, "/plain", { "x-stop": "1" });
      expect([stopped.status, await stopped.text(), stopped.headers.get("x-order")]).toEqual([403, "stopped", "1"]);
      expect(await hub.ask("PING")).toBe("PONG\n");
      expect(await (await fetch(`${hub.url}/body`, { method: "POST", body: "abc" })).text()).toBe("ABC");
    }));

  test("stands before the upgrade of a WebSocket route too", () =>
    withApp(async (hub) => {
      expect(await firstMessage(hub, "/live", "hello")).toBe("let in: hello");
      const refused = await hub.connect();
      await refused.send(upgradeRequest("/live", "x-stop: 1\r\n"));
      expect(await refused.waitFor("stopped")).toStartWith("HTTP/1.1 403 ");
    }));

  const BAD: [string, string, string][] = [
    ["calls next twice", `async (q, c, next) => { await next(); return next(); }`, "next() was called twice"],
    ["returns nothing", `() => {}`, "use[0] returned undefined"],
    ["settles with nothing", `async (q, c, next) => { await next(); }`, "use[0] returned undefined"],
    ["throws", `() => { throw new Error("middleware broke"); }`, "middleware broke"],
    [
      "rejects",
      `async () => { await Bun.sleep(1); throw new Error("middleware broke later"); }`,
      "middleware broke later",
    ],
    ["hands on what is no Request", `(q, c, next) => next("/other")`, "next() takes a Request"],
  ];
  const badModules = BAD.map(([, source], at): [string, string] => [
    `modules/bad${at}.ts`,
    moduleSource(`{ use: [${source}], routes: { "/bad${at}": { fetch: () => new Response("ok") } } }`),
  ]);
  const withBad = shareHub(Object.fromEntries(badModules));
  test.each(BAD.map(([what, , said], at): [string, number, string] => [what, at, said]))(
    "one that %s is a 500, and the log says why",
    (_, at, said) =>
      withBad(async (hub) => {
        const reply = await get(hub, `/bad${at}`);
        expect([reply.status, await reply.text()]).toEqual([500, "Internal Server Error\n"]);
        const line = new RegExp(`error bad${at} v1 #\\d+ "/bad${at}"[^\\n]*${RegExp.escape(said)}`);
        await hub.program.waitFor(line);
      }),
  );

  test("may hand on another request, catch what the route throws, and replace its Response", () =>
    reused(
      {
        "modules/app.ts": moduleSource(`{
          use: [
            async (request, context, next) => { try { return await next(); } catch (error) { return new Response("caught: " + error.message, { status: 502 }); } },
            (request, context, next) => next(new Request("http://other/else", { method: "POST", body: "new body", headers: { "x-changed": "yes" } })),
            async (request, context, next) => { const response = await next(); return new Response((await response.text()) + "!", response); },
          ],
          routes: {
            "/a": { fetch: async (request) => new Response(request.url + " " + request.headers.get("x-changed") + " " + (await request.text()), { status: 201 }) },
            "/b": { fetch: async () => { throw new Error("from the route"); } },
          },
        }`),
      },
      [],
      async (hub) => {
        const changed = await get(hub, "/a");
        expect([changed.status, await changed.text()]).toEqual([201, "http://other/else yes new body!"]);
        const caught = await get(hub, "/b");
        expect([caught.status, await caught.text()]).toEqual([502, "caught: from the route"]);
      },
    ));
});

describe("a module that http.use names", () => {
  const PASS = guard(
    `
    if (request.headers.get("x-no") !== null) return new Response("no", { status: 401 });
    if (request.method === "OPTIONS") return new Response(null, { status: 204, headers: { "x-preflight": context.name } });
    const response = await next();
    if (response.status !== 101) response.headers.set("x-guard", context.name + " v" + context.generation + " " + context.state);
    return response;`,
    `setup: () => "ready", `,
  );
  const FILES = { "modules/app.ts": APP, "modules/guard.ts": PASS, "hrmr.json": USE_GUARD };

  const withGuard = shareHub(FILES);

  test("stands before every HTTP route of every module, with its own context and the request's client, params and id", () =>
    withGuard(async (hub) => {
      const reply = await get(hub, "/plain");
      expect([await reply.text(), reply.headers.get("x-guard"), reply.headers.get("x-order")]).toEqual([
        "plain",
        "guard v1 ready",
        "21",
      ]);
      expect((await get(hub, "/index.html")).headers.get("x-guard")).toBe("guard v1 ready");
      const refused = await get(hub, "/plain", { "x-no": "1" });
      expect([refused.status, refused.headers.get("x-order")]).toEqual([401, null]);
      expect(await hub.ask("PING")).toBe("PONG\n");
      expect((await get(hub, "/health", { "x-no": "1" })).status).toBe(200);
    }));

  test("stands before WebSocket upgrades, and an accepted one gets through", () =>
    withGuard(async (hub) => {
      expect(await firstMessage(hub, "/live", "hi")).toBe("let in: hi");
      const refused = await hub.connect();
      await refused.send(upgradeRequest("/live", "x-no: 1\r\n"));
      expect(await refused.waitFor("\r\n\r\nno")).toStartWith("HTTP/1.1 401 ");
    }));

  test("sees what no route takes: it can answer a preflight, and else the 404, the 405 and the 204 are as ever", () =>
    reused(
      { ...FILES, "hrmr.json": '{ "http": { "use": ["guard"] }, "modules": { "http": { "enabled": false } } }' },
      [],
      async (hub) => {
        expect((await get(hub, "/nothing", { "x-no": "1" })).status).toBe(401);
        const none = await get(hub, "/nothing");
        expect([none.status, await none.text(), none.headers.get("x-guard")]).toEqual([
          404,
          "No module serves this path.\n",
          "guard v1 ready",
        ]);
        const put = await fetch(`${hub.url}/plain?x=1`, { method: "PUT", body: "x" });
        expect([put.status, put.headers.get("allow")]).toEqual([405, "GET, HEAD, OPTIONS"]);
        const preflight = await fetch(`${hub.url}/plain`, { method: "OPTIONS" });
        expect([preflight.status, preflight.headers.get("x-preflight"), preflight.headers.get("allow")]).toEqual([
          204,
          "guard",
          null,
        ]);
        hub.write("modules/guard.ts", guard("return next();"));
        expect(await hub.ask("RELOAD")).toStartWith("OK guard v2");
        const options = await fetch(`${hub.url}/plain`, { method: "OPTIONS" });
        expect([options.status, options.headers.get("allow")]).toEqual([204, "GET, HEAD, OPTIONS"]);
      },
    ));

  test("several stand in the order they are named, and a pool route is behind them", () =>
    reused(
      {
        "modules/a.ts": moduleSource(`{ routes: {}, middleware: ${mark("a")} }`),
        "modules/b.ts": `export const middleware = ${mark("b")};\n`,
        "modules/app.ts": moduleSource(
          `{ use: [${mark("1")}], routes: { "/in": { fetch: () => new Response("in") }, "/pool": { run: "pool", fetch: (q, c) => new Response(c.requestId) } } }`,
        ),
        "hrmr.json": '{ "http": { "use": ["b", "a"] } }',
      },
      [],
      async (hub) => {
        expect((await get(hub, "/in")).headers.get("x-order")).toBe("1ab");
        const pool = await get(hub, "/pool", { "x-request-id": "abc" });
        expect([pool.headers.get("x-order"), await pool.text()]).toEqual(["1ab", "abc"]);
      },
    ));

  test("what it throws is a 500 logged as its own; what the route throws is the route's", () =>
    reused(
      {
        ...FILES,
        "modules/guard.ts": guard(
          `if (request.headers.get("x-throw") !== null) throw new Error("guard broke"); return await next();`,
        ),
      },
      [],
      async (hub) => {
        const own = await get(hub, "/plain", { "x-throw": "1" });
        expect([own.status, await own.text()]).toEqual([500, "Internal Server Error\n"]);
        await hub.program.waitFor(/error guard v1 #\d+ "middleware": Error: guard broke/);
        expect((await get(hub, "/boom")).status).toBe(500);
        await hub.program.waitFor(/error app v1 #\d+ "\/?.*boom": Error: the route threw/);
        expect(hub.program.output()).not.toMatch(/guard v1[^\n]*the route threw/);
      },
    ));

  test("is reloaded under load without one failed request, and each is answered by one version", () =>
    withHub(FILES, [], async (hub) => {
      let isOver = false;
      const seen = new Set<string>();
      const load = Array.from({ length: 8 }, async (_, at) => {
        let count = 0;
        while (!isOver) {
          const reply = await get(hub, at % 2 === 0 ? "/plain" : "/late");
          if (reply.status !== 200) throw new Error(`${reply.status} ${await reply.text()}`);
          seen.add(reply.headers.get("x-guard") ?? "none");
          await reply.text();
          count++;
        }
        return count;
      });
      try {
        for (let version = 2; version <= 12; version++) {
          hub.write("modules/guard.ts", `${PASS}// ${version}\nexport const version = ${version};\n`);
          expect(await hub.ask("RELOAD")).toStartWith(`OK guard v${version}`);
          expect((await get(hub, "/plain")).headers.get("x-guard")).toBe(`guard v${version} ready`);
        }
      } finally {
        isOver = true;
      }
      for (const count of await Promise.all(load)) expect(count).toBeGreaterThan(0);
      expect(seen.size).toBeGreaterThan(3);
      expect(seen).not.toContain("none");
    }));

  test("a broken one, one without middleware and one whose file is gone change nothing: the verdict is ERR, and the old one stays", () =>
    reused(FILES, [], async (hub) => {
      for (const [source, said] of [
        ["not typescript at all", "guard.ts:1"],
        [moduleSource(`{ routes: { "X": () => "x" } }`), "http.use names it, and it has no middleware"],
      ] as const) {
        hub.write("modules/guard.ts", source);
        const verdict = await hub.ask("RELOAD\n");
        expect(verdict).toStartWith("ERR 1 module failed");
        expect(verdict).toContain(said);
        expect((await get(hub, "/plain", { "x-no": "1" })).status).toBe(401);
      }
      hub.remove("modules/guard.ts");
      const verdict = await hub.ask("RELOAD\n");
      expect(verdict).toStartWith("ERR 1 module failed");
      expect(verdict).toContain("its file is gone, and http.use names it");
      expect((await get(hub, "/plain", { "x-no": "1" })).status).toBe(401);
      hub.write("modules/guard.ts", PASS);
      expect(await hub.ask("RELOAD\n")).toStartWith("OK");
    }));

  test.each([
    ["missing", {}, "there is no such module"],
    ["broken", { "modules/guard.ts": "throw new Error('no tokens');\nexport default {};\n" }, "no tokens"],
    [
      "without middleware",
      { "modules/guard.ts": moduleSource(`{ routes: { "X": () => "x" } }`) },
      "it has no middleware",
    ],
  ])("one that is %s at the start stops the start", async (_, files, said) => {
    const dir = makeProject({ ...files, "modules/app.ts": APP, "hrmr.json": USE_GUARD });
    try {
      const { exitCode, stderr } = await runProgram(["start", "--port", "0"], { cwd: dir });
      expect(exitCode).toBe(1);
      expect(stderr).toContain('Module "guard" cannot be used');
      expect(stderr).toContain(said);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });

  test("while an exclusive one is being replaced everybody gets a 503, and then goes on", () =>
    withHub({ ...FILES, "modules/guard.ts": guard("return next();", `reload: "exclusive",`) }, [], async (hub) => {
      hub.write(
        "modules/guard.ts",
        guard("return next();", `reload: "exclusive", async setup() { ${whenThere("go")} },`),
      );
      const reload = hub.ask("RELOAD\n");
      let reply = await get(hub, "/plain");
      while (reply.status === 200) reply = await get(hub, "/plain");
      expect([reply.status, await reply.text(), reply.headers.get("retry-after")]).toEqual([
        503,
        'The module "guard" is being replaced. Try again.\n',
        "1",
      ]);
      hub.write("go", "");
      expect(await reload).toStartWith("OK guard v2");
      expect((await get(hub, "/plain")).status).toBe(200);
    }));

  test("one that waits while it is replaced is cut at drainMs, and its client gets a 503 and no silence", () =>
    reused(
      {
        ...FILES,
        "modules/guard.ts": guard(
          `if (request.headers.get("x-hang") !== null) await new Promise(() => {}); return next();`,
        ),
        "hrmr.json": '{ "http": { "use": ["guard"] }, "timeouts": { "drainMs": 200 } }',
      },
      [],
      async (hub) => {
        const hanging = get(hub, "/plain", { "x-hang": "1" });
        await guardInFlight(hub, 1);
        hub.write("modules/guard.ts", guard("return next();"));
        expect(await hub.ask("RELOAD")).toContain("v1 drains, 1 under way");
        const reply = await hanging;
        expect([reply.status, reply.headers.get("retry-after")]).toEqual([503, "1"]);
        await hub.program.waitFor("guard v1 1 still under way after 200 ms were cut");
      },
    ));

  test("a request that waits in it finishes on the version that it began on, and streams of routes outlive it", () =>
    reused(
      {
        ...FILES,
        "modules/guard.ts": guard(
          `if (request.headers.get("x-slow") !== null) { ${whenThere("go")} } const r = await next(); r.headers.set("x-v", String(context.generation)); return r;`,
        ),
        "hrmr.json": '{ "http": { "use": ["guard"] }, "timeouts": { "drainMs": 20000 } }',
      },
      [],
      async (hub) => {
        const stream = await hub.connect();
        await stream.send("GET /ticks HTTP/1.1\r\nHost: x\r\n\r\n");
        await stream.waitFor("data: x");
        const slow = get(hub, "/plain", { "x-slow": "1" });
        await guardInFlight(hub, 1);
        hub.write(
          "modules/guard.ts",
          guard(`const r = await next(); r.headers.set("x-v", String(context.generation)); return r;`),
        );
        await hub.ask("RELOAD");
        expect((await get(hub, "/plain")).headers.get("x-v")).toBe("2");
        hub.write("go", "");
        expect((await slow).headers.get("x-v")).toBe("1");
        await guardInFlight(hub, 0);
        stream.clear();
        await stream.waitFor("data: x");
      },
    ));

  test("a stream of its own keeps its version until it ends", () =>
    withHub(
      {
        ...FILES,
        "modules/guard.ts": guard(`
          let n = 0;
          return new Response(new ReadableStream({ async pull(c) { if (n === 3) { ${whenThere("go")} } if (n === 30) c.close(); else c.enqueue(n++ + ";"); } }));`),
      },
      [],
      async (hub) => {
        const client = await hub.connect();
        await client.send("GET /any HTTP/1.1\r\nHost: x\r\n\r\n");
        await client.waitFor("2;");
        hub.write("modules/guard.ts", guard("return next();"));
        expect(await hub.ask("RELOAD")).toContain("v1 drains, 1 under way");
        hub.write("go", "");
        await client.waitFor("29;");
        await client.waitFor("\r\n0\r\n\r\n");
        await guardInFlight(hub, 0);
      },
    ));
});

describe("the access module", () => {
  const CONFIG =
    '{ "http": { "use": ["access"] }, "modules": { "access": { "tokens": ["first token", "second"], "open": ["/open"] } } }';
  const FILES = {
    "modules/app.ts": moduleSource(
      `{ routes: { "/open": { fetch: () => new Response("open") }, "/in": { fetch: (q, c) => new Response(c.requestId) } } }`,
    ),
    "hrmr.json": CONFIG,
  };

  const withAccess = shareHub(FILES);

  test("lets in who brings a token, refuses everybody else with a challenge, and leaves open paths open", () =>
    withAccess(async (hub) => {
      for (const good of ["Bearer first token", "bearer second", "Bearer   second "])
        expect((await get(hub, "/in", { authorization: good })).status).toBe(200);
      for (const bad of [
        "",
        "Bearer",
        "Bearer first toke",
        "Bearer first tokens",
        "Basic second",
        "second",
        "Bearer first token, second",
      ]) {
        const refused = await get(hub, "/in", bad === "" ? {} : { authorization: bad });
        expect([refused.status, refused.headers.get("www-authenticate"), await refused.text()], bad).toEqual([
          401,
          'Bearer realm="hrmr"',
          "A token is needed: Authorization: Bearer ...\n",
        ]);
      }
      expect((await get(hub, "/elsewhere")).status).toBe(401);
      expect(await (await get(hub, "/open")).text()).toBe("open");
    }));

  test("gives each request an id: the client's if it is sane, else a new one", () =>
    withAccess(async (hub) => {
      const headers = { authorization: "Bearer second" };
      const given = await get(hub, "/in", { ...headers, "x-request-id": "trace-1/2.3" });
      expect([given.headers.get("x-request-id"), await given.text()]).toEqual(["trace-1/2.3", "trace-1/2.3"]);
      const made = await get(hub, "/in", { ...headers, "x-request-id": "two words" });
      const id = made.headers.get("x-request-id") ?? "";
      expect(id).toMatch(/^[\da-f]{8}-\w+$/);
      expect(await made.text()).toBe(id);
      const next = await get(hub, "/in", headers);
      expect(next.headers.get("x-request-id")).not.toBe(id);
      expect((await get(hub, "/in")).headers.get("x-request-id")).toMatch(/^[\da-f]{8}-\w+$/);
    }));

  test("without a token lets nobody in", () =>
    reused(
      { ...FILES, "hrmr.json": '{ "http": { "use": ["access"] }, "modules": { "access": {} } }' },
      [],
      async (hub) => {
        expect((await get(hub, "/in", { authorization: "Bearer undefined" })).status).toBe(401);
        await hub.program.waitFor("it had no good token");
      },
    ));
});

function upgradeRequest(path: string, more = ""): string {
  return `GET ${path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${more}\r\n`;
}

async function firstMessage(hub: Hub, path: string, text: string): Promise<string> {
  const socket = new WebSocket(`${hub.url.replace("http", "ws")}${path}`);
  const got = Promise.withResolvers<string>();
  socket.onopen = () => socket.send(text);
  socket.onmessage = ({ data }) => got.resolve(String(data));
  socket.onerror = () => got.reject(new Error("the WebSocket failed"));
  try {
    return await got.promise;
  } finally {
    socket.close();
  }
}

async function guardInFlight(hub: Hub, count: number): Promise<void> {
  await until(`${count} calls are under way in guard`, async () => {
    const guard = (await hub.status()).modules.find((module) => module.name === "guard");
    return (guard?.inFlight ?? 0) + (guard?.draining ?? []).reduce((sum, old) => sum + old.inFlight, 0) === count;
  });
}
