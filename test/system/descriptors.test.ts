/**
 * Open descriptors are counted, and the control socket answers even when none are left. Also run against the binary.
 */
import { readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "bun:test";
import type { ServerStatus } from "../../src/observe/snapshot";
import { Descriptors } from "../../src/system/descriptors";
import { Hub, makeProject, moduleSource } from "../support/hub";
import { program, runProgram, startProgram } from "../support/program";
import { until } from "../support/until";

/** Elsewhere they are counted once a second. */
const isCountCheap = (statSync("/proc/self/fd", { throwIfNoEntry: false })?.size ?? 0) > 0;

describe("descriptors", () => {
  test.skipIf(!isCountCheap)("are counted again before a client is refused", () => {
    let open = 50;
    const descriptors = new Descriptors(100, () => open);
    expect(descriptors.maySpare(30, 20)).toBe(true);
    descriptors.took(30);
    // Somebody else has closed some.
    open = 40;
    expect(descriptors.maySpare(40, 20)).toBe(true);
    expect(descriptors.maySpare(41, 20)).toBe(false);
    open = 100;
    descriptors.gave(1);
    expect(descriptors.used).toBe(39);
  });

  test("are estimated if they cannot be counted", () => {
    const descriptors = new Descriptors(100, () => 0);
    descriptors.took(60);
    expect([descriptors.maySpare(20, 20), descriptors.maySpare(21, 20)]).toEqual([true, false]);
    descriptors.gavePerhaps(10);
    expect(descriptors.maySpare(30, 20)).toBe(true);
  });

  test("in reserve are released when no others are left, and taken again when there is room", () => {
    let others = 10;
    const before = readdirSync("/proc/self/fd").length;
    const spares = (): number => readdirSync("/proc/self/fd").length - before;
    const descriptors = new Descriptors(100, () => others + spares());
    expect([descriptors.look(), spares()]).toEqual([false, 16]);
    others = 82;
    descriptors.maySpare(100, 0);
    expect([descriptors.look(), spares()]).toEqual([true, 0]);
    expect([descriptors.look(), spares()]).toEqual([false, 0]);
    others = 20;
    descriptors.maySpare(100, 0);
    expect([descriptors.look(), spares()]).toEqual([false, 16]);
    descriptors.close();
    expect(spares()).toBe(0);
  });
});

/** A hub that may have `limit` descriptors. */
async function withFew(
  limit: number,
  files: Record<string, string>,
  args: string[],
  work: (hub: Hub) => Promise<void>,
): Promise<void> {
  const dir = makeProject(files);
  const command = ["sh", "-c", `ulimit -n ${limit} && exec "$@"`, "sh", ...program()];
  const hub = new Hub(
    dir,
    await startProgram(args.includes("--listen") ? args : ["--port", "0", ...args], { cwd: dir, command }),
  );
  try {
    await work(hub);
  } catch (error) {
    throw new Error(
      `${error instanceof Error ? error.message : String(error)}\n--- the server said:\n${hub.program.output()}`,
      {
        cause: error,
      },
    );
  } finally {
    await hub.stop();
  }
}

function openIn(hub: Hub): number {
  return readdirSync(`/proc/${hub.program.pid}/fd`).length;
}

/** In ticks of 10 ms. */
function cpuOf(hub: Hub): number {
  const fields = readFileSync(`/proc/${hub.program.pid}/stat`, "latin1").split(") ")[1]?.split(" ") ?? [];
  return Number(fields[11]) + Number(fields[12]);
}

/** More than the kernel holds for a client that does not read. */
const LARGE_BYTES = 16_000_000;

function putLarge(hub: Hub, name: string): void {
  const path = join(hub.dir, "static_html", name);
  writeFileSync(path, "");
  truncateSync(path, LARGE_BYTES);
}

/**
 * Asks for a file, and reads no more of it than the first bytes. @returns the status; 0: the connection was closed
 * without an answer
 */
async function askSlowly(socket: Socket, path: string): Promise<number> {
  const answered = Promise.withResolvers<number>();
  socket.on("error", () => answered.resolve(0));
  socket.on("close", () => answered.resolve(0));
  socket.once("data", (bytes: Buffer) => {
    socket.pause();
    answered.resolve(Number(/^HTTP\/1\.1 (\d+)/.exec(bytes.toString("latin1"))?.[1]));
  });
  socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
  return await answered.promise;
}

/** Sends Bun's own file. */
const OWN_FILES = moduleSource(
  '{ routes: { "GET /own/:n": { fetch: (request, { params }) => new Response(Bun.file("static_html/" + params.n + ".bin")) } } }',
);

test("many slow readers of one file hold one descriptor, and others are served", () =>
  withFew(300, { "static_html/index.html": "home" }, [], async (hub) => {
    putLarge(hub, "large.bin");
    const before = openIn(hub);
    const sockets: Socket[] = [];
    for (let count = 0; count < 150; count++) {
      sockets.push(connect(hub.port, "127.0.0.1"));
      expect(await askSlowly(sockets.at(-1)!, "/large.bin")).toBe(200);
    }
    expect(openIn(hub) - before).toBeLessThan(sockets.length + 20);
    expect(await (await fetch(`${hub.url}/`)).text()).toBe("home");
    expect(await hub.ask("RELOAD\n")).toStartWith("OK");
    for (const socket of sockets) socket.destroy();
    await until("the file is closed", () => openIn(hub) < before + 20);
  }));

test("files beyond the limit get a 503 that is no fault of the module, until others are sent", () =>
  withFew(220, { "modules/own.ts": OWN_FILES, "static_html/index.html": "home" }, [], async (hub) => {
    const before = openIn(hub);
    const sockets = Array.from({ length: 90 }, () => connect(hub.port, "127.0.0.1"));
    await until("all are accepted", () => openIn(hub) >= before + sockets.length);
    const seen = new Map<number, number>();
    for (const [n, socket] of sockets.entries()) {
      putLarge(hub, `${n}.bin`);
      const status = await askSlowly(socket, n % 4 === 0 ? `/own/${n}` : `/${n}.bin`);
      seen.set(status, (seen.get(status) ?? 0) + 1);
      expect(openIn(hub)).toBeLessThanOrEqual(220 - 16);
    }
    expect([...seen.keys()].sort()).toEqual([200, 503]);
    const { stdout } = await runProgram(["status", "--json"], { cwd: hub.dir });
    const { modules } = JSON.parse(stdout) as ServerStatus;
    expect(modules.map(({ state, errors }) => [state, errors])).toEqual(modules.map(() => ["serving", 0]));
    for (const socket of sockets) socket.destroy();
    await until("all is closed", () => openIn(hub) < before + 20);
    expect((await (await fetch(`${hub.url}/0.bin`)).bytes()).length).toBe(LARGE_BYTES);
  }));

const SOCKET = join(tmpdir(), `hrmr-descriptors-${process.pid}.sock`);

/** Takes every descriptor that there is, and keeps it. */
const GREEDY = `import { openSync, closeSync } from "node:fs";
const held: number[] = [];
${moduleSource(`{ routes: {
  "TAKE": { framing: "line", handle: () => { try { for (;;) held.push(openSync("/dev/null", "r")); } catch (error) { return error.code + "\\n"; } } },
  "GIVE": { framing: "line", handle: () => { for (const fd of held.splice(0)) closeSync(fd); return "given\\n"; } },
  "PING": () => "PONG\\n",
} }`)}`;

test("when a module has taken all descriptors, who connects is refused instead of left waiting, and the control socket answers", () =>
  withFew(
    256,
    { "modules/greedy.ts": GREEDY },
    ["--listen", "tcp://127.0.0.1:0", "--listen", `unix://${SOCKET}`],
    async (hub) => {
      const client = await hub.connect();
      await client.send("TAKE\n");
      await client.waitFor("EMFILE\n");
      const refused = async (address: number | string): Promise<void> => {
        // Closed at once, or before the client has noticed that it was accepted.
        const other = await hub.connect(address).catch(() => null);
        if (other === null) return;
        await until("it is refused", () => other.hasEnded);
        expect(other.text).toBe("");
      };
      for (let count = 0; count < 5; count++) for (const address of [hub.port, SOCKET]) await refused(address);
      await hub.program.waitFor("no descriptors are left");
      const status = await runProgram(["status"], { cwd: hub.dir });
      expect([status.exitCode, status.stderr]).toEqual([0, ""]);
      // Nobody spins over clients that wait: they were all accepted and closed.
      const ticks = cpuOf(hub);
      await Bun.sleep(1000);
      expect(cpuOf(hub) - ticks).toBeLessThan(50);
      await client.send("GIVE\n");
      await client.waitFor("given\n");
      await until("new clients are served", async () => (await hub.ask("PING")) === "PONG\n");
    },
  ));

test("when a module has taken all descriptors, hrmr stop ends the server", () =>
  withFew(256, { "modules/greedy.ts": GREEDY }, [], async (hub) => {
    expect(await hub.ask("TAKE\n")).toBe("EMFILE\n");
    const stopped = await runProgram(["stop"], { cwd: hub.dir });
    expect(stopped.exitCode).toBe(0);
    expect(await hub.program.exited).toBe(0);
  }));
