import { expect, test } from "bun:test";
import { moduleSource, shareHub } from "../../support/hub";
import { Agent } from "../../support/mcp";
import { until } from "../../support/until";

const toolModule = (description: string, more = ""): string =>
  moduleSource(
    `{ services: { ask: { public: true, mcp: true, description: "${description}", call: () => 1 }, ${more} } }`,
  );
const withServer = shareHub({ "modules/tool.ts": toolModule("one") });

test("a reload that changes the tools is told to the agents that listen, and another reload is not", () =>
  withServer(async (hub) => {
    hub.write("modules/tool.ts", toolModule("one"));
    await hub.ask("RELOAD\n");
    await using agent = await Agent.connect(hub.url);
    await using other = await Agent.connect(hub.url);
    // The stream is opened behind `connect`.
    await until("both listen", async () => {
      hub.write("modules/tool.ts", toolModule(`begin ${Math.random()}`));
      await hub.ask("RELOAD\n");
      return agent.changes > 0 && other.changes > 0;
    });
    agent.changes = other.changes = 0;
    hub.write("modules/tool.ts", `${toolModule("two")}// v2`);
    expect(await hub.ask("RELOAD\n")).toStartWith("OK");
    await until("both know", () => agent.changes === 1 && other.changes === 1);
    expect((await agent.client.listTools()).tools[0]?.description).toBe("two");
    hub.write("modules/tool.ts", `${toolModule("two")}// v3`);
    await hub.ask("RELOAD\n");
    hub.write("modules/tool.ts", toolModule("two", "more: { public: true, mcp: true, call: () => 2 }"));
    await hub.ask("RELOAD\n");
    await until("both know of the other tool", () => agent.changes > 1 && other.changes > 1);
    expect([agent.changes, other.changes]).toEqual([2, 2]);
    expect((await other.client.listTools()).tools.map(({ name }) => name)).toEqual(["tool.ask", "tool.more"]);
  }));

test("without a tool, and with a route of a module, /mcp is not the server's", () =>
  withServer(async (hub) => {
    const body = '{"jsonrpc":"2.0","id":1,"method":"ping"}';
    const post = (): Promise<Response> =>
      fetch(`${hub.url}/mcp`, { method: "POST", headers: { "Content-Type": "application/json" }, body });
    expect(await (await post()).json()).toEqual({ jsonrpc: "2.0", id: 1, result: {} });
    hub.write("modules/tool.ts", moduleSource(`{ services: { ask: { public: true, call: () => 1 } } }`));
    await hub.ask("RELOAD\n");
    // As any path that nobody has: the static site takes a GET only.
    expect([(await post()).status, (await fetch(`${hub.url}/mcp`)).status]).toEqual([405, 404]);
    hub.write("modules/tool.ts", toolModule("one"));
    const own = '{ routes: { "/mcp": { fetch: (request) => new Response("own " + request.method) } } }';
    hub.write("modules/own.ts", moduleSource(own));
    await hub.ask("RELOAD\n");
    expect(await (await post()).text()).toBe("own POST");
    expect(await (await fetch(`${hub.url}/mcp`, { method: "DELETE" })).text()).toBe("own DELETE");
    hub.remove("modules/own.ts");
    await hub.ask("RELOAD\n");
    expect((await post()).status).toBe(200);
  }));

test("messages that are wrong are refused, and a fresh agent is served", () =>
  withServer(async (hub) => {
    const post = (body: string | Uint8Array, headers: Record<string, string> = {}): Promise<Response> =>
      fetch(`${hub.url}/mcp`, { method: "POST", headers: { "Content-Type": "application/json", ...headers }, body });
    const ping = '{"jsonrpc":"2.0","id":1,"method":"ping"}';
    const wrong: [string | Uint8Array, number, number][] = [
      ["{", 400, -32700],
      ["", 400, -32700],
      [new Uint8Array([0x22, 0xff, 0x22]), 400, -32700],
      ["[".repeat(20_000), 400, -32600],
      [`[${ping},${ping}]`, 400, -32600],
      ["1", 400, -32600],
      ['{"id":1,"method":"ping"}', 400, -32600],
      ['{"jsonrpc":"2.0","id":null,"method":"ping"}', 400, -32600],
      ['{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}', 400, -32600],
    ];
    for (const [body, status, code] of wrong) {
      const reply = await post(body);
      expect([reply.status, await reply.json()]).toEqual([
        status,
        expect.objectContaining({ error: expect.objectContaining({ code }) }),
      ]);
    }
    for (const [name, headers, status] of [
      ["type", { "Content-Type": "text/plain" }, 415],
      ["revision", { "Mcp-Protocol-Version": "1999-01-01" }, 400],
      ["session", { "Mcp-Session-Id": "x".repeat(200) }, 400],
      ["origin", { Origin: "http://evil.example" }, 403],
      ["rebound host", { Host: "evil.example", Origin: "http://evil.example" }, 401],
    ] as const) {
      expect([name, (await post(ping, headers)).status]).toEqual([name, status]);
    }
    expect((await fetch(`${hub.url}/mcp`)).status).toBe(406);
    expect((await fetch(`${hub.url}/mcp`, { method: "DELETE" })).status).toBe(400);
    expect((await fetch(`${hub.url}/mcp`, { method: "PUT", body: "{}" })).status).toBe(405);
    const unknown = await post('{"jsonrpc":"2.0","id":1,"method":"prompts/list"}');
    expect(await unknown.json()).toMatchObject({ error: { code: -32601 }, id: 1 });
    expect((await post('{"jsonrpc":"2.0","method":"notifications/initialized"}')).status).toBe(202);
    expect((await post('{"jsonrpc":"2.0","id":1,"result":{}}')).status).toBe(202);
    await using agent = await Agent.connect(hub.url);
    expect(await agent.call("tool.ask")).toEqual({ text: "1", isError: false });
  }));

test("a session listens once, and an address a hundred times", () =>
  withServer(async (hub) => {
    const listen = (session?: string): Promise<Response> =>
      fetch(`${hub.url}/mcp`, {
        headers: { Accept: "text/event-stream", ...(session && { "Mcp-Session-Id": session }) },
      });
    const first = await listen("mine");
    const second = await listen("mine");
    // The server ends it: the text is complete.
    expect(await first.text()).toBe(":\n\n");
    const many = await Promise.all(Array.from({ length: 110 }, () => listen()));
    expect(many.map(({ status }) => status).sort()).toEqual([...Array(99).fill(200), ...Array(11).fill(429)]);
    await using agent = await Agent.connect(hub.url);
    expect(await agent.call("tool.ask")).toEqual({ text: "1", isError: false });
    for (const { body } of many) await body?.cancel();
    await until("others may listen again", async () => {
      const reply = await listen();
      await reply.body?.cancel();
      return reply.status === 200;
    });
    await second.body?.cancel();
  }));
