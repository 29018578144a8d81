/** A new process takes over the listeners of the old one, under load. */
import { expect, test } from "bun:test";
import { readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { moduleSource, type Hub } from "../support/hub";
import { callProgram } from "../support/call-program";
import { runProgram } from "../support/program";
import {
  Askers,
  askWho,
  connectToEach,
  lives,
  processesIn,
  servingPids,
  whoModule,
  withProcesses,
} from "../support/supervised";
import { RawWebSocket } from "../support/websocket";
import { until } from "../support/until";

/** The process in charge, as the control socket tells it. */
async function pidInCharge(hub: Hub): Promise<number> {
  const { stdout, stderr } = await callProgram(["status", "--json"], { cwd: hub.dir });
  if (stdout === "") throw new Error(stderr);
  return (JSON.parse(stdout) as { pid: number }).pid;
}

/** SIGTERM to the one that has taken over, and nothing is left of it. */
async function stopSuccessor(hub: Hub, pid: number): Promise<void> {
  process.kill(pid, "SIGTERM");
  await until("the end of the new server", () => processesIn(hub.dir).length === 0);
}

const SOCKET = join(tmpdir(), `hrmr-upgrade-${process.pid}.sock`);

for (const processes of [1, 3]) {
  const server = processes === 1 ? "one process" : `${processes} processes`;

  test(`SIGUSR2 hands a server of ${server} over under load: nothing is refused, nothing fails`, () =>
    withProcesses(
      processes,
      async (hub) => {
        const before = await servingPids(hub);
        const tcp = new Askers(hub.port, 3, ["http", "fresh", "line"]);
        const unix = new Askers(SOCKET, 1, ["http", "fresh"]);
        const inode = statSync(SOCKET).ino;
        await tcp.answers(100);
        hub.program.signal("SIGUSR2");
        await until("the end of the old process", () => !lives(hub.program.pid));
        await tcp.answers(100);
        await unix.answers(20);
        const after = await servingPids(hub);
        expect(after).toHaveLength(processes);
        expect(after.filter((pid) => before.includes(pid))).toEqual([]);
        for (const tally of [await tcp.stop(), await unix.stop()]) {
          expect(tally.failures).toEqual([]);
          expect(tally.refused).toBe(0);
          expect(after.some((pid) => tally.pids.has(pid))).toBe(true);
        }
        expect(statSync(SOCKET).ino).toBe(inode);
        await stopSuccessor(hub, await pidInCharge(hub));
        expect(statSync(SOCKET, { throwIfNoEntry: false })).toBeUndefined();
      },
      {},
      ["--listen", "tcp://127.0.0.1:0", "--listen", `unix://${SOCKET}`],
    ));

  test(`after an upgrade of ${server} the pid file, the lock and the control socket are the new one's`, () =>
    withProcesses(
      processes,
      async (hub) => {
        const pidFile = join(hub.dir, "hub.pid");
        const lock = join(hub.dir, ".hrmr", "lock");
        expect(readFileSync(pidFile, "utf8")).toBe(`${hub.program.pid}\n`);
        const { exitCode, stdout } = await runProgram(["upgrade", "--json"], { cwd: hub.dir });
        expect(exitCode).toBe(0);
        const { pid } = JSON.parse(stdout) as { pid: number };
        expect(pid).not.toBe(hub.program.pid);
        await until("the end of the old process", () => !lives(hub.program.pid));
        expect(readFileSync(pidFile, "utf8")).toBe(`${pid}\n`);
        expect(readFileSync(lock, "utf8")).toStartWith(`${pid}\n`);
        expect(await pidInCharge(hub)).toBe(pid);
        // Still nobody else's.
        const second = await runProgram(["start", "--port", "0", "--pid-file", "hub.pid", "--state", "other"], {
          cwd: hub.dir,
        });
        expect(second.exitCode).toBe(1);
        expect(second.stderr).toContain(`pid ${pid}`);
        hub.write("modules/who.ts", whoModule(2));
        expect(await callProgram(["reload"], { cwd: hub.dir })).toMatchObject({
          exitCode: 0,
          stdout: expect.stringMatching(/^OK who/),
        });
        for (const client of (await connectToEach(hub, await servingPids(hub))).values())
          expect((await askWho(client)).version).toBe(2);
        const stopped = await callProgram(["stop"], { cwd: hub.dir });
        expect(stopped).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("stopped") });
        expect(processesIn(hub.dir)).toEqual([]);
        expect(statSync(pidFile, { throwIfNoEntry: false })).toBeUndefined();
        expect(statSync(lock, { throwIfNoEntry: false })).toBeUndefined();
      },
      {},
      ["--pid-file", "hub.pid"],
    ));

  test(`a WebSocket of ${server} is closed with 1001 by an upgrade, a connect handler is told, and slow requests finish`, () =>
    withProcesses(
      processes,
      async (hub) => {
        const socket = await RawWebSocket.open(hub.port, "/socket");
        const chat = await hub.connect();
        await chat.send("CHAT\n");
        await chat.waitFor("CHAT\n");
        const slow = fetch(`${hub.url}/slow`);
        const line = await hub.connect();
        await line.send("SLOW\n");
        await hub.program.waitFor(/began[\s\S]*began/);
        hub.program.signal("SIGUSR2");
        expect((await socket.outcome()).code).toBe(1001);
        expect(await chat.waitForEnd()).toBe("CHAT\nbye\n");
        expect(await (await slow).text()).toStartWith("v1 ");
        expect(await line.waitForEnd()).toStartWith("v1 ");
        await until("the end of the old process", () => !lives(hub.program.pid));
        await stopSuccessor(hub, await pidInCharge(hub));
      },
      { "modules/talk.ts": TALK },
    ));

  test(`what an upgraded server of ${server} cannot load, and the old one serves, lets the old one go on`, () =>
    withProcesses(processes, async (hub) => {
      const before = await servingPids(hub);
      const askers = new Askers(hub.port, 1, ["http", "fresh"]);
      hub.write("modules/who.ts", "export default {");
      const { exitCode, stderr } = await runProgram(["upgrade"], { cwd: hub.dir });
      expect(exitCode).toBe(1);
      expect(stderr).toStartWith("ERR");
      expect(stderr).toContain("who");
      await askers.answers(20);
      expect(await servingPids(hub)).toEqual(before);
      expect(await pidInCharge(hub)).toBe(hub.program.pid);
      expect(readFileSync(join(hub.dir, ".hrmr", "lock"), "utf8")).toStartWith(`${hub.program.pid}\n`);
      expect(await askers.stop()).toMatchObject({ failures: [], refused: 0 });
      // Nothing of the attempt is in the way of the next one.
      hub.write("modules/who.ts", whoModule(2));
      expect(await runProgram(["upgrade"], { cwd: hub.dir })).toMatchObject({ exitCode: 0 });
      await until("the end of the old process", () => !lives(hub.program.pid));
      expect(await hub.ask("WHO\n")).toStartWith("v2 ");
      await stopSuccessor(hub, await pidInCharge(hub));
    }));
}

const TALK = moduleSource(`{ routes: {
  "/socket": { websocket: { message(socket, data) { socket.send(data); } } },
  "CHAT": { async connect(c) { for await (const line of c.lines()) await c.write(line + "\\n"); await c.write("bye\\n"); } },
} }`);

const CONFIG = { listen: ["tcp://127.0.0.1:0"] };

test("an upgrade reads the config file anew: the number of processes and the listeners may change", () =>
  withProcesses(
    null,
    async (hub) => {
      hub.write(
        "hrmr.json",
        JSON.stringify({ listen: [...CONFIG.listen, `unix://${hub.dir}/added.sock`], processes: 2 }),
      );
      const askers = new Askers(hub.port, 2, ["http", "fresh"]);
      await askers.answers(10);
      expect(await runProgram(["upgrade"], { cwd: hub.dir })).toMatchObject({ exitCode: 0 });
      await until("the end of the old process", () => !lives(hub.program.pid));
      expect(await servingPids(hub)).toHaveLength(2);
      await new Askers(join(hub.dir, "added.sock"), 1, ["fresh"]).answers(1);
      expect(await askers.stop()).toMatchObject({ failures: [], refused: 0 });
      await stopSuccessor(hub, await pidInCharge(hub));
    },
    { "hrmr.json": JSON.stringify(CONFIG) },
  ));

test("upgrades follow one another, and one at a time", () =>
  withProcesses(1, async (hub) => {
    const askers = new Askers(hub.port, 2, ["http", "fresh"]);
    let pid = hub.program.pid;
    for (let round = 0; round < 3; round++) {
      const [first, second] = await Promise.all([
        runProgram(["upgrade", "--json"], { cwd: hub.dir }),
        runProgram(["upgrade", "--json"], { cwd: hub.dir }),
      ]);
      const reports = [first, second].map(({ stdout }) => JSON.parse(stdout) as { ok: boolean; pid: number });
      expect(reports.some(({ ok }) => ok)).toBe(true);
      const old = pid;
      await until("the end of the old process", () => !lives(old));
      pid = await pidInCharge(hub);
      expect(pid).not.toBe(old);
    }
    expect(await askers.stop()).toMatchObject({ failures: [], refused: 0 });
    await stopSuccessor(hub, pid);
  }));

test("a restart that waited for an upgrade finds the server replaced, and starts nothing in the one that ends", () =>
  withProcesses(
    2,
    async (hub) => {
      const ask = (method: string, path: string): Promise<Response> =>
        fetch(`http://localhost${path}`, { method, unix: join(hub.dir, ".hrmr/control.sock") });
      const before = processesIn(hub.dir);
      hub.write("hold", "");
      const upgrade = ask("POST", "/v1/upgrade");
      await hub.program.waitFor("starting a new process to take over");
      const restart = ask("POST", "/v1/restart");
      // A later request is answered, so the restart has arrived.
      expect((await ask("GET", "/v1/config")).status).toBe(200);
      rmSync(join(hub.dir, "hold"));
      const { ok, pid } = (await (await upgrade).json()) as { ok: boolean; pid: number };
      expect(ok).toBe(true);
      expect(await (await restart).json()).toMatchObject({
        ok: false,
        text: "ERR the server is starting, stopping or being replaced already\n",
      });
      await until("the end of the old process", () => !lives(hub.program.pid));
      expect(await servingPids(hub)).toHaveLength(2);
      expect(processesIn(hub.dir).filter((each) => before.includes(each))).toEqual([]);
      await stopSuccessor(hub, pid);
    },
    {
      "modules/held.ts": `import { existsSync } from "node:fs";
export default { routes: { HELD: () => "" }, async setup() { while (existsSync("hold")) await Bun.sleep(20); } };\n`,
    },
  ));
