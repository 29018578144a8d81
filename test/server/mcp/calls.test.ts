import { expect, test } from "bun:test";
import { moduleSource, shareHub, withHub } from "../../support/hub";
import { Agent } from "../../support/mcp";
import { until } from "../../support/until";

const SLOW = `
const seen = { begun: 0, cancelled: 0 };
const wait = (_, { signal }) => new Promise((resolve) => {
  seen.begun++;
  signal.addEventListener("abort", () => resolve(seen.cancelled++));
});
async function* forever(_, { signal }) {
  seen.begun++;
  try { for (let at = 0; ; at++) { yield { at }; await Bun.sleep(1); } } finally { seen.cancelled++; }
}`;
const MODULE = `import { ServiceError } from "hrmr";\nimport { z } from "zod";\n${SLOW}\n${moduleSource(`{ services: {
  refuse: { public: true, mcp: true, call: () => { throw new ServiceError("NO_FUNDS", "the account is empty", { left: 0 }); } },
  crash: { public: true, mcp: true, call: () => { throw new Error("the password is 1234"); } },
  typed: { public: true, mcp: true, input: z.object({ n: z.number() }), output: z.object({ n: z.number() }),
    call: ({ n }) => ({ n }) },
  cyclic: { public: true, mcp: true, call: () => { const a = {}; a.a = a; return a; } },
  nothing: { public: true, mcp: true, call: () => undefined },
  count: { public: true, mcp: true, call: async function* ({ to }) { for (let at = 1; at <= to; at++) yield at; } },
  pooled: { public: true, mcp: true, run: "pool", call: async function* () { yield "a"; yield { b: 1 }; } },
  big: { public: true, mcp: true, call: async function* () { for (;;) yield "x".repeat(100_000); } },
  wait: { public: true, mcp: true, timeoutMs: 0, call: wait },
  forever: { public: true, mcp: true, timeoutMs: 0, call: forever },
  seen: { public: true, call: () => seen },
  reset: { public: true, call: () => { seen.begun = seen.cancelled = 0; } },
} }`)}`;
const withServer = shareHub({ "modules/work.ts": MODULE });

async function seenBy(url: string): Promise<{ begun: number; cancelled: number }> {
  const reply = await fetch(`${url}/rpc/work.seen`, { method: "POST" });
  return (await reply.json()) as { begun: number; cancelled: number };
}

test("errors of a service are results for the agent, with code, message and data, and never an internal text", () =>
  withServer(async (hub) => {
    await using agent = await Agent.connect(hub.url);
    expect(await agent.call("work.refuse")).toEqual({
      text: 'NO_FUNDS: the account is empty\n{"left":0}',
      isError: true,
    });
    const wrong = await agent.call("work.typed", { n: "one" });
    expect(wrong).toEqual({
      text: expect.stringMatching(/^INVALID_INPUT: .*\n\{"issues":\[\{"path":\["n"\]/),
      isError: true,
    });
    for (const name of ["work.crash", "work.cyclic"]) {
      const failed = await agent.call(name);
      expect([failed.isError, failed.text.includes("1234"), failed.text]).toEqual([
        true,
        false,
        expect.stringMatching(/^FAILED: Internal error/),
      ]);
    }
    expect(await agent.call("work.nothing")).toEqual({ text: "null", isError: false });
  }));

test("a streamed result is a list of its values, and each comes at once to an agent that asked for progress", () =>
  withServer(async (hub) => {
    await using agent = await Agent.connect(hub.url);
    expect(await agent.call("work.count", { to: 3 })).toEqual({ text: "[1,2,3]", isError: false });
    expect(await agent.call("work.count", { to: 0 })).toEqual({ text: "null", isError: false });
    const parts: unknown[] = [];
    const asked = { name: "work.pooled", arguments: {} };
    const onprogress = ({ progress, message }: { progress: number; message?: string | undefined }): void =>
      void parts.push([progress, message]);
    const result = await agent.client.callTool(asked, undefined, { onprogress });
    expect(result.content).toEqual([{ type: "text", text: '["a",{"b":1}]' }]);
    expect(parts).toEqual([
      [1, '"a"'],
      [2, '{"b":1}'],
    ]);
    expect(await agent.call("work.big")).toEqual({ text: expect.stringMatching(/^TOO_LONG: /), isError: true });
  }));

test.each(["work.wait", "work.forever"])("an agent that gives up cancels its call of %s", (name) =>
  withServer(async (hub) => {
    await fetch(`${hub.url}/rpc/work.reset`, { method: "POST" });
    await using agent = await Agent.connect(hub.url);
    for (const options of [{}, { onprogress: () => {} }]) {
      const before = (await seenBy(hub.url)).cancelled;
      const control = new AbortController();
      const call = agent.client.callTool({ name, arguments: {} }, undefined, { signal: control.signal, ...options });
      call.catch(() => {});
      await until("the service runs", async () => (await seenBy(hub.url)).begun > before);
      control.abort("enough");
      await expect(call).rejects.toThrow("enough");
      await until("the service is cancelled", async () => (await seenBy(hub.url)).cancelled > before);
    }
    expect(await agent.call("work.count", { to: 1 })).toEqual({ text: "[1]", isError: false });
  }),
);

test("a client that disconnects, or ends its session, cancels its calls", () =>
  withServer(async (hub) => {
    await fetch(`${hub.url}/rpc/work.reset`, { method: "POST" });
    const control = new AbortController();
    const ask = (signal?: AbortSignal): Promise<unknown> =>
      fetch(`${hub.url}/mcp`, {
        method: "POST",
        headers: { "Content-Type": "application/json", "Mcp-Session-Id": "mine" },
        body: '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"work.wait"}}',
        signal: signal ?? null,
      }).catch(() => "gone");
    const cut = ask(control.signal);
    await until("the service runs", async () => (await seenBy(hub.url)).begun === 1);
    control.abort();
    expect(await cut).toBe("gone");
    await until("the service is cancelled", async () => (await seenBy(hub.url)).cancelled === 1);
    const ended = ask();
    await until("the service runs again", async () => (await seenBy(hub.url)).begun === 2);
    const end = { method: "DELETE", headers: { "Mcp-Session-Id": "other" } };
    expect((await fetch(`${hub.url}/mcp`, end)).status).toBe(204);
    expect((await seenBy(hub.url)).cancelled).toBe(1);
    expect((await fetch(`${hub.url}/mcp`, { ...end, headers: { "Mcp-Session-Id": "mine" } })).status).toBe(204);
    expect(await ended).toMatchObject({ status: 202 });
    await until("the service is cancelled", async () => (await seenBy(hub.url)).cancelled === 2);
  }));

test("a call is cancelled in whichever process it runs", () =>
  withHub({ "modules/work.ts": MODULE }, ["--processes", "2"], async (hub) => {
    // Each client has connections of its own: those of the kernel's choice.
    const session = { "Content-Type": "application/json", "Mcp-Session-Id": "mine", Connection: "close" };
    const post = (message: object): Promise<Response> =>
      fetch(`${hub.url}/mcp`, {
        method: "POST",
        headers: session,
        body: JSON.stringify({ jsonrpc: "2.0", ...message }),
      });
    const ids = Array.from({ length: 12 }, (_, at) => at + 1);
    const calls = ids.map((id) => post({ id, method: "tools/call", params: { name: "work.wait" } }));
    // A notification that comes before its request has no effect.
    let left = calls.length;
    for (const call of calls) void call.then(() => left--);
    await until("all are cancelled", async () => {
      for (const requestId of ids) await post({ method: "notifications/cancelled", params: { requestId } });
      return left === 0;
    });
    expect((await Promise.all(calls)).map(({ status }) => status)).toEqual(ids.map(() => 202));
  }));
