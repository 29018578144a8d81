/** Origins whose pages may open a WebSocket, and the deadline of a message. */
import { expect, test } from "bun:test";
import { readShape } from "../../../src/module/shape/shape";
import { RawClient } from "../../support/client";
import { type Hub, moduleSource, reuseHubs, withHub } from "../../support/hub";
import { binary, frame, more, PART, ping, RawWebSocket, text, upgradeRequest } from "../../support/websocket";
import { eventually, until } from "../../support/until";

const reused = reuseHubs();

const MODULE = moduleSource(`{
  routes: {
    "/own": { websocket: { message: (socket, data) => socket.send(data) } },
    "/listed": { websocket: { origins: ["https://App.example.com:443", "http://127.0.0.1:99", "null"], message: (socket, data) => socket.send(data) } },
    "/all": { websocket: { origins: "*" } },
    "/patient": { websocket: { idleTimeoutMs: 0, message: (socket, data) => socket.send(data) } },
    "/upgrade": { websocket: { upgrade() { console.log("upgrade was called"); } } },
    "/late": { websocket: { async message() { while (!(await Bun.file(import.meta.dir + "/../fail").exists())) await Bun.sleep(5); throw new Error("nobody there"); } } },
  },
}`);

/** @returns the status of a handshake */
async function handshake(hub: Hub, path: string, origin: string | null, host = "hub.example:8080"): Promise<number> {
  const client = await RawClient.connect(hub.port);
  try {
    const lines = origin === null ? "" : `Origin: ${origin}\r\n`;
    await client.send(upgradeRequest(path, lines).replace("Host: 127.0.0.1", `Host: ${host}`));
    return Number((await client.waitFor("\r\n\r\n")).slice(9, 12));
  } finally {
    client.close();
  }
}

test("a page of another origin opens no WebSocket, unless the route lists it", async () => {
  await reused({ "modules/m.ts": MODULE }, [], async (hub) => {
    const cases: [path: string, origin: string | null, host: string, status: number][] = [
      ["/own", null, "hub.example:8080", 101],
      ["/own", "http://hub.example:8080", "hub.example:8080", 101],
      ["/own", "HTTP://Hub.Example:8080", "hub.example:8080", 101],
      // Behind a proxy that ends TLS.
      ["/own", "https://hub.example", "hub.example", 101],
      ["/own", "https://hub.example", "hub.example:443", 101],
      ["/own", "http://hub.example", "hub.example:80", 101],
      ["/own", "http://[::1]:8080", "[::1]:8080", 101],
      ["/own", "https://hub.example", "hub.example:80", 403],
      ["/own", "http://hub.example:8081", "hub.example:8080", 403],
      ["/own", "http://hub.example", "hub.example:8080", 403],
      ["/own", "http://evil.example", "hub.example:8080", 403],
      ["/own", "http://hub.example:8080.evil.example", "hub.example:8080", 403],
      ["/own", "http://evil.example@hub.example:8080", "hub.example:8080", 403],
      ["/own", "http://hub.example:8080/path", "hub.example:8080", 403],
      ["/own", "http://hub.example:8080 http://evil.example", "hub.example:8080", 403],
      ["/own", "http://hub.example:8080\r\nOrigin: http://evil.example", "hub.example:8080", 403],
      ["/own", "file://", "hub.example:8080", 403],
      ["/own", "null", "hub.example:8080", 403],
      ["/own", "", "hub.example:8080", 403],
      ["/own", "hub.example:8080", "hub.example:8080", 403],
      ["/listed", "https://app.example.com", "hub.example:8080", 101],
      ["/listed", "null", "hub.example:8080", 101],
      ["/listed", "http://127.0.0.1:99", "hub.example:8080", 101],
      ["/listed", "http://hub.example:8080", "hub.example:8080", 101],
      ["/listed", "http://app.example.com", "hub.example:8080", 403],
      ["/listed", "https://x.app.example.com", "hub.example:8080", 403],
      ["/all", "http://evil.example", "hub.example:8080", 101],
      ["/upgrade", "http://evil.example", "hub.example:8080", 403],
    ];
    for (const [path, origin, host, status] of cases) {
      expect({ path, origin, host, status: await handshake(hub, path, origin, host) }).toEqual({
        path,
        origin,
        host,
        status,
      });
    }
    expect(hub.program.output()).not.toContain("upgrade was called");
    expect(await handshake(hub, "/upgrade", null)).toBe(101);
    await hub.program.waitFor("upgrade was called");
  });
});

test("origins that no browser sends are refused with the module", () => {
  const shape = (origins: unknown) => readShape("chat", { routes: { "/": { websocket: { origins } } } });
  for (const origins of [
    "https://a.example",
    ["a.example"],
    ["https://a.example/"],
    ["https://a.example/x"],
    [7],
    ["*"],
    {},
  ]) {
    expect(() => shape(origins)).toThrow('"websocket.origins"');
  }
  expect(shape(["https://A.example:443"]).routes[0]?.websocket?.origins).toEqual(["https://a.example"]);
});

const BEGUN: [what: string, bytes: Buffer][] = [
  ["the first byte of a frame", text("hello").subarray(0, 1)],
  ["a frame's header", text("hello").subarray(0, 6)],
  ["half a frame", text("hello").subarray(0, 8)],
  ["half a ping", ping("hello").subarray(0, 8)],
  ["a fragment", text("hello", PART)],
  ["an empty fragment", binary("", PART)],
  ["a message and half of the next", Buffer.concat([text("whole"), text("hello").subarray(0, 8)])],
];

test("a message that has begun and does not end is cut, whatever else comes meanwhile", async () => {
  await reused({ "modules/m.ts": MODULE }, ["--set", "timeouts.bodyMs=150"], async (hub) => {
    const between = await RawWebSocket.open(hub.port, "/patient");
    for (const path of ["/own", "/patient"]) {
      for (const [what, bytes] of BEGUN) {
        const socket = await RawWebSocket.open(hub.port, path);
        await socket.send(bytes);
        expect({ what, code: (await socket.outcome()).code }).toEqual({ what, code: 1008 });
        socket.close();
      }
      for (const [what, drip] of [
        ["pings", ping("p".repeat(125))],
        ["empty fragments", more("", PART)],
        ["fragments of a byte", more("x", PART)],
      ] as const) {
        const socket = await RawWebSocket.open(hub.port, path);
        await socket.send(text("begun", PART));
        const dripping = (async () => {
          for (let i = 0; i < 2000 && !socket.client.hasEnded; i++) {
            await socket.send(drip).catch(() => undefined);
            await Bun.sleep(5);
          }
        })();
        expect({ what, code: (await socket.outcome()).code }).toEqual({ what, code: 1008 });
        await dripping;
        socket.close();
      }
    }
    const fresh = await RawWebSocket.open(hub.port, "/own");
    // The first one has been between messages all the time.
    for (const socket of [fresh, between]) {
      await socket.send(text("alive"));
      expect(await socket.waitForFrames(1)).toEqual(["text:alive"]);
      socket.close();
    }
  });
});

test("a message that goes on arriving has time", async () => {
  await reused({ "modules/m.ts": MODULE }, ["--set", "timeouts.bodyMs=2000"], async (hub) => {
    const socket = await RawWebSocket.open(hub.port, "/patient");
    await socket.send(binary("a".repeat(1024), PART));
    let pieces = 1;
    for (const begunAt = performance.now(); performance.now() - begunAt < 2500; pieces++) {
      await Bun.sleep(20);
      await socket.send(more("a".repeat(1024), PART));
    }
    await socket.send(frame(0, ""));
    await socket.waitForFrames(1);
    expect(socket.raw[0]?.payload.length).toBe(1024 * pieces);
    socket.close();
  });
});

test("an asynchronous handler that fails after its client has left is no failure of the module", async () => {
  await withHub({ "modules/m.ts": MODULE }, [], async (hub) => {
    const socket = await RawWebSocket.open(hub.port, "/late");
    await socket.send(text("x"));
    await until("the call to begin", async () => (await hub.status()).modules[0]?.inFlight === 1);
    const open = (await hub.status()).openConnections;
    socket.close();
    await until("the client has left", async () => (await hub.status()).openConnections < open);
    hub.write("fail", "");
    await hub.program.waitFor("failed after its client had left");
    expect((await hub.status()).modules[0]?.errors).toBe(0);
    const waits = await RawWebSocket.open(hub.port, "/late");
    await waits.send(text("x"));
    expect((await waits.outcome()).code).toBe(1011);
    await eventually(async () => expect((await hub.status()).modules[0]?.errors).toBe(1));
    waits.close();
  });
});
