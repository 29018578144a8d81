/** Routes with `run: "process"`, seen by clients of the server. */
import { appendFileSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "bun:test";
import { type Hub, moduleSource, reuseHubs, shareHub, withHub } from "../support/hub";
import { until } from "../support/until";

const reused = reuseHubs();

const APART = `import { defineModule } from "hrmr";
import { read } from "bun:ffi";
import exitProcess from "node:process";

let count = 0;
const line = (handle, more = {}) => ({ framing: "line", run: "process", handle, ...more });

export default defineModule({
  unavailable: "closed for repairs\\n",
  routes: {
    "UP ": line((m) => m.text.slice(3).toUpperCase() + "\\n"),
    "PID": line(() => process.pid + "\\n"),
    "HOST": line((m, context) => context.host + "\\n"),
    "COUNT": line(() => ++count + "\\n"),
    "WAIT ": line(async (m) => { await Bun.sleep(Number(m.text.slice(5))); return m.text + "\\n"; }),
    "MANY ": line(async function* (m) { for (let i = 0; i < Number(m.text.slice(5)); i++) yield "line " + i + "\\n"; }),
    "SIZE": { framing: { length: { prefixBytes: 4 } }, run: "process", handle: (m) => m.bytes },
    "THROW": line(() => { throw new TypeError("thrown in its process"); }),
    "REJECT": line(() => { Promise.reject(new Error("left alone in its process")); return "rejected\\n"; }),
    "EXIT1": line(() => process.exit(3)),
    "EXIT2": line(() => exitProcess.exit(3)),
    "EXIT3": line(() => globalThis.process.reallyExit(3)),
    "KILL": line(() => { process.kill(process.pid, "SIGKILL"); return new Promise(() => {}); }),
    "SEGFAULT": line(() => "read " + read.u8(0, 1) + "\\n"),
    "LOOP": line(() => { for (;;); }, { timeoutMs: 300 }),
    "LOOPLATER": line(async () => { await Bun.sleep(1); for (;;); }, { timeoutMs: 300 }),
    "HOG": line(() => { const kept = []; for (;;) kept.push(new Uint8Array(4 << 20).fill(1)); }, { timeoutMs: 20000 }),
    "GARBAGE": line(() => { process.stdout.write("\\xff\\0\\n"); return "said\\n"; }),
    "FLOOD": line(() => { for (let i = 0; i < 20000; i++) console.log("flood " + i); return "flooded\\n"; }),
    "LOGS": line((m, context) => { for (let i = 0; i < 20000; i++) context.log.warn("flood " + i); return "logged\\n"; }),
    "LONG": line(() => { console.log("x".repeat(5000)); console.error("an error line"); return "long\\n"; }),
    "IN": () => "inline " + process.pid + "\\n",
    "/echo": { run: "process", fetch: async (request, context) => new Response(await request.bytes(), { headers: { "X-Host": String(context.host) } }) },
    "/kill": { run: "process", fetch: () => { process.kill(process.pid, "SIGKILL"); return new Promise(() => {}); } },
  },
});
`;

/** Everything of it in the process. */
const ALL_APART = APART.replace(/^ *"IN":.*\n/m, "");
const NEAR = moduleSource('{ routes: { "NEAR": { framing: "line", handle: () => "here\\n" } } }');
const FILES = { "modules/apart.ts": ALL_APART, "modules/near.ts": NEAR };
/** The tests' module crashes often, and is not to end in quarantine. */
const PATIENT = {
  "hrmr.json": JSON.stringify({
    limits: { maxBodyBytes: 8_000_000 },
    modules: { apart: { maxCrashes: 100, maxMemoryMb: 256 } },
  }),
};
/** No test changes these: each begins with a process that serves. */
const shared = shareHub({ ...FILES, ...PATIENT });

/** Asks the module next door again and again until `work` is done. @returns how often */
async function whileNearAnswers(hub: Hub, work: () => Promise<void>): Promise<number> {
  let isDone = false;
  const asked = (async () => {
    let count = 0;
    for (; !isDone || count === 0; count++) {
      expect(await hub.ask("NEAR\n")).toBe("here\n");
      // Without a pause this would take a processor away from the awaited process.
      await Bun.sleep(5);
    }
    return count;
  })();
  await work().finally(() => (isDone = true));
  return await asked;
}

async function processOf(hub: Hub, module = "apart") {
  const found = (await hub.status()).modules.find(({ name }) => name === module);
  if (found === undefined) throw new Error(`there is no module ${module}`);
  return { ...found, process: found.processes[0] };
}

test("a handler in a process answers in the order of the messages, and streams", () =>
  shared(async (hub) => {
    expect(await hub.ask("WAIT 60\nUP abc\nMANY 3\nHOST\n")).toBe("WAIT 60\nABC\nline 0\nline 1\nline 2\nprocess\n");
    const pid = Number(await hub.ask("PID\n"));
    expect(pid).not.toBe(hub.program.pid);
    expect((await processOf(hub)).process).toMatchObject({ pid, restarts: 0, state: "running" });
  }));

test("bytes cross to the process and back unchanged, by raw messages and by HTTP", () =>
  shared(async (hub) => {
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
    for (const size of [1, 70_000, 4_000_000]) {
      const body = Buffer.from(Array.from({ length: size }, (_, i) => (i * 13) % 256));
      const response = await fetch(`${hub.url}/echo`, { method: "POST", body });
      expect([response.status, response.headers.get("x-host")]).toEqual([200, "process"]);
      expect(Buffer.from(await response.arrayBuffer()).equals(body)).toBe(true);
    }
  }));

test("routes inline and in a process share a module, each with its own copy", () =>
  reused({ "modules/apart.ts": APART }, [], async (hub) => {
    expect(await hub.ask("IN")).toBe(`inline ${hub.program.pid}\n`);
    expect(await hub.ask("HOST\n")).toBe("process\n");
  }));

test("modules.NAME.run puts a whole module into a process, an app too", () =>
  reused(
    {
      "modules/app.ts":
        "export default { fetch: (request, context) => new Response(`${context.host} ${process.pid}`) };",
      "hrmr.json": JSON.stringify({ modules: { app: { run: "process" } } }),
    },
    [],
    async (hub) => {
      const [host, pid] = (await (await fetch(`${hub.url}/any`)).text()).split(" ");
      expect(host).toBe("process");
      expect(Number(pid)).not.toBe(hub.program.pid);
    },
  ));

describe("what a handler does to its process is its own caller's loss", () => {
  test.each([
    ["KILL", "it was ended by SIGKILL"],
    ["SEGFAULT", "it was ended by SIGSEGV"],
    ["HOG", "it was over its memory limit"],
    ["LOOP", "a handler did not give the thread back"],
    ["LOOPLATER", "a handler did not give the thread back"],
  ])("%s", (word, reason) =>
    shared(async (hub) => {
      const { pid } = hub.program;
      const restarts = (await processOf(hub)).process?.restarts ?? 0;
      const before = await hub.ask("PID\n");
      await whileNearAnswers(hub, async () => {
        const late = word.startsWith("LOOP")
          ? `ERR "${word}" did not answer within 300 ms\n`
          : `ERR "${word}" failed\n`;
        expect(await hub.ask(`${word}\n`)).toBe(late);
        // It waits for the process that takes the place of the lost one.
        expect(await hub.ask("UP again\n")).toBe("AGAIN\n");
        expect(await hub.ask("PID\n")).not.toBe(before);
      });
      await hub.program.waitFor(`its process was lost: ${reason}`);
      expect((await hub.status()).pid).toBe(pid);
      expect((await processOf(hub)).process?.restarts).toBe(restarts + 1);
    }),
  );

  test("over HTTP it is a 500", () =>
    shared(async (hub) => {
      expect((await fetch(`${hub.url}/kill`)).status).toBe(500);
      expect((await fetch(`${hub.url}/echo`, { method: "POST", body: "back" })).status).toBe(200);
    }));

  test("a throw and an unhandled rejection cost no process, and process.exit throws", () =>
    shared(async (hub) => {
      const pid = await hub.ask("PID\n");
      expect(await hub.ask("THROW\nREJECT\n")).toBe('ERR "THROW" failed\nrejected\n');
      expect(await hub.ask("EXIT1\nEXIT2\nEXIT3\n")).toBe(
        'ERR "EXIT1" failed\nERR "EXIT2" failed\nERR "EXIT3" failed\n',
      );
      await hub.program.waitFor("left alone in its process");
      await hub.program.waitFor("thrown in its process");
      expect(await hub.ask("PID\n")).toBe(pid);
    }));

  test("what was answered before the loss is not lost, and what had not begun is answered by the next process, once", () =>
    shared(async (hub) => {
      // The process that begins here has counted nothing.
      expect(await hub.ask("KILL\n")).toBe('ERR "KILL" failed\n');
      const client = await hub.connect();
      await client.send("UP one\nCOUNT\nKILL\nUP two\nCOUNT\nUP three\n");
      await client.waitFor("THREE\n");
      // The count is that of a new process: its first call of this kind is the second that was sent.
      expect(client.text).toBe('ONE\n1\nERR "KILL" failed\nTWO\n1\nTHREE\n');
    }));
});

describe("a version that cannot be loaded", () => {
  const broken = (top: string): string => `${ALL_APART}\n${top}`;
  const settings = (loadMs: number) =>
    JSON.stringify({ timeouts: { loadMs }, modules: { apart: { maxCrashes: 100, maxMemoryMb: 256 } } });
  // The test waits: a busy machine needs time to fill the memory.
  const inHurry = shareHub({ ...FILES, "hrmr.json": settings(1000) });
  const inTime = shareHub({ ...FILES, "hrmr.json": settings(15_000) });

  test.each([
    ["ends its process at top level", "process.kill(process.pid, 'SIGKILL'); await new Promise(() => {});", "SIGKILL"],
    ["segfaults at top level", "read.u8(0, 1);", "SIGSEGV"],
    [
      "takes all memory at top level",
      "const all = []; for (;;) all.push(new Uint8Array(4 << 20).fill(1));",
      "memory limit",
    ],
    ["loops at top level", "for (;;);", "did not give the thread back"],
    ["never ends a top-level await", "await new Promise(() => {});", "did not finish loading within 1000 ms"],
    ["throws at top level", "throw new Error('not today');", "not today"],
    ["calls process.exit at top level", "process.exit(0);", "a module cannot end the server"],
  ])("%s: the verdict says so, and the old one serves", (_, top, reason) => {
    const isLate = top === "await new Promise(() => {});" || top === "for (;;);";
    return (isLate ? inHurry : inTime)(async (hub) => {
      const generation = (await processOf(hub)).generation ?? 0;
      const pid = await hub.ask("PID\n");
      hub.write("modules/apart.ts", broken(top));
      let verdict = "";
      await whileNearAnswers(hub, async () => void (verdict = await hub.ask("RELOAD apart\n")));
      expect(verdict).toStartWith("ERR 1 module failed");
      expect(verdict).toContain(reason);
      expect(verdict).toContain("modules/apart.ts");
      expect(await hub.ask("PID\n")).toBe(pid);
      hub.write("modules/apart.ts", ALL_APART.replace('"line "', `"row ${generation} "`));
      expect(await hub.ask("RELOAD apart\n")).toContain(`apart v${generation + 1} (was v${generation}) swapped`);
      expect(await hub.ask("MANY 1\n")).toBe(`row ${generation} 0\n`);
    });
  });

  test("its top level runs in its process only", () =>
    reused({ "modules/near.ts": NEAR }, [], async (hub) => {
      const pids = join(hub.dir, "pids");
      appendFileSync(pids, "");
      const note = `import { appendFileSync } from "node:fs"; appendFileSync(${JSON.stringify(pids)}, process.pid + "\\n");\n`;
      hub.write("modules/apart.ts", note + ALL_APART);
      expect(await hub.ask("RELOAD\n")).toStartWith("OK");
      expect(readFileSync(pids, "utf8")).toBe(await hub.ask("PID\n"));
    }));

  test("a setup or a check that costs the process its life is the version's failure", () =>
    inTime(async (hub) => {
      for (const hook of ["setup", "check"]) {
        hub.write("modules/apart.ts", ALL_APART.replace("routes: {", `${hook}() { read.u8(0, 1); }, routes: {`));
        expect(await hub.ask("RELOAD apart\n")).toContain("SIGSEGV");
        expect(await hub.ask("UP abc\n")).toBe("ABC\n");
      }
    }));
});

describe("a reload", () => {
  const keeper = (version: string, more = ""): string =>
    moduleSource(`{
      setup(context, handed) { console.log("setup ${version}"); return { list: handed?.list ?? new Set() }; },
      handoff: (state) => state,
      dispose() { console.log("disposed ${version}"); },
      ${more}
      routes: {
        "KEEP ": { framing: "line", run: "process", handle: (m, { state }) => { state.list.add(m.text.slice(5)); return "ok\\n"; } },
        "SHOW": { framing: "line", run: "process", handle: (m, { state }) => "${version} " + [...state.list].join() + "\\n" },
        "SLOW": { framing: "line", run: "process", handle: async () => { await Bun.sleep(300); return "${version}\\n"; } },
        "PID": { framing: "line", run: "process", handle: () => process.pid + "\\n" },
      },
    }`);

  test("hands the state over from process to process, finishes what is under way, and ends the old process", () =>
    reused({ "modules/keep.ts": keeper("one") }, [], async (hub) => {
      const old = Number(await hub.ask("PID\n"));
      await hub.ask("KEEP a\nKEEP b\n");
      const slow = hub.ask("SLOW\n");
      await untilCalled(hub, "keep");
      hub.write("modules/keep.ts", keeper("two"));
      expect(await hub.ask("RELOAD\n")).toStartWith("OK keep v2 (was v1) swapped");
      expect(await hub.ask("SHOW\n")).toBe("two a,b\n");
      expect(await slow).toBe("one\n");
      await hub.program.waitFor("disposed one");
      await untilGone(old);
    }));

  test("without a change leaves the process alone, and with a failing handoff tells so", () =>
    reused({ "modules/keep.ts": keeper("one") }, [], async (hub) => {
      const old = await hub.ask("PID\n");
      expect(await hub.ask("RELOAD\n")).toContain("unchanged");
      expect(await hub.ask("PID\n")).toBe(old);
      hub.write(
        "modules/keep.ts",
        keeper("two").replace("handoff: (state) => state", 'handoff() { throw new Error("no hands"); }'),
      );
      await hub.ask("RELOAD\n");
      hub.write("modules/keep.ts", keeper("three"));
      const verdict = await hub.ask("RELOAD\n");
      expect(verdict).toContain("its state was not handed over");
      expect(verdict).toContain("no hands");
      expect(await hub.ask("SHOW\n")).toBe("three \n");
    }));

  test("hands over what is large and what is not JSON, and tells what cannot be copied", () =>
    reused({ "modules/near.ts": NEAR, "hrmr.json": '{ "timeouts": { "loadMs": 15000 } }' }, [], async (hub) => {
      const holder = (version: string, state: string): string =>
        moduleSource(`{
          setup: (context, handed) => handed ?? ${state},
          handoff: (state) => state,
          routes: { "SHOW": { framing: "line", run: "process", handle: (m, { state }) =>
            "${version} " + state.bytes?.length + " " + state.bytes?.at(-1) + " " + state.when?.getTime() + " " + state.map?.get("a") + "\\n" } },
        }`);
      const large = "{ bytes: new Uint8Array(40_000_000).fill(7), when: new Date(5), map: new Map([['a', 1n]]) }";
      hub.write("modules/hold.ts", holder("one", large));
      expect(await hub.ask("RELOAD\n")).toStartWith("OK");
      hub.write("modules/hold.ts", holder("two", "{}"));
      expect(await hub.ask("RELOAD\n")).toContain("hold v2 (was v1) swapped");
      expect(await hub.ask("SHOW\n")).toBe("two 40000000 7 5 1\n");
      hub.write("modules/hold.ts", holder("three", "{}").replace("(state) => state,", "() => () => 1,"));
      expect(await hub.ask("RELOAD\n")).toContain("hold v3 (was v2) swapped");
      hub.write("modules/hold.ts", holder("four", "{ map: new Map([['a', 'new']]) }"));
      expect(await hub.ask("RELOAD\n")).toContain(
        "its state was not handed over: handoff returned data that cannot be copied",
      );
      expect(await hub.ask("SHOW\n")).toBe("four undefined undefined undefined new\n");
    }));

  test("of an exclusive module ends the old process before the new one's setup", () =>
    withHub({ "modules/keep.ts": keeper("one", 'reload: "exclusive",') }, [], async (hub) => {
      const old = Number(await hub.ask("PID\n"));
      hub.write("modules/keep.ts", keeper("two", 'reload: "exclusive",'));
      expect(await hub.ask("RELOAD\n")).toStartWith("OK");
      await untilGone(old);
      const order = [...hub.program.output().matchAll(/setup \w+|disposed \w+/g)].map(String);
      expect(order).toEqual(["setup one", "disposed one", "setup two"]);
    }));

  test("takes a module away with its process", () =>
    reused({ "modules/keep.ts": keeper("one"), "modules/near.ts": NEAR }, [], async (hub) => {
      const old = Number(await hub.ask("PID\n"));
      hub.remove("modules/keep.ts");
      expect(await hub.ask("RELOAD\n")).toContain("keep unloaded");
      await untilGone(old);
    }));
});

describe("what it prints", () => {
  test("is in the log with the module and its version, long lines cut", () =>
    shared(async (hub) => {
      expect(await hub.ask("LONG\nGARBAGE\n")).toBe("long\nsaid\n");
      await hub.program.waitFor("an error line");
      await hub.program.waitFor(/info +apart v1 x{4096} \.\.\. and 904 bytes more\n/);
      await hub.program.waitFor(/warn +apart v1 an error line/);
    }));

  test.each(["FLOOD", "LOGS"])("%s: a flood is cut, counted and told, and the neighbour is served", (word) =>
    reused(FILES, [], async (hub) => {
      const asked = await whileNearAnswers(hub, async () => {
        expect(await hub.ask(`${word}\n`)).toBe(word === "FLOOD" ? "flooded\n" : "logged\n");
        await hub.program.waitFor(/\d+ lines .* were left out/);
      });
      expect(asked).toBeGreaterThan(10);
      expect(hub.program.output().match(/flood \d+/g)?.length).toBeLessThan(2000);
    }),
  );
});

/** Resolves once the module has a call under way. */
async function untilCalled(hub: Hub, module: string): Promise<void> {
  await until(
    "a call is under way",
    async () => ((await hub.status()).modules.find(({ name }) => name === module)?.inFlight ?? 0) > 0,
  );
}

async function untilGone(pid: number): Promise<void> {
  await until(`process ${pid} is gone`, () => {
    try {
      process.kill(pid, 0);
      return false;
    } catch {
      return true;
    }
  });
}
