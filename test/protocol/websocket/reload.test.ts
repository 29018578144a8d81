/** WebSockets and reloads: nobody is closed, and each event goes to the newest version's handlers. */
import { expect, test } from "bun:test";
import { type Hub, moduleSource, reuseHubs } from "../../support/hub";
import { close, RawWebSocket, text } from "../../support/websocket";

const reused = reuseHubs();

function versionModule(version: number | string, options = ""): string {
  return moduleSource(`{
    ${options}
    routes: {
      "/live": {
        websocket: {
          upgrade: (request) => ({ data: { name: new URL(request.url).searchParams.get("name"), seen: 0 } }),
          open: (socket) => void socket.subscribe("news"),
          message(socket, text, { publish }) {
            if (text === "publish") return socket.publish("news", "from a socket of v${version}");
            socket.send("v${version} " + socket.data.name + " " + ++socket.data.seen);
          },
          close: (socket, code, reason, { log }) => log.info("closed " + socket.data.name + " by v${version}: " + code + " " + reason),
        },
      },
      "NEWS": { handle: (message, { publish }) => publish("news", "news of v${version}") + "\\n" },
      "/news": { fetch: (request, { publish }) => new Response(String(publish("news", "page of v${version}"))) },
    },
  }`);
}

async function reload(hub: Hub, source: string, name = "live"): Promise<string> {
  hub.write(`modules/${name}.ts`, source);
  return hub.ask("RELOAD\n");
}

async function openAll(hub: Hub, count: number, path = "/live"): Promise<RawWebSocket[]> {
  const sockets: RawWebSocket[] = [];
  for (let i = 0; i < count; i++) sockets.push(await RawWebSocket.open(hub.port, `${path}?name=s${i}`));
  return sockets;
}

/** More of them: npm run test:long. */
const RELOADS = Number(process.env["HRMR_TEST_RELOADS"] ?? 15);

test(`300 sockets stay open through ${RELOADS} reloads, and each is answered by the newest version after each`, async () => {
  await reused({ "modules/live.ts": versionModule(0) }, [], async (hub) => {
    const sockets = await openAll(hub, 300);
    try {
      for (let version = 1; version <= RELOADS; version++) {
        expect(await reload(hub, versionModule(version))).toMatch(
          /^OK live v\d+ \(was v\d+\) swapped .*0 connections dropped/,
        );
        await Promise.all(
          sockets.map(async (socket, i) => {
            await socket.send(text("who"));
            await socket.client.waitFor(`v${version} s${i} ${version}`);
            socket.clear();
          }),
        );
      }
      const { modules } = await hub.status();
      // No open socket keeps an old version in memory.
      expect(modules.find(({ name }) => name === "live")).toMatchObject({ inFlight: 0, draining: [] });
    } finally {
      for (const socket of sockets) socket.close();
    }
  });
});

test("topics reach sockets that were opened under other versions, from sockets, commands and pages", async () => {
  await reused({ "modules/live.ts": versionModule(1) }, [], async (hub) => {
    const [old] = await openAll(hub, 1);
    await reload(hub, versionModule(2));
    const [young] = await openAll(hub, 1);
    if (old === undefined || young === undefined) throw new Error("no sockets");
    try {
      expect(Number(await hub.ask("NEWS"))).toBeGreaterThan(0);
      expect(Number(await (await fetch(`${hub.url}/news`)).text())).toBeGreaterThan(0);
      await young.send(text("publish"));
      await old.send(text("publish"));
      // A socket's own message reaches the others only.
      const shared = ["text:news of v2", "text:page of v2", "text:from a socket of v2"];
      expect(await old.waitForFrames(3)).toEqual(shared);
      expect(await young.waitForFrames(3)).toEqual(shared);
    } finally {
      old.close();
      young.close();
    }
  });
});

test("a close after a reload is told to the newest version, with the client's code and reason", async () => {
  await reused({ "modules/live.ts": versionModule(1) }, [], async (hub) => {
    const [polite, rude] = await openAll(hub, 2);
    await reload(hub, versionModule(2));
    await polite?.send(close(4001, "enough"));
    expect(await polite?.outcome()).toMatchObject({ code: 4001, reason: "enough" });
    await hub.program.waitFor("closed s0 by v2: 4001 enough");
    rude?.close();
    await hub.program.waitFor("closed s1 by v2: 1006");
    polite?.close();
  });
});

test("a module that is removed closes its sockets with 1001, and is told so; put back, it takes new ones", async () => {
  await reused(
    { "modules/live.ts": versionModule(1), "modules/other.ts": moduleSource(`{ routes: { OTHER: () => "x" } }`) },
    [],
    async (hub) => {
      const [socket] = await openAll(hub, 1);
      hub.remove("modules/live.ts");
      expect(await hub.ask("RELOAD\n")).toContain("OK");
      await socket?.client.waitFor("the module is gone");
      await socket?.send(close(1001));
      expect(await socket?.outcome()).toMatchObject({ code: 1001 });
      await hub.program.waitFor("closed s0 by v1: 1001 the module is gone");
      await reload(hub, versionModule(3));
      const [next] = await openAll(hub, 1);
      await next?.send(text("who"));
      expect(await next?.waitForFrames(1)).toEqual(["text:v3 s0 1"]);
      socket?.close();
      next?.close();
    },
  );
});

test("a route that becomes another kind closes its sockets", async () => {
  await reused({ "modules/live.ts": versionModule(1) }, [], async (hub) => {
    const [socket] = await openAll(hub, 1);
    await reload(hub, moduleSource(`{ routes: { "/live": { fetch: () => new Response("page") } } }`));
    await socket?.client.waitFor("the module is gone");
    socket?.close();
    expect(await (await fetch(`${hub.url}/live`)).text()).toBe("page");
  });
});

test("a module that fails to load leaves its sockets with the old version", async () => {
  await reused({ "modules/live.ts": versionModule(1) }, [], async (hub) => {
    const [socket] = await openAll(hub, 1);
    expect(await reload(hub, "export default {")).toStartWith("ERR");
    await socket?.send(text("who"));
    expect(await socket?.waitForFrames(1)).toEqual(["text:v1 s0 1"]);
    socket?.close();
  });
});

const EXCLUSIVE = `reload: "exclusive", setup: () => new Promise((resolve) => setTimeout(resolve, 300)),`;

test("while an exclusive module is replaced, events wait, upgrades get 503, and nobody is closed", async () => {
  await reused({ "modules/live.ts": versionModule(1, EXCLUSIVE) }, [], async (hub) => {
    const [socket, leaving] = await openAll(hub, 2);
    const reloading = reload(hub, versionModule(2, EXCLUSIVE));
    // The first 503 tells that the replacement is under way.
    let refusal = "";
    while (!refusal.includes("503")) {
      refusal = await RawWebSocket.open(hub.port, "/live").then(
        (opened) => (opened.close(), ""),
        (error: Error) => error.message,
      );
    }
    await socket?.send(Buffer.concat([text("a"), text("b")]));
    leaving?.close();
    expect(await reloading).toStartWith("OK");
    expect(await socket?.waitForFrames(2)).toEqual(["text:v2 s0 1", "text:v2 s0 2"]);
    await hub.program.waitFor("closed s1 by v2: 1006");
    socket?.close();
  });
});

const SLOW = (version: number): string =>
  moduleSource(`{
    routes: {
      "/slow": {
        websocket: {
          async message(socket, text) {
            while (text === "long" || !(await Bun.file(import.meta.dir + "/../go").exists())) await Bun.sleep(5);
            socket.send("v${version} " + text);
          },
        },
      },
    },
  }`);

test("an async handler finishes on the version it began on; one that outlives the drain closes its socket with 1001", async () => {
  await reused({ "modules/slow.ts": SLOW(1), "hrmr.json": '{ "timeouts": { "drainMs": 5000 } }' }, [], async (hub) => {
    const [quick, late] = [await RawWebSocket.open(hub.port, "/slow"), await RawWebSocket.open(hub.port, "/slow")];
    try {
      await quick.send(text("short"));
      await late.send(text("long"));
      await Promise.all([quick.sync(), late.sync()]);
      expect(await reload(hub, SLOW(2), "slow")).toContain("drains, 2 under way");
      hub.write("go", "");
      expect(await quick.waitForFrames(2)).toContain("text:v1 short");
      await late.client.waitFor("the module was replaced");
      await late.send(close(1001));
      expect(await late.outcome()).toMatchObject({ code: 1001 });
      quick.clear();
      await quick.send(text("again"));
      await quick.client.waitFor("v2 again");
    } finally {
      quick.close();
      late.close();
    }
  });
});

test("a version that wants silent clients to be pinged pings those that the version before let be silent", async () => {
  const source = (idleTimeoutMs: number): string =>
    moduleSource(`{ routes: { "/idle": { websocket: { idleTimeoutMs: ${idleTimeoutMs} } } } }`);
  await reused({ "modules/live.ts": source(0) }, [], async (hub) => {
    const socket = await RawWebSocket.open(hub.port, "/idle");
    try {
      expect(await reload(hub, source(100))).toStartWith("OK");
      expect(await socket.waitForFrames(1)).toEqual(["ping:"]);
    } finally {
      socket.close();
    }
  });
});
