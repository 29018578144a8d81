/** WebSockets: the same echo in hrmr and on Bun's own server, idle sockets, and sockets over reloads. */
import type { Socket } from "bun";
import type { Bench, Line, Row } from "../bench";
import { compare } from "../compare";
import { Control } from "../control";
import { makeProject, moduleSource } from "../project";
import { exactly } from "../reply";
import { settledBytes, startBaseline, startProcess, type Started } from "../server";
import { comparisonLine, figureLine } from "../table";
import { editAndReload, padVersion, STALL_MODULE } from "./edits";
import { startArguments } from "./start-arguments";

const CONNECTIONS = 64;
const IDLE = 5000;
const OVER_RELOADS = 1000;
const RELOADS = 200;
const MEGABYTE = 1_048_576;

const ECHO = moduleSource(`{ routes: { "/": { websocket: { message: (socket, data) => socket.send(data) } } } }`);

const OPENING = {
  request:
    "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: hrmr-bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
  status: 101,
};
const TEXT = 0x81;
const BINARY = 0x82;

/** One frame as Latin-1. @param mask  null: a server's */
function frame(first: number, payload: Buffer, mask: readonly number[] | null): string {
  const bit = mask === null ? 0 : 0x80;
  const { length } = payload;
  const head = length < 126 ? [first, bit | length] : [first, bit | 126, length >> 8, length & 255];
  const body = mask === null ? payload : payload.map((byte, i) => byte ^ (mask[i % 4] as number));
  return Buffer.concat([Buffer.from([...head, ...(mask ?? [])]), body]).toString("latin1");
}

async function echo(bench: Bench, title: string, first: number, bytes: number, most: number): Promise<Line[]> {
  const payload = Buffer.alloc(bytes, first === TEXT ? "Hello, World! " : Buffer.from([1, 200, 3, 99, 255]));
  const spec = {
    connections: CONNECTIONS,
    opening: OPENING,
    isBinary: true,
    request: frame(first, payload, [0x12, 0x34, 0x56, 0xf8]),
    reply: { pattern: exactly(frame(first, payload, null)) },
  };
  const server = await startProcess("hrmr", startArguments(bench), makeProject({ "modules/echo.ts": ECHO }));
  let bound: Started | null = null;
  try {
    bound = await startBaseline("websocket.ts");
    return [comparisonLine(`WebSocket echo, ${title} : Bun.serve`, await compare(bench, { server, spec }, { server: bound, spec }), most)];
  } finally {
    await Promise.all([server.stop(), bound?.stop()]);
  }
}

export const websocketTextRow: Row = { name: "websocket-text", run: (bench) => echo(bench, "32 B text", TEXT, 32, 1.15) };
export const websocketBinaryRow: Row = { name: "websocket-binary", run: (bench) => echo(bench, "16 KB binary", BINARY, 16_384, 1.15) };
export const websocketLongTextRow: Row = { name: "websocket-long-text", run: (bench) => echo(bench, "16 KB text", TEXT, 16_384, 1.5) };

export const websocketIdleRow: Row = {
  name: "websocket-idle",
  async run(bench) {
    const files = { "modules/echo.ts": ECHO, "modules/stall.ts": STALL_MODULE };
    const server = await startProcess("hrmr", startArguments(bench), makeProject(files));
    const control = await Control.connect(server.port);
    try {
      // What the first sockets make the allocator take once for all is not theirs.
      await bench.generator.hold(server.port, 500, OPENING);
      await bench.generator.close();
      await control.ask("COLLECT");
      const before = await settledBytes(server.pid);
      const open = await bench.generator.hold(server.port, IDLE, OPENING);
      await control.ask("COLLECT");
      const after = await settledBytes(server.pid);
      if (open !== IDLE) throw new Error(`of ${IDLE} idle WebSockets ${open} are open`);
      return [
        figureLine({
          title: `${IDLE} idle WebSockets, memory each`,
          value: (after - before) / IDLE / 1024,
          most: 4,
          unit: " KB",
          digits: 2,
          hrmr: `${(after / MEGABYTE).toFixed(1)} MB`,
          bound: `none: ${(before / MEGABYTE).toFixed(1)} MB`,
        }),
      ];
    } finally {
      await bench.generator.close();
      control.close();
      await server.stop();
    }
  },
};

function versionModule(version: number): string {
  return moduleSource(`{ routes: { "/": { websocket: { message: (socket) => socket.send("v${padVersion(version)}") } } } }`);
}

/** A socket that asks for the version and waits for it. */
class Asker {
  readonly socket: Promise<Socket>;
  #waiting = Promise.withResolvers<void>();
  #expected = "HTTP/1.1 101 ";
  isClosed = false;

  constructor(port: number) {
    this.socket = Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        data: (_, bytes) => this.#receive(Buffer.from(bytes).toString("latin1")),
        close: () => {
          this.isClosed = true;
          this.#waiting.reject(new Error("the server closed a WebSocket"));
        },
      },
    });
  }

  async ask(request: string, expected: string): Promise<void> {
    this.#expected = expected;
    this.#waiting = Promise.withResolvers();
    (await this.socket).write(Buffer.from(request, "latin1"));
    await this.#waiting.promise;
  }

  #receive(text: string): void {
    if (text.startsWith(this.#expected)) this.#waiting.resolve();
    else this.#waiting.reject(new Error(`wrong reply: ${JSON.stringify(text.slice(0, 100))}, not ${JSON.stringify(this.#expected)}`));
  }
}

export const websocketReloadRow: Row = {
  name: "websocket-reloads",
  async run(bench) {
    const dir = makeProject({ "modules/edited.ts": versionModule(0) });
    const server = await startProcess("hrmr", startArguments(bench), dir);
    const control = await Control.connect(server.port);
    const askers: Asker[] = [];
    try {
      for (let i = 0; i < OVER_RELOADS; i++) {
        const asker = new Asker(server.port);
        await asker.ask(OPENING.request, "HTTP/1.1 101 ");
        askers.push(asker);
      }
      const startedAt = performance.now();
      const request = frame(TEXT, Buffer.from("version"), [1, 2, 3, 4]);
      for (let version = 1; version <= RELOADS; version++) {
        await editAndReload(control, dir, "edited", versionModule(version));
        const expected = frame(TEXT, Buffer.from(`v${padVersion(version)}`), null);
        await Promise.all(askers.map((asker) => asker.ask(request, expected)));
      }
      const seconds = (performance.now() - startedAt) / 1000;
      return [
        figureLine({
          title: `${OVER_RELOADS} WebSockets, ${RELOADS} reloads: closed or stale`,
          value: askers.filter(({ isClosed }) => isClosed).length,
          most: 0,
          unit: "",
          digits: 0,
          hrmr: `${OVER_RELOADS * RELOADS} right replies, ${seconds.toFixed(1)} s`,
        }),
      ];
    } finally {
      for (const { socket } of askers) (await socket).terminate();
      control.close();
      await server.stop();
    }
  },
};
