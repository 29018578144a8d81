/** The control port under a flood of connections without the token. Also run against the binary. */
import { describe, expect, test } from "bun:test";
import { chmodSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { DEFAULT_TLS } from "../../src/config/options";
import { STRANGER_MS, Strangers } from "../../src/control/strangers";
import { ControlPort } from "../../src/control/tcp";
import { callProgram } from "../support/call-program";
import { ask, RawClient } from "../support/client";
import { fakeOperations, NO_AUDIT } from "../support/control-fixture";
import { Hub, makeProject, moduleSource } from "../support/hub";
import { program, startProgram } from "../support/program";
import { captureHello, pairFiles, serverCertificate, TLS_FLAGS } from "../support/tls";
import { until } from "../support/until";

const TOKEN = "0123456789abcdef-the-right-one";
const GREET = moduleSource(`{ routes: { "GREET": { framing: "line", handle: () => "v1\\n" } } }`);
/** The limit of the server: lower than the number of connections in a flood. */
const DESCRIPTORS = 300;
const MOST = Math.floor(DESCRIPTORS / 8);
const FLOOD = 400;

interface Port {
  readonly hub: Hub;
  readonly port: number;
  /** Runs a command on the server, by the control port. @returns its exit code */
  command(...args: string[]): Promise<number | null>;
  /** The number of open descriptors of the server. */
  open(): number;
}

/** A server with few descriptors, and control.listen on a free port. */
async function withPort(scheme: "tcp" | "tls", work: (port: Port) => Promise<void>): Promise<void> {
  const dir = makeProject({
    "modules/greet.ts": GREET,
    token: `${TOKEN}\n`,
    ...pairFiles(serverCertificate("localhost")),
  });
  chmodSync(join(dir, "token"), 0o600);
  writeFileSync(
    join(dir, "hrmr.json"),
    JSON.stringify({ control: { listen: `${scheme}://127.0.0.1:0`, tokenFile: join(dir, "token") } }),
  );
  const tls = scheme === "tls";
  const hub = new Hub(
    dir,
    await startProgram(["--port", "0", ...(tls ? TLS_FLAGS : [])], {
      cwd: dir,
      command: ["sh", "-c", `ulimit -n ${DESCRIPTORS} && exec "$@"`, "sh", ...program()],
    }),
  );
  try {
    const port = Number(/control on \w+:\/\/127\.0\.0\.1:(\d+)/.exec(hub.program.output())?.[1]);
    const remote = [
      "--server",
      `${scheme}://127.0.0.1:${port}`,
      "--token-file",
      "token",
      ...(tls ? ["--tls-ca", "cert.pem"] : []),
    ];
    const command = async (...args: string[]) => (await callProgram([...args, ...remote], { cwd: dir })).exitCode;
    await work({ hub, port, command, open: () => readdirSync(`/proc/${hub.program.pid}/fd`).length });
  } catch (error) {
    throw new Error(`${String(error)}\n--- the server said:\n${hub.program.output()}`, { cause: error });
  } finally {
    await hub.stop();
  }
}

/** Opens connections that send these bytes and nothing more. `left` counts the open ones. */
function flood(port: number, bytes: Uint8Array): { readonly left: () => number; readonly end: () => void } {
  const open = new Set<Socket>();
  for (let count = 0; count < FLOOD; count++) {
    const socket = connect({ port, host: "127.0.0.1" }, () => bytes.length > 0 && socket.write(bytes));
    open.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => open.delete(socket));
  }
  return { left: () => open.size, end: () => open.forEach((socket) => socket.destroy()) };
}

const request = (fields = "") => `GET /v1/config HTTP/1.1\r\nHost: 127.0.0.1\r\n${fields}\r\n`;
const AUTHORIZED = request(`Authorization: Bearer ${TOKEN}\r\n`);

describe.skipIf(process.platform !== "linux")("connections to the control port without the token", () => {
  test.each([
    ["that say nothing", "tcp", async () => new Uint8Array(0)],
    ["with half a request", "tcp", async () => Buffer.from(request().slice(0, 30))],
    ["that say nothing where TLS is spoken", "tls", async () => new Uint8Array(0)],
    ["whose TLS handshake has begun and is never finished", "tls", async () => await captureHello()],
  ] as const)("%s are few, and keep nobody else out", (_, scheme, bytes) =>
    withPort(scheme, async ({ hub, port, command, open }) => {
      const before = open();
      const strangers = flood(port, await bytes());
      try {
        await until("all but the newest are closed", () => strangers.left() <= MOST);
        expect(strangers.left()).toBeGreaterThan(0);
        // A client may hear of its end before the descriptor is free.
        await until("so many descriptors at most", () => open() <= before + MOST + 4);
        expect(await hub.ask("GREET\n")).toBe("v1\n");
        expect([await command("status"), await command("push", "modules/greet.ts")]).toEqual([0, 0]);
        await hub.program.waitFor(
          `connections without the token were closed, the last from 127.0.0.1: ${MOST} may wait`,
        );
        expect(hub.program.output().match(/without the token were/g)).toHaveLength(1);
      } finally {
        strangers.end();
      }
      await until("their descriptors are back", () => open() <= before);
      expect(await command("status")).toBe(0);
    }),
  );

  test("are closed while they come without an end, and a client with the token gets in", () =>
    withPort("tcp", async ({ hub, port }) => {
      const source = `const [port] = process.argv.slice(-1);
        const next = () => require("node:net").connect({ port: Number(port), host: "127.0.0.1" }).on("error", () => {}).on("close", next);
        for (let count = 0; count < ${FLOOD}; count++) next();
        console.log("floods");`;
      const flooder = Bun.spawn([process.execPath, "-e", source, String(port)], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      try {
        await flooder.stdout.getReader().read();
        await hub.program.waitFor("without the token");
        for (let count = 0; count < 20; count++) {
          // On a busy machine the client may send so late that its connection is the oldest.
          await until("the client with the token gets its reply", async () =>
            (await ask(port, AUTHORIZED).catch(() => "")).startsWith("HTTP/1.1 200 "),
          );
          expect(await hub.ask("GREET\n")).toBe("v1\n");
        }
      } finally {
        flooder.kill();
        await flooder.exited;
      }
    }));

  test("are closed after ten seconds, whatever they send; a request with the token may take longer", async () => {
    const dir = makeProject({ token: `${TOKEN}\n` });
    chmodSync(join(dir, "token"), 0o600);
    const reload = Promise.withResolvers<never>();
    const lines: string[] = [];
    const port = await ControlPort.open({
      url: "tcp://127.0.0.1:0",
      tokenFile: join(dir, "token"),
      tls: DEFAULT_TLS,
      isTakeover: false,
      api: {
        operations: fakeOperations({ reload: () => reload.promise }),
        audit: NO_AUDIT,
        report: () => {},
      },
      log: { warn: (line: string) => lines.push(line), error: () => {} } as never,
    });
    const number = Number(/:(\d+)$/.exec(port.url)?.[1]);
    const clients = await Promise.all(Array.from({ length: 4 }, () => RawClient.connect(number)));
    const [silent, slow, asks, operator] = clients as [RawClient, RawClient, RawClient, RawClient];
    try {
      const startedAt = performance.now();
      await operator.send(
        `POST /v1/reload HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${TOKEN}\r\nContent-Length: 0\r\n\r\n`,
      );
      await slow.send("GET /v1/config HTTP/1.1\r\n");
      await asks.send("OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
      const feeding = setInterval(() => {
        void slow.send("X-A: b\r\n").catch(() => {});
        void asks.send("OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").catch(() => {});
      }, 200);
      await until("all three are closed", () => silent.isClosed && slow.isClosed && asks.isClosed);
      clearInterval(feeding);
      expect(performance.now() - startedAt).toBeGreaterThanOrEqual(STRANGER_MS - 100);
      expect([operator.hasEnded, operator.text]).toEqual([false, ""]);
      reload.resolve({ ok: true, text: "OK\n", modules: [], elapsedMs: 1, dropped: 0 } as never);
      expect(await operator.waitForEnd()).toStartWith("HTTP/1.1 200 ");
      await until("the log tells", () => lines.some((line) => line.includes("without the token")));
    } finally {
      for (const client of clients) client.close();
      await port.close();
      rmSync(dir, { recursive: true, force: true });
    }
  });

  test("carry HTTP only: another message gets a 400", () =>
    withPort("tcp", async ({ port, command }) => {
      expect(await ask(port, "RELOAD\n")).toStartWith("HTTP/1.1 400 ");
      expect(await ask(port, request())).toStartWith("HTTP/1.1 401 ");
      expect(await command("status")).toBe(0);
    }));
});

describe("of strangers", () => {
  const MAX_STRANGERS = 64;
  const MAX_STRANGERS_OF_NETWORK = 16;

  function entered(addresses: readonly string[], now = 0): { strangers: Strangers; left: number[] } {
    const strangers = new Strangers(10_000);
    const left: number[] = addresses.map((_, number) => number);
    const cut = (number: number) => () => (strangers.leave(number), void left.splice(left.indexOf(number), 1));
    addresses.forEach((address, number) => strangers.enter(number, address, now, cut(number)));
    return { strangers, left };
  }
  const many = <Value>(count: number, make: (number: number) => Value): Value[] =>
    Array.from({ length: count }, (_, number) => make(number));

  test("the newest stay if there are too many in all", () => {
    const { strangers, left } = entered(many(MAX_STRANGERS + 3, (number) => `192.0.2.${number}`));
    strangers.trim();
    expect([left.length, left[0]]).toEqual([MAX_STRANGERS, 3]);
  });

  test("a network with too many loses its own, and no other network does; a /64 is one network", () => {
    const { strangers, left } = entered([
      "192.0.2.1",
      ...many(100, (number) => `2001:db8:0:1::${number.toString(16)}`),
    ]);
    strangers.trim();
    expect([left.length, left[0], left[1]]).toEqual([1 + MAX_STRANGERS_OF_NETWORK, 0, 101 - MAX_STRANGERS_OF_NETWORK]);
  });

  test("the limit of one network does not hold for this machine", () => {
    const { strangers, left } = entered(many(2 * MAX_STRANGERS, () => "127.0.0.1"));
    strangers.trim();
    expect(left).toHaveLength(MAX_STRANGERS);
  });

  test("a connection that has sent the token does not count", () => {
    const { strangers, left } = entered(many(MAX_STRANGERS + 1, () => "::1"));
    strangers.leave(0);
    strangers.trim();
    expect(left).toHaveLength(MAX_STRANGERS + 1);
  });

  test("those that are too old are closed, and the log has a line every ten seconds with their number", () => {
    const { strangers, left } = entered(["192.0.2.1", "192.0.2.2"]);
    strangers.enter(2, "192.0.2.3", 1, () => left.push(-1));
    strangers.expire(STRANGER_MS - 1);
    expect([left, strangers.told(STRANGER_MS - 1)]).toEqual([[0, 1], null]);
    strangers.expire(STRANGER_MS);
    expect([left, strangers.told(STRANGER_MS)]).toEqual([[], expect.stringContaining("2 connections")]);
    strangers.expire(STRANGER_MS + 1);
    expect([left, strangers.told(2 * STRANGER_MS - 1)]).toEqual([[-1], null]);
    expect(strangers.told(2 * STRANGER_MS)).toContain(
      "a connection without the token was closed, the last from 192.0.2.3",
    );
  });

  test("fewer may wait if the limit of descriptors is low", () => {
    const strangers = new Strangers(80);
    const left = new Set(many(40, (number) => number));
    for (const number of left)
      strangers.enter(number, "127.0.0.1", 0, () => (strangers.leave(number), void left.delete(number)));
    expect(strangers.isFull("127.0.0.1")).toBe(true);
    strangers.trim();
    expect([...left]).toEqual(many(10, (number) => 30 + number));
  });

  test("above four times the limit a new one is refused at once", () => {
    const { strangers } = entered(many(255, () => "127.0.0.1"));
    expect(strangers.isFull("127.0.0.1")).toBe(false);
    strangers.enter(255, "127.0.0.1", 0, () => {});
    expect([strangers.isFull("127.0.0.1"), strangers.told(0)]).toEqual([
      true,
      expect.stringContaining("the last from 127.0.0.1"),
    ]);
  });
});
