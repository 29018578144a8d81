/**
 * Replies without a body in HTTP/1.1: to HEAD, 204 and 304 (RFC 9110 sections 6.4.1 and 8.6); and how long a connection
 * stays open.
 */
import { expect, test } from "bun:test";
import type { Dispatch } from "../../../src/protocol/wire";
import { renewDate } from "../../../src/protocol/web/http-date";
import { type Hub, moduleSource, reuseHubs } from "../../support/hub";

const reused = reuseHubs();

const routes = (run: string) => `
  "/${run}/text": { run: "${run}", fetch: () => new Response("four") },
  "/${run}/empty": { run: "${run}", fetch: () => new Response("") },
  "/${run}/bytes": { run: "${run}", fetch: () => new Response(new Uint8Array(2_000_000)) },
  "/${run}/blob": { run: "${run}", fetch: () => new Response(new Blob(["b".repeat(300_000)])) },
  "/${run}/stream": { run: "${run}", fetch: () => new Response(new ReadableStream({ start(c) { c.enqueue("part"); c.close(); } })) },
  "/${run}/told": { run: "${run}", fetch: () => new Response(new ReadableStream({ start(c) { c.enqueue("part"); c.close(); } }), { headers: { "content-length": "4" } }) },
  "/${run}/own-head": { run: "${run}", fetch: (request) => new Response(request.method === "HEAD" ? null : "only for GET") },
  "/${run}/own-length": { run: "${run}", fetch: (request) => new Response(request.method === "HEAD" ? null : "only for GET", { headers: { "content-length": "12" } }) },
  "/${run}/204": { run: "${run}", fetch: () => new Response(null, { status: 204, headers: { "content-length": "0" } }) },
  "/${run}/304": { run: "${run}", fetch: () => new Response(null, { status: 304, headers: { etag: '"x"' } }) },
  "/${run}/async": { run: "${run}", fetch: async (request) => { await Bun.sleep(1); return new Response(request.method === "HEAD" ? null : "later"); } },`;

const MODULE = moduleSource(`{ routes: {${["inline", "pool", "process"].map(routes).join("")}
  "/frozen": { fetch: ((init) => () => new Response("frozen", init))(Object.freeze({ headers: Object.freeze({ "Content-Type": "text/css" }) })) },
} }`);
const PATHS = ["text", "empty", "bytes", "blob", "stream", "told", "own-head", "own-length", "204", "304", "async"];

/** The whole reply to a request on a connection of its own. */
async function reply(
  hub: Hub,
  method: string,
  path: string,
  lines = "Host: a\r\nConnection: close\r\n",
): Promise<{ head: string; body: string }> {
  const client = await hub.connect();
  await client.send(`${method} ${path} HTTP/1.1\r\n${lines}\r\n`);
  const [head = "", ...rest] = (await client.waitForEnd()).split("\r\n\r\n");
  return { head: `${head}\r\n`, body: rest.join("\r\n\r\n") };
}

const lengthIn = (head: string): string | null => /^content-length: (\d+)\r$/im.exec(head)?.[1] ?? null;

test("a reply to HEAD has no body, and no length but that of GET; 204 and 304 have neither", async () => {
  await reused({ "modules/m.ts": MODULE, "static_html/page.html": "<p>page" }, ["--threads", "1"], async (hub) => {
    for (const path of [
      "/frozen",
      "/page.html",
      "/none",
      ...["inline", "pool", "process"].flatMap((run) => PATHS.map((name) => `/${run}/${name}`)),
    ]) {
      const got = await reply(hub, "GET", path);
      const headed = await reply(hub, "HEAD", path);
      const status = got.head.slice(9, 12);
      expect({ path, status: headed.head.slice(9, 12), body: headed.body }).toEqual({ path, status, body: "" });
      const length = lengthIn(headed.head);
      if (length !== null) expect({ path, length }).toEqual({ path, length: lengthIn(got.head) as string });
      if (status !== "204" && status !== "304") continue;
      for (const { head, body } of [got, headed]) {
        expect({ path, body, length: lengthIn(head), coding: /^transfer-encoding:/im.test(head) }).toEqual({
          path,
          body: "",
          length: null,
          coding: false,
        });
      }
    }
    // The server invents no length that the handler did not give.
    expect(lengthIn((await reply(hub, "HEAD", "/inline/own-head")).head)).toBeNull();
    expect(lengthIn((await reply(hub, "HEAD", "/inline/own-length")).head)).toBe("12");
    expect(lengthIn((await reply(hub, "GET", "/inline/empty")).head)).toBe("0");
  });
});

test("a HEAD that is refused gets no body either", async () => {
  await reused({ "modules/m.ts": MODULE }, [], async (hub) => {
    const wrong: [lines: string, status: string][] = [
      ["", "400"],
      ["Host: a\r\nHost: b\r\n", "400"],
      ["Host: a\r\nContent-Length: x\r\n", "400"],
      ["Host: a\r\nTransfer-Encoding: gzip, chunked\r\n", "501"],
      [`Host: a\r\n${"X: y\r\n".repeat(200)}`, "431"],
    ];
    for (const [lines, status] of wrong) {
      const { head, body } = await reply(hub, "HEAD", "/inline/text", lines);
      expect([lines.slice(0, 50), head.slice(9, 12), body]).toEqual([lines.slice(0, 50), status, ""]);
      expect((await reply(hub, "GET", "/inline/text", lines)).body).not.toBe("");
    }
    // In two pieces; the mistake is in the second.
    const client = await hub.connect();
    await client.send("HEAD / HTTP/1.1\r\nHost: a\r\n");
    await hub.ask("STATUS\n");
    await client.send("Host: b\r\n\r\n");
    expect(await client.waitForEnd()).toEndWith("\r\n\r\n");
  });
});

test("a short idle time is told to clients that keep their connection", async () => {
  await reused({ "modules/m.ts": MODULE }, ["--set", "timeouts.idleMs=5000"], async (hub) => {
    for (const path of [
      "/frozen",
      "/inline/text",
      "/inline/async",
      "/inline/stream",
      "/pool/text",
      "/inline/204",
      "/none",
      "/health",
    ]) {
      const client = await hub.connect();
      const ask = `GET ${path} HTTP/1.1\r\nHost: localhost\r\n`;
      await client.send(`${ask}\r\n`);
      await client.waitFor("\r\n\r\n");
      expect([path, /^keep-alive: (.*)\r$/im.exec(client.text)?.[1]]).toEqual([path, "timeout=5"]);
      await client.send(`${ask}Connection: close\r\n\r\n`);
      const last = (await client.waitForEnd()).split("HTTP/1.1 ").at(-1) as string;
      expect([path, /^connection: close\r$/im.test(last), /^keep-alive:/im.test(last)]).toEqual([path, true, false]);
    }
  });
});

test("an idle time that clients expect anyway is not told", () => {
  const hintFor = (idleMs: number): string => {
    const dispatch = { timeouts: { idleMs }, httpDate: "" } as unknown as Dispatch;
    renewDate(dispatch);
    return dispatch.keepAliveDate?.slice(dispatch.httpDate.length) ?? "";
  };
  expect([0, 400, 1500, 60_000, 60_001, 300_000].map(hintFor)).toEqual([
    "",
    "\r\nKeep-Alive: timeout=0",
    "\r\nKeep-Alive: timeout=1",
    "\r\nKeep-Alive: timeout=60",
    "",
    "",
  ]);
});
