/** A module's process may write only messages to its server, and their size is checked before they are held. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "bun:test";
import { serialize } from "bun:jsc";
import { MessageReader } from "../../src/host/process/channel";
import { type Hub, moduleSource, reuseHubs } from "../support/hub";
import { until } from "../support/until";

const reused = reuseHubs({ isMemoryMeasured: true });

const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;

function message(value: unknown): Buffer {
  const bytes = serialize(value, { binaryType: "nodebuffer" });
  return Buffer.concat([header(2, bytes.length), bytes]);
}

function header(kind: number, length: number): Buffer {
  const bytes = Buffer.alloc(5);
  bytes[0] = kind;
  bytes.writeUInt32LE(length, 1);
  return bytes;
}

describe("a reader of messages", () => {
  test("gets the same messages wherever the bytes are cut", () => {
    const sent = ["a", "", "b".repeat(300)].map((text) => Buffer.from(`${text}.`));
    const wire = Buffer.concat([header(1, 1), ...sent.flatMap((bytes) => [header(2, bytes.length), bytes])]);
    for (const size of [1, 2, 3, 4, 5, 6, 7, 100, wire.length]) {
      const got: string[] = [];
      const reader = new MessageReader((bytes) => got.push(Buffer.from(bytes).toString()));
      for (let at = 0; at < wire.length; at += size) reader.read(wire.subarray(at, at + size));
      expect([size, got]).toEqual([size, sent.map(String)]);
    }
  });

  test("refuses a message that is too large by its header alone, and bytes that are no message", () => {
    const read = (bytes: Buffer) => () => new MessageReader(() => {}).read(bytes);
    expect(read(header(2, MAX_MESSAGE_BYTES))).not.toThrow();
    expect(read(header(2, MAX_MESSAGE_BYTES + 1))).toThrow("announced a message of 65 MB");
    expect(read(header(2, 0xffffffff))).toThrow("announced a message of 4096 MB");
    for (const [kind, length] of [
      [1, 0xffffffff],
      [2, 0],
      [3, 10],
      [0xff, 0],
      [0x41, 0x41414141],
    ] as const) {
      expect(read(header(kind, length))).toThrow("bytes that are no message");
    }
  });
});

/** Writes into its channel as it likes: `WRITE hex megabytes`. */
const WILD = moduleSource(`{ routes: {
  "WRITE ": { framing: "line", run: "process", timeoutMs: 20000, handle: (m) => {
    const fs = require("node:fs");
    const [hex, megabytes] = m.text.slice(6).split(" ");
    const all = [Buffer.from(hex, "hex"), ...Array.from({ length: Number(megabytes) }, () => Buffer.alloc(1 << 20, 65))];
    for (const bytes of all) for (let at = 0; at < bytes.length;) {
      try { at += fs.writeSync(5, bytes, at); } catch (error) { if (error.code !== "EAGAIN") throw error; Bun.sleepSync(1); }
    }
    return "written\\n";
  } },
  "/size": { run: "process", fetch: () => new Response("x".repeat(30_000_000)) },
  "SIZE ": { framing: "line", run: "process", handle: (m) => "x".repeat(Number(m.text.slice(5))) + "\\n" },
  "PARTS ": { framing: "line", run: "process", handle: async function* (m) { yield "y".repeat(Number(m.text.slice(6))); yield "\\n"; } },
  "LOG ": { framing: "line", run: "process", handle: (m, context) => { context.log.info("z".repeat(Number(m.text.slice(4)))); return "logged\\n"; } },
  "FINE": { framing: "line", run: "process", handle: () => "fine\\n" },
  "NEAR": () => "here\\n",
} }`);
const PATIENT = { "hrmr.json": JSON.stringify({ modules: { wild: { maxCrashes: 100, maxMemoryMb: 2000 } } }) };

function residentMb(hub: Hub): number {
  return (Number(readFileSync(`/proc/${hub.program.pid}/statm`, "latin1").split(" ")[1]) * 4096) / 1e6;
}

test("a process that writes what is no message is ended, and costs the server next to no memory", () =>
  reused({ "modules/wild.ts": WILD, ...PATIENT }, [], async (hub) => {
    expect(await hub.ask("FINE\n")).toBe("fine\n");
    const before = residentMb(hub);
    const notMessage = Buffer.concat([header(2, 9), Buffer.from("no clone!")]).toString("hex");
    const cases: [string, RegExp][] = [
      ["02ffffff7f 300", /announced a message of 2048 MB/],
      ["01ffffffff 300", /bytes that are no message/],
      ["ff00000000 1", /bytes that are no message/],
      [`${notMessage} 0`, /its process was lost: it/],
      [`${message({ type: "done" }).toString("hex")} 0`, /./],
    ];
    for (const [line, reason] of cases) {
      await hub.ask(`WRITE ${line}\n`);
      await hub.program.waitFor(reason);
      expect(await hub.ask("NEAR")).toBe("here\n");
      await until("the module is served again", async () => (await hub.ask("FINE\n")) === "fine\n");
    }
    expect(residentMb(hub) - before).toBeLessThan(100);
  }));

test("a reply, or a part of one, that is larger than a message may be is its own caller's error, and a long line is cut", () =>
  reused({ "modules/wild.ts": WILD, ...PATIENT }, [], async (hub) => {
    expect((await hub.ask("SIZE 5000000\n")).length).toBe(5_000_001);
    const pid = (await hub.status()).modules.find(({ name }) => name === "wild")?.processes[0]?.pid;
    // The limit is the author's: what the server adds to it does not count.
    expect((await hub.ask("SIZE 29999999\n")).length).toBe(30_000_000);
    const page = await fetch(`${hub.url}/size`);
    expect(page.status).toBe(200);
    expect((await page.bytes()).length).toBe(30_000_000);
    await hub.ask("SIZE 31000000\n");
    await hub.program.waitFor("the reply is 31 MB, and the limit is 30 MB. Stream it in smaller parts");
    expect(await hub.ask("PARTS 31000000\n")).not.toContain("y".repeat(100));
    await hub.program.waitFor("a part of the reply is 31 MB");
    expect(await hub.ask("LOG 31000000\n")).toBe("logged\n");
    await hub.program.waitFor("zzzzzzzz");
    expect(hub.program.output().length).toBeLessThan(500_000);
    expect(await hub.ask("FINE\n")).toBe("fine\n");
    expect((await hub.status()).modules.find(({ name }) => name === "wild")?.processes[0]?.pid).toBe(pid);
  }));
