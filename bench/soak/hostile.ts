/**
 * Hostile and faulty clients. Each has a time limit. Their answers do not matter, but others must be served.
 */
import { randomBytes } from "node:crypto";
import { Link } from "./link";
import type { World } from "./world";

type Mischief = (world: World) => Promise<void>;

const AWHILE_MS = 300;

/** Sends, waits a while, and resets. */
async function throwAt(world: World, bytes: string | Uint8Array, connections = 5): Promise<void> {
  const links = await openMany(world, connections);
  for (const link of links) link.write(bytes);
  await Bun.sleep(AWHILE_MS);
  for (const link of links) link.close();
}

async function openMany({ port }: World, count: number): Promise<Link[]> {
  const opened = await Promise.allSettled(Array.from({ length: count }, () => Link.open({ port })));
  return opened.flatMap((each) => (each.status === "fulfilled" ? [each.value] : []));
}

const HEAD = "Host: soak.example\r\n";
const UPGRADE =
  "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

/** By name. */
export const MISCHIEF: Readonly<Record<string, Mischief>> = {
  garbage: (world) => throwAt(world, randomBytes(4096)),
  "half a request": (world) => throwAt(world, "GET /ask/1 HTTP/1.1\r\nHost: soak"),
  "half a body": (world) => throwAt(world, `POST /length/1 HTTP/1.1\r\n${HEAD}Content-Length: 50000\r\n\r\nhalf`),
  "a header without end": (world) => throwAt(world, `GET / HTTP/1.1\r\nX-Long: ${"x".repeat(20_000)}`),
  "a body too long": (world) =>
    throwAt(world, `POST /length/1 HTTP/1.1\r\n${HEAD}Content-Length: 999999999\r\n\r\n${"x".repeat(50_000)}`),
  "a line too long": (world) => throwAt(world, `ASK ${"x".repeat(1_500_000)}`, 2),
  "TLS garbage": (world) => throwAt(world, Buffer.concat([Buffer.from([22, 3, 1, 2, 0, 1]), randomBytes(600)])),
  "HTTP/2 garbage": (world) =>
    throwAt(world, Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), randomBytes(2000)])),
  "WebSocket garbage": (world) =>
    throwAt(world, Buffer.concat([Buffer.from(`GET /echo HTTP/1.1\r\n${HEAD}${UPGRADE}\r\n`), randomBytes(500)])),
  "commands that are none": (world) => throwAt(world, "RELOAD nobody\nSTATUSES\nHELPME\nCLOSED\n"),
  "a flood of connections": async (world) => {
    const links = await openMany(world, 200);
    for (const link of links) link.close();
  },
  "readers that do not read": async (world) => {
    const links = await openMany(world, 10);
    for (const link of links) {
      link.pause();
      link.write(`GET /file.bin HTTP/1.1\r\n${HEAD}\r\n`.repeat(30));
    }
    await Bun.sleep(3 * AWHILE_MS);
    for (const link of links) link.close();
  },
  "a byte at a time": async (world) => {
    const links = await openMany(world, 10);
    for (const byte of "GET /ask/1 HTTP/1.1\r\nX-Slow: ") {
      for (const link of links) if (!link.hasEnded) link.write(byte);
      await Bun.sleep(20);
    }
    for (const link of links) link.close();
  },
};
