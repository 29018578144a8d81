/** Handlers on the pool, seen by clients of the server. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { moduleSource, reuseHubs } from "../support/hub";
import { until } from "../support/until";

const reused = reuseHubs();

const POOL = moduleSource(`{ routes: {
  "UP ": { framing: "line", run: "pool", handle: (m) => m.text.slice(3).toUpperCase() + "\\n" },
  "LOOP": { framing: "line", run: "pool", timeoutMs: 300, handle: () => { for (;;) {} } },
  "NEVER": { framing: "line", run: "pool", timeoutMs: 300, handle: () => new Promise(() => {}) },
  "THROW": { framing: "line", run: "pool", handle: () => { throw new TypeError("on the pool"); } },
  "EXIT": { framing: "line", run: "pool", handle: () => { process.exit(7); } },
  "WAIT ": { framing: "line", run: "pool", handle: async (m) => { await Bun.sleep(Number(m.text.slice(5))); return m.text + "\\n"; } },
  "HOST": { framing: "line", run: "pool", handle: (m, context) => context.host + "\\n" },
  "MANY ": { framing: "line", run: "pool", handle: async function* (m) { for (let i = 0; i < Number(m.text.slice(5)); i++) yield "line " + i + "\\n"; } },
  "HOLD ": { framing: "line", run: "pool", handle: async (m) => { while (!(await Bun.file(m.text.slice(5)).exists())) await Bun.sleep(5); return "held\\n"; } },
  "SIZE": { framing: { length: { prefixBytes: 4 } }, run: "pool", handle: (m) => m.bytes },
  "PING": () => "PONG\\n",
} }`);

test("a pool handler answers, in the order of the messages, beside inline ones", () =>
  reused({ "modules/pool.ts": POOL }, ["-threads", "2"], async (hub) => {
    expect(await hub.ask("WAIT 60\nUP abc\nMANY 3\nUP x\n")).toBe("WAIT 60\nABC\nline 0\nline 1\nline 2\nX\n");
    expect(await hub.ask("HOST\n")).toMatch(/^[0-9]\n$/);
    expect((await hub.status()).pool.threads).toBe(2);
  }));

test("bytes cross to the pool and back unchanged", () =>
  reused({ "modules/pool.ts": POOL }, [], async (hub) => {
    const client = await hub.connect();
    for (const size of [0, 1, 255, 20_000, 900_000]) {
      const body = Buffer.from(Array.from({ length: size }, (_, i) => (i * 7) % 256));
      const head = Buffer.alloc(8);
      head.write("SIZE");
      head.writeUInt32BE(size, 4);
      client.clear();
      await client.send(Buffer.concat([head, body]));
      const reply = await client.waitForBytes(8 + size);
      expect(reply.equals(Buffer.concat([head, body]))).toBe(true);
    }
  }));

test("a handler that loops for ever, never answers, throws or exits costs its own caller an error; others never notice", () =>
  reused({ "modules/pool.ts": POOL }, ["--threads", "2"], async (hub) => {
    const good = Array.from({ length: 40 }, async (_, i) => {
      for (let n = 0; n < 10; n++) expect(await hub.ask(`UP a${i}-${n}\n`)).toBe(`A${i}-${n}\n`);
    });
    const bad = [hub.ask("LOOP\n"), hub.ask("NEVER\n"), hub.ask("THROW\n")];
    expect(await bad[0]).toBe('ERR "LOOP" did not answer within 300 ms\n');
    expect(await bad[1]).toBe('ERR "NEVER" did not answer within 300 ms\n');
    expect(await bad[2]).toBe('ERR "THROW" failed\n');
    await Promise.all(good);
    expect(await hub.ask("EXIT\n")).toBe('ERR "EXIT" failed\n');
    await hub.program.waitFor("on the pool");
    expect(await hub.ask("UP back\n")).toBe("BACK\n");
    expect(await hub.ask("PING")).toBe("PONG\n");
  }));

test("over maxQueued a caller is told that the pool is busy", () =>
  reused(
    { "modules/pool.ts": POOL, "hrmr.json": '{ "limits": { "maxQueued": 4 } }' },
    ["--threads", "1"],
    async (hub) => {
      const replies = (await Promise.all(Array.from({ length: 12 }, () => hub.ask("WAIT 150\n")))).sort();
      expect(replies.filter((reply) => reply === "ERR busy\n").length).toBeGreaterThan(0);
      expect(replies.filter((reply) => reply === "WAIT 150\n").length).toBeGreaterThanOrEqual(4);
      expect(await hub.ask("UP free\n")).toBe("FREE\n");
    },
  ));

test("a pool module reloads in all threads or in none", () =>
  reused({ "modules/pool.ts": POOL }, ["--threads", "3"], async (hub) => {
    hub.write("modules/pool.ts", POOL.replace("toUpperCase()", `toUpperCase() + "!"`));
    expect(await hub.ask("RELOAD")).toStartWith("OK pool v2 (was v1) swapped");
    const replies = await Promise.all(Array.from({ length: 30 }, () => hub.ask("UP a\n")));
    expect(new Set(replies)).toEqual(new Set(["A!\n"]));
    hub.write("modules/pool.ts", POOL.replace("{ routes", `{ check: (context) => context.host !== 2, routes`));
    expect(await hub.ask("RELOAD")).toStartWith("ERR 1 module failed");
    const after = await Promise.all(Array.from({ length: 30 }, () => hub.ask("UP a\n")));
    expect(new Set(after)).toEqual(new Set(["A!\n"]));
  }));

test("calls under way on the pool finish on the version that they began on", () =>
  reused({ "modules/pool.ts": POOL }, ["--threads", "1"], async (hub) => {
    const slow = hub.ask(`HOLD ${join(hub.dir, "go")}\n`);
    await until(
      "the call is under way on the pool",
      async () => (await hub.status()).modules.find((m) => m.name === "pool")?.inFlight === 1,
    );
    hub.write("modules/pool.ts", POOL.replace(`return m.text + "\\n"`, `return "new\\n"`));
    expect(await hub.ask("RELOAD")).toContain("v1 drains, 1 under way");
    expect(await hub.ask("WAIT 1\n")).toBe("new\n");
    hub.write("go", "");
    expect(await slow).toBe("held\n");
  }));
