/** WebSockets: the same echo in hrmr and on Bun's own server, and idle sockets. */
import type { Bench, Line, Row } from "../bench";
import { compare } from "../compare";
import { Control } from "../control";
import { makeProject, moduleSource } from "../project";
import { exactly } from "../reply";
import { settledBytes, startBaseline, startProcess, type Started } from "../server";
import { comparisonLine, figureLine } from "../table";
import { STALL_MODULE } from "./edits";
import { startArguments } from "./start-arguments";

const CONNECTIONS = 64;
const IDLE = 5000;
const MEGABYTE = 1_048_576;

const ECHO = moduleSource(`{ routes: { "/": { websocket: { message: (socket, data) => socket.send(data) } } } }`);

/** Asks for a WebSocket at "/". */
export const OPENING = {
  request:
    "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: hrmr-bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
  status: 101,
};
/** The first byte of a whole text message. */
export const TEXT = 0x81;
const BINARY = 0x82;

/** One frame as Latin-1. @param mask  null: a server's */
export function frame(first: number, payload: Buffer, mask: readonly number[] | null): string {
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
    return [
      comparisonLine(
        `WebSocket echo, ${title} : Bun.serve`,
        await compare(bench, { server, spec }, { server: bound, spec }),
        most,
      ),
    ];
  } finally {
    await Promise.all([server.stop(), bound?.stop()]);
  }
}

export const websocketTextRow: Row = {
  name: "websocket-text",
  run: (bench) => echo(bench, "32 B text", TEXT, 32, 1.1),
};
export const websocketMiddleRow: Row = {
  name: "websocket-1k",
  run: (bench) => echo(bench, "1 KB text", TEXT, 1024, 1.15),
};
export const websocketBinaryRow: Row = {
  name: "websocket-binary",
  isExtra: true,
  run: (bench) => echo(bench, "16 KB binary", BINARY, 16_384, 1),
};
export const websocketLongTextRow: Row = {
  name: "websocket-long-text",
  run: (bench) => echo(bench, "16 KB text", TEXT, 16_384, 1.35),
};

export const websocketIdleRow: Row = {
  name: "websocket-idle",
  async run(bench) {
    const files = { "modules/echo.ts": ECHO, "modules/stall.ts": STALL_MODULE };
    const server = await startProcess("hrmr", startArguments(bench), makeProject(files));
    const control = await Control.connect(server.port);
    try {
      // The first sockets make the allocator grow once. That memory does not count.
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
