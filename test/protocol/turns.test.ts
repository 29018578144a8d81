/** Crowds that leave at once, or are handed over at once, take turns: others are served between. */
import { expect, test } from "bun:test";
import type { BoundRoute, InFlight } from "../../src/module/route";
import { HandedConnection } from "../../src/protocol/raw/connect";
import { type TurnTaker, Turns } from "../../src/protocol/turns";
import type { Wire } from "../../src/protocol/wire";
import { moduleSource, withHub } from "../support/hub";
import { until } from "../support/until";

const aTurn = () => new Promise<void>((resolve) => setImmediate(resolve));

function takers(count: number, served: number[]): TurnTaker[] {
  return Array.from({ length: count }, (_, at) => ({ takeTurn: () => void served.push(at) }));
}

test("a crowd is served 64 a turn, in its order, and a few are served at once", async () => {
  const served: number[] = [];
  let now = 1000;
  const turns = new Turns(() => now);
  const crowd = takers(1000, served);
  for (const taker of crowd.slice(0, 3)) turns.take(taker);
  expect(served).toEqual([0, 1, 2]);
  for (const taker of crowd.slice(3)) turns.take(taker);
  for (let turn = 1; served.length < 1000; turn++) {
    expect(served.length).toBe(64 * turn);
    await aTurn();
  }
  expect(served).toEqual(crowd.map((_, at) => at));
  now += 5;
  turns.take({ takeTurn: () => void served.push(-1) });
  expect(served.at(-1)).toBe(-1);
});

test("a newcomer waits behind those that already wait", async () => {
  const served: number[] = [];
  const turns = new Turns(() => 0);
  for (const taker of takers(100, served)) turns.take(taker);
  turns.take({ takeTurn: () => turns.take({ takeTurn: () => void served.push(-2) }) });
  turns.take({ takeTurn: () => void served.push(-1) });
  await aTurn();
  await aTurn();
  await aTurn();
  expect(served.slice(-3)).toEqual([99, -1, -2]);
});

/** 1,000 connections in a handler that counts how often it came back. */
function crowdOf(
  count: number,
  state: { began: number; cameBack: number; finished: number; aborted: number },
): HandedConnection[] {
  const inFlight = new Set<InFlight>();
  const handed: HandedConnection[] = [];
  const route = {
    key: "CHAT",
    kind: "connect",
    index: 0,
    handler: async (connection: { read(): Promise<unknown> }) => {
      state.began++;
      await connection.read();
      state.cameBack++;
    },
    generation: {
      context: {},
      run: (fn: (...args: unknown[]) => unknown, ...args: unknown[]) => fn(...args),
      enter: (call: InFlight) => void inFlight.add(call),
      leave: (call: InFlight) => void inFlight.delete(call),
    },
  } as unknown as BoundRoute;
  for (let at = 0; at < count; at++) {
    const wire = {
      hasEnded: false,
      isClosed: false,
      dispatch: {
        limits: { maxMessageBytes: 1000 },
        wheel: { arm() {}, disarm() {} },
        isDraining: false,
        routing: { table: { entries: [{ value: { ...route, module: undefined } }] } },
      },
      take: (protocol: HandedConnection) => void handed.push(protocol),
      probePeer() {},
      resume() {},
      finish: () => void state.finished++,
      abort: () => void state.aborted++,
    } as unknown as Wire;
    HandedConnection.begin(wire, route, new Uint8Array());
  }
  return handed;
}

for (const [what, leave, done] of [
  ["whose clients are gone", (one: HandedConnection) => one.closed(), "finished"],
  ["that are handed over", (one: HandedConnection) => one.replaced(), "began"],
  ["of a server that drains", (one: HandedConnection) => one.draining(), "began"],
  ["that are cut", (one: HandedConnection) => one.cut("on purpose"), "aborted"],
] as const) {
  test(`1,000 connect handlers ${what} do not all go on in one turn of the loop`, async () => {
    const state = { began: 0, cameBack: 0, finished: 0, aborted: 0 };
    const crowd = crowdOf(1000, state);
    await aTurn();
    expect(state).toEqual({ began: 1000, cameBack: 0, finished: 0, aborted: 0 });
    const before = state[done];
    for (const one of crowd) leave(one);
    let most = state.cameBack + state.aborted;
    for (let turn = 0; turn < 10_000 && state[done] - before < 1000; turn++) {
      const moved = state.cameBack + state.aborted;
      await aTurn();
      most = Math.max(most, state.cameBack + state.aborted - moved);
    }
    expect(state[done] - before).toBe(1000);
    // 64 of the queue, and as many at once where it was empty; a machine that stands still lets some more through.
    expect(most).toBeLessThan(500);
  });
}

test("a connection that has something to say while it waits to be handed over says it to the next version", async () => {
  const state = { began: 0, cameBack: 0, finished: 0, aborted: 0 };
  const crowd = crowdOf(500, state);
  for (const one of crowd) one.replaced();
  const last = crowd.at(-1) as HandedConnection;
  last.receive(Buffer.from("hello"));
  // Its handler, the old version's, has got nothing; the next one finds it.
  await until("the next version to have read it", () => state.began === 1000 && state.cameBack === 501);
});

test("2,000 connections in connect handlers leave, and others come and go meanwhile", () =>
  withHub(
    {
      "modules/chat.ts": moduleSource(`{ routes: {
        "CHAT": { async connect(connection) { for await (const line of connection.lines()) await connection.write(line + "\\n"); } },
        "PING": () => "PONG\\n",
      } }`),
    },
    ["--set", "limits.maxConnectionsPerAddress=0"],
    async (hub) => {
      for (const leave of ["finish", "close"] as const) {
        const clients = [];
        for (let at = 0; at < 2000; at++) clients.push(await hub.connect());
        await Promise.all(clients.map(async (client) => (await client.send("CHAT\n")).waitFor("CHAT\n")));
        for (const client of clients) client[leave]();
        expect(await hub.ask("PING")).toBe("PONG\n");
        await until("all of them to be gone", async () => (await hub.status()).connections.byProtocol["connect"] === 0);
        if (leave === "finish") for (const client of clients) expect(await client.waitForEnd()).toBe("CHAT\n");
      }
      expect(await hub.ask("PING")).toBe("PONG\n");
    },
  ));

/** Handlers that wait until their client has left. `MOST` tells how many were told of it, at most, in one turn of the loop. */
const LEAVING = moduleSource(`{
  setup: () => ({ begun: 0, left: 0, most: 0, inTurn: 0 }),
  routes: {
    "/wait": { fetch: (request, { state }) => {
      state.begun++;
      const left = Promise.withResolvers();
      request.signal.addEventListener("abort", () => {
        state.left++;
        state.most = Math.max(state.most, ++state.inTurn);
        if (state.inTurn === 1) setImmediate(() => { state.inTurn = 0; });
        left.resolve(new Response(""));
      });
      return left.promise;
    } },
    "BLOCK": () => { while (!existsSync("release")); return "went on\\n"; },
    "COUNTS": (message, { state }) => JSON.stringify([state.begun, state.left, state.most]) + "\\n",
  },
}`);

test("of a crowd of HTTP clients that leave at once not all are noticed in one turn of the loop", () =>
  withHub(
    { "modules/leaving.ts": `import { existsSync } from "node:fs";\n${LEAVING}` },
    ["--set", "timeouts.blockedMs=0"],
    async (hub) => {
      const counts = async () => JSON.parse(await hub.ask("COUNTS\n")) as [number, number, number];
      const crowd = await Promise.all(Array.from({ length: 500 }, () => hub.connect()));
      for (const client of crowd) await client.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
      await until("all wait", async () => (await counts())[0] === 500);
      // The FINs of all are there when the loop goes on.
      const blocked = hub.ask("BLOCK\n");
      for (const client of crowd) client.finish();
      hub.write("release", "");
      expect(await blocked).toBe("went on\n");
      await until("all have left", async () => (await counts())[1] === 500);
      expect((await counts())[2]).toBeLessThan(200);
    },
  ));
