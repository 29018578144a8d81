/** The shipped module store: changes, as server-sent events and over WebSockets. */
import { describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { withHttp2 } from "../../support/http2";
import { type Hub, shareHub } from "../../support/hub";
import { runProgram } from "../../support/program";
import { addToken, revokeToken } from "../../support/tokens";
import { eventually, until } from "../../support/until";
import { parseFrames, upgradeRequest } from "../../support/websocket";

const configWith = (heartbeatMs: number): string =>
  JSON.stringify({ modules: { store: { heartbeatMs } }, store: { keptChanges: 20 } });
const onHub = shareHub({ "hrmr.json": configWith(50) });

let heartbeatMs = 50;
/** Another version of the module: its settings are part of it. */
async function reload(hub: Hub, config = configWith(++heartbeatMs)): Promise<void> {
  hub.write("hrmr.json", config);
  expect((await runProgram(["reload"], { cwd: hub.dir })).stdout).toStartWith("OK");
}

/** @returns the version */
async function put(hub: Hub, path: string, value: unknown, headers: Record<string, string> = {}): Promise<number> {
  const response = await fetch(`${hub.url}/store/${path}`, {
    method: "PUT",
    headers: { "Content-Type": "application/json", ...headers },
    body: JSON.stringify(value),
  });
  return ((await response.json()) as { version: number }).version;
}

const del = (hub: Hub, path: string) => fetch(`${hub.url}/store/${path}`, { method: "DELETE" });

interface Told {
  readonly kind: string;
  readonly key?: string;
  readonly value?: unknown;
  readonly version: number;
}

interface ServerEvent {
  readonly event: string;
  readonly id: string | null;
  readonly data: Told;
}

/** As an EventSource reads them (HTML, section 9.2.6). */
function eventsIn(text: string): ServerEvent[] {
  return text
    .split("\n\n")
    .slice(0, -1)
    .map((block) =>
      Object.fromEntries(block.split("\n").map((line) => [line.split(": ")[0], line.replace(/^\w*: ?/, "")])),
    )
    .filter((fields) => fields["data"] !== undefined)
    .map(({ event = "message", id = null, data = "" }) => ({ event, id, data: JSON.parse(data) as Told }));
}

async function openStream(hub: Hub, path: string, headers: Record<string, string> = {}) {
  const leave = new AbortController();
  const response = await fetch(`${hub.url}/store/${path}`, { headers, signal: leave.signal });
  let text = "";
  const read = (async () => {
    const decoder = new TextDecoder();
    for await (const part of response.body ?? []) text += decoder.decode(part, { stream: true });
  })().catch(() => undefined);
  const events = (): ServerEvent[] => eventsIn(text);
  return {
    response,
    events,
    text: () => text,
    ended: read,
    waitFor: (what: string) => until(what, () => text.includes(what)),
    changes: () =>
      events()
        .filter(({ event }) => event === "message")
        .map(({ data }) => data),
    async close() {
      leave.abort();
      await read;
    },
  };
}

async function openSocket(hub: Hub, path: string, protocols: string[] = []) {
  const received: (Told & { error?: unknown; auth?: string })[] = [];
  const socket = new WebSocket(`ws://127.0.0.1:${hub.port}/store/${path}`, protocols);
  socket.onmessage = ({ data }) => received.push(JSON.parse(String(data)) as Told);
  const closed = new Promise<CloseEvent>((resolve) => (socket.onclose = resolve));
  await new Promise<void>((resolve, reject) => {
    socket.onopen = () => resolve();
    socket.onerror = () => reject(new Error("refused"));
  });
  const has = (kind: string, value?: unknown) =>
    received.some((each) => each.kind === kind && (value === undefined || each.value === value));
  return { socket, received, closed, has };
}

/** The watches of the server's store. */
async function noWatches(hub: Hub): Promise<void> {
  await eventually(async () => {
    const { store } = (await hub.status()) as unknown as { store: { watches: number } };
    expect(store.watches).toBe(0);
  });
}

describe("an event stream", () => {
  test("has the changes of a collection, with their versions as ids", () =>
    onHub(async (hub) => {
      const stream = await openStream(hub, "sse?watch");
      expect(stream.response.headers.get("content-type")).toBe("text/event-stream");
      await stream.waitFor("event: ready");
      const first = await put(hub, "sse/a%20b", { n: 'zwei\nZeilen "🎈"' });
      await put(hub, "other/a", 1);
      await put(hub, "sse/a%20b", 2, { TTL: "1ms" });
      await del(hub, "sse/none");
      await put(hub, "sse/c", 3);
      await del(hub, "sse/c");
      await stream.waitFor('"delete"');
      await stream.waitFor('"expire"');
      const changes = stream.changes();
      expect(changes.slice(0, 3)).toEqual([
        { kind: "set", key: "a b", value: { n: 'zwei\nZeilen "🎈"' }, version: first },
        { kind: "set", key: "a b", value: 2, version: expect.any(Number) },
        expect.objectContaining({ key: expect.any(String) }) as unknown as Told,
      ]);
      expect(
        changes
          .filter(({ kind }) => kind !== "set")
          .map(({ kind, key, value }) => [kind, key, value])
          .sort(),
      ).toEqual([
        ["delete", "c", null],
        ["expire", "a b", null],
      ]);
      for (const { id, data } of stream.events()) expect(id).toBe(String(data.version));
      await stream.waitFor("\n:\n\n");
      await stream.close();
      await noWatches(hub);
    }));

  test("has one document, or those with a prefix, and begins as an EventSource asks", () =>
    onHub(async (hub) => {
      const headers = { Accept: "text/event-stream" };
      const streams = [
        await openStream(hub, "some/a%2Fb", headers),
        await openStream(hub, "some?key=a/b", headers),
        await openStream(hub, "some?prefix=a", headers),
      ];
      for (const stream of streams) await stream.waitFor("event: ready");
      await put(hub, "some/b", 1);
      await put(hub, "some/aa", 2);
      await put(hub, "some/a%2Fb", 3);
      for (const stream of streams) await stream.waitFor('"value":3');
      expect(streams.map((stream) => stream.changes().map(({ value }) => value))).toEqual([[3], [3], [2, 3]]);
      for (const stream of streams) await stream.close();
    }));

  test("goes on behind Last-Event-ID, and says if changes are missing", () =>
    onHub(async (hub) => {
      const first = await put(hub, "back/a", 1);
      await put(hub, "back/b", 2);
      const after = await openStream(hub, `back?watch&after=${first}`, {});
      await after.waitFor('"value":2');
      expect(after.changes().map(({ value }) => value)).toEqual([2]);
      const again = await openStream(hub, `back?watch&after=1`, { "Last-Event-ID": String(first) });
      await again.waitFor('"value":2');
      expect(again.events().map(({ data }) => data.kind)).toEqual(["ready", "set"]);
      for (const stream of [after, again]) await stream.close();
    }));

  test("says so if it has missed changes, and goes on", () =>
    onHub(async (hub) => {
      const stream = await openStream(hub, "gone?watch");
      const full = await openStream(hub, "gone?watch&full");
      for (const each of [stream, full]) await each.waitFor("event: ready");
      // Another database: its versions have nothing to do with those of the first one.
      const config = JSON.parse(configWith(heartbeatMs)) as object;
      await reload(hub, JSON.stringify({ ...config, store: { url: "sqlite://data/other.sqlite" } }));
      await put(hub, "gone/a", 1);
      for (const each of [stream, full]) await each.waitFor('"value":1');
      for (const each of [stream, full]) expect(each.events().map(({ event }) => event)).toContain("gone");
      await reload(hub);
      for (const each of [stream, full]) await each.close();
    }));

  test("has the documents first with ?full", () =>
    onHub(async (hub) => {
      const versions = [await put(hub, "full/a", 1), await put(hub, "full/b", 2)];
      const stream = await openStream(hub, "full?watch&full");
      await stream.waitFor("event: ready");
      await put(hub, "full/c", 3);
      await stream.waitFor('"value":3');
      expect(stream.events().map(({ event, id, data }) => [event, id === null, data.value])).toEqual([
        ["message", true, 1],
        ["message", true, 2],
        ["ready", false, undefined],
        ["message", false, 3],
      ]);
      expect(
        stream
          .changes()
          .map(({ version }) => version)
          .slice(0, 2),
      ).toEqual(versions);
      await stream.close();
    }));

  test("ends with a reload of the module, and the next one misses nothing", () =>
    onHub(async (hub) => {
      const stream = await openStream(hub, "reloaded?watch");
      await stream.waitFor("event: ready");
      await put(hub, "reloaded/a", 1);
      await stream.waitFor('"value":1');
      await reload(hub);
      await stream.ended;
      await put(hub, "reloaded/a", 2);
      const id = stream.events().at(-1)?.id as string;
      const next = await openStream(hub, "reloaded?watch", { "Last-Event-ID": id });
      await next.waitFor('"value":2');
      expect(next.changes().map(({ value }) => value)).toEqual([2]);
      await next.close();
    }));

  test("comes over HTTP/2, and ends with its stream", () =>
    onHub((hub) =>
      withHttp2(hub.url, async (client) => {
        const stream = client.session.request({ ":path": "/store/h2?watch&full" });
        let text = "";
        stream.on("data", (part: Buffer) => (text += part.toString()));
        await until("it has begun", () => text.includes("event: ready"));
        const made = await client.ask("/store/h2/a", {
          method: "PUT",
          headers: { "content-type": "application/json" },
          body: '{"n":1}',
        });
        expect([made.status, made.headers["etag"]]).toEqual([201, expect.stringMatching(/^"\d+"$/)]);
        await until("the change", () => text.includes('"value":{"n":1}'));
        expect(
          (await client.ask("/store/h2/a", { headers: { "if-none-match": String(made.headers["etag"]) } })).status,
        ).toBe(304);
        stream.close();
        await noWatches(hub);
      }),
    ));

  test.each(["watch=no", "watch&after=x", "watch&limit=3", "watch&key=a&prefix=b", "watch&full=2"])(
    "is refused with ?%s",
    (query) =>
      onHub(async (hub) => {
        expect((await fetch(`${hub.url}/store/sse?${query}`)).status).toBe(400);
      }),
  );

  test("is refused to pages of other sites", () =>
    onHub(async (hub) => {
      const headers = { Origin: "https://evil.example" };
      expect((await fetch(`${hub.url}/store/sse?watch`, { headers })).status).toBe(403);
    }));
});

describe("a WebSocket", () => {
  test("gets each change once and in order, over reloads of the module", () =>
    onHub(async (hub) => {
      const all = await openSocket(hub, "ws");
      const one = await openSocket(hub, "ws/b?full");
      for (const { has } of [all, one]) await until("it has begun", () => has("ready"));
      let n = 0;
      for (let i = 0; i < 3; i++) {
        const written = (async () => {
          for (let each = 0; each < 5; each++) await put(hub, "ws/a", ++n);
        })();
        await reload(hub);
        await written;
      }
      await put(hub, "ws/b", "last");
      for (const { has } of [all, one]) await until("the last change", () => has("set", "last"));
      const values = all.received.filter(({ kind }) => kind === "set").map(({ value }) => value);
      expect(values).toEqual([...Array.from({ length: n }, (_, at) => at + 1), "last"]);
      expect(one.received.filter(({ kind }) => kind === "set").map(({ value }) => value)).toEqual(["last"]);
      for (const { socket, closed } of [all, one]) {
        socket.close();
        await closed;
      }
      await noWatches(hub);
    }));

  test("that reads nothing for a while gets all that the store still has, and others are served meanwhile", () =>
    onHub(async (hub) => {
      const socket = connect(hub.port, "127.0.0.1");
      socket.write(upgradeRequest("/store/big"));
      let bytes: Buffer = Buffer.alloc(0);
      const opening = (part: Buffer): void => {
        bytes = Buffer.concat([bytes, part]);
        if (bytes.includes("\r\n\r\n")) socket.pause().off("data", opening);
      };
      socket.on("data", opening);
      await until("it is open", () => bytes.includes("\r\n\r\n"));
      expect(bytes.toString("latin1")).toStartWith("HTTP/1.1 101 ");
      const value = "x".repeat(900_000);
      for (let at = 0; at < 30; at++) await put(hub, `big/${at}`, value);
      const other = await openSocket(hub, "big?full&prefix=29");
      await until("a document", () => other.has("set", value));
      other.socket.close();
      const told: Told[] = [];
      const rest = { bytes: bytes.subarray(bytes.indexOf("\r\n\r\n") + 4) };
      socket.on("data", (part: Buffer) => {
        const { frames, rest: left } = parseFrames(Buffer.concat([rest.bytes, part]));
        rest.bytes = left;
        for (const { opcode, payload } of frames) if (opcode === 1) told.push(JSON.parse(payload.toString()) as Told);
      });
      socket.resume();
      await until("it has all changes", () => told.length > 30);
      expect(told.slice(1).map(({ key }) => key)).toEqual(Array.from({ length: 30 }, (_, at) => String(at)));
      socket.destroy();
      await noWatches(hub);
    }));

  test.each(["b%20d", "ws?after=x", "ws?nope"])("is refused at /store/%s", (path) =>
    onHub(async (hub) => {
      await expect(openSocket(hub, path)).rejects.toThrow("refused");
    }),
  );
});

describe("where tokens are needed", () => {
  const guarded = (heartbeat: number): string =>
    JSON.stringify({ access: { required: true }, modules: { store: { heartbeatMs: heartbeat } } });
  const onGuarded = shareHub({ "hrmr.json": guarded(15_000) });
  const bearer = (token: string) => ({ Authorization: `Bearer ${token}` });

  test("a client reads and writes what its token has scopes for", () =>
    onGuarded(async (hub) => {
      const reader = await addToken(hub, "eye", "store:scores:read");
      const writer = await addToken(hub, "bot", "store:scores:*", "store:log:write");
      const anonymous = await fetch(`${hub.url}/store/scores/a`);
      expect([anonymous.status, anonymous.headers.get("www-authenticate")]).toEqual([401, "Bearer"]);
      const ask = async (token: string, method: string, path: string, body: string | null = null): Promise<number> => {
        const headers = { ...bearer(token), "Content-Type": "application/json" };
        return (await fetch(`${hub.url}/store${path}`, { method, headers, body })).status;
      };
      expect(await ask(writer, "PUT", "/scores/a", "1")).toBe(201);
      expect(await ask(reader, "GET", "/scores/a")).toBe(200);
      expect(await ask(reader, "GET", "/scores")).toBe(200);
      expect(await ask(reader, "GET", "/log/a")).toBe(403);
      expect(await ask(writer, "GET", "/log/a")).toBe(403);
      expect(await ask(reader, "GET", "/log?watch")).toBe(403);
      for (const [method, path, body] of [
        ["PUT", "/scores/a", "2"],
        ["PATCH", "/scores/a", "{}"],
        ["POST", "/scores/a?increment", null],
        ["POST", "/scores", "1"],
        ["DELETE", "/scores/a", null],
      ] as const)
        expect(await ask(reader, method, path, body)).toBe(403);
      const batch = (checks: unknown[], ...collections: string[]) =>
        JSON.stringify({ checks, writes: collections.map((collection) => ({ collection, set: "a", value: 1 })) });
      expect(await ask(writer, "POST", "", batch([], "scores", "log"))).toBe(200);
      expect(await ask(writer, "POST", "", batch([], "scores", "other"))).toBe(403);
      expect(await ask(writer, "POST", "", batch([{ collection: "log", key: "a", version: 1 }], "scores"))).toBe(403);
      expect(await ask(await addToken(hub, "all", "store:*"), "PUT", "/hrmr.migrations/a", "1")).toBe(403);
      expect(await ask("hrmr_wrong", "GET", "/scores/a")).toBe(401);
    }));

  test("a watch ends when its client's token is revoked, over reloads too, and is told why", () =>
    onGuarded(async (hub) => {
      const token = await addToken(hub, "leaver", "store:scores:read");
      const writer = bearer(await addToken(hub, "writer", "store:scores:write"));
      const shown = await openSocket(hub, "scores", ["hrmr", `hrmr.token.${token}`]);
      const told = await openSocket(hub, "scores");
      told.socket.send(JSON.stringify({ auth: token }));
      for (const { has } of [shown, told]) await until("it has begun", () => has("ready"));
      expect(told.received[0]).toEqual({ auth: "leaver" } as unknown as Told);
      await reload(hub, guarded(9999));
      const stream = await openStream(hub, "scores?watch", bearer(token));
      await stream.waitFor("event: ready");
      await put(hub, "scores/x", "seen", writer);
      for (const { has } of [shown, told]) await until("the change", () => has("set", "seen"));
      await stream.waitFor('"seen"');
      revokeToken(hub, "leaver");
      const error = { error: { code: "UNAUTHENTICATED", message: "the token is not valid any more" } };
      for (const { received, closed } of [shown, told]) {
        expect((await closed).code).toBe(1008);
        expect(received.at(-1)).toEqual(error as unknown as Told);
      }
      await stream.ended;
      expect(stream.text()).toEndWith(`event: error\ndata: ${JSON.stringify(error)}\n\n`);
      await noWatches(hub);
    }));

  test.each([
    ["{}", "UNAUTHENTICATED", "a token is needed"],
    ['{"auth":"hrmr_wrong"}', "UNAUTHENTICATED", "the token is wrong"],
    ["other", "FORBIDDEN", "has no scope"],
  ])("a socket that begins with %p is closed with %p", (message, code, why) =>
    onGuarded(async (hub) => {
      const token = await addToken(hub, "other", "store:other:read");
      const { socket, received, closed } = await openSocket(hub, "scores");
      socket.send(message === "other" ? JSON.stringify({ auth: token }) : message);
      const end = await closed;
      expect([end.code, end.reason]).toEqual([1008, code]);
      expect(received).toEqual([{ error: { code, message: expect.stringContaining(why) } } as unknown as Told]);
    }),
  );
});

describe("modules.store.http", () => {
  test("set to false takes it all away", () =>
    onHub(async (hub) => {
      await reload(hub, JSON.stringify({ modules: { store: { http: false } } }));
      expect((await fetch(`${hub.url}/store/a/b`)).status).toBe(404);
      await expect(openSocket(hub, "a")).rejects.toThrow("refused");
      hub.write("hrmr.json", JSON.stringify({ modules: { store: { http: 1, nope: true } } }));
      const { stderr, stdout } = await runProgram(["validate"], { cwd: hub.dir });
      expect(stderr + stdout).toContain("modules.store.http");
      expect(stderr + stdout).toContain("nope");
      await reload(hub);
    }));
});
