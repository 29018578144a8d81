/** One reading of a path: middleware and handlers see the path that was routed, in every host and version of HTTP. */
import { expect, test } from "bun:test";
import { withHttp2 } from "../../support/http2";
import { type Hub, moduleSource, shareHub, withHub } from "../../support/hub";
import { talk } from "../../support/raw-client";
import { forSeeds, type Random } from "../../support/random";
import { upgradeRequest } from "../../support/websocket";

const GUARD = moduleSource(`{
  routes: {},
  async middleware(request, { path, route }, next) {
    if (path === "/admin" || path.startsWith("/admin/")) return new Response("no", { status: 401 });
    const response = await next();
    if (response.status !== 101) response.headers.set("x-seen", JSON.stringify([path, route, new URL(request.url).pathname]));
    return response;
  },
}`);

const told = `(request, { path, route, params }) => Response.json({ path, route, params, pathname: new URL(request.url).pathname })`;
const APP = moduleSource(`{ routes: {
  "/admin": { fetch: () => new Response("SECRET") },
  "GET /admin/live": { websocket: { message: () => {} } },
  "GET /live/:room": { websocket: { upgrade: (_, { path, route, params }) => new Response(JSON.stringify({ path, route, params }), { status: 403 }), message: () => {} } },
  "/": { fetch: ${told} },
  "/inline/:name": { fetch: ${told} },
  "/pool/:name": { run: "pool", fetch: ${told} },
  "/files/*": { fetch: ${told} },
} }`);
const USED = moduleSource(`{
  use: [async (_, { path, route }, next) => { const response = await next(); response.headers.set("x-used", path + " " + route); return response; }],
  routes: { "/process/:name": { run: "process", fetch: ${told} } },
}`);
const FILES = {
  "modules/guard.ts": GUARD,
  "modules/app.ts": APP,
  "modules/used.ts": USED,
  "hrmr.json": '{ "http": { "use": ["guard"] } }',
};

interface Told {
  path: string;
  route: string;
  params: Record<string, string>;
  pathname: string;
}

/** A request with exactly this target. */
async function askTarget(hub: Hub, target: string, method = "GET", lines = "") {
  const [reply] = await talk(
    hub.port,
    `${method} ${target} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n${lines}\r\n`,
  );
  if (reply === undefined) throw new Error(`${target}: no reply`);
  return reply;
}

const AROUND = [
  "/admin/users",
  "/%61dmin/users",
  "/%61%64%6d%69%6E",
  "//admin/users",
  "/admin//users",
  "/x/../admin/users",
  "/x/..%2fadmin/users",
  "/x/..%2Fadmin/users",
  "/x%2f..%2fadmin/users",
  "/%2e/%2e%2fadmin/users",
  "/%2e%2e/admin/users",
  "/%2fadmin/users",
  "/admin%2fusers",
  "/admin%2Fusers",
  "/a/\\../../admin/users",
  "/\\admin/users",
  "/%5cadmin/users",
  "/admin/\\..\\..\\favicon.svg",
  "/admin./users",
  "/admin../users",
  "/.admin/users",
  "/..;/admin/users",
  "/;/admin/users",
  "/admin;/users",
  "/ADMIN/users",
  "/admin%00/users",
  "/admin%20/users",
  "/%c0%afadmin/users",
  "/%252fadmin/users",
  "/admin?/users",
  "/admin/?x",
  "/x?/../admin/users",
  "/x#/../admin/users",
  "http://b.example/admin/users",
  "http://b.example//admin/users",
  "http://b.example/x/..%2fadmin/users",
  "http://b.example/%61dmin/users",
];

const withShared = shareHub(FILES);

test("no spelling of a path gets past middleware that guards it, in any version and with any method", () =>
  withShared(async (hub) => {
    for (const target of AROUND) {
      for (const method of ["GET", "POST", "HEAD", "OPTIONS"]) {
        const reply = await askTarget(hub, target, method);
        expect([method, target, reply.body.includes("SECRET")]).toEqual([method, target, false]);
        expect([200, 308, 400, 401, 404]).toContain(reply.status);
        if (reply.status === 308)
          expect(await askTarget(hub, reply.headers.location ?? "", method)).toMatchObject({ status: 401 });
      }
    }
    await withHttp2(hub.url, async (client) => {
      for (const target of AROUND.filter((each) => each.startsWith("/"))) {
        const { status, body } = await client.ask(target);
        expect([target, body.toString().includes("SECRET")]).toEqual([target, false]);
        expect([200, 308, 400, 401]).toContain(status);
      }
    });
    expect(await askTarget(hub, "/inline/x")).toMatchObject({ status: 200 });
  }));

test("GET and HEAD of another spelling are led to the canonical one, other methods are told of it", () =>
  withShared(async (hub) => {
    for (const method of ["GET", "HEAD"]) {
      const reply = await askTarget(hub, "//inline/./%61%2fb/?q=//%61", method);
      expect([reply.status, reply.headers.location]).toEqual([308, "/inline/a%2Fb/?q=//%61"]);
    }
    for (const method of ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"]) {
      const { status, headers, body } = await askTarget(hub, "//inline/%61", method);
      expect([method, status, headers.location, body]).toEqual([
        method,
        400,
        undefined,
        "The path is not in its canonical form. Ask for /inline/a\n",
      ]);
    }
    await withHttp2(hub.url, async (client) => {
      const led = await client.ask("//inline/%61?q=//%61");
      expect([led.status, led.headers.location]).toEqual([308, "/inline/a?q=//%61"]);
      const refused = await client.ask("//inline/%61", { method: "POST", body: "x" });
      expect([refused.status, refused.body.toString()]).toEqual([
        400,
        "The path is not in its canonical form. Ask for /inline/a\n",
      ]);
    });
    expect((await fetch(`${hub.url}/inline/%61`)).url).toEndWith("/inline/a");
  }));

test("a handler sees the same path, route and params in every host, and so do the middleware and use before it", () =>
  withShared(async (hub) => {
    const cases: [written: string, read: string, name: string][] = [
      ["plain", "plain", "plain"],
      ["@scope%2Fpkg", "@scope%2Fpkg", "@scope/pkg"],
      ["@scope%2fpkg", "@scope%2Fpkg", "@scope/pkg"],
      ["caf%c3%a9%20x", "caf%C3%A9%20x", "café x"],
      ['a"b|c', "a%22b%7Cc", 'a"b|c'],
      ["100%25", "100%25", "100%"],
      ["%40a+b", "%40a+b", "@a+b"],
    ];
    for (const host of ["inline", "pool", "process"]) {
      for (const [written, read, name] of cases) {
        const expected: Told = {
          path: `/${host}/${read}`,
          route: `/${host}/:name`,
          params: { name },
          pathname: `/${host}/${read}`,
        };
        const reply = await askTarget(hub, `/${host}/${written}?a=%c3#b`);
        expect([written, JSON.parse(Buffer.from(reply.body, "latin1").toString())]).toEqual([written, expected]);
        expect(JSON.parse(reply.headers["x-seen"] ?? "")).toEqual([expected.path, expected.route, expected.path]);
        if (host === "process") expect(reply.headers["x-used"]).toBe(`${expected.path} ${expected.route}`);
        await withHttp2(hub.url, async (client) => {
          // Twice: the second time the URL may be known.
          for (const _ of [1, 2]) {
            const second = await client.ask(`/${host}/${written}`);
            expect([written, JSON.parse(second.body.toString())]).toEqual([written, expected]);
            expect(JSON.parse(second.headers["x-seen"] ?? "")).toEqual([expected.path, expected.route, expected.path]);
          }
        });
      }
    }
    const rest = await askTarget(hub, "/files/a/b%2fc/%C3%A9");
    expect(JSON.parse(Buffer.from(rest.body, "latin1").toString())).toMatchObject({
      route: "/files/*",
      params: { "*": "a/b/c/é" },
    });
  }));

test("where no route takes a request, middleware sees its path and no route", () =>
  withHub(
    { ...FILES, "modules/app.ts": moduleSource(`{ routes: { "GET /a/:b": { fetch: () => new Response() } } }`) },
    [],
    async (hub) => {
      for (const [method, status] of [
        ["POST", 405],
        ["OPTIONS", 204],
      ] as const) {
        const reply = await askTarget(hub, "/a/%c3%a9", method);
        expect([reply.status, JSON.parse(reply.headers["x-seen"] ?? "")]).toEqual([
          status,
          ["/a/%C3%A9", "", "/a/%C3%A9"],
        ]);
      }
    },
  ));

const URLS = moduleSource(`{ routes: {
  "/": { fetch: (request) => new Response(request.url + " " + request.headers.get("host") + " " + new Request(request).headers.get("host")) },
  "/pool": { run: "pool", fetch: (request) => new Response(request.url + " " + request.headers.get("host")) },
} }`);

const withUrls = shareHub({ "modules/urls.ts": URLS });

test("a fragment is cut from request.url, and a question mark behind it is none", () =>
  withUrls(async (hub) => {
    for (const [target, url] of [
      ["/a#b", "/a"],
      ["/a?b#c?d#e", "/a?b"],
      ["/a#b?c", "/a"],
      ["/pool#", "/pool"],
      ["http://a.example/a?b#c", "/a?b"],
    ]) {
      expect((await askTarget(hub, target ?? "")).body).toStartWith(`http://a.example${url} `);
      await withHttp2(hub.url, async (client) => {
        for (const _ of [1, 2]) {
          const { body } = await client.ask(target?.replace("http://a.example", "") ?? "");
          expect(body.toString()).toStartWith(`${hub.url}${url} `);
        }
      });
    }
  }));

test("an absolute target's authority replaces the Host field for whoever reads it", () =>
  withUrls(async (hub) => {
    const ask = async (request: string): Promise<string | undefined> => (await talk(hub.port, request))[0]?.body;
    for (const version of ["1.0", "1.1"]) {
      for (const [method, path] of [
        ["GET", "/x"],
        ["POST", "/x"],
        ["GET", "/pool"],
      ]) {
        const head = `${method} http://b.example:81${path} HTTP/${version}\r\nA: b\r\nhOST: a.example\r\nConnection: close\r\nC: d\r\n\r\n`;
        expect(await ask(head)).toBe(
          `http://b.example:81${path} b.example:81${path === "/pool" ? "" : " b.example:81"}`,
        );
      }
    }
    expect(await ask("GET http://b.example/x HTTP/1.0\r\nA: b\r\n\r\n")).toBe("http://b.example/x b.example b.example");
    // The field is asked for all the same (RFC 9112 section 3.2).
    expect((await talk(hub.port, "GET http://b.example/x HTTP/1.1\r\n\r\n"))[0]?.status).toBe(400);
  }));

test("the upgrade of a WebSocket is routed by the same reading", () =>
  withShared(async (hub) => {
    const upgrade = async (path: string): Promise<string> => {
      const client = await hub.connect();
      await client.send(upgradeRequest(path));
      return await client.waitFor(/\r\n\r\n.+/);
    };
    const status = async (path: string): Promise<number> => Number((await upgrade(path)).slice(9, 12));
    const [, body = ""] = (await upgrade("/live/@a%2fb")).split("\r\n\r\n");
    expect(JSON.parse(body)).toEqual({ path: "/live/@a%2Fb", route: "GET /live/:room", params: { room: "@a/b" } });
    expect(await status("/admin/live")).toBe(401);
    for (const path of ["//admin/live", "/%61dmin/live", "/x/../admin/live"])
      expect([path, await status(path)]).toEqual([path, 308]);
    for (const path of ["/x/..%2fadmin/live", "/admin\\live", "/%2e%2e/admin/live"])
      expect([path, await status(path)]).toEqual([path, 400]);
  }));

test("for any target, the routed path is the path of request.url to middleware and handler alike", () =>
  withShared(async (hub) => {
    const targets: string[] = [];
    forSeeds(300, (random) => targets.push(someTarget(random)));
    const requests = targets.map((target) => `GET ${target} HTTP/1.1\r\nHost: a.example\r\n\r\n`);
    const replies = await talk(
      hub.port,
      `${requests.join("")}GET /last HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n`,
    );
    expect(replies).toHaveLength(targets.length + 1);
    for (const [at, target] of targets.entries()) {
      const reply = replies[at];
      expect([target, reply?.body.includes("SECRET")]).toEqual([target, false]);
      if (reply?.status !== 200) continue;
      const [path, route, pathname] = JSON.parse(reply.headers["x-seen"] ?? "") as string[];
      expect([target, pathname]).toEqual([target, path]);
      expect(JSON.parse(reply.body)).toMatchObject({ path, route, pathname });
    }
    expect(replies.filter(({ status }) => status === 200).length).toBeGreaterThan(20);
  }));

const PIECES = [
  "admin",
  "inline",
  "pool",
  "x",
  "/",
  "/",
  "/",
  ".",
  "..",
  "%2e",
  "%2F",
  "%2f",
  "%61dmin",
  "\\",
  "%5C",
  "@",
  "%40",
  '"',
  "|",
  ";",
  "%",
  "%c3%a9",
  "~",
];

function someTarget(random: Random): string {
  const path = `/${random.list(6, () => random.pick(PIECES)).join("")}`;
  return path + random.pick(["", "", "?/../admin", "#/admin"]);
}
