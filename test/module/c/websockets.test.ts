/** WebSockets of modules in C: events in a process of the module, over reloads and crashes. */
import { expect, test } from "bun:test";
import { type Hub, shareHub } from "../../support/hub";
import { until } from "../../support/until";
import { RawWebSocket, text } from "../../support/websocket";

const CHAT = String.raw`#include "hrmr.h"
int usleep(unsigned microseconds);
static void on_chat(hrmr_request *request) {
  switch (hrmr_event(request)) {
  case HRMR_OPEN:
    hrmr_subscribe(request, "room");
    hrmr_reply_format(request, "VERSION open %d %s %s", hrmr_socket(request) > 0, request->bytes, hrmr_client(request));
    break;
  case HRMR_TEXT:
    if (strcmp(request->bytes, "crash") == 0) *(volatile int *)0 = 1;
    if (strcmp(request->bytes, "fail") == 0) hrmr_fail(request, "as asked");
    else if (strncmp(request->bytes, "nap ", 4) == 0) { usleep(1000); hrmr_reply_text(request, "woke"); }
    else if (strcmp(request->bytes, "bye") == 0) hrmr_close(request, 3001, "as asked");
    else if (strcmp(request->bytes, "bad code") == 0) hrmr_close(request, 12, "as asked");
    else if (strcmp(request->bytes, "leave") == 0) { hrmr_unsubscribe(request, "room"); hrmr_reply_text(request, "left"); }
    else if (strncmp(request->bytes, "say ", 4) == 0) {
      hrmr_publish_text(request, "room", request->bytes + 4);
      hrmr_publish(request, "room", "\1\0\2", 3);
    }
    else if (strcmp(request->bytes, "twice") == 0) {
      hrmr_send_text(request, "one");
      hrmr_send(request, "\0\377", 2);
      hrmr_reply_text(request, "last");
    }
    else hrmr_reply_format(request, "VERSION %s", request->bytes);
    break;
  case HRMR_BINARY:
    hrmr_reply(request, request->bytes, request->length);
    break;
  case HRMR_CLOSED:
    hrmr_log_format(HRMR_INFO, "closed %d %s", hrmr_close_code(request), request->bytes);
    break;
  }
}
static void plain(hrmr_request *request) {
  hrmr_send_text(request, "nowhere");
  hrmr_reply_format(request, "event %d socket %d\n", hrmr_event(request), (int)hrmr_socket(request));
}
void hrmr_module(hrmr_setup *setup) {
  hrmr_describe(hrmr_websocket(setup, "/chat", on_chat), "a chat in C");
  hrmr_http(setup, "GET /plain", plain);
}
`;
const chat = (version: string): string => CHAT.replaceAll("VERSION", version);
const SWAPS = 5;
const onHub = shareHub({
  // So few that events have to wait for a place.
  "hrmr.json": JSON.stringify({ limits: { maxQueued: 3 } }),
  "modules/chat.c": chat("v1"),
  "modules/other.c": CHAT.replaceAll("/chat", "/other").replaceAll("/plain", "/other-plain"),
});

interface Client {
  readonly socket: WebSocket;
  readonly got: (string | number[])[];
  readonly closed: Promise<CloseEvent>;
}

async function open(hub: Hub, path = "/chat?a=1"): Promise<Client> {
  const socket = new WebSocket(`${hub.url.replace("http", "ws")}${path}`);
  socket.binaryType = "arraybuffer";
  const got: Client["got"] = [];
  socket.onmessage = ({ data }) => got.push(typeof data === "string" ? data : [...new Uint8Array(data as ArrayBuffer)]);
  const closed = new Promise<CloseEvent>((resolve) => (socket.onclose = resolve));
  await new Promise<void>((resolve, reject) => {
    socket.onopen = () => resolve();
    socket.onerror = () => reject(new Error("refused"));
  });
  await until("the greeting", () => got.length > 0);
  return { socket, got, closed };
}

test("a socket's events reach the handler in C, and its messages the client: text, bytes, topics and closes", () =>
  onHub(async (hub) => {
    const [one, other] = [await open(hub), await open(hub)];
    expect(one.got).toEqual([expect.stringMatching(/^v\d+ open 1 a=1 127\.0\.0\.1$/)]);
    one.socket.send("twice");
    one.socket.send(new Uint8Array([0, 1, 255]));
    one.socket.send("zwei €");
    await until("its answers", () => one.got.length === 6);
    expect(one.got.slice(1)).toEqual(["one", [0, 255], "last", [0, 1, 255], expect.stringMatching(/^v\d+ zwei €$/)]);
    one.socket.send("say hello");
    await until("the other one hears it", () => other.got.length === 3);
    expect(other.got.slice(1)).toEqual(["hello", [1, 0, 2]]);
    other.socket.send("leave");
    await until("it left", () => other.got.includes("left"));
    one.socket.send("say nobody");
    one.socket.send("bye");
    const { code, reason } = await one.closed;
    expect([code, reason]).toEqual([3001, "as asked"]);
    expect(one.got).toHaveLength(6);
    expect(other.got).not.toContain("nobody");
    other.socket.close(4000, "enough");
    await hub.program.waitFor("closed 4000 enough");
    expect(await (await fetch(`${hub.url}/plain`)).text()).toBe("event 0 socket 0\n");
    expect((await fetch(`${hub.url}/chat`)).status).toBe(426);
  }));

test("a socket stays open over swaps under messages, and gets each answer once and in order", () =>
  onHub(async (hub) => {
    const client = await open(hub);
    let sent = 0;
    for (let version = 2; version <= SWAPS + 1; version++) {
      hub.write("modules/chat.c", chat(`v${version}`));
      const reloaded = hub.ask("RELOAD chat\n");
      for (let each = 0; each < 10; each++) client.socket.send(`${sent++}`);
      expect(await reloaded).toStartWith("OK");
      for (let each = 0; each < 10; each++) client.socket.send(`${sent++}`);
    }
    await until("all are answered", () => client.got.length === sent + 1);
    const answers = client.got.slice(1).map((each) => String(each).split(" "));
    expect(answers.map(([, number]) => Number(number))).toEqual(Array.from({ length: sent }, (_, at) => at));
    const versions = answers.map(([version = ""]) => Number(version.slice(1)));
    expect(versions).toEqual(versions.toSorted((a, b) => a - b));
    expect(versions.at(-1)).toBe(SWAPS + 1);
    client.socket.close();
  }));

test("many sockets at once each get their answers in order", () =>
  onHub(async (hub) => {
    const clients = await Promise.all(Array.from({ length: 12 }, () => open(hub)));
    for (let each = 0; each < 20; each++) for (const { socket } of clients) socket.send(`${each}`);
    for (const { got } of clients) {
      await until("all answers", () => got.length === 21);
      expect(got.slice(1).map((each) => Number(String(each).split(" ")[1]))).toEqual(Array.from(got.slice(1).keys()));
    }
    for (const { socket } of clients) socket.close();
  }));

test("a client that sends faster than the module works is held back, and its messages wait in no memory", () =>
  onHub(async (hub) => {
    const socket = await RawWebSocket.open(hub.port, "/chat");
    const before = (await hub.status()).memoryBytes;
    let isSent = false;
    const frame = text(`nap ${"x".repeat(60_000)}`);
    const sending = socket.send(Buffer.concat(Array.from({ length: 1500 }, () => frame))).then(
      () => (isSent = true),
      () => {},
    );
    await socket.waitForFrames(100);
    expect(isSent).toBe(false);
    expect((await hub.status()).memoryBytes - before).toBeLessThan(50_000_000);
    socket.close();
    await sending;
    const fresh = await open(hub);
    fresh.socket.close();
  }));

test.each([
  ["fail", 1011],
  ["bad code", 1011],
])("a handler that says %p closes its socket alone with %p", (message, expected) =>
  onHub(async (hub) => {
    const [one, other] = [await open(hub), await open(hub)];
    one.socket.send(message);
    expect((await one.closed).code).toBe(expected);
    other.socket.send("still here");
    await until("the other one is served", () => String(other.got.at(-1)).endsWith("still here"));
    other.socket.close();
  }),
);

test("a crash closes the sockets of its module, and no others; new ones are served", () =>
  onHub(async (hub) => {
    const [one, other, elsewhere] = [await open(hub), await open(hub), await open(hub, "/other?a=1")];
    one.socket.send("crash");
    const codes = [(await one.closed).code, (await other.closed).code];
    expect(codes.filter((code) => code !== 1011 && code !== 1012)).toEqual([]);
    expect(codes).toContain(1012);
    elsewhere.socket.send("well");
    await until("the other module answers", () => String(elsewhere.got.at(-1)).endsWith(" well"));
    const fresh = await open(hub);
    fresh.socket.send("again");
    await until("a new socket is served", () => String(fresh.got.at(-1)).endsWith(" again"));
    for (const { socket } of [elsewhere, fresh]) socket.close();
  }));
