/** Modules whose code ends its thread or process again and again. */
import { describe, expect, test } from "bun:test";
import { HostLostError, UnavailableError } from "../../src/host/errors";
import { Quarantine, type QuarantineSettings } from "../../src/host/quarantine";
import type { LoadSpec } from "../../src/module/version";
import { type Hub, moduleSource, withHub } from "../support/hub";
import { withPool } from "../support/pool-fixture";
import { until } from "../support/until";

const SILENT = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

function specOf(config: Record<string, unknown> = {}, id = 1): LoadSpec {
  return { name: "demo", id, generation: 1, hash: "h", file: "/none", source: "/none", config, dataDir: "/none" };
}

/** A quarantine that notes its log lines. */
class Watched {
  readonly events: string[] = [];
  readonly quarantine: Quarantine;

  /** @param isFree what a try says */
  constructor(options: Partial<QuarantineSettings> = {}, isFree = true) {
    this.quarantine = new Quarantine(
      { log: SILENT, firstQuarantineMs: 20, ...options },
      {
        shutOut: (id) => this.events.push(`began ${id}`),
        tryAgain: (id) => {
          this.events.push(`try ${id}`);
          return isFree;
        },
      },
    );
  }

  crash(times: number, spec = specOf()): boolean[] {
    return Array.from({ length: times }, () => this.quarantine.noteCrash(spec, "it fell", true));
  }
}

describe("a quarantine", () => {
  test("begins at the fifth crash within a minute, and calls are refused with the time of the next try", async () => {
    const { quarantine, events, crash } = bound(new Watched({ firstQuarantineMs: 5000 }));
    expect(crash(4)).toEqual([false, false, false, false]);
    expect([quarantine.isEmpty, quarantine.refusal(1)]).toEqual([true, null]);
    expect(crash(1)).toEqual([true]);
    expect(events).toEqual(["began 1"]);
    await until("the next try is known", () => quarantine.facts(1)?.nextTryAtMs != null);
    expect(quarantine.refusal(1)).toBeInstanceOf(UnavailableError);
    expect(quarantine.refusal(1)?.retryAfterSeconds).toBe(5);
    expect(quarantine.facts(1)?.reason).toBe("it crashed 5 times within 60 s, the last time because it fell");
    expect(quarantine.refusal(2)).toBeNull();
    quarantine.close();
    expect(quarantine.isEmpty).toBe(true);
  });

  test("takes maxCrashes and crashWindowMs of the module; 0 crashes are never enough", async () => {
    const { quarantine, crash } = bound(new Watched());
    expect(crash(2, specOf({ maxCrashes: 2 }, 1))).toEqual([false, true]);
    expect(new Set(crash(50, specOf({ maxCrashes: 0 }, 2)))).toEqual(new Set([false]));
    const short = specOf({ maxCrashes: 2, crashWindowMs: 1 }, 3);
    expect(crash(1, short)).toEqual([false]);
    const crashedAt = Date.now();
    await until("the window has passed", () => Date.now() > crashedAt + 2);
    expect(crash(1, short)).toEqual([false]);
    quarantine.close();
  });

  test("ends with a try; after it one crash is enough, and the wait is twice as long", async () => {
    const { quarantine, events, crash } = bound(new Watched());
    crash(5);
    await until("a try", () => events.includes("try 1"));
    expect(quarantine.refusal(1)).toBeNull();
    expect(crash(1)).toEqual([true]);
    await until("the next try is known", () => quarantine.facts(1)?.nextTryAtMs != null);
    const waitMs = (quarantine.facts(1)?.nextTryAtMs ?? 0) - Date.now();
    // The first wait is 20 ms, the second 40: the rest of it lies between them only if nothing delays this test.
    expect(waitMs).toBeLessThanOrEqual(40);
    await until("a second try", () => events.filter((event) => event === "try 1").length === 2);
    quarantine.close();
  });

  test("goes on while a try is under way, until it is lifted or the try fails", async () => {
    const { quarantine, events, crash } = bound(new Watched({}, false));
    const tries = (): number => events.filter((event) => event === "try 1").length;
    crash(5);
    await until("a try", () => tries() === 1);
    expect(quarantine.facts(1)).toMatchObject({ nextTryAtMs: null });
    expect(crash(1)).toEqual([true]);
    await until("a second try", () => tries() === 2);
    quarantine.lift(1);
    expect(quarantine.isEmpty).toBe(true);
  });

  test("asks for another version first, once, and forgets a generation that is gone", async () => {
    const asked: string[] = [];
    const answer = Promise.withResolvers<boolean>();
    const onCrashLoop = (spec: LoadSpec, reason: string): Promise<boolean> => {
      asked.push(`${spec.name}: ${reason}`);
      return answer.promise;
    };
    const { quarantine, events, crash } = bound(new Watched({ onCrashLoop }));
    crash(5);
    expect(asked).toEqual(["demo: it crashed 5 times within 60 s, the last time because it fell"]);
    expect(quarantine.facts(1)).toMatchObject({ nextTryAtMs: null });
    quarantine.forget(1);
    answer.resolve(true);
    // The answer starts a chain of promises, which has run when the event loop turns.
    await new Promise((resolve) => setImmediate(resolve));
    expect(events).toEqual(["began 1"]);
    expect(quarantine.isEmpty).toBe(true);
  });
});

function bound(watched: Watched) {
  return { quarantine: watched.quarantine, events: watched.events, crash: watched.crash.bind(watched) };
}

test("a module that ends the pool's threads again and again gets no more calls, and the others on the pool go on", async () => {
  await withPool({ threads: 2, firstQuarantineMs: 2000 }, async (f) => {
    const bad = await f.load(["(m) => { if (m.text === 'ok') return 'fine'; for (;;); }"]);
    const good = await f.load(["(m) => 'echo ' + m.text"]);
    for (let n = 0; n < 5; n++) {
      const [late, echo] = await Promise.all([
        f.text(bad, "loop", 0, 500).catch((error: Error) => error.name),
        f.text(good, "x"),
      ]);
      expect([late, echo]).toEqual(["HandlerTimeoutError", "echo x"]);
      await until("its thread is replaced", () => f.lost.length === n + 1);
    }
    const refused = await f.text(bad, "ok").catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(UnavailableError);
    expect(f.pool.status(bad).quarantine?.reason).toContain("it crashed 5 times within 60 s");
    expect(f.pool.status(good).quarantine).toBeNull();
    expect(await f.text(good, "y")).toBe("echo y");
    await until("it is tried again", () => f.pool.status(bad).quarantine === null);
    expect(await f.text(bad, "ok")).toBe("fine");
  });
});

test("a thread that is lost while calls of two modules have begun on it is put down to the one whose handler holds it", async () => {
  await withPool({ threads: 1 }, async (f) => {
    const bad = await f.load(["() => { for (;;); }"]);
    const good = await f.load(["async (m) => { await Bun.sleep(400); return m.text; }"]);
    for (let n = 0; n < 5; n++) {
      const innocent = f.text(good, "waits").catch((error: unknown) => error);
      await until("it has begun", () => f.pool.places[0]?.inFlight === 1);
      await f.text(bad, "x", 0, 50).catch(() => undefined);
      expect(await innocent).toBeInstanceOf(HostLostError);
    }
    expect(f.pool.status(bad).quarantine).not.toBeNull();
    expect(f.pool.status(good).quarantine).toBeNull();
  });
});

describe("a module in a process", () => {
  const source = (version: string, more = ""): string =>
    moduleSource(`{ ${more} routes: {
      "SAY": { framing: "line", run: "process", handle: () => "${version}\\n" },
      "KILL": { framing: "line", run: "process", handle: () => { process.kill(process.pid, "SIGKILL"); return new Promise(() => {}); } },
      "/say": { run: "process", fetch: () => new Response("${version}") },
      "HERE": { framing: "line", handle: () => "inline\\n" },
    } }`);
  const near = moduleSource('{ routes: { "NEAR": { framing: "line", handle: () => "here\\n" } } }');

  /** Until it is in quarantine. */
  async function killOften(hub: Hub): Promise<void> {
    for (let n = 0; n < 3; n++) expect(await hub.ask("KILL\n")).toBe('ERR "KILL" failed\n');
    await hub.program.waitFor("is in quarantine");
  }

  function withCrasher(more: string, work: (hub: Hub) => Promise<void>): Promise<void> {
    const settings = JSON.stringify({ modules: { bad: { maxCrashes: 3 } } });
    return withHub({ "modules/bad.ts": source("one", more), "modules/near.ts": near, "hrmr.json": settings }, [], work);
  }

  test("that is in quarantine answers 503 or what it says for that, alone, until its files change", () =>
    withCrasher('unavailable: "closed\\n",', async (hub) => {
      await killOften(hub);
      expect(await hub.ask("SAY\n")).toBe("closed\n");
      const refused = await fetch(`${hub.url}/say`);
      expect(refused.status).toBe(503);
      expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
      expect(await refused.text()).toContain('"bad"');
      expect(await hub.ask("NEAR\nHERE\n")).toBe("here\ninline\n");
      const status = await hub.status();
      const bad = status.modules.find(({ name }) => name === "bad");
      expect([status.state, bad?.state]).toEqual(["degraded", "quarantined"]);
      expect(bad?.quarantine?.reason).toBe(
        "it crashed 3 times within 60 s, the last time because it was ended by SIGKILL",
      );
      expect(Date.parse(bad?.quarantine?.nextTryAt ?? "")).toBeGreaterThan(Date.now() - 1000);
      expect((await fetch(`${hub.url}/ready`)).status).toBe(503);
      hub.write("modules/bad.ts", source("two"));
      expect(await hub.ask("RELOAD\n")).toContain("bad v2 (was v1) swapped");
      expect(await hub.ask("SAY\n")).toBe("two\n");
      expect((await hub.status()).modules.find(({ name }) => name === "bad")).toMatchObject({
        state: "serving",
        quarantine: null,
      });
    }));

  test("without words of its own is told as an HTTP 503, and is back after its time", () =>
    withCrasher("", async (hub) => {
      await killOften(hub);
      expect(await hub.ask("SAY\n")).toStartWith("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n");
      await hub.program.waitFor("is out of quarantine");
      expect(await hub.ask("SAY\n")).toBe("one\n");
      // It is watched more closely now.
      await hub.ask("KILL\n");
      await hub.program.waitFor("it crashed once more");
      expect(await hub.ask("SAY\n")).toStartWith("HTTP/1.1 503");
    }));

  test("that cannot be set up again after a crash is in quarantine too, and nothing is started without end", () =>
    withCrasher(
      'setup({ dataDir, log }) { if (require("node:fs").existsSync(dataDir + "/spoilt")) throw new Error("no way back"); log.info("set up " + dataDir); },',
      async (hub) => {
        await hub.program.waitFor(/set up \S+/);
        const dir = /set up (\S+)/.exec(hub.program.output())?.[1] ?? "";
        await Bun.write(`${dir}/spoilt`, "");
        expect(await hub.ask("KILL\n")).toBe('ERR "KILL" failed\n');
        await hub.program.waitFor("is in quarantine");
        await hub.program.waitFor("no way back");
        expect(await hub.ask("SAY\n")).toStartWith("HTTP/1.1 503");
        expect(await hub.ask("NEAR\n")).toBe("here\n");
      },
    ));
});
