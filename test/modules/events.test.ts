/** The shipped module events: raw clients and event streams. */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { TOKENS_FILE, writeTokens } from "../../src/hub/access/token-file";
import { hashOf, makeToken } from "../../src/hub/access/tokens";
import { type Hub, shareHub } from "../support/hub";
import { callProgram } from "../support/call-program";
import { runProgram } from "../support/program";
import { connectRaw } from "../support/raw-client";
import { addToken, revokeToken } from "../support/tokens";
import { eventually, until } from "../support/until";
import { upgradeRequest } from "../support/websocket";

const TELLER = `
import { defineModule } from "hrmr";
export default defineModule({ routes: { "TELL ": { framing: "line", handle: (message, context) => {
  const [, topic, json] = /^\\S+ (\\S+) (.*)$/s.exec(message.text);
  context.events.emit(topic, JSON.parse(json));
  return "told\\n";
} }, "BLOAT ": { framing: "line", async handle(message, context) {
  const [, topic, count] = message.text.split(" ");
  for (let n = 0; n < Number(count); n++) { context.events.emit(topic, "x".repeat(900_000)); await Bun.sleep(1); }
  return "told\\n";
} } } });`;
const settings = { topics: ["out.>"], emit: ["in.*", "out.echo"], heartbeatMs: 50 };
const configWith = (events: object): string => JSON.stringify({ modules: { events } });
const onHub = shareHub({ "modules/teller.ts": TELLER, "hrmr.json": configWith(settings) });

const tell = (hub: Hub, topic: string, data: unknown) => hub.ask(`TELL ${topic} ${JSON.stringify(data)}\n`);

describe("a raw client", () => {
  test("gets each event of its topics as one line of JSON, and only those that are open to clients", () =>
    onHub(async (hub) => {
      const client = await hub.connect();
      await client.send("SUBSCRIBE out.raw.*\n");
      await client.waitFor("OK subscribed to out.raw.*\n");
      await client.send("SUBSCRIBE >\n");
      await client.waitFor("OK subscribed to >\n");
      await tell(hub, "secret.x", 1);
      await tell(hub, "out.raw.a", { text: "zwei\nZeilen 🎈" });
      await tell(hub, "out.end", 3);
      await client.waitFor('"out.end"');
      const events = client.text
        .split("\n")
        .filter((line) => line.startsWith("{"))
        .map((line) => JSON.parse(line) as { topic: string; data: unknown; emitter: string });
      expect(events.map(({ topic }) => topic).sort()).toEqual(["out.end", "out.raw.a", "out.raw.a"]);
      expect(events.find(({ topic }) => topic === "out.raw.a")).toMatchObject({
        data: { text: "zwei\nZeilen 🎈" },
        emitter: "teller",
      });
    }));

  test("may end its side, and still gets events", () =>
    onHub(async (hub) => {
      const client = await hub.connect();
      await client.send("SUBSCRIBE out.half\n");
      client.finish();
      await client.waitFor("OK subscribed");
      await tell(hub, "out.half", 1);
      await client.waitFor('"data":1');
      const open = (await hub.status()).openConnections;
      client.close();
      await until("the server to notice that it is gone", async () => (await hub.status()).openConnections < open);
    }));

  test("gets no event twice and misses none over reloads of the module", () =>
    onHub(async (hub) => {
      const client = await hub.connect();
      await client.send("SUBSCRIBE out.kept\n");
      await client.waitFor("OK subscribed");
      let n = 0;
      for (let i = 0; i < 3; i++) {
        const told = (async () => {
          for (let each = 0; each < 20; each++) await tell(hub, "out.kept", ++n);
        })();
        // Its settings are part of its version.
        hub.write("hrmr.json", configWith({ ...settings, heartbeatMs: 51 + i }));
        expect((await runProgram(["reload"], { cwd: hub.dir })).stdout).toStartWith("OK");
        await told;
      }
      await client.waitFor(`"data":${n},`);
      const numbers = [...client.text.matchAll(/"data":(\d+)/g)].map(([, number]) => Number(number));
      expect(numbers).toEqual(Array.from({ length: n }, (_, at) => at + 1));
      await client.send("UNSUBSCRIBE out.kept\nQUIT\n");
      expect(await client.waitForEnd()).toEndWith("OK unsubscribed from out.kept\n");
    }));

  test.each([
    ["SUBSCRIBE secret.x", `ERR FORBIDDEN "secret.x" is not open to clients: modules.events.topics in hrmr.json`],
    ["SUBSCRIBE secret.*", `ERR FORBIDDEN "secret.*" is not open to clients: modules.events.topics in hrmr.json`],
    ["SUBSCRIBE *.*.x\nQUIT", "OK subscribed"],
    ["SUBSCRIBE *", `ERR FORBIDDEN "*" is not open to clients`],
    ["SUBSCRIBE a..b", "ERR INVALID_TOPIC"],
    ["SUBSCRIBE out.**", "ERR INVALID_TOPIC"],
    ["SUBSCRIBE ", "ERR"],
    ["EMIT out.x 1", `ERR FORBIDDEN "out.x" is not open to clients: modules.events.emit in hrmr.json`],
    ["EMIT in.* 1", "ERR INVALID_TOPIC"],
    ["EMIT in.x {", "ERR INVALID_DATA"],
    ["EMIT in.x", "OK"],
    ["PUBLISH in.x [1, 2]", "OK"],
  ])("%p is answered by %p", (line, answer) =>
    onHub(async (hub) => {
      expect(await hub.ask(`${line}\n`)).toStartWith(answer);
      expect(await tell(hub, "out.after", 1)).toBe("told\n");
    }),
  );

  test("emits what clients may emit", () =>
    onHub(async (hub) => {
      const client = await hub.connect();
      await client.send("SUBSCRIBE out.echo\n");
      await client.waitFor("OK subscribed");
      await client.send('EMIT out.echo {"from":"client"}\n');
      await client.waitFor('"data":{"from":"client"},"emitter":"events"');
    }));
});

describe("an event stream", () => {
  async function open(hub: Hub, path: string, headers: Record<string, string> = {}) {
    const leave = new AbortController();
    const response = await fetch(`${hub.url}${path}`, { headers, signal: leave.signal });
    let text = "";
    const read = (async () => {
      const decoder = new TextDecoder();
      for await (const part of response.body ?? []) text += decoder.decode(part, { stream: true });
    })().catch(() => undefined);
    const close = async () => {
      leave.abort();
      await read;
    };
    return { response, close, waitFor: (part: string) => until(part, () => text.includes(part)), text: () => text };
  }
  const idsOf = (text: string) => [...text.matchAll(/^id: (.*)$/gm)].map(([, id = ""]) => id);
  const dataOf = (text: string) =>
    [...text.matchAll(/^data: (.*)$/gm)].map(([, json = ""]) => (JSON.parse(json) as { data: unknown }).data);

  test("has the events of its topics, heartbeats, and goes on behind Last-Event-ID", () =>
    onHub(async (hub) => {
      const stream = await open(hub, "/events?topic=out.sse.*&topic=out.other");
      expect(stream.response.headers.get("content-type")).toBe("text/event-stream");
      await stream.waitFor("id: ");
      await tell(hub, "out.sse.a", 1);
      await tell(hub, "out.third", 2);
      await tell(hub, "out.other", 3);
      await stream.waitFor('"data":3');
      await stream.waitFor("\n:\n\n");
      expect(dataOf(stream.text())).toEqual([1, 3]);
      await stream.close();
      const last = idsOf(stream.text()).at(-1) as string;
      await tell(hub, "out.sse.b", 4);
      const again = await open(hub, "/events?topic=out.sse.*", { "Last-Event-ID": last });
      await again.waitFor('"data":4');
      expect(dataOf(again.text())).toEqual([4]);
      await again.close();
      const first = await open(hub, "/events?topic=out.sse.*", { "Last-Event-ID": idsOf(stream.text())[0] as string });
      await first.waitFor('"data":4');
      expect(dataOf(first.text())).toEqual([1, 4]);
      await first.close();
      await eventually(async () => {
        const { subscribers } = (await hub.status()).events;
        expect(subscribers.find(({ topic }) => topic === "out.sse.*")?.subscribers).toBe(0);
      });
    }));

  test.each([
    ["/events", {}, 400],
    ["/events?topic=out.**", {}, 400],
    ["/events?topic=secret", {}, 403],
    ["/events?topic=out.x", { Origin: "https://evil.example" }, 403],
    ["/events?topic=out.x", { Host: "evil.example" }, 403],
  ])("%p with %p gets %p", (path, headers, status) =>
    onHub(async (hub) => {
      const response = await fetch(`${hub.url}${path}`, { headers: headers as Record<string, string> });
      expect(response.status).toBe(status);
      expect(((await response.json()) as { error: { message: string } }).error.message).toBeString();
    }),
  );

  test("a POST emits JSON", () =>
    onHub(async (hub) => {
      const post = (topic: string, body: string, type = "application/json") =>
        fetch(`${hub.url}/events?topic=${topic}`, { method: "POST", headers: { "Content-Type": type }, body });
      const stream = await open(hub, "/events?topic=out.echo");
      await stream.waitFor("id: ");
      expect((await post("out.echo", '{"a":1}')).status).toBe(204);
      await stream.waitFor('"data":{"a":1}');
      expect((await post("out.echo", "{")).status).toBe(400);
      expect((await post("out.echo", "1", "text/plain")).status).toBe(415);
      expect((await post("secret", "1")).status).toBe(403);
      await stream.close();
    }));
});

describe("a WebSocket", () => {
  async function open(hub: Hub, query: string) {
    const received: { topic: string; data: unknown }[] = [];
    const socket = new WebSocket(`ws://127.0.0.1:${hub.port}/events?${query}`);
    socket.onmessage = ({ data }) => received.push(JSON.parse(String(data)) as { topic: string; data: unknown });
    await new Promise<void>((resolve, reject) => {
      socket.onopen = () => resolve();
      socket.onerror = () => reject(new Error("refused"));
    });
    return { socket, received, data: () => received.map(({ data }) => data) };
  }

  test("gets each event of its topics once and in order, over reloads of the module", () =>
    onHub(async (hub) => {
      const [one, same, other] = [
        await open(hub, "topic=out.ws.*&topic=out.ws.a"),
        await open(hub, "topic=out.ws.a&topic=out.ws.*"),
        await open(hub, "topic=out.ws.b"),
      ];
      let n = 0;
      for (let i = 0; i < 3; i++) {
        const told = (async () => {
          for (let each = 0; each < 20; each++) await tell(hub, "out.ws.a", ++n);
        })();
        hub.write("hrmr.json", configWith({ ...settings, heartbeatMs: 61 + i }));
        expect((await runProgram(["reload"], { cwd: hub.dir })).stdout).toStartWith("OK");
        await told;
      }
      await tell(hub, "out.ws.b", "last");
      for (const { received } of [one, same, other])
        await until("the last event", () => received.some(({ data }) => data === "last"));
      const all = [...Array.from({ length: n }, (_, at) => at + 1), "last"];
      expect(one.data()).toEqual(all);
      expect(same.data()).toEqual(all);
      expect(other.data()).toEqual(["last"]);
      for (const { socket } of [one, same, other]) socket.close();
      await eventually(async () => {
        const { subscribers } = (await hub.status()).events;
        const left = subscribers.filter(({ topic }) => topic.includes("out.ws"));
        expect(left.map((each) => each.subscribers)).toEqual(left.map(() => 0));
        expect(left.length).toBeGreaterThan(0);
      });
    }));

  test("that reads too slowly loses its own events, and is counted by topic and client", () =>
    onHub(async (hub) => {
      const fast = await open(hub, "topic=out.bloat");
      const slow = await connectRaw(hub.port);
      slow.write(upgradeRequest("/events?topic=out.bloat"));
      await slow.waitFor("101");
      slow.pause();
      const dropsOf = async () =>
        (await hub.status()).sockets.dropped.find(({ topic, module }) => topic === "out.bloat" && module === "events");
      let told = 0;
      await until("events are dropped", async () => {
        await hub.ask("BLOAT out.bloat 10\n");
        told += 10;
        return (await dropsOf()) !== undefined;
      });
      const drops = await dropsOf();
      const lost = drops?.dropped ?? 0;
      expect(lost).toBeGreaterThan(0);
      expect(drops?.clients).toEqual([
        {
          connection: expect.any(Number),
          client: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
          dropped: lost,
        },
      ]);
      await until("the fast one has all", () => fast.received.length === told);
      expect(await (await fetch(`${hub.url}/metrics`)).text()).toContain(
        `hrmr_websocket_messages_dropped_total{module="events",topic="out.bloat"} ${lost}`,
      );
      const { stdout } = await runProgram(["status"], { cwd: hub.dir });
      expect(stdout).toMatch(/events: slow WebSockets missed \d+ messages? of out\.bloat, last 127\.0\.0\.1:\d+/);
      fast.socket.close();
      slow.terminate();
    }));

  test.each(["", "topic=secret", "topic=out.**"])("is refused with ?%s", (query) =>
    onHub(async (hub) => {
      await expect(open(hub, query)).rejects.toThrow("refused");
    }),
  );
});

test.each([
  [{ topics: "door" }, 'modules.events.topics: must be a list of topics such as ["user.*", "order.>"], or "*" for all'],
  [{ topics: ["a", "b..c"] }, 'modules.events.topics[1]: must be a topic such as "user.created", "user.*" or "user.>"'],
  [{ heartbeatMs: 1 }, "modules.events.heartbeatMs: must be a number of milliseconds from 10 to 3600000"],
  [{ topic: ["a"] }, "modules.events.topic: is not a setting: use one of topics, emit, heartbeatMs"],
])("settings %j are refused with the line of hrmr.json", (events, message) =>
  onHub(async (hub) => {
    hub.write("data/wrong/hrmr.json", JSON.stringify({ modules: { events } }, null, 2));
    hub.write("data/wrong/modules/teller.ts", TELLER);
    const { exitCode, stdout, stderr } = await callProgram(["validate", "--port", "0"], {
      cwd: `${hub.dir}/data/wrong`,
    });
    expect([exitCode, stdout + stderr]).toEqual([1, expect.stringContaining(message)]);
    expect(stdout + stderr).toMatch(/hrmr\.json:[456]:/);
  }),
);

describe("where tokens are needed", () => {
  const guarded = shareHub({
    "modules/teller.ts": TELLER,
    "hrmr.json": JSON.stringify({ access: { required: true }, modules: { events: { topics: "*", emit: "*" } } }),
  });

  test("a client hears and emits what its token has scopes for", () =>
    guarded(async (hub) => {
      const token = makeToken();
      const created = new Date().toISOString();
      const hash = hashOf(token).toString("hex");
      writeTokens(join(hub.dir, "data", TOKENS_FILE), [
        { name: "bot", hash, scopes: ["events:user.*"], created, expires: null },
      ]);
      expect(await hub.ask("SUBSCRIBE user.*\n")).toStartWith("ERR UNAUTHENTICATED");
      expect(await hub.ask("EMIT user.a 1\n")).toStartWith("ERR UNAUTHENTICATED");
      expect((await fetch(`${hub.url}/events?topic=user.*`)).status).toBe(401);
      const client = await hub.connect();
      await client.send(`AUTH ${token}\n`);
      await client.waitFor("OK");
      await client.send("EMIT user.a 1\nEMIT order.a 1\nSUBSCRIBE >\n");
      await client.waitFor("ERR FORBIDDEN the token");
      await client.send("SUBSCRIBE user.>\n");
      await client.waitFor("OK subscribed to user.>");
      await tell(hub, "order.x", 1);
      await tell(hub, "user.x", 2);
      await client.waitFor('"data":2');
      expect(client.text).not.toContain("order.x");
      const headers = { Authorization: `Bearer ${token}` };
      expect((await fetch(`${hub.url}/events?topic=order.*`, { headers })).status).toBe(403);
      const leave = new AbortController();
      expect((await fetch(`${hub.url}/events?topic=user.*`, { headers, signal: leave.signal })).status).toBe(200);
      leave.abort();
    }));

  const USER = "topic=user.*";

  test("a client whose token is revoked gets no more events, and is told why, over every protocol", () =>
    guarded(async (hub) => {
      const over = "the token is not valid any more";
      const token = await addToken(hub, "leaver", "events:user.*");
      const raw = await hub.connect();
      await raw.send(`AUTH ${token}\nSUBSCRIBE user.*\n`);
      await raw.waitFor("OK subscribed");
      const shown = await openSocket(hub, USER, ["hrmr", `hrmr.token.${token}`]);
      const told = await openSocket(hub, USER);
      told.socket.send(JSON.stringify({ auth: token }));
      const stream = await fetch(`${hub.url}/events?${USER}`, { headers: { Authorization: `Bearer ${token}` } });
      await until("the message is answered", () => told.received.length > 0);
      await tell(hub, "user.x", 1);
      await raw.waitFor('"data":1');
      for (const { received } of [shown, told])
        await until("the event", () => JSON.stringify(received).includes("user.x"));
      // Its settings are part of its version: sockets go over to it.
      const config = { access: { required: true }, modules: { events: { topics: "*", emit: "*", heartbeatMs: 9999 } } };
      hub.write("hrmr.json", JSON.stringify(config));
      expect((await runProgram(["reload"], { cwd: hub.dir })).stdout).toStartWith("OK");
      const late = await fetch(`${hub.url}/events?${USER}`, { headers: { Authorization: `Bearer ${token}` } });
      revokeToken(hub, "leaver");
      await raw.waitFor(`ERR UNAUTHENTICATED user.*: ${over}\n`);
      const error = { error: { code: "UNAUTHENTICATED", message: over } };
      for (const { received, closed } of [shown, told]) {
        expect((await closed).code).toBe(1008);
        expect(received.at(-1)).toEqual(error);
      }
      expect(told.received[0]).toEqual({ auth: "leaver" });
      expect(await late.text()).toEndWith(`event: error\ndata: ${JSON.stringify(error)}\n\n`);
      expect(await stream.text()).toContain("user.x");
      await eventually(async () => {
        const { subscribers } = (await hub.status()).events;
        expect(subscribers.find(({ topic }) => topic === "user.*")?.subscribers).toBe(0);
      });
    }));

  test.each([
    ["{}", "UNAUTHENTICATED", "a token is needed"],
    ['{"auth":"hrmr_wrong"}', "UNAUTHENTICATED", "the token is wrong"],
    ["order", "FORBIDDEN", "has no scope"],
  ])("a socket that begins with %p is closed with %p", (message, code, why) =>
    guarded(async (hub) => {
      const token = await addToken(hub, "other", "events:order.*");
      const { socket, received, closed } = await openSocket(hub, USER);
      socket.send(message === "order" ? JSON.stringify({ auth: token }) : message);
      const end = await closed;
      expect([end.code, end.reason]).toEqual([1008, code]);
      expect(received).toEqual([{ error: { code, message: expect.stringContaining(why) } }]);
      await expect(openSocket(hub, USER, ["hrmr", "hrmr.token.wrong"])).rejects.toThrow("refused");
    }),
  );
});

async function openSocket(hub: Hub, query: string, protocols: string[] = []) {
  const received: unknown[] = [];
  const socket = new WebSocket(`ws://127.0.0.1:${hub.port}/events?${query}`, protocols);
  socket.onmessage = ({ data }) => received.push(JSON.parse(String(data)));
  const closed = new Promise<CloseEvent>((resolve) => (socket.onclose = resolve));
  await new Promise<void>((resolve, reject) => {
    socket.onopen = () => resolve();
    socket.onerror = () => reject(new Error("refused"));
  });
  return { socket, received, closed };
}
