/**
 * The server as systemd sees it: its messages, and the listeners that it is given.
 */
import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describeDescriptor } from "../../../src/supervise/takeover/activation";
import { ask as askRaw } from "../../support/client";
import { listenersIn, program, runProgram, startProgram } from "../../support/program";
import { freePort } from "../../support/free-port";
import { noLibc, openDescriptor, openNotifySocket } from "../../support/systemd-fixture";
import { until } from "../../support/until";

const GREETING =
  'import { defineModule } from "hrmr";\nexport default defineModule({ routes: { "HI": () => "hello\\n" } });\n';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function project(): string {
  const dir = mkdtempSync(join(tmpdir(), "hrmr-systemd-"));
  cleanups.push(() => rmSync(dir, { recursive: true, force: true }));
  mkdirSync(join(dir, "modules"));
  writeFileSync(join(dir, "modules/greet.ts"), GREETING);
  return dir;
}

function notifySocket() {
  const socket = openNotifySocket();
  cleanups.push(socket.close);
  return socket;
}

async function start(cwd: string, env: Record<string, string>, args: string[] = []) {
  const server = await startProgram(["start", "--port", "0", ...args], { cwd, env });
  cleanups.push(() => server.stop());
  return server;
}

describe.skipIf(noLibc !== null)(`systemd${noLibc === null ? "" : ` (${noLibc})`}`, () => {
  test.each([1, 2])(
    "is told of the start, of each reload's verdict and of the end (%p processes)",
    async (processes) => {
      const [dir, socket] = [project(), notifySocket()];
      const server = await start(dir, { NOTIFY_SOCKET: socket.name }, ["--processes", String(processes)]);
      expect(await socket.waitFor(/^READY=1\n/)).toContain(server.listening[0] ?? "none");

      server.signal("SIGHUP");
      expect(await socket.waitFor(/^RELOADING=1/)).toMatch(/^RELOADING=1\nMONOTONIC_USEC=\d+$/);
      expect(await socket.waitFor(/^READY=1/)).toStartWith("READY=1\nSTATUS=OK ");

      writeFileSync(join(dir, "modules/greet.ts"), "syntax(error");
      server.signal("SIGHUP");
      await socket.waitFor(/^RELOADING=1/);
      expect(await socket.waitFor(/^READY=1/)).toStartWith("READY=1\nSTATUS=ERR ");

      server.signal("SIGTERM");
      expect(await socket.waitFor(/^STOPPING=1/)).toContain("STATUS=");
      expect(await server.exited).toBe(0);
    },
  );

  test("hears nothing of a start that fails", async () => {
    const [dir, socket] = [project(), notifySocket()];
    const { exitCode } = await runProgram(["start", "--listen", "nonsense"], {
      cwd: dir,
      env: { NOTIFY_SOCKET: socket.name },
    });
    expect(exitCode).toBe(2);
    // A marker: had anything been sent, it would come first.
    await start(dir, { NOTIFY_SOCKET: socket.name });
    expect(await socket.next()).toStartWith("READY=1");
  });

  test("is told that the server lives until its event loop hangs", async () => {
    const [dir, socket] = [project(), notifySocket()];
    // It says so before it goes on for ten times as long as systemd would wait, and then until it is released.
    const hang = `import { existsSync, writeFileSync } from "node:fs";
      const spin = (isOver) => { while (!isOver()); };
      export default { routes: { "HANG": () => {
        writeFileSync("hanging", "");
        const end = performance.now() + 1000;
        spin(() => performance.now() > end);
        writeFileSync("long", "");
        spin(() => existsSync("release"));
        return "over";
      } } };\n`;
    writeFileSync(join(dir, "modules/hang.ts"), hang);
    const server = await start(dir, { NOTIFY_SOCKET: socket.name, WATCHDOG_USEC: "100000" });
    await socket.waitFor(/^WATCHDOG=1$/);
    await socket.waitFor(/^WATCHDOG=1$/);
    const answer = askRaw(server.port, "HANG");
    await until("the event loop hangs", () => existsSync(join(dir, "hanging")));
    socket.takeAll();
    await until("it has hung for long", () => existsSync(join(dir, "long")));
    expect(socket.takeAll()).toEqual([]);
    writeFileSync(join(dir, "release"), "");
    expect(await answer).toBe("over");
    await socket.waitFor(/^WATCHDOG=1$/);
  });

  test("is told of the new main process by an upgrade, which then speaks for the service", async () => {
    const [dir, socket] = [project(), notifySocket()];
    const server = await start(dir, { NOTIFY_SOCKET: socket.name, WATCHDOG_USEC: "10000000" });
    expect((await runProgram(["upgrade"], { cwd: dir })).exitCode).toBe(0);
    const pid = Number(/^MAINPID=(\d+)/.exec(await socket.waitFor(/^MAINPID=/))?.[1]);
    expect(pid).not.toBe(server.pid);
    cleanups.push(() => endProcess(pid));
    await until("the killed server is gone", async () => !isAlive(server.pid));
    process.kill(pid, "SIGHUP");
    expect(await socket.waitFor(/^RELOADING=1/)).toContain("MONOTONIC_USEC=");
    expect(await socket.waitFor(/^READY=1/)).toContain("STATUS=OK");
  });
});

describe.skipIf(noLibc !== null)(`inherited listeners${noLibc === null ? "" : ` (${noLibc})`}`, () => {
  /** Starts the server with descriptors as systemd hands them over; LISTEN_PID is its own. */
  async function startWith(fds: number[], { names = "", args = [] as string[], dir = project() } = {}) {
    const script = 'LISTEN_PID=$$ exec "$@"';
    const child = Bun.spawn(["sh", "-c", script, "sh", ...program(), "start", ...args], {
      cwd: dir,
      env: { ...process.env, LISTEN_FDS: String(fds.length), LISTEN_FDNAMES: names, NO_COLOR: "1" },
      stdio: ["ignore", "pipe", "pipe", ...fds],
    });
    cleanups.push(async () => {
      child.kill("SIGTERM");
      await child.exited;
    });
    let output = "";
    void (async () => {
      for await (const piece of child.stderr.pipeThrough(new TextDecoderStream())) output += piece;
    })();
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    while (!/ready in .* ms/.test(output)) {
      const { done, value } = await reader.read();
      if (done) throw new Error(`The server ended with ${await child.exited}: ${output}`);
      output += value;
    }
    return listenersIn(output);
  }

  const open = (kind: Parameters<typeof openDescriptor>[0]) => {
    const socket = openDescriptor(kind);
    cleanups.push(socket.close);
    const address = describeDescriptor(socket.fd);
    return { fd: socket.fd, port: address !== null && "port" in address ? address.port : 0 };
  };

  test.each([1, 2])("are served instead of the default one (%p processes)", async (processes) => {
    const { fd, port } = open({ type: "stream", host: "127.0.0.1" });
    expect(await startWith([fd], { args: ["--processes", String(processes)] })).toEqual([`tcp://127.0.0.1:${port}`]);
    expect(await ask(port)).toBe("hello\n");
  });

  test("stand for the configured listener of their address; another one is opened", async () => {
    const { fd, port } = open({ type: "stream", host: "127.0.0.1" });
    const listening = await startWith([fd], {
      args: ["--listen", `tcp://127.0.0.1:${port}`, "--listen", "tcp://127.0.0.1:0"],
    });
    expect(listening[0]).toBe(`tcp://127.0.0.1:${port}`);
    expect(listening).toHaveLength(2);
    const other = Number(/:(\d+)$/.exec(listening[1] ?? "")?.[1]);
    expect([await ask(port), await ask(other)]).toEqual(["hello\n", "hello\n"]);
  });

  test("may be unix sockets, also abstract ones", async () => {
    const path = join(project(), "a.sock");
    const fds = [open({ type: "stream", path }).fd, open({ type: "stream", path: `@hrmr-test-${process.pid}` }).fd];
    expect(await startWith(fds)).toEqual([`unix://${path}`, `unix://@hrmr-test-${process.pid}`]);
    expect((await runProgram(["send", `unix://${path}`, "HI"])).stdout).toBe("hello\n");
  });

  test("are served on after an upgrade, configured or not", async () => {
    const { fd, port } = open({ type: "stream", host: "127.0.0.1" });
    const dir = project();
    await startWith([fd], { dir });
    const { stdout } = await runProgram(["upgrade"], { cwd: dir });
    const pid = Number(/^OK pid (\d+) serves/.exec(stdout)?.[1]);
    cleanups.push(() => endProcess(pid));
    const { listening } = JSON.parse((await runProgram(["status", "--json"], { cwd: dir })).stdout);
    expect(listening).toEqual([`tcp://127.0.0.1:${port}`]);
    expect(await ask(port)).toBe("hello\n");
  });

  test("that are no listeners stop the start", async () => {
    const { fd } = open({ type: "stream", host: "127.0.0.1", listens: false });
    await expect(startWith([fd], { names: "web" })).rejects.toThrow(
      /ended with 1: Descriptor 3 \("web"\), .* is neither a listening/,
    );
  });

  test("wait for a client with systemd-socket-activate", async () => {
    if (Bun.which("systemd-socket-activate") === null) return;
    const port = freePort();
    const child = Bun.spawn(["systemd-socket-activate", "-l", `127.0.0.1:${port}`, ...program(), "start"], {
      cwd: project(),
      stdio: ["ignore", "ignore", "pipe"],
    });
    cleanups.push(async () => {
      child.kill("SIGTERM");
      await child.exited;
    });
    await until("the server answers again", async () => (await ask(port).catch(() => "")) === "hello\n");
    expect(await ask(port)).toBe("hello\n");
  });
});

async function ask(port: number): Promise<string> {
  const { stdout, stderr } = await runProgram(["send", `127.0.0.1:${port}`, "HI"]);
  if (stderr !== "") throw new Error(stderr);
  return stdout;
}

/** Whether a process is there, and not merely its exit code. */
function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

/** Of a process that is not this one's child. */
async function endProcess(pid: number): Promise<void> {
  if (isAlive(pid)) process.kill(pid, "SIGTERM");
  await until(`process ${pid} is gone`, async () => !isAlive(pid));
}
