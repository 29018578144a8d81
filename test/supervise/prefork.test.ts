/** Several processes on the same listeners, and what becomes of them. */
import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { type Hub, moduleSource, shareHub } from "../support/hub";
import { runProgram, startProgram } from "../support/program";
import { within } from "../support/raw-client";
import { askWho, Askers, connectToEach, lives, servingPids, whoModule, withProcesses } from "../support/supervised";
import { eventually, until } from "../support/until";

const inThree = shareHub({ "modules/who.ts": whoModule(1) }, ["--processes", "3"]);

/** A server of three that serves `whoModule(1)` alone, whatever the test before did to it. */
function withThree(run: (hub: Hub, pids: readonly number[]) => Promise<void>, files: Record<string, string> = {}) {
  return inThree(async (hub) => {
    for (const name of readdirSync(join(hub.dir, "modules"))) if (name !== "who.ts") hub.remove(`modules/${name}`);
    for (const [name, text] of Object.entries({ "modules/who.ts": whoModule(1), ...files })) hub.write(name, text);
    expect(await hub.ask("RELOAD\n")).toStartWith("OK");
    await run(hub, await servingPids(hub));
  });
}

test("all processes answer, and STATUS, /stats and hrmr status tell of each", () =>
  withThree(async (hub, pids) => {
    expect(new Set(pids).size).toBe(3);
    expect(pids).not.toContain(hub.program.pid);
    const clients = await connectToEach(hub, pids);
    for (const [pid, client] of clients) expect((await askWho(client)).pid).toBe(pid);
    const stats = (await (await fetch(`${hub.url}/stats`)).json()) as { processes: { pid: number }[]; pid: number };
    expect(stats.processes.map(({ pid }) => pid)).toEqual([...pids]);
    expect(stats.pid).toBe(hub.program.pid);
    const { stdout } = await runProgram(["status", "--json"], { cwd: hub.dir });
    expect(JSON.parse(stdout)).toMatchObject({
      pid: hub.program.pid,
      wantedProcesses: 3,
      restarts: (await hub.status()).restarts,
      state: "serving",
    });
  }));

test("connections that come all at once are shared out among the processes", () =>
  withProcesses(2, async (hub) => {
    const pids = await servingPids(hub);
    // A process that has no processor at that moment gets fewer.
    await until("each of two processes has 10 of 60 connections", async () => {
      const clients = await Promise.all(Array.from({ length: 60 }, () => hub.connect()));
      const answers = await Promise.all(clients.map((client) => askWho(client)));
      hub.closeClients();
      return pids.every((each) => answers.filter(({ pid }) => pid === each).length >= 10);
    });
  }));

test("a process that is killed loses what it held and nothing else, and is replaced", () =>
  withThree(async (hub, pids) => {
    const clients = await connectToEach(hub, pids);
    const { restarts } = await hub.status();
    const victim = pids[1] as number;
    for (const client of clients.values()) await client.clear().send("SLOW\n");
    await hub.program.waitFor(/(began[\s\S]*){3}/);
    process.kill(victim, "SIGKILL");
    for (const [pid, client] of clients) {
      if (pid === victim) expect(await client.waitForEnd()).toBe("");
      else expect(await client.waitFor("\n")).toBe(`v1 ${pid}\n`);
    }
    await hub.program.waitFor(new RegExp(`process 2 \\(pid ${victim}\\) ended: SIGKILL`));
    await hub.program.waitFor(/process 2 \(pid \d+\) serves in its place/);
    const now = await servingPids(hub);
    expect(now).toHaveLength(3);
    expect(now).toEqual([pids[0] as number, now[1] as number, pids[2] as number]);
    expect(now[1]).not.toBe(victim);
    await eventually(async () => expect((await hub.status()).restarts).toBe(restarts + 1));
    await connectToEach(hub, now);
  }));

test("while a process is killed again and again, the others answer every request", () =>
  withThree(async (hub, victims) => {
    const askers = new Askers(hub.port, 4, ["fresh"]);
    await askers.answers(50);
    for (const victim of victims.slice(1)) {
      process.kill(victim, "SIGKILL");
      await hub.program.waitFor(`(pid ${victim}) ended: SIGKILL`);
      await servingPids(hub);
    }
    await askers.answers(50);
    const { refused, failures } = await askers.stop();
    expect(refused).toBe(0);
    // No more than what four clients had under way in two processes.
    expect(failures.length).toBeLessThanOrEqual(8);
  }));

test("a process that is told to end by SIGTERM finishes what is under way, and is replaced", () =>
  withThree(async (hub, pids) => {
    const clients = await connectToEach(hub, pids);
    const [stays = 0, leaves = 0] = pids;
    await clients.get(leaves)?.clear().send("SLOW\n");
    await hub.program.waitFor("began");
    process.kill(leaves, "SIGTERM");
    expect(await clients.get(leaves)?.waitForEnd()).toBe(`v1 ${leaves}\n`);
    await hub.program.waitFor(/process 2 \(pid \d+\) serves in its place/);
    const now = await servingPids(hub);
    expect(now).toHaveLength(3);
    expect(now).toContain(stays);
    expect(now).not.toContain(leaves);
  }));

test("of two modules with one key the later one is left out by every process", () =>
  withProcesses(
    2,
    async (hub) => {
      const clients = await connectToEach(hub, await servingPids(hub));
      expect(clients.size).toBe(2);
      const { modules } = await hub.status();
      expect(modules.find(({ name }) => name === "zwei")).toMatchObject({
        state: "failed",
        error: expect.stringContaining('"WHO"'),
      });
      await hub.program.waitFor(/"zwei" was not loaded/);
      expect(hub.program.output().match(/"zwei" was not loaded/g)).toHaveLength(1);
    },
    { "modules/zwei.ts": moduleSource(`{ routes: { "WHO": () => "twice" } }`) },
  ));

test("a module that is broken from the start is told once, and the others are served by all processes", () =>
  withProcesses(
    2,
    async (hub) => {
      await connectToEach(hub, await servingPids(hub));
      const { modules, state } = await hub.status();
      expect(state).toBe("degraded");
      expect(modules.find(({ name }) => name === "broken")).toMatchObject({ state: "failed" });
      await hub.program.waitFor(/Module "broken" was not loaded/);
      expect(hub.program.output().match(/Module "broken" was not loaded/g)).toHaveLength(1);
    },
    { "modules/broken.ts": "export default {" },
  ));

test("after the OK of a RELOAD no process gives an old answer", () =>
  withThree(async (hub, pids) => {
    const clients = await connectToEach(hub, pids);
    const { generation } = (await hub.status()).modules.find(({ name }) => name === "who") ?? {};
    let isDone = false;
    const verdicts: string[] = [];
    const asking = [...clients.values()].map(async (client) => {
      while (!isDone) {
        const least = verdicts.length + 1;
        const { version } = await askWho(client);
        expect(version).toBeGreaterThanOrEqual(least);
      }
    });
    try {
      for (let version = 2; version <= 6; version++) {
        hub.write("modules/who.ts", whoModule(version));
        const verdict = await hub.ask("RELOAD\n");
        expect(verdict).toStartWith(`OK who v${(generation ?? 0) + version - 1} `);
        verdicts.push(verdict);
      }
    } finally {
      isDone = true;
    }
    await Promise.all(asking);
    for (const client of clients.values()) expect((await askWho(client)).version).toBe(6);
  }));

test("a broken module changes nothing in any process, and mended it is loaded by all", () =>
  withThree(async (hub, pids) => {
    const clients = await connectToEach(hub, pids);
    hub.write("modules/who.ts", 'export default { routes: { "WHO": ');
    const verdict = await hub.ask("RELOAD\n");
    expect(verdict).toStartWith("ERR");
    expect(verdict).toContain("who.ts");
    for (const client of clients.values()) expect((await askWho(client)).version).toBe(1);
    hub.write("modules/who.ts", whoModule(3));
    expect(await hub.ask("RELOAD\n")).toStartWith("OK who");
    for (const client of clients.values()) expect((await askWho(client)).version).toBe(3);
  }));

test("a module whose setup fails in one process alone is swapped in none", () =>
  withThree(async (hub, pids) => {
    const clients = await connectToEach(hub, pids);
    const [, , unlucky] = pids;
    hub.write(
      "modules/who.ts",
      whoModule(2).replace(
        "{ routes",
        `{ setup() { if (process.pid === ${unlucky}) throw new Error("not here"); }, routes`,
      ),
    );
    const verdict = await hub.ask("RELOAD\n");
    expect(verdict).toStartWith("ERR");
    expect(verdict).toContain("process 3");
    expect(verdict).toContain("not here");
    for (const client of clients.values()) expect((await askWho(client)).version).toBe(1);
    hub.write("modules/who.ts", whoModule(3));
    expect(await hub.ask("RELOAD\n")).toStartWith("OK who");
    for (const client of clients.values()) expect((await askWho(client)).version).toBe(3);
  }));

test("a process that dies in the middle of a reload does not hold it up, and what replaces it serves what the others do", () =>
  withThree(async (hub, pids) => {
    const [, victim = 0] = pids;
    const dying = `{ setup() { if (process.pid === ${victim}) process.kill(process.pid, "SIGKILL"); }, routes`;
    hub.write("modules/who.ts", whoModule(2).replace("{ routes", dying));
    // Not over a connection: it might be one of the victim's.
    expect(await runProgram(["reload"], { cwd: hub.dir })).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(/^OK who v/),
    });
    await hub.program.waitFor(/process 2 \(pid \d+\) serves in its place/);
    const clients = await connectToEach(hub, await servingPids(hub));
    expect(clients.size).toBe(3);
    for (const client of clients.values()) expect((await askWho(client)).version).toBe(2);
  }));

test("SHUTDOWN over a connection ends all processes", () =>
  withProcesses(3, async (hub) => {
    const pids = await servingPids(hub);
    const clients = await connectToEach(hub, pids);
    for (const client of clients.values()) await client.clear().send("SLOW\n");
    await hub.program.waitFor(/(began[\s\S]*){3}/);
    expect(await hub.ask("SHUTDOWN\n")).toBe("OK shutting down\n");
    for (const [pid, client] of clients) expect(await client.waitForEnd()).toBe(`v1 ${pid}\n`);
    expect(await hub.program.exited).toBe(0);
    expect(pids.filter(lives)).toEqual([]);
  }));

const ROOM = moduleSource(`{ routes: { "/room": { websocket: {
  open(socket) { socket.subscribe("all"); socket.send(String(process.pid)); },
  message(socket, data) { socket.publish("all", data); },
} }, "TELL ": { framing: "line", handle: (message, { publish }) => { publish("all", message.text.slice(5)); return "told\\n"; } } } }`);

test("what a module publishes reaches the WebSockets of all processes", () =>
  withThree(
    async (hub, pids) => {
      const sockets = await roomSockets(hub.port, pids);
      const [first, second, third] = [...sockets.values()] as [Room, Room, Room];
      expect(await hub.ask("TELL from a line\n")).toBe("told\n");
      for (const room of [first, second, third]) expect(await room.next()).toBe("from a line");
      first.socket.send("from a socket");
      for (const room of [second, third]) expect(await room.next()).toBe("from a socket");
      second.socket.send("once");
      // Nothing comes twice, and not to its sender.
      for (const room of [first, third]) expect(await room.next()).toBe("once");
      third.socket.send("last");
      for (const room of [first, second]) expect(await room.next()).toBe("last");
      for (const { socket } of sockets.values()) socket.close();
    },
    { "modules/room.ts": ROOM },
  ));

interface Room {
  readonly socket: WebSocket;
  next(): Promise<string>;
}

/** A socket in each process. */
async function roomSockets(port: number, pids: readonly number[]): Promise<Map<number, Room>> {
  const found = new Map<number, Room>();
  for (let attempt = 0; found.size < pids.length && attempt < 50; attempt++) {
    const rooms = await Promise.all(Array.from({ length: 8 }, () => openRoom(port)));
    for (const room of rooms) {
      const pid = Number(await room.next());
      if (found.has(pid)) room.socket.close();
      else found.set(pid, room);
    }
  }
  expect([...found.keys()].sort()).toEqual([...pids].sort());
  return found;
}

function openRoom(port: number): Room {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/room`);
  const messages: string[] = [];
  let arrived = Promise.withResolvers<void>();
  socket.onmessage = ({ data }) => {
    messages.push(String(data));
    arrived.resolve();
    arrived = Promise.withResolvers();
  };
  const next = async () => {
    while (messages.length === 0) await within(arrived.promise, "a WebSocket message");
    return messages.shift() as string;
  };
  return { socket, next };
}

test("a master that is killed leaves no process and no port behind, and what is under way is finished", () =>
  withProcesses(3, async (hub) => {
    const pids = await servingPids(hub);
    const clients = await connectToEach(hub, pids);
    for (const client of clients.values()) await client.clear().send("SLOW\n");
    await hub.program.waitFor(/(began[\s\S]*){3}/);
    hub.program.signal("SIGKILL");
    const next = await startProgram(["--port", String(hub.port), "--processes", "2"], { cwd: hub.dir });
    try {
      for (const [pid, client] of clients) expect(await client.waitForEnd()).toBe(`v1 ${pid}\n`);
      await until("the end of the old processes", () => !pids.some(lives));
      const now = await servingPids(hub);
      expect(now).toHaveLength(2);
      expect((await hub.status()).pid).toBe(next.pid);
      const { stdout } = await runProgram(["status", "--json"], { cwd: hub.dir });
      expect(JSON.parse(stdout)).toMatchObject({ pid: next.pid });
    } finally {
      await next.stop();
    }
  }));

const CRASHER = `import { existsSync } from "node:fs";
${moduleSource(`{
  setup() { if (existsSync(import.meta.dir + "/../crash")) process.kill(process.pid, "SIGKILL"); },
  routes: { "NOTHING": () => "" },
}`)}`;

test("a process that dies at each start is started again later each time, and the others serve meanwhile", () =>
  withProcesses(
    2,
    async (hub) => {
      const [stays = 0, victim = 0] = await servingPids(hub);
      const askers = new Askers(hub.port, 1, ["fresh"]);
      hub.write("crash", "");
      process.kill(victim, "SIGKILL");
      await hub.program.waitFor("is started again in 800 ms");
      const delays = [...hub.program.output().matchAll(/process 2 is started again in (\d+) ms/g)].map(([, digits]) =>
        Number(digits),
      );
      expect(delays).toEqual([100, 200, 400, 800]);
      expect(hub.program.output().match(/process 2 could not be started/g)).toHaveLength(4);
      expect(await servingPids(hub, 1)).toEqual([stays]);
      expect((await hub.status()).state).toBe("degraded");
      hub.remove("crash");
      await hub.program.waitFor(/process 2 \(pid \d+\) serves in its place/);
      expect(await servingPids(hub)).toHaveLength(2);
      expect((await askers.stop()).refused).toBe(0);
    },
    { "modules/crasher.ts": CRASHER },
  ));

test("hrmr restart replaces every process, and no client loses a request", () =>
  withThree(async (hub, before) => {
    const askers = new Askers(hub.port, 2, ["http", "fresh", "line"]);
    await askers.answers(50);
    const { exitCode, stdout } = await runProgram(["restart"], { cwd: hub.dir });
    expect(stdout).toStartWith("OK");
    expect(exitCode).toBe(0);
    await askers.answers(50);
    const after = await servingPids(hub);
    expect(after).toHaveLength(3);
    expect(after.filter((pid) => before.includes(pid))).toEqual([]);
    await until("the end of the old processes", () => !before.some(lives));
    await askers.answers(50);
    const tally = await askers.stop();
    expect(tally.failures).toEqual([]);
    expect(tally.refused).toBe(0);
    expect((await hub.status()).pid).toBe(hub.program.pid);
  }));

for (const [what, text] of [
  ["broken", "export default {"],
  ["newer", whoModule(7)],
  ["gone", null],
] as const) {
  test(`what replaces a lost process serves what the others serve, though the file is ${what} by then`, () =>
    withThree(async (hub, pids) => {
      const [, victim = 0] = pids;
      if (text === null) hub.remove("modules/who.ts");
      else hub.write("modules/who.ts", text);
      process.kill(victim, "SIGKILL");
      await hub.program.waitFor(/process 2 \(pid \d+\) serves in its place/);
      const clients = await connectToEach(hub, await servingPids(hub));
      expect(clients.size).toBe(3);
      for (const client of clients.values()) expect((await askWho(client)).version).toBe(1);
      const { modules, state } = await hub.status();
      expect(modules.find(({ name }) => name === "who")).toMatchObject({ state: "serving" });
      expect(state).toBe("serving");
      // And it takes part in the next reload.
      hub.write("modules/who.ts", whoModule(8));
      expect(await hub.ask("RELOAD\n")).toMatch(/^OK who v\d+ \(was v\d+\)/);
      for (const client of clients.values()) expect((await askWho(client)).version).toBe(8);
    }));
}

test("a restart of the processes serves what was served, though the file is broken by then", () =>
  withProcesses(2, async (hub) => {
    hub.write("modules/who.ts", "export default {");
    expect(await runProgram(["restart"], { cwd: hub.dir })).toMatchObject({ exitCode: 0 });
    for (const client of (await connectToEach(hub, await servingPids(hub))).values())
      expect((await askWho(client)).version).toBe(1);
  }));
