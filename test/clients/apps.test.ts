/** The examples as they are, and a larger hono app, served and asked by real clients. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { type Hub, reuseHubs, shareHub, withHub } from "../support/hub";

const reused = reuseHubs();

const ROOT = resolve(import.meta.dir, "../..");
const example = (name: string) => readFileSync(join(ROOT, "examples", name), "utf8");

/**
 * The parts of a usual hono app: routes, params, bodies, middleware before and after, cookies, streams, errors,
 * groups.
 */
const APP = `
import { Hono } from "hono";
import { cors } from "hono/cors";
import { etag } from "hono/etag";
import { getCookie, setCookie } from "hono/cookie";
import { HTTPException } from "hono/http-exception";
import { streamSSE, streamText } from "hono/streaming";
import { html } from "hono/html";
const app = new Hono();
app.use("*", async (c, next) => { const from = performance.now(); await next(); c.header("x-took", String(performance.now() - from >= 0)); });
app.use("/cors/*", cors({ origin: "http://other.example" }));
app.use("/etag", etag());
app.get("/", (c) => c.text("home"));
app.get("/json", (c) => c.json({ a: [1, 2], u: "ü" }));
app.get("/users/:id/posts/:post", (c) => c.json(c.req.param()));
app.post("/echo", async (c) => c.body(await c.req.arrayBuffer(), 200, { "content-type": "application/x-echo" }));
app.post("/json", async (c) => c.json({ got: await c.req.json() }, 201));
app.post("/form", async (c) => { const form = await c.req.formData(); const file = form.get("file"); return c.text(form.get("name") + ":" + file.name + ":" + (await file.text())); });
app.get("/cookies", (c) => { setCookie(c, "one", "1", { httpOnly: true }); setCookie(c, "two", "2"); return c.text(getCookie(c, "seen") ?? "none"); });
app.get("/stream", (c) => streamText(c, async (stream) => { for (let i = 0; i < 5; i++) { await stream.write("part" + i + ";"); await stream.sleep(2); } }));
app.get("/sse", (c) => streamSSE(c, async (stream) => { for (let i = 0; i < 3; i++) await stream.writeSSE({ data: "e" + i, id: String(i) }); }));
app.get("/html", (c) => c.html(html\`<p>\${"<escaped>"}</p>\`));
app.get("/redirect", (c) => c.redirect("/json"));
app.get("/teapot", () => { throw new HTTPException(418, { message: "short" }); });
app.get("/boom", () => { throw new Error("secret"); });
app.get("/etag", (c) => c.text("tagged"));
app.get("/cors/x", (c) => c.text("x"));
app.get("/ip", (c) => c.json({ url: c.req.url, host: c.req.header("host"), query: c.req.queries("q") }));
app.notFound((c) => c.text("nothing at " + c.req.path, 404));
app.onError((error, c) => error instanceof HTTPException ? error.getResponse() : c.text("own 500", 500));
const group = new Hono().basePath("/v1"); group.get("/ping", (c) => c.text("v1 pong")); app.route("/", group);
export default app;
`;

describe("a hono app as it is", () => {
  const withApp = shareHub({ "modules/app.ts": APP });

  test("text, json, params, bodies, forms, redirects, groups and errors", () =>
    withApp(async (hub) => {
      const get = async (path: string, init?: RequestInit) =>
        await fetch(hub.url + path, { redirect: "manual", ...init });
      const text = async (path: string, init?: RequestInit) => await (await get(path, init)).text();
      expect(await text("/")).toBe("home");
      expect(await (await get("/json")).json()).toEqual({ a: [1, 2], u: "ü" });
      expect(await (await get("/users/4%202/posts/x")).json()).toEqual({ id: "4 2", post: "x" });
      const bytes = Uint8Array.from({ length: 70_000 }, (_, at) => at);
      const echoed = await get("/echo", { method: "POST", body: bytes });
      expect([echoed.headers.get("content-type"), await echoed.bytes()]).toEqual(["application/x-echo", bytes]);
      const json = await get("/json", {
        method: "POST",
        body: '{"x":1}',
        headers: { "content-type": "application/json" },
      });
      expect([json.status, await json.json()]).toEqual([201, { got: { x: 1 } }]);
      const form = new FormData();
      form.set("name", "ada");
      form.set("file", new File(["content"], "a.txt"));
      expect(await text("/form", { method: "POST", body: form })).toBe("ada:a.txt:content");
      const redirect = await get("/redirect");
      expect([redirect.status, redirect.headers.get("location")]).toEqual([302, "/json"]);
      expect((await get("/teapot")).status).toBe(418);
      expect(await text("/boom")).toBe("own 500");
      const missing = await get("/no/where");
      expect([missing.status, await missing.text()]).toEqual([404, "nothing at /no/where"]);
      expect(await text("/v1/ping")).toBe("v1 pong");
      expect(await text("/html")).toBe("<p>&lt;escaped&gt;</p>");
      expect((await get("/json", { method: "HEAD" })).headers.get("content-type")).toBe("application/json");
      expect((await get("/json", { method: "DELETE" })).status).toBe(404);
      const seen = await (await get("/ip?q=1&q=2")).json();
      expect(seen).toEqual({ url: `${hub.url}/ip?q=1&q=2`, host: hub.url.slice(7), query: ["1", "2"] });
    }));

  test("middleware's headers, cookies, etags, cors and streams", () =>
    withApp(async (hub) => {
      expect((await fetch(`${hub.url}/`)).headers.get("x-took")).toBe("true");
      const cookies = await fetch(`${hub.url}/cookies`, { headers: { cookie: "seen=yes" } });
      expect(cookies.headers.getSetCookie()).toEqual(["one=1; Path=/; HttpOnly", "two=2; Path=/"]);
      expect(await cookies.text()).toBe("yes");
      const tagged = await fetch(`${hub.url}/etag`);
      const again = await fetch(`${hub.url}/etag`, { headers: { "if-none-match": tagged.headers.get("etag") ?? "" } });
      expect([again.status, await again.text()]).toEqual([304, ""]);
      const preflight = await fetch(`${hub.url}/cors/x`, {
        method: "OPTIONS",
        headers: { origin: "http://other.example", "access-control-request-method": "PUT" },
      });
      expect([preflight.status, preflight.headers.get("access-control-allow-origin")]).toEqual([
        204,
        "http://other.example",
      ]);
      expect(await (await fetch(`${hub.url}/stream`)).text()).toBe("part0;part1;part2;part3;part4;");
      expect(await (await fetch(`${hub.url}/sse`)).text()).toBe(
        "data: e0\nid: 0\n\ndata: e1\nid: 1\n\ndata: e2\nid: 2\n\n",
      );
    }));

  test("an edit and RELOAD change it under kept connections", () =>
    withApp(async (hub) => {
      expect(await (await fetch(hub.url)).text()).toBe("home");
      hub.write("modules/app.ts", APP.replace('"home"', '"new home"'));
      expect(await hub.ask("RELOAD")).toStartWith("OK app v2 (was v1)");
      expect(await (await fetch(hub.url)).text()).toBe("new home");
    }));
});

describe("the examples", () => {
  test("all of them serve side by side on one port", () =>
    reused(
      Object.fromEntries(
        ["greet", "hono-app", "redis-like", "length-prefixed", "chat", "sse"].map((name) => [
          `modules/${name}.ts`,
          example(`${name}.ts`),
        ]),
      ),
      [],
      async (hub) => {
        expect(await hub.ask("PING")).toBe("PONG\n");
        expect(await hub.ask("GREET bob\n")).toBe("Hello, bob\n");
        expect(await (await fetch(hub.url)).text()).toBe("Hello from hono\n");
        expect(await (await fetch(`${hub.url}/users/42`)).json()).toEqual({ id: "42" });
        const created = await fetch(`${hub.url}/users`, {
          method: "POST",
          body: '{"name":"ada"}',
          headers: { "content-type": "application/json" },
        });
        expect([created.status, await created.json()]).toEqual([201, { created: "ada" }]);
        expect(await hub.ask("*1\r\n$4\r\nPING\r\n")).toBe("+PONG\r\n");
        const sum = await hub.connect();
        await sum.send("SUM!\0\0\0\u0004\0\u0001\0\u0002".slice(0, 9));
        await sum.send("\u0001\0\u0002");
        expect((await sum.waitForBytes(12)).toString("hex")).toBe("53554d210000000400000003");
        expect((await hub.ask("HELP")).match(/"(PING|GREET |\*|SUM!|CHAT|GET \/events|\/)"/g)?.length).toBe(7);
      },
    ));

  test("people in the chat stay in the room, with their names, over RELOADs in the middle of their lines", () =>
    reused({ "modules/chat.ts": example("chat.ts") }, [], async (hub) => {
      const [ada, bob] = [await hub.connect(), await hub.connect()];
      await ada.send("CHAT ada\n");
      await ada.waitFor("* hello ada, 0 here\n");
      await bob.send("CHAT bob\n");
      await ada.waitFor("* bob came in\n");
      for (const round of [1, 2, 3]) {
        await bob.send(`line ${round} begun `);
        hub.write("modules/chat.ts", example("chat.ts").replace("came in", `came in ${round}`));
        expect(await hub.ask("RELOAD")).toContain("0 connections dropped");
        await bob.send("and ended\n");
        await ada.waitFor(`bob: line ${round} begun and ended\n`);
      }
      const eve = await hub.connect();
      await eve.send("CHAT eve\n");
      await bob.waitFor("* eve came in 3\n");
      await ada.clear().send("/who\n");
      expect((await ada.waitFor("\n")).trim().slice(2).split(", ").sort()).toEqual(["ada", "bob", "eve"]);
      await bob.clear().send("/bye\n");
      await bob.waitForEnd();
      await ada.waitFor("* bob left\n");
      expect(ada.text).not.toContain("ada left");
    }));

  test("an event stream of a module goes on over reloads of that module and ends with its last event", () =>
    withHub(
      { "modules/sse.ts": example("sse.ts").replace("INTERVAL_MS = 1000", "INTERVAL_MS = 40") },
      [],
      async (hub) => {
        const events = await openEvents(hub, "/events?count=12");
        expect(await events.next()).toContain("retry: 2000");
        expect(await events.next()).toStartWith("id: 1\nevent: tick\n");
        hub.write(
          "modules/sse.ts",
          example("sse.ts").replace("INTERVAL_MS = 1000", "INTERVAL_MS = 41").replaceAll("tick", "tock"),
        );
        expect(await hub.ask("RELOAD")).toMatch(/^OK sse v2 \(was v1\) swapped in .* 0 connections dropped/);
        for (let id = 2; id <= 12; id++) expect(await events.next()).toStartWith(`id: ${id}\nevent: tick\n`);
        expect(await events.next()).toBe(null);
        const next = await openEvents(hub, "/events?count=1", { "last-event-id": "12" });
        await next.next();
        expect(await next.next()).toStartWith("id: 13\nevent: tock\n");
      },
    ));
});

/** The events that an EventSource reads: blocks of lines up to an empty one; null at the end. */
async function openEvents(
  hub: Hub,
  path: string,
  headers: Record<string, string> = {},
): Promise<{ next(): Promise<string | null> }> {
  const response = await fetch(hub.url + path, { headers });
  expect(response.headers.get("content-type")).toBe("text/event-stream");
  const reader = (response.body as ReadableStream<Uint8Array<ArrayBuffer>>)
    .pipeThrough(new TextDecoderStream())
    .getReader();
  let text = "";
  return {
    async next() {
      while (!text.includes("\n\n")) {
        const { done, value } = await reader.read();
        if (done) return null;
        text += value;
      }
      const end = text.indexOf("\n\n");
      const event = text.slice(0, end);
      text = text.slice(end + 2);
      return event;
    },
  };
}
