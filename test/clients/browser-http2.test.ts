/** Chromium over TLS: requests and a WebSocket share one HTTP/2 connection (RFC 8441). */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Browser, NO_BROWSER } from "../support/browser";
import { moduleSource, withHub } from "../support/hub";
import { pairFiles, serverCertificate, TLS_FLAGS } from "../support/tls";

const WEB = moduleSource(`{ routes: {
  "/page": { fetch: () => new Response("<!doctype html><link rel=icon href=data:,><p>page", { headers: { "Content-Type": "text/html" } }) },
  "/seen": { fetch: (request, { client }) => Response.json({ alpn: client.tls?.alpn, connection: client.connection }) },
  "/echo": { websocket: {
    upgrade: (request, { client }) => ({ data: { alpn: client.tls?.alpn, connection: client.connection } }),
    message: (socket, text) => socket.send(JSON.stringify({ ...socket.data, text })),
  } },
} }`);

describe.skipIf(NO_BROWSER !== null)("Chromium (skipped where it is not installed)", () => {
  let browser: Browser;
  beforeAll(async () => void (browser = await Browser.start(["--ignore-certificate-errors"])));
  afterAll(() => browser?.close());

  test("opens a WebSocket on a stream of its HTTP/2 connection", () =>
    withHub({ "modules/web.ts": WEB, ...pairFiles(serverCertificate("localhost")) }, TLS_FLAGS, async (hub) => {
      const page = await browser.open(`https://localhost:${hub.port}/page`);
      expect(page.status).toBe(200);
      const seen = await page.evaluate(`fetch("/seen").then((reply) => reply.json())`);
      const heard = await page.evaluate(`new Promise((resolve, reject) => {
        const socket = new WebSocket("wss://localhost:${hub.port}/echo");
        socket.onopen = () => socket.send("by the browser");
        socket.onmessage = ({ data }) => { resolve(JSON.parse(data)); socket.close(); };
        socket.onerror = () => reject(new Error("the socket failed"));
      })`);
      expect(seen).toMatchObject({ alpn: "h2" });
      expect(heard).toEqual({ ...(seen as object), text: "by the browser" });
      expect(page.errors).toEqual([]);
    }));
});
