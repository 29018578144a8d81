/** Modules that call each other's services, in every host. */
import { describe, expect, test } from "bun:test";
import { type Hub, shareHub } from "../support/hub";
import { callProgram } from "../support/call-program";
import { until } from "../support/until";

const HOSTS = ["inline", "pool", "process"] as const;

/** A module with the same services wherever they run. */
function callee(run: string): string {
  return `
import { defineModule, ServiceError } from "hrmr";
const rows = new Map();
const trap = () => { throw new Error("trap"); };
const oddities = {
  bare: () => Object.create(null),
  proxy: () => new Proxy({}, { get: trap, getPrototypeOf: trap, ownKeys: trap }),
  getters: () => Object.defineProperties(new Error(""), { message: { get: trap }, name: { get: trap }, stack: { get: trap } }),
  circle: () => { const error = new Error("a circle"); error.cause = error; return error; },
  symbol: () => Symbol("x"),
};
const own = (call) => ({ run: "${run}", call });
export default defineModule({ services: {
  echo: own((value) => value),
  later: own(async (value) => { await Bun.sleep(1); return value; }),
  rest: own(async (ms) => { await Bun.sleep(ms); return ms; }),
  facts: own((_, context) => ({ caller: context.caller, identity: context.identity, name: context.name, host: typeof context.host })),
  set: own(([key, value]) => void rows.set(key, value)),
  get: own((key) => rows.get(key) ?? null),
  throws: own(() => { throw new TypeError("secret place"); }),
  refuses: own(() => { throw new ServiceError("NO_FUNDS", "there is no money", { missing: 3 }); }),
  uncloneable: own(() => ({ fn: () => 1 })),
  hangs: own((_, context) => new Promise((resolve, reject) => context.signal.addEventListener("abort", () => { rows.set("aborted", context.signal.reason.code ?? context.signal.reason.name); reject(context.signal.reason); }))),
  odd: own(async (kind) => { await Bun.sleep(1); throw oddities[kind](); }),
  oddNow: own((kind) => { throw oddities[kind](); }),
  oddParts: own(() => ({ [Symbol.asyncIterator]: () => ({ next: () => 5 }) })),
  short: { run: "${run}", timeoutMs: 30, call: () => new Promise(() => {}) },
  count: own(async function* (n) { for (let i = 0; i < n; i++) yield { i }; }),
  forever: own(async function* () { try { for (let i = 0; ; i++) { yield i; await Bun.sleep(0); } } finally { rows.set("left", true); } }),
  bug: own(async function* () { yield 1; throw new TypeError("a bug behind the first part"); }),
  dies: own(async function* () { yield 1; process.kill(process.pid, "SIGKILL"); yield await new Promise(() => {}); }),
  breaks: own(async function* () { yield 1; throw new ServiceError("BROKE", "in the middle"); }),
  back: own(async (depth, context) => depth === 0 ? [] : await context.services.asker_inline.deeper(depth - 1)),
} });`;
}

/** Calls what the message says: "ASK_run module.service json". */
function caller(run: string): string {
  return `
import { defineModule } from "hrmr";
async function ask(context, text, options) {
  const [, target, json] = /^\\S+ (\\S+) ?(.*)$/s.exec(text.trim());
  const [module, service] = target.split(".");
  try {
    const result = await context.services[module][service](json === "" ? undefined : JSON.parse(json), options);
    if (result !== null && typeof result === "object" && Symbol.asyncIterator in result) {
      const parts = [];
      try { for await (const part of result) { parts.push(part); if (parts.length === 20) break; } } catch (error) { parts.push({ code: error.code }); }
      return JSON.stringify(parts) + "\\n";
    }
    return JSON.stringify(result ?? null) + "\\n";
  } catch (error) {
    return JSON.stringify({ name: error.name, code: error.code, message: error.message, data: error.data ?? null, stack: /modules\\/callee_/.test(error.stack) }) + "\\n";
  }
}
export default defineModule({
  routes: {
    "ASK_${run} ": { run: "${run}", framing: "line", handle: (message, context) => ask(context, message.text) },
    "BRIEF_${run} ": { run: "${run}", framing: "line", handle: (message, context) => ask(context, message.text, { timeoutMs: 30 }) },
    "/ask_${run}": { run: "${run}", fetch: async (request, context) => new Response(await ask(context, "ASK " + new URL(request.url).searchParams.get("q"))) },
  },
  services: { deeper: { run: "${run}", call: (depth, context) => context.services.callee_inline.back(depth) } },
});`;
}

const files: Record<string, string> = { "hrmr.json": '{ "threads": 1 }' };
for (const run of HOSTS) {
  files[`modules/callee_${run}.ts`] = callee(run);
  files[`modules/asker_${run}.ts`] = caller(run);
}
const onHub = shareHub(files);

async function ask(hub: Hub, run: string, question: string, word = "ASK"): Promise<unknown> {
  return JSON.parse(await hub.ask(`${word}_${run} ${question}\n`));
}

for (const to of HOSTS) {
  test(`whatever a service throws, its caller has an answer (${to})`, () =>
    onHub(async (hub) => {
      for (const service of ["odd", "oddNow"])
        for (const kind of ["bare", "proxy", "getters", "circle", "symbol"]) {
          const question = `callee_${to}.${service} ${JSON.stringify(kind)}`;
          expect([question, await ask(hub, "inline", question)]).toEqual([
            question,
            expect.objectContaining({ name: "ServiceError", code: "FAILED" }),
          ]);
        }
      expect(await ask(hub, "inline", `callee_${to}.oddParts`)).toEqual([{ code: "FAILED" }]);
      expect(await ask(hub, "inline", `callee_${to}.echo 1`)).toBe(1);
    }));
}

for (const to of HOSTS) {
  test(`a bug behind the first part of a result is in the log (${to})`, () =>
    onHub(async (hub) => {
      expect(await ask(hub, "inline", `callee_${to}.bug`)).toEqual([1, { code: "FAILED" }]);
      const line = `callee_${to} v1 `;
      await until("the log has it", () =>
        hub.program
          .output()
          .split("\n")
          .some((each) => each.includes(line) && each.includes("a bug behind the first part")),
      );
    }));
}

test("a process that dies behind the first part of a result is unavailable, and comes back", () =>
  onHub(async (hub) => {
    expect(await ask(hub, "inline", "callee_process.dies")).toEqual([1, { code: "UNAVAILABLE" }]);
    expect(await ask(hub, "inline", "callee_process.echo 1")).toBe(1);
  }));

for (const from of HOSTS) {
  for (const to of HOSTS) {
    describe(`from ${from} to ${to}`, () => {
      const target = `callee_${to}`;

      test("values, failures and parts come back as they were", () =>
        onHub(async (hub) => {
          const value = { text: "grüße 🎈", list: [1, null, { deep: true }], nothing: null };
          expect(await ask(hub, from, `${target}.echo ${JSON.stringify(value)}`)).toEqual(value);
          expect(await ask(hub, from, `${target}.later [1,2]`)).toEqual([1, 2]);
          expect(await ask(hub, from, `${target}.facts`)).toEqual({
            caller: `asker_${from}`,
            identity: null,
            name: target,
            host: to === "pool" ? "number" : "string",
          });
          expect(await ask(hub, from, `${target}.refuses`)).toEqual({
            name: "ServiceError",
            code: "NO_FUNDS",
            message: "there is no money",
            data: { missing: 3 },
            stack: false,
          });
          expect(await ask(hub, from, `${target}.throws`)).toMatchObject({ code: "FAILED", stack: false });
          expect(await ask(hub, from, `${target}.uncloneable`)).toMatchObject({ code: "INVALID_OUTPUT" });
          expect(await ask(hub, from, `${target}.count 3`)).toEqual([{ i: 0 }, { i: 1 }, { i: 2 }]);
          expect(await ask(hub, from, `${target}.breaks`)).toEqual([1, { code: "BROKE" }]);
        }));

      test("a caller that leaves the parts stops them", () =>
        onHub(async (hub) => {
          await ask(hub, from, `${target}.set ["left",false]`);
          expect(await ask(hub, from, `${target}.forever`)).toHaveLength(20);
          await until("the generator to be left", async () => (await ask(hub, from, `${target}.get "left"`)) === true);
        }));

      test("a call that takes too long fails, and its signal is aborted", () =>
        onHub(async (hub) => {
          await ask(hub, from, `${target}.set ["aborted",null]`);
          expect(await ask(hub, from, `${target}.short`)).toMatchObject({ code: "TIMEOUT" });
          expect(await ask(hub, from, `${target}.hangs`, "BRIEF")).toMatchObject({ code: "TIMEOUT" });
          await until("the abort", async () => (await ask(hub, from, `${target}.get "aborted"`)) !== null);
        }));
    });
  }
}

test("who is asked in vain is told what there is", () =>
  onHub(async (hub) => {
    for (const from of HOSTS) {
      expect(await ask(hub, from, "nobody.get")).toMatchObject({
        code: "MODULE_MISSING",
        message: expect.stringContaining("callee_pool"),
      });
      expect(await ask(hub, from, "callee_inline.nothing")).toMatchObject({
        code: "SERVICE_MISSING",
        message: expect.stringContaining("echo, later"),
      });
      expect(await ask(hub, from, "http.constructor")).toMatchObject({ name: "TypeError" });
    }
  }));

test("a service that waits for itself through another is refused, in every host", () =>
  onHub(async (hub) => {
    for (const from of HOSTS) {
      expect(await ask(hub, from, "callee_inline.back 0")).toEqual([]);
      expect(await ask(hub, from, "callee_inline.back 5")).toMatchObject({
        code: "DEPTH",
        message: "callee_inline.back waits for itself: callee_inline.back -> asker_inline.deeper -> callee_inline.back",
      });
    }
  }));

test("a client that leaves cancels what its call has called", () =>
  onHub(async (hub) => {
    for (const from of HOSTS)
      for (const to of HOSTS) {
        await ask(hub, from, `callee_${to}.set ["aborted",null]`);
        const client = new AbortController();
        const asked = fetch(`${hub.url}/ask_${from}?q=${encodeURIComponent(`callee_${to}.hangs`)}`, {
          signal: client.signal,
        }).catch(() => "left");
        await until("the call", async () => {
          const status = await hub.status();
          return status.modules.find(({ name }) => name === `callee_${to}`)?.inFlight === 1;
        });
        client.abort();
        expect(await asked).toBe("left");
        await until(
          `the abort from ${from} to ${to}`,
          async () => (await ask(hub, from, `callee_${to}.get "aborted"`)) !== null,
        );
      }
  }));

test("a caller that is cancelled already calls nothing, wherever the service runs", () =>
  onHub(async (hub) => {
    hub.write(
      "modules/late.ts",
      `import { defineModule } from "hrmr";
       let outcome = [];
       export default defineModule({ routes: {
         LATE: () => outcome.join(" "),
         "/late": { fetch: async ({ signal }, { services }) => {
           outcome = ["open"];
           await new Promise((done) => signal.addEventListener("abort", done));
           const codes = await Promise.all(["inline", "pool", "process"].map((run) =>
             services["callee_" + run].echo(1).then(() => "called", (error) => error.code)));
           outcome = codes;
           return new Response();
         } },
       } });`,
    );
    await hub.ask("RELOAD");
    const client = new AbortController();
    const asked = fetch(`${hub.url}/late`, { signal: client.signal }).catch(() => "left");
    await until("the request", async () => (await hub.ask("LATE")) === "open");
    client.abort();
    await asked;
    await until("the calls", async () => (await hub.ask("LATE")) !== "open");
    expect(await hub.ask("LATE")).toBe("CANCELLED CANCELLED CANCELLED");
    hub.remove("modules/late.ts");
    await hub.ask("RELOAD");
  }));

test("a client that sends its FIN behind an HTTP request still gets what its handler asked a service for", () =>
  onHub(async (hub) => {
    for (const from of HOSTS) {
      const question = encodeURIComponent("callee_pool.rest 60");
      const reply = await hub.ask(`GET /ask_${from}?q=${question} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
      expect(reply).toEndWith("60\n");
    }
  }));

test("an event of a WebSocket calls with the identity of its client", () =>
  onHub(async (hub) => {
    hub.write(
      "modules/live.ts",
      `import { defineModule } from "hrmr";
       export default defineModule({ routes: { "/live": { websocket: {
         close() {},
         async message(socket, text, { services }) {
           const { caller, identity } = await services.callee_pool.facts();
           socket.send([typeof this.close, caller, identity, text].join(" "));
         },
       } } } });`,
    );
    expect(await hub.ask("RELOAD")).toStartWith("OK");
    const { token } = JSON.parse(
      (await callProgram(["token", "add", "bob", "--scope", "app:x", "--json"], { cwd: hub.dir })).stdout,
    ) as { token: string };
    const socket = new WebSocket(`${hub.url.replace("http", "ws")}/live`, {
      headers: { authorization: `Bearer ${token}` },
    });
    const heard = Promise.withResolvers<unknown>();
    socket.onmessage = ({ data }) => heard.resolve(data);
    socket.onopen = () => socket.send("x");
    expect(await heard.promise).toBe("function live bob x");
    socket.close();
  }));

test("a reload of the callee loses no call, and the newest version answers", () =>
  onHub(async (hub) => {
    for (const to of HOSTS) {
      const name = `modules/kv_${to}.ts`;
      hub.write(name, versioned(to, 1));
      expect(await hub.ask("RELOAD")).toStartWith("OK");
      const waiting = HOSTS.map((from) => ask(hub, from, `kv_${to}.slow`));
      await until("the calls", async () => {
        const status = await hub.status();
        return status.modules.find((module) => module.name === `kv_${to}`)?.inFlight === 3;
      });
      hub.write(name, versioned(to, 2));
      expect(await hub.ask("RELOAD")).toStartWith("OK");
      for (const from of HOSTS) expect(await ask(hub, from, `kv_${to}.version`)).toBe(2);
      // Version 1 is told by way of its own place.
      await ask(hub, "inline", `kv_${to}.release`);
      expect(await Promise.all(waiting)).toEqual([1, 1, 1]);
      hub.remove(name);
      expect(await hub.ask("RELOAD")).toStartWith("OK");
      expect(await ask(hub, "pool", `kv_${to}.version`)).toMatchObject({ code: "MODULE_MISSING" });
    }
  }));

function versioned(run: string, version: number): string {
  return `
import { defineModule } from "hrmr";
const gate = (context) => context.shared.open("gate", () => Promise.withResolvers());
export default defineModule({ services: {
  version: { run: "${run}", call: () => ${version} },
  slow: { run: "${run}", call: async (_, context) => { await Promise.race([(await gate(context)).promise, Bun.sleep(2000)]); return ${version}; } },
  release: { run: "${run}", call: async (_, context) => void (await gate(context)).resolve() },
} });`;
}

test("the status counts calls by caller and callee", () =>
  onHub(async (hub) => {
    await ask(hub, "pool", "callee_inline.echo 1");
    const { services } = await hub.status();
    expect(services?.find(({ caller, callee }) => caller === "asker_pool" && callee === "callee_inline.echo")).toEqual({
      caller: "asker_pool",
      callee: "callee_inline.echo",
      calls: expect.any(Number),
      errors: expect.any(Number),
      totalSeconds: expect.any(Number),
    });
    const metrics = await (await fetch(`${hub.url}/metrics`)).text();
    expect(metrics).toMatch(/hrmr_service_calls_total\{caller="asker_pool",callee="callee_inline.echo"\} \d+\n/);
    const { exitCode, stdout } = await callProgram(["status"], { cwd: hub.dir });
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/asker_\w+ called callee_\w+\.\w+ \d+ times/);
  }));
