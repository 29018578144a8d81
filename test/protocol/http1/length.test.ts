/** A stream whose handler tells its length goes out with it, and is held to it. */
import { expect, test } from "bun:test";
import { moduleSource, withHub } from "../../support/hub";

const STREAMS = moduleSource(`{ routes: {
  "/length/:told/:parts": { fetch: (request, { params }) => {
    let left = Number(params.parts);
    const body = new ReadableStream({ async pull(c) { await Bun.sleep(1); if (left-- > 0) c.enqueue(new TextEncoder().encode("12345")); else c.close(); } });
    return new Response(body, { headers: { "content-length": params.told } });
  } },
  "PING": () => "PONG\\n",
} }`);

test("a stream that is as long as was told has a Content-Length, and the connection goes on", () =>
  withHub({ "modules/streams.ts": STREAMS }, [], async (hub) => {
    const client = await hub.connect();
    await client.send("GET /length/15/3 HTTP/1.1\r\nHost: x\r\n\r\nGET /length/0/0 HTTP/1.1\r\nHost: x\r\n\r\nPING\n");
    const text = await client.waitForEnd();
    // Other bytes behind them end the connection, and are no message.
    expect(text).toMatch(/Content-Length: 0\r\n\r\nHTTP\/1\.1 400 [^]*`METHOD target HTTP\/1\.1`\.\n$/);
    expect(text).not.toContain("PONG");
    expect(text).toMatch(/Content-Length: 15\r\n\r\n123451234512345HTTP\/1\.1 200 OK\r\n/);
    expect(text).not.toContain("chunked");
  }));

test("a stream that is longer or shorter than was told ends the connection, and nothing stands behind what was told", () =>
  withHub({ "modules/streams.ts": STREAMS }, [], async (hub) => {
    for (const path of ["/length/7/3", "/length/20/3"]) {
      const client = await hub.connect();
      await client.send(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\nPING`);
      const body = (await client.waitForEnd()).split("\r\n\r\n")[1] ?? "";
      expect(body.length).toBeLessThanOrEqual(Number(path.split("/")[2]));
      expect(body).not.toContain("PONG");
    }
    expect(await hub.ask("PING")).toBe("PONG\n");
  }));
