import { expect, test } from "bun:test";
import { callProgram } from "../../support/call-program";
import { type Hub, moduleSource, shareHub } from "../../support/hub";
import { until } from "../../support/until";

const withServer = shareHub({
  "modules/bank.ts": `
import { defineModule, ServiceError } from "hrmr";
import { z } from "zod";
let ended = 0;
export default defineModule({
  routes: { "PING": () => "PONG\\n", "ENDED": () => ended + "\\n" },
  services: {
    echo: {
      public: true,
      description: "Says it again",
      input: z.object({ text: z.string() }),
      output: z.object({ text: z.string() }),
      call: (input) => input,
    },
    any: { public: true, call: (input) => input },
    slow: { public: true, call: async (_, { signal }) => { await new Promise((done) => signal.addEventListener("abort", done)); ended++; } },
    late: { public: true, timeoutMs: 20, call: () => new Promise(() => {}) },
    later: { public: true, call: async ({ ms }) => (await Bun.sleep(ms), ms) },
    poor: { public: true, call: () => { throw new ServiceError("NO_FUNDS", "the account\\nis empty", { left: 0 }); } },
    bug: { public: true, call: () => { throw new Error("secret words"); } },
    count: { public: true, call: async function* ({ to }) { try { for (let i = 1; i <= to; i++) yield i; } finally { ended++; } } },
    halfway: { public: true, call: async function* () { yield 1; throw new ServiceError("TORN", "it broke"); } },
    hidden: (input) => input,
  },
});
`,
  "modules/site.ts": moduleSource(`{ routes: { "/": { fetch: () => new Response("the site") } } }`),
});

const JSON_TYPE = { "Content-Type": "application/json" };

function post(hub: Hub, path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return fetch(`${hub.url}${path}`, { method: "POST", headers: { ...JSON_TYPE, ...headers }, body: text });
}

function request(method: string, params?: object, id: unknown = 1): object {
  return { jsonrpc: "2.0", method, params, id };
}

async function endedCalls(hub: Hub): Promise<number> {
  return Number(await hub.ask("ENDED\n"));
}

test("POST /rpc answers a request, a batch and a notification", () =>
  withServer(async (hub) => {
    const one = await post(hub, "/rpc", request("bank.echo", { text: "ü" }));
    expect([one.status, one.headers.get("content-type"), await one.json()]).toEqual([
      200,
      "application/json;charset=utf-8",
      { jsonrpc: "2.0", result: { text: "ü" }, id: 1 },
    ]);
    const batch = await post(hub, "/rpc", [request("bank.later", { ms: 5 }, 1), request("bank.later", { ms: 1 }, 2)]);
    expect(((await batch.json()) as { id: number }[]).map(({ id }) => id).sort()).toEqual([1, 2]);
    const none = await post(hub, "/rpc", { jsonrpc: "2.0", method: "bank.echo", params: { text: "x" } });
    expect([none.status, await none.text()]).toEqual([204, ""]);
  }));

const REFUSED: Record<string, [status: number, body: unknown, headers?: Record<string, string>]> = {
  "JSON that is cut": [400, '{"jsonrpc"'],
  "no request": [400, {}],
  "text/plain": [415, request("bank.echo"), { "Content-Type": "text/plain" }],
  "a page of another site": [403, request("bank.echo"), { Origin: "http://other.example" }],
  "a foreign name of this machine": [401, request("bank.echo"), { Host: "other.example" }],
  "a wrong token": [401, request("bank.echo"), { Authorization: "Bearer nonsense" }],
};

for (const [name, [status, body, headers]] of Object.entries(REFUSED))
  test(`POST /rpc refuses ${name}`, () =>
    withServer(async (hub) => {
      const reply = await post(hub, "/rpc", body, headers);
      expect([reply.status, await reply.json()]).toMatchObject([
        status,
        { jsonrpc: "2.0", error: { code: expect.any(Number), message: expect.any(String) } },
      ]);
      expect(reply.headers.get("www-authenticate")).toBe(status === 401 ? "Bearer" : null);
      expect(await hub.ask("PING\n")).toBe("PONG\n");
    }));

const NAMED: Record<string, [path: string, body: string, status: number, answer: unknown]> = {
  "a result": ["bank.echo", '{"text":"hi"}', 200, { text: "hi" }],
  "a text as input": ["bank.any", '"hi"', 200, "hi"],
  "no input": ["bank.any", "", 200, null],
  "an input that does not fit": ["bank.echo", "{}", 400, { error: expect.objectContaining({ code: -32602 }) }],
  "an input that is not JSON": ["bank.echo", "{", 400, { error: expect.objectContaining({ code: -32700 }) }],
  "an unknown procedure": ["bank.ehco", "{}", 404, { error: expect.objectContaining({ code: -32601 }) }],
  "a service that is not public": ["bank.hidden", "{}", 404, { error: expect.objectContaining({ code: -32601 }) }],
  "a service's own error": [
    "bank.poor",
    "",
    400,
    { error: { code: -32000, message: "the account\nis empty", data: { code: "NO_FUNDS", left: 0 } } },
  ],
  "a bug": ["bank.bug", "", 500, { error: { code: -32603, message: expect.not.stringContaining("secret") } }],
  "a service that is late": ["bank.late", "", 504, { error: expect.objectContaining({ data: { code: "TIMEOUT" } }) }],
};

for (const [name, [path, body, status, answer]] of Object.entries(NAMED))
  test(`POST /rpc/NAME answers ${name}`, () =>
    withServer(async (hub) => {
      const reply = await post(hub, `/rpc/${path}`, body);
      expect([reply.status, await reply.json()]).toEqual([status, answer]);
    }));

test("a result that comes piece by piece is sent as events", () =>
  withServer(async (hub) => {
    const named = await post(hub, "/rpc/bank.count", { to: 2 });
    expect(named.headers.get("content-type")).toBe("text/event-stream");
    expect(await named.text()).toBe("data: 1\n\ndata: 2\n\nevent: end\ndata: null\n\n");
    const torn = await (await post(hub, "/rpc/bank.halfway", "")).text();
    expect(torn).toMatch(/^data: 1\n\nevent: error\ndata: \{"error":\{"code":-32000.*"TORN".*\n\n$/);
    const message = await (await post(hub, "/rpc", request("bank.count", { to: 1 }))).text();
    expect(message).toBe(
      'data: {"jsonrpc":"2.0","method":"$/next","params":{"id":1,"value":1}}\n\ndata: {"jsonrpc":"2.0","result":null,"id":1}\n\n',
    );
    const refused = await post(hub, "/rpc/bank.count", { to: 1 }, { Accept: "application/json" });
    expect(refused.status).toBe(406);
  }));

test("a client that takes events and nothing else gets its result as one", () =>
  withServer(async (hub) => {
    const events = { Accept: "text/event-stream" };
    const one = await post(hub, "/rpc", request("bank.any", [1]), events);
    expect(await one.text()).toBe('data: {"jsonrpc":"2.0","result":[1],"id":1}\n\n');
    expect(await (await post(hub, "/rpc/bank.any", "1", events)).text()).toBe("data: 1\n\n");
  }));

test("a client of HTTP that has left ends its call, and an endless result", () =>
  withServer(async (hub) => {
    const before = await endedCalls(hub);
    const control = new AbortController();
    const init = { method: "POST", headers: JSON_TYPE, signal: control.signal };
    const slow = fetch(`${hub.url}/rpc/bank.slow`, { ...init, body: "{}" }).catch(() => null);
    const endless = await fetch(`${hub.url}/rpc/bank.count`, { ...init, body: '{"to":1e9}' });
    await endless.body?.getReader().read();
    control.abort();
    await slow;
    await until("both have ended", async () => (await endedCalls(hub)) === before + 2);
  }));

test("a WebSocket at /rpc carries messages both ways, and its end ends its calls", () =>
  withServer(async (hub) => {
    const before = await endedCalls(hub);
    const socket = new WebSocket(`${hub.url.replace("http", "ws")}/rpc`);
    const got: unknown[] = [];
    socket.onmessage = ({ data }) => got.push(JSON.parse(data as string));
    await new Promise((resolve) => (socket.onopen = resolve));
    socket.send(JSON.stringify(request("bank.slow", {}, "slow")));
    socket.send(JSON.stringify(request("bank.count", { to: 2 }, 2)));
    socket.send("{");
    await until("all answers are there", () => got.length === 4);
    expect(got).toEqual([
      expect.objectContaining({ error: expect.objectContaining({ code: -32700 }) }),
      { jsonrpc: "2.0", method: "$/next", params: { id: 2, value: 1 } },
      { jsonrpc: "2.0", method: "$/next", params: { id: 2, value: 2 } },
      { jsonrpc: "2.0", result: null, id: 2 },
    ]);
    socket.close();
    await until("the calls have ended", async () => (await endedCalls(hub)) === before + 2);
  }));

test("CALL answers a line, or a line for each part", () =>
  withServer(async (hub) => {
    const lines = [
      'CALL bank.echo {"text":"a  b"}',
      'CALL bank.count {"to":2}',
      "CALL bank.any",
      "CALL bank.poor",
      "CALL bank.hidden",
      "CALL bank.echo {",
      "CALL",
      "PING",
    ];
    expect((await hub.ask(lines.map((line) => `${line}\n`).join(""))).split("\n")).toEqual([
      '{"text":"a  b"}',
      "1",
      "2",
      "OK",
      "null",
      "ERR NO_FUNDS the account is empty",
      expect.stringMatching(/^ERR METHOD_NOT_FOUND /),
      expect.stringMatching(/^ERR PARSE_ERROR /),
      expect.stringMatching(/^ERR CALL takes /),
      "PONG",
      "",
    ]);
  }));

test("a procedure is not called by GET", () =>
  withServer(async (hub) => {
    const got = await fetch(`${hub.url}/rpc/bank.echo`);
    expect([got.status, got.headers.get("allow")]).toEqual([405, "POST"]);
    expect(await got.json()).toMatchObject({ error: { message: expect.stringContaining("POST") } });
  }));

test("the procedures describe themselves, without the services that are for modules", () =>
  withServer(async (hub) => {
    const { result } = (await (await post(hub, "/rpc", request("rpc.discover"))).json()) as {
      result: { openrpc: string; methods: { name: string }[] };
    };
    expect(result.openrpc).toMatch(/^1\.3\./);
    expect(await (await post(hub, "/rpc/rpc.discover", "")).json()).toEqual(result);
    expect(JSON.parse(await hub.ask("CALL rpc.discover\n"))).toEqual(result);
    expect(result.methods.map(({ name }) => name)).not.toContain("bank.hidden");
    expect(result.methods.find(({ name }) => name === "bank.echo")).toMatchObject({
      description: "Says it again",
      paramStructure: "by-name",
      params: [{ name: "text", required: true, schema: { type: "string" } }],
      result: { schema: { type: "object" } },
    });
    const openApi = (await (await fetch(`${hub.url}/openapi.json`)).json()) as { openapi: string; paths: object };
    expect(openApi.openapi).toBe("3.1.0");
    expect(openApi.paths).toHaveProperty(["/rpc/bank.echo", "post", "requestBody", "content", "application/json"], {
      schema: { type: "object", properties: { text: { type: "string" } }, required: ["text"] },
    });
    expect(openApi.paths).not.toHaveProperty(["/rpc/bank.hidden"]);
  }));

test("the page of the procedures loads nothing from elsewhere, and an app keeps its other paths", () =>
  withServer(async (hub) => {
    const page = await fetch(`${hub.url}/rpc`, { headers: { Accept: "text/html" } });
    const policy = page.headers.get("content-security-policy") ?? "";
    expect(policy).toContain("default-src 'none'");
    const html = await page.text();
    expect(html).not.toMatch(/https?:\/\//);
    for (const tag of ["script", "style"]) {
      const [, text = ""] = new RegExp(`<${tag}[^>]*>(.*?)</${tag}>`, "s").exec(html) ?? [];
      expect(policy).toContain(new Bun.CryptoHasher("sha256").update(text).digest("base64"));
    }
    expect(await (await fetch(`${hub.url}/rpc/other/path`)).text()).toBe("the site");
  }));

test("hrmr call prints a result, its parts, or why it failed", () =>
  withServer(async (hub) => {
    const call = (...words: string[]) => callProgram(["call", ...words], { cwd: hub.dir });
    expect(await call("bank.echo", '{"text":"hi"}')).toMatchObject({
      exitCode: 0,
      stdout: '{"text":"hi"}\n',
      stderr: "",
    });
    expect(await call(`127.0.0.1:${hub.port}`, "bank.any")).toMatchObject({ exitCode: 0, stdout: "null\n" });
    expect(await call("bank.count", '{"to":2}')).toMatchObject({ exitCode: 0, stdout: "1\n2\n" });
    const poor = await call("bank.poor");
    expect([poor.exitCode, poor.stderr]).toEqual([1, expect.stringContaining("(NO_FUNDS): the account")]);
    const torn = await call("bank.halfway");
    expect([torn.exitCode, torn.stdout, torn.stderr]).toEqual([1, "1\n", expect.stringContaining("(TORN): it broke")]);
    const unknown = await call("bank.ehco", "{}");
    expect([unknown.exitCode, unknown.stderr]).toEqual([1, expect.stringContaining("Did you mean bank.echo?")]);
    expect(unknown.stderr).toContain("if it has public: true");
    const noPort = await call("localhost", "bank.any", "{}");
    expect([noPort.exitCode, noPort.stderr]).toEqual([
      2,
      expect.stringContaining('"localhost" is not an address.\nAn address is HOST:PORT'),
    ]);
    const cut = await call("bank.echo", "{text:1}");
    expect([cut.exitCode, cut.stderr]).toEqual([2, expect.stringContaining("is not JSON")]);
  }));

test("a module takes the keys that it claims, and without procedures the server has none of them", () =>
  withServer(async (hub) => {
    hub.write(
      "modules/own.ts",
      moduleSource(`{ routes: {
        "{": { framing: "line", handle: () => "mine\\n" },
        "CALL": { framing: "line", handle: () => "my call\\n" },
        "/rpc": { fetch: () => new Response("my rpc") },
      } }`),
    );
    expect(await hub.ask("RELOAD")).toStartWith("OK");
    expect(await hub.ask('{"jsonrpc":"2.0"}\nCALL x\n')).toBe("mine\nmy call\n");
    expect(await (await post(hub, "/rpc", {})).text()).toBe("my rpc");
    expect((await post(hub, "/rpc/bank.any", "1")).status).toBe(200);
    expect(hub.program.output()).toContain('POST /rpc is answered by the module "own"');
    hub.remove("modules/own.ts");
    hub.write("modules/rpc.ts", moduleSource(`{ routes: { "X": () => "x" } }`));
    expect(await hub.ask("RELOAD")).toContain("the server's own");
    hub.remove("modules/rpc.ts");
    hub.write("modules/bank.ts", moduleSource(`{ services: { echo: (input) => input } }`));
    expect(await hub.ask("RELOAD")).toStartWith("OK");
    expect(await hub.ask("CALL bank.echo {}\n")).toStartWith("ERR no module is bound");
    expect((await post(hub, "/rpc", {})).status).toBe(200);
  }));
