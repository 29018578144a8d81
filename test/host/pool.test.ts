import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "bun:test";
import { HandlerError, HandlerTimeoutError, HostLostError, HostBusyError } from "../../src/host/errors";
import { ModuleError } from "../../src/module/graph/describe-error";
import { type Answer, withPool } from "../support/pool-fixture";
import { until, UNTIL_MS } from "../support/until";

const ECHO = "(message) => 'echo ' + message.text";
const LOOP = "() => { for (;;) {} }";
// A Worker without a listener for messages ends by itself: process.exit is kept from modules.
const DIE = "globalThis.onmessage = null; return new Promise(() => {})";
const APPEND = 'import { appendFileSync } from "node:fs";';

async function rejection(promise: Promise<unknown>): Promise<Error> {
  return await promise.then(
    (value) => {
      throw new Error(`answered ${String(value)} instead of failing`);
    },
    (error: Error) => error,
  );
}

function isStream(answer: Answer): answer is AsyncIterable<string | Uint8Array> {
  return typeof answer === "object" && answer !== null && !(answer instanceof Uint8Array);
}

function streamOf(answer: Answer): AsyncIterator<string | Uint8Array> {
  if (!isStream(answer)) throw new Error(`${String(answer)} is no stream`);
  return answer[Symbol.asyncIterator]();
}

test("of a thousand calls at once each gets its own answer, from synchronous and asynchronous handlers", async () => {
  await withPool({ threads: 4 }, async (f) => {
    const id = await f.load([
      ECHO,
      "async (message) => { await Bun.sleep(Math.random() * 5); return 'late ' + message.text; }",
    ]);
    const asked = Array.from({ length: 1000 }, (_, n) => f.text(id, `call ${n}`, n % 2));
    const answers = await Promise.all(asked);
    answers.forEach((answer, n) => expect(answer).toBe(`${n % 2 === 0 ? "echo" : "late"} call ${n}`));
    expect(f.pool.places.reduce((sum, { calls }) => sum + calls, 0)).toBe(1000);
    expect(f.pool.queue.size).toBe(0);
  });
});

test("a message has its bytes, its text, its client and a signal; a context has its thread's number", async () => {
  await withPool({}, async (f) => {
    const id = await f.load(
      [
        `(m, context) => JSON.stringify({ bytes: [...m.bytes], own: m.bytes.buffer.byteLength, text: m.text, client: m.client,
         aborted: m.signal.aborted, name: context.name, state: context.state, host: context.host })`,
      ],
      "setup: (context) => 'set up on ' + context.host",
    );
    const said = JSON.parse(String(await f.text(id, "Grüße €"))) as Record<string, unknown>;
    const bytes = [...Buffer.from("Grüße €")];
    expect(said).toMatchObject({ bytes, own: bytes.length, text: "Grüße €", aborted: false, name: "demo" });
    expect(said.client).toEqual({ address: "127.0.0.1", port: 4711, transport: "tcp", isLocal: true, connection: 7 });
    expect(said.state).toBe(`set up on ${String(said.host)}`);
    expect([1, 2]).toContain(said.host as number);
  });
});

test("replies may be text, bytes or nothing, and anything else is the handler's error", async () => {
  await withPool({}, async (f) => {
    const id = await f.load([
      "() => '€'",
      "() => new Uint8Array([0, 128, 255])",
      "() => {}",
      "async () => null",
      "() => 42",
    ]);
    expect(await f.text(id, "x", 0)).toBe("€");
    expect(await f.text(id, "x", 1)).toEqual(new Uint8Array([0, 128, 255]));
    expect(await f.text(id, "x", 2)).toBeNull();
    expect(await f.text(id, "x", 2)).toBeNull();
    const error = await rejection(f.text(id, "x", 4));
    expect(error).toBeInstanceOf(HandlerError);
    expect(error.message).toContain("returned 42");
  });
});

test("a megabyte of every byte value arrives and returns unchanged", async () => {
  await withPool({}, async (f) => {
    const id = await f.load(["(message) => message.bytes", "(message) => message.text"]);
    const bytes = new Uint8Array(1 << 20).map((_, at) => (at * 31) & 255);
    const kept = bytes.slice();
    const { answer } = f.ask(id, bytes);
    bytes.fill(0);
    expect(Buffer.compare((await answer) as Uint8Array, kept)).toBe(0);
    const text = "grün ".repeat(100_000);
    expect(await f.text(id, text, 1)).toBe(text);
  });
});

test("a throw and a rejection fail their own call, with the author's name, message and line", async () => {
  await withPool({ threads: 1 }, async (f) => {
    const id = await f.load([
      "() => { throw new RangeError('too far'); }",
      "async () => { await 1; throw 'text'; }",
      ECHO,
    ]);
    const calls = [f.text(id, "a", 0), f.text(id, "b", 1), f.text(id, "c", 2)] as const;
    const thrown = await rejection(calls[0]);
    expect(thrown).toBeInstanceOf(HandlerError);
    expect(thrown.name).toBe("RangeError");
    expect(thrown.message).toBe("too far");
    expect(thrown.stack).toContain("m1.js:2:");
    expect((await rejection(calls[1])).message).toContain('threw "text"');
    expect(await calls[2]).toBe("echo c");
    expect(f.lost).toEqual([]);
  });
});

test("a late throw of module code is logged with the module's name, and its thread lives", async () => {
  await withPool({ threads: 1 }, async (f) => {
    const id = await f.load(["() => { setTimeout(() => { throw new Error('too late'); }, 1); return 'ok'; }", ECHO]);
    expect(await f.text(id, "x")).toBe("ok");
    await until("the throw is logged", () =>
      f.logged.some((line) => line.includes("demo v1") && line.includes("too late")),
    );
    expect(await f.text(id, "y", 1)).toBe("echo y");
    expect(f.lost).toEqual([]);
  });
});

test("a call that never settles fails in its time, its signal aborts, and its thread is kept", async () => {
  await withPool({ threads: 1 }, async (f) => {
    const noted = join(f.dir, "aborted");
    const id = await f.load(
      [
        `(m) => new Promise(() => m.signal.addEventListener("abort", () => appendFileSync(${JSON.stringify(noted)}, m.signal.reason.name)))`,
        ECHO,
      ],
      "",
      APPEND,
    );
    const askedAt = performance.now();
    const error = await rejection(f.text(id, "x", 0, 1500));
    expect(error).toBeInstanceOf(HandlerTimeoutError);
    expect(performance.now() - askedAt).toBeGreaterThan(1490);
    await until("the signal aborts", () => existsSync(noted) && readFileSync(noted, "utf8") === "TimeoutError");
    expect(await f.text(id, "y", 1)).toBe("echo y");
    expect(f.lost).toEqual([]);
    expect(f.pool.places[0]).toMatchObject({ inFlight: 0, restarts: 0 });
  });
});

test("an endless loop costs its own caller an error in its time and nobody else anything, and no call runs twice", async () => {
  await withPool({ threads: 2 }, async (f) => {
    const runs = join(f.dir, "runs");
    const handler = `(m) => { appendFileSync(${JSON.stringify(runs)}, m.text + "\\n"); return m.text; }`;
    const id = await f.load([handler, LOOP], "", APPEND);
    const other = await f.load([ECHO]);
    const askedAt = performance.now();
    const looper = rejection(f.text(id, "loop", 1, 300)).then((error) => ({ error, ms: performance.now() - askedAt }));
    const wanted: string[] = [];
    const answers: Promise<Answer>[] = [];
    let round = 0;
    const askTen = (): void => {
      for (let n = 0; n < 10; n++) {
        wanted.push(`${round}.${n}`);
        answers.push(f.text(id, `${round}.${n}`, 0, UNTIL_MS));
        answers.push(f.text(other, `${round}.${n}`, 0, UNTIL_MS).then((answer) => String(answer).slice(5)));
      }
      round++;
    };
    // Before, while and after the loop holds its thread, which is killed on the way.
    askTen();
    await until("the looping thread is lost", () => (askTen(), f.lost.length === 1));
    askTen();
    expect(await Promise.all(answers)).toEqual(wanted.flatMap((text) => [text, text]));
    const { error, ms } = await looper;
    expect(error).toBeInstanceOf(HandlerTimeoutError);
    expect(ms).toBeGreaterThan(290);
    await until("the thread is back", () => f.pool.places.every(({ state }) => state === "running"));
    expect(f.lost).toHaveLength(1);
    expect(f.pool.places.map(({ restarts }) => restarts).toSorted()).toEqual([0, 1]);
    const ran = readFileSync(runs, "utf8").trim().split("\n");
    expect(ran.toSorted()).toEqual(wanted.toSorted());
  });
});

test("with one thread, calls behind an endless loop wait for the next thread and are answered by it", async () => {
  await withPool({ threads: 1 }, async (f) => {
    const id = await f.load([ECHO, LOOP]);
    const looper = rejection(f.text(id, "loop", 1, 300));
    const behind = Array.from({ length: 100 }, (_, n) => f.text(id, `${n}`, 0, UNTIL_MS));
    expect(await looper).toBeInstanceOf(HandlerTimeoutError);
    expect(await Promise.all(behind)).toEqual(Array.from({ length: 100 }, (_, n) => `echo ${n}`));
    expect(f.lost).toHaveLength(1);
  });
});

test("what was answered before an endless loop in the same batch is not lost with the thread", async () => {
  await withPool({ threads: 1 }, async (f) => {
    const id = await f.load([
      "(m) => '€ ' + m.text",
      "(m) => m.bytes",
      "() => {}",
      "() => { throw new RangeError('no'); }",
      LOOP,
      "async () => 'soon'",
    ]);
    // Warm: cheap handlers share a batch.
    await Promise.all(Array.from({ length: 500 }, () => f.text(id, "x")));
    const soon = f.text(id, "x", 5);
    const answers = [f.text(id, "a", 0), f.text(id, "b", 1), f.text(id, "c", 2)];
    const thrown = rejection(f.text(id, "d", 3));
    const looper = rejection(f.text(id, "e", 4, 200));
    expect(await looper).toBeInstanceOf(HandlerTimeoutError);
    expect(await Promise.all(answers)).toEqual(["€ a", new Uint8Array([98]), null]);
    expect(await thrown).toMatchObject({ name: "RangeError", message: "no" });
    expect(await soon).toBe("soon");
    await until("the thread is lost", () => f.lost.length === 1);
  });
});

test("a loop after an await is killed too, and a call that had begun on the same thread fails as lost", async () => {
  await withPool({ threads: 1 }, async (f) => {
    const id = await f.load(["() => new Promise(() => {})", "async () => { await Bun.sleep(1); for (;;) {} }", ECHO]);
    const innocent = rejection(f.text(id, "x", 0, 5000));
    const looper = rejection(f.text(id, "x", 1, 300));
    expect(await looper).toBeInstanceOf(HandlerTimeoutError);
    expect(await innocent).toBeInstanceOf(HostLostError);
    expect(await f.text(id, "y", 2)).toBe("echo y");
  });
});

test("a slow synchronous handler that keeps within its time is not killed for another call's timeout", async () => {
  await withPool({ threads: 1, killGraceMs: 50 }, async (f) => {
    const id = await f.load([
      "() => new Promise(() => {})",
      "() => { const end = performance.now() + 500; while (performance.now() < end); return 'slow'; }",
    ]);
    const stuck = rejection(f.text(id, "x", 0, 100));
    const slow = f.text(id, "x", 1, 60_000);
    expect(await stuck).toBeInstanceOf(HandlerTimeoutError);
    expect(await slow).toBe("slow");
    expect(f.lost).toEqual([]);
  });
});

test("a cancelled call that loops is still killed at its time", async () => {
  await withPool({ threads: 1 }, async (f) => {
    const id = await f.load([LOOP, ECHO]);
    const { call, answer } = f.ask(id, "x", 0, 200);
    await until("it has begun", () => f.pool.queue.size === 0 && f.pool.places[0]?.inFlight === 1);
    call.cancel();
    await f.nextLoss();
    expect(await f.text(id, "y", 1)).toBe("echo y");
    expect(await Promise.race([answer, "silence"])).toBe("silence");
  });
});

test("calls behind a slow handler move to threads that are free, and do not run again when it is done", async () => {
  await withPool({ threads: 2 }, async (f) => {
    const runs = join(f.dir, "runs");
    const id = await f.load(
      [
        `(m) => { appendFileSync(${JSON.stringify(runs)}, m.text + "\\n"); return m.text; }`,
        `() => { while (!existsSync(${JSON.stringify(join(f.dir, "release"))})); return 'slow'; }`,
        "(m, context) => String(context.host)",
      ],
      "",
      `${APPEND}import { existsSync } from "node:fs";\n`,
    );
    // Warm: the pool then takes the handlers for cheap ones and sends them in batches.
    await Promise.all(Array.from({ length: 500 }, () => f.text(id, "x", 2)));
    const wanted = Array.from({ length: 60 }, (_, n) => `${n}`);
    const held = f.text(id, "x", 1, UNTIL_MS);
    // All are answered while the slow one goes on.
    expect(await Promise.all(wanted.map((text) => f.text(id, text)))).toEqual(wanted);
    writeFileSync(join(f.dir, "release"), "");
    expect(await held).toBe("slow");
    // Both threads have gone on to something new, so the rest of the slow one's batch is behind them.
    const hosts = new Set<Answer>();
    while (hosts.size < 2)
      for (const host of await Promise.all(Array.from({ length: 64 }, () => f.text(id, "x", 2)))) hosts.add(host);
    expect(readFileSync(runs, "utf8").trim().split("\n").toSorted()).toEqual(wanted.toSorted());
  });
});

test("a thread that ends by itself costs the calls that had begun on it, and is replaced", async () => {
  await withPool({ threads: 1 }, async (f) => {
    const id = await f.load([`() => { ${DIE}; }`, ECHO]);
    for (let restarts = 1; restarts <= 3; restarts++) {
      const error = await rejection(f.text(id, "x"));
      expect(error).toBeInstanceOf(HostLostError);
      expect(error.message).toContain("exited with code 0");
      expect(await f.text(id, "waits for the next", 1)).toBe("echo waits for the next");
      expect(f.pool.places[0]?.restarts).toBe(restarts);
    }
    expect(f.lost[0]).toEqual({ reason: "it exited with code 0", worker: 1 });
  });
});

test("process.exit in a handler is that call's error, and its thread lives", async () => {
  await withPool({ threads: 1 }, async (f) => {
    const id = await f.load(["() => process.exit(3)"]);
    expect(await rejection(f.text(id, "x"))).toBeInstanceOf(HandlerError);
    expect(f.lost).toEqual([]);
  });
});

test("beyond maxQueued a call is refused as busy, and the others are answered", async () => {
  await withPool({ threads: 1, maxQueued: 5 }, async (f) => {
    const id = await f.load(["async (m) => { await Bun.sleep(30); return m.text; }"]);
    const asked = Array.from({ length: 8 }, (_, n) => f.text(id, `${n}`).catch((error: Error) => error));
    const answers = await Promise.all(asked);
    expect(answers.slice(0, 5)).toEqual(["0", "1", "2", "3", "4"]);
    for (const refused of answers.slice(5)) expect(refused).toBeInstanceOf(HostBusyError);
    expect(await f.text(id, "after")).toBe("after");
  });
});

test("a call that no thread could begin in twice its time is refused as busy", async () => {
  await withPool({ threads: 1 }, async (f) => {
    const id = await f.load([
      "() => { const end = performance.now() + 1200; while (performance.now() < end); return 'slow'; }",
      ECHO,
    ]);
    const slow = f.text(id, "x", 0, 3000);
    const error = await rejection(f.text(id, "y", 1, 100));
    expect(error).toBeInstanceOf(HostBusyError);
    expect(await slow).toBe("slow");
    expect(await f.text(id, "z", 1)).toBe("echo z");
  });
});

test("a module that fails its check on one thread is refused on all, and disposed where it had been set up", async () => {
  await withPool({ threads: 3 }, async (f) => {
    const disposed = join(f.dir, "disposed");
    const spec = f.module(
      `${APPEND}
       export default { routes: { "X ": { run: "pool", handle: () => "x" } },
         setup: (context) => context.host,
         check(context) { if (context.host === 2) throw new TypeError("not on two"); },
         dispose: (host) => appendFileSync(${JSON.stringify(disposed)}, host + "\\n") };`,
    );
    const error = await rejection(f.pool.prepare(spec, null));
    expect(error).toBeInstanceOf(ModuleError);
    expect(error).toMatchObject({ module: "demo", line: 4, message: "check failed: TypeError: not on two" });
    expect((error as ModuleError).frame).toContain("not on two");
    const hosts = readFileSync(disposed, "utf8").trim().split("\n");
    expect(hosts).toContain("1");
    expect(hosts).toContain("3");
    expect(await rejection(f.text(spec.id, "x"))).toBeInstanceOf(HostLostError);
    expect(f.lost).toEqual([]);
  });
});

test("a module that ends its thread while it is loaded is refused, and what was loaded before goes on", async () => {
  await withPool({ threads: 2, loadTimeoutMs: 0 }, async (f) => {
    const id = await f.load([ECHO]);
    const spec = f.module(
      `export default { routes: { "X ": { run: "pool", handle: () => "x" } }, setup(c) { if (c.host === 1) { ${DIE}; } } };`,
    );
    expect(await rejection(f.pool.prepare(spec, null))).toBeInstanceOf(HostLostError);
    expect(await f.text(id, "x")).toBe("echo x");
    await until("both serve", () => f.pool.places.every(({ state }) => state === "running"));
  });
});

test("a setup that loops for ever is refused in its time, and what was loaded before goes on", async () => {
  await withPool({ threads: 2, loadTimeoutMs: 3000 }, async (f) => {
    const id = await f.load([ECHO]);
    const spec = f.module(
      `export default { routes: { "X ": { run: "pool", handle: () => "x" } }, setup(c) { while (c.host === 1); } };`,
    );
    const refused = rejection(f.pool.prepare(spec, null));
    expect(await f.text(id, "meanwhile")).toBe("echo meanwhile");
    expect(await refused).toBeInstanceOf(HostLostError);
    expect(await Promise.all(Array.from({ length: 20 }, () => f.text(id, "x")))).toEqual(
      Array.from({ length: 20 }, () => "echo x"),
    );
  });
});

test("a load that meets a killed thread is done again by its replacement", async () => {
  await withPool({ threads: 2 }, async (f) => {
    const id = await f.load([LOOP, ECHO]);
    const looper = rejection(f.text(id, "x", 0, 300));
    await until("it has begun", () => f.pool.places.some(({ inFlight }) => inFlight === 1));
    const second = await f.load(["(m, context) => String(context.host)"]);
    expect(await looper).toBeInstanceOf(HandlerTimeoutError);
    const hosts = new Set(await Promise.all(Array.from({ length: 50 }, () => f.text(second, "x"))));
    expect([...hosts].toSorted()).toEqual(["1", "2"]);
  });
});

test("each thread hands its own state over to the next generation, and retire disposes the old one", async () => {
  await withPool({ threads: 2 }, async (f) => {
    const disposed = join(f.dir, "disposed");
    const body = `${APPEND}
      export default { routes: { "X ": { run: "pool", handle: (m, context) => JSON.stringify(context.state) } },
        setup: (context, handoff) => ({ host: context.host, from: handoff ?? null }),
        handoff: (state) => state.host * 10,
        dispose: (state) => appendFileSync(${JSON.stringify(disposed)}, state.host + "\\n") };`;
    const first = f.module(body);
    const second = f.module(body, 2);
    await f.pool.prepare(first, null);
    expect(await f.pool.prepare(second, first.id)).toEqual({ notes: [] });
    // Both are there until the old one is retired.
    expect(await f.text(first.id, "x")).toContain('"from":null');
    await f.pool.retire(first.id);
    expect(readFileSync(disposed, "utf8").trim().split("\n").toSorted()).toEqual(["1", "2"]);
    const states = new Set(await Promise.all(Array.from({ length: 200 }, () => f.text(second.id, "x"))));
    for (const state of states) expect(['{"host":1,"from":10}', '{"host":2,"from":20}']).toContain(String(state));
  });
});

test("a call of a version that is gone is refused by the name and version that people see", async () => {
  await withPool({ threads: 1 }, async (f) => {
    // The next load has another number than the version: it is internal, and nobody is told of it.
    await f.load([ECHO]);
    const id = await f.load([ECHO]);
    await f.pool.retire(id);
    const error = await rejection(f.text(id, "x"));
    expect(error).toBeInstanceOf(HostLostError);
    expect(error.message).toBe('Module "demo" v1 is on no pool thread any more.');
  });
});

test("a handoff that can't be copied is told in the notes, and the next generation gets none", async () => {
  await withPool({ threads: 2 }, async (f) => {
    const body = `export default { routes: { "X ": { run: "pool", handle: (m, c) => String(c.state) } },
      setup: (c, handoff) => handoff, handoff: () => () => {} };`;
    const first = f.module(body);
    const second = f.module(body, 2);
    await f.pool.prepare(first, null);
    const { notes } = await f.pool.prepare(second, first.id);
    expect(notes).toHaveLength(2);
    expect(notes[0]).toContain("not handed over");
    expect(await f.text(second.id, "x")).toBe("undefined");
  });
});

test("a streamed reply arrives part by part, and its source waits for the reader", async () => {
  await withPool({ threads: 1 }, async (f) => {
    const made = join(f.dir, "made");
    const id = await f.load(
      [
        `async function* () { for (let n = 0; n < 50; n++) { appendFileSync(${JSON.stringify(made)}, "."); yield n % 2 ? "part " + n : new Uint8Array([n, 255]); } }`,
        ECHO,
      ],
      "",
      APPEND,
    );
    const stream = streamOf(await f.text(id, "x"));
    expect((await stream.next()).value).toEqual(new Uint8Array([0, 255]));
    // The thread has had time for more, had it been let.
    for (let n = 0; n < 20; n++) await f.text(id, "marker", 1);
    expect(readFileSync(made, "utf8").length).toBeLessThan(10);
    for (let n = 1; n < 50; n++)
      expect((await stream.next()).value).toEqual(n % 2 ? `part ${n}` : new Uint8Array([n, 255]));
    expect((await stream.next()).done).toBe(true);
    expect(f.pool.places[0]?.inFlight).toBe(0);
  });
});

test("a ReadableStream is a reply too, outlives the call's timeout, and its failure reaches the reader", async () => {
  await withPool({ threads: 1 }, async (f) => {
    const id = await f.load([
      `() => new ReadableStream({ async pull(c) { await Bun.sleep(60); this.n = (this.n ?? 0) + 1; if (this.n > 4) throw new Error("source broke"); c.enqueue("p" + this.n); } })`,
    ]);
    const stream = streamOf(await f.text(id, "x", 0, 100));
    for (let n = 1; n <= 4; n++) expect((await stream.next()).value).toBe(`p${n}`);
    const error = await rejection(stream.next());
    expect(error).toBeInstanceOf(HandlerError);
    expect(error.message).toBe("source broke");
    expect((await stream.next()).done).toBe(true);
  });
});

test("a reader that leaves stops the source, by return and by cancel", async () => {
  await withPool({ threads: 1 }, async (f) => {
    const stopped = join(f.dir, "stopped");
    const note = (text: string): string => `appendFileSync(${JSON.stringify(stopped)}, "${text} ")`;
    const id = await f.load(
      [
        `async function* () { try { for (;;) { yield "x"; await Bun.sleep(1); } } finally { ${note("generator")}; } }`,
        `() => new ReadableStream({ pull: (c) => new Promise(() => c.enqueue("x")), cancel() { ${note("stream")}; } })`,
      ],
      "",
      APPEND,
    );
    const generated = streamOf(await f.text(id, "x", 0));
    await generated.next();
    await generated.return?.();
    expect((await generated.next()).done).toBe(true);
    const { call, answer } = f.ask(id, "x", 1);
    const streamed = streamOf(await answer);
    await streamed.next();
    const waiting = streamed.next();
    call.cancel();
    expect((await waiting).done).toBe(true);
    await until("both are stopped", () => existsSync(stopped) && readFileSync(stopped, "utf8").split(" ").length === 3);
    await until("nothing is in flight", () => f.pool.places[0]?.inFlight === 0);
  });
});

test("a cancelled call's signal aborts, and its owner stays silent", async () => {
  await withPool({ threads: 1 }, async (f) => {
    const id = await f.load([
      "(m) => new Promise((resolve) => m.signal.addEventListener('abort', () => resolve(m.signal.reason.name)))",
      ECHO,
    ]);
    const { call, answer } = f.ask(id, "x");
    await until("it has begun", () => f.pool.places[0]?.inFlight === 1);
    call.cancel();
    await until("the handler has answered", () => f.pool.places[0]?.inFlight === 0);
    expect(await f.text(id, "y", 1)).toBe("echo y");
    expect(await Promise.race([answer, "silence"])).toBe("silence");
  });
});

test("a lost thread fails its open streams", async () => {
  await withPool({ threads: 1 }, async (f) => {
    const id = await f.load([
      "async function* () { yield 'first'; await new Promise(() => {}); }",
      `() => { ${DIE}; }`,
    ]);
    const stream = streamOf(await f.text(id, "x"));
    expect((await stream.next()).value).toBe("first");
    const next = rejection(stream.next());
    await rejection(f.text(id, "x", 1));
    expect(await next).toBeInstanceOf(HostLostError);
  });
});

test("a pool without modules starts no thread", async () => {
  await withPool({}, async (f) => {
    expect(f.pool.places.map(({ state }) => state)).toEqual(["idle", "idle"]);
    expect(f.pool.places.length).toBe(2);
    await f.pool.retire(1);
  });
});

test("close does not wait for a thread that loops, and fails what is under way", async () => {
  await withPool({ threads: 2 }, async (f) => {
    const id = await f.load([LOOP, "() => new Promise(() => {})"]);
    const calls = [f.text(id, "x", 0), f.text(id, "x", 1)].map(rejection);
    await until("both have begun", () => f.pool.places.every(({ inFlight }) => inFlight === 1));
    // The loop has no end: that close resolves at all shows that it does not wait for it.
    await f.pool.close();
    for (const error of await Promise.all(calls)) expect(error).toBeInstanceOf(HostLostError);
    expect(await rejection(f.text(id, "after"))).toBeInstanceOf(HostLostError);
  });
});
