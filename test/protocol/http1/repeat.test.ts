/** Replies that a module lets the server repeat for a moment: for equal heads, and for nothing else. */
import { expect, test } from "bun:test";
import { routingOf } from "../../../src/protocol/routing";
import { GraphResponse } from "../../../src/protocol/web/response";
import { connectRaw, parseReplies, type RawReply } from "../../support/raw-client";
import { until } from "../../support/until";
import { type Harness, type HarnessOptions, startHarness } from "../../support/wire-harness";

const REPEATABLE = Symbol.for("hrmr.repeatable");
const HEAD = "GET /page HTTP/1.1\r\nHost: a.test\r\n\r\n";

interface Mark {
  until: number;
  asked: number;
}

/** A page whose replies may be repeated, as the static site makes them. */
class Page {
  calls = 0;
  readonly mark: Mark = { until: performance.now() + 60_000, asked: 0 };
  status = 200;

  readonly fetch = (): Response => {
    this.calls++;
    const headers = Object.freeze({ "content-type": "text/plain" });
    const init = Object.freeze({ status: this.status, headers, [REPEATABLE]: this.mark });
    return new GraphResponse(`call ${this.calls}`, init);
  };
}

const replyCount = (text: string) => text.match(/call \d+/g)?.length ?? 0;

/** A server of one page, and a connection to it. */
class Site {
  readonly page = new Page();
  readonly server: Harness;

  constructor(options: Partial<HarnessOptions> = {}) {
    this.server = startHarness({ routes: { "/page": this.page.fetch }, ...options });
  }

  /** The replies to these requests, each sent alone behind the reply to the one before. */
  async ask(...requests: string[]): Promise<RawReply[]> {
    const client = await connectRaw(this.server.port);
    try {
      const replies: RawReply[] = [];
      for (const request of requests) {
        const from = client.received.length;
        client.write(request);
        await until("the reply", () => replyCount(client.received) > replies.length);
        replies.push(...parseReplies(client.received.slice(from), request.startsWith("HEAD")));
      }
      return replies;
    } finally {
      client.terminate();
    }
  }

  async bodies(...requests: string[]): Promise<string[]> {
    return (await this.ask(...requests)).map(({ body }) => body);
  }

  [Symbol.dispose](): void {
    this.server.stop();
  }
}

test("an equal request gets the same reply without its handler, and is counted as a call", async () => {
  using site = new Site();
  const [first, ...others] = await site.ask(HEAD, HEAD, HEAD);
  expect(first?.body).toBe("call 1");
  expect(others).toEqual([first, first] as RawReply[]);
  expect(site.page.calls).toBe(1);
  expect(site.page.mark.asked).toBe(2);
  expect(site.server.dispatch.counters.httpRequests).toBe(3);
});

test("a request with any other head is answered by the handler", async () => {
  using site = new Site();
  const others = [
    HEAD.replace("a.test", "b.test"),
    HEAD.replace("/page", "/page?a"),
    HEAD.replace("\r\n\r\n", "\r\nRange: bytes=0-1\r\n\r\n"),
    HEAD.replace("\r\n\r\n", "\r\nCookie: a=b\r\n\r\n"),
    HEAD.replace("\r\n\r\n", "\r\nConnection: keep-alive\r\n\r\n"),
    HEAD.replace("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n"),
  ];
  await site.ask(HEAD);
  for (const other of others) {
    const before = site.page.calls;
    await site.ask(other);
    expect([other, site.page.calls]).toEqual([other, before + 1]);
  }
  const [first, second] = await site.bodies(HEAD, HEAD);
  expect(second).toBe(first as string);
});

test("requests in one read are answered in order, repeated or not", async () => {
  using site = new Site();
  await site.ask(HEAD);
  const client = await connectRaw(site.server.port);
  try {
    client.write(HEAD + HEAD.replace("/page", "/page?a") + HEAD);
    await until("all replies", () => replyCount(client.received) === 3);
    // llhttp reads all but the last of a read.
    expect(parseReplies(client.received).map(({ body }) => body)).toEqual(["call 2", "call 3", "call 1"]);
  } finally {
    client.terminate();
  }
});

test("no reply is repeated beyond its time", async () => {
  using site = new Site();
  site.page.mark.until = 0;
  expect(await site.bodies(HEAD, HEAD)).toEqual(["call 1", "call 2"]);
  // From here on it may be repeated; the earlier mark is not forgotten, but over.
  site.page.mark.until = performance.now() + 60_000;
  expect(await site.bodies(HEAD, HEAD)).toEqual(["call 3", "call 3"]);
});

test("with a new date the reply is made anew", async () => {
  using site = new Site();
  await site.ask(HEAD);
  site.server.dispatch.httpDate = "Sun, 06 Nov 1994 08:49:38 GMT";
  const [reply] = await site.ask(HEAD);
  expect([reply?.body, reply?.headers.date]).toEqual(["call 2", "Sun, 06 Nov 1994 08:49:38 GMT"]);
});

test("a server that drains closes the connection, whatever it repeated before", async () => {
  using site = new Site();
  await site.ask(HEAD);
  site.server.dispatch.isDraining = true;
  const [reply] = await site.ask(HEAD);
  expect([reply?.body, reply?.headers.connection]).toEqual(["call 2", "close"]);
});

test("a new routing knows nothing of the replies before it", async () => {
  using site = new Site();
  await site.ask(HEAD);
  const { routing } = site.server.dispatch;
  site.server.dispatch.routing = routingOf(routing.table, routing.unmatched, routing.endpoints);
  expect(await site.bodies(HEAD)).toEqual(["call 2"]);
});

test("only a 200 is repeated", async () => {
  using site = new Site();
  site.page.status = 404;
  expect(await site.bodies(HEAD, HEAD)).toEqual(["call 1", "call 2"]);
});

test("a route behind middleware is asked each time", async () => {
  const page = new Page();
  using site = new Site({ routes: { "/page": { fetch: page.fetch, isBehindMiddleware: true } } });
  expect(await site.bodies(HEAD, HEAD)).toEqual(["call 1", "call 2"]);
});

test("the path of an endpoint that only some clients see is asked for each time", async () => {
  const page = new Page();
  using site = new Site({
    routes: { "/": page.fetch },
    endpoints: { "/health": () => new Response("call 0") },
    endpointsAreFor: () => page.calls > 1,
  });
  const health = HEAD.replace("/page", "/health");
  expect(await site.bodies(health, health, health)).toEqual(["call 1", "call 2", "call 0"]);
});

test("each repeat gets its line in the access log", async () => {
  using site = new Site();
  const lines: object[] = [];
  site.server.dispatch.access = ({ method, path, status, bytes, key }) =>
    void lines.push({ method, path, status, bytes, key });
  await site.ask(HEAD, HEAD);
  expect(lines.length).toBe(2);
  expect(lines[1]).toEqual(lines[0] as object);
});

test("hundreds of different heads keep only the last replies in memory", async () => {
  using site = new Site();
  const client = await connectRaw(site.server.port);
  try {
    for (let count = 1; count <= 600; count++) {
      client.write(HEAD.replace("/page", `/page?${count}`));
      await client.waitFor(`call ${count}`);
    }
    expect(site.page.calls).toBe(600);
    expect(site.server.dispatch.routing.repeats.size).toBeLessThanOrEqual(256);
  } finally {
    client.terminate();
  }
});
