import { expect, test } from "bun:test";
import { addToken, revokeToken } from "../../support/tokens";
import { moduleSource, shareHub } from "../../support/hub";
import { Agent } from "../../support/mcp";

const withServer = shareHub({
  "hrmr.json": '{ "access": { "required": true } }',
  "modules/bank.ts": moduleSource(`{ services: {
    who: { public: true, mcp: true, call: (_, { identity, caller }) => [identity, caller] },
    close: { public: true, mcp: true, call: () => "closed" },
  } }`),
});

test("an agent needs a token, and has the tools and the name of its token", () =>
  withServer(async (hub) => {
    await expect(Agent.connect(hub.url)).rejects.toThrow("a token is needed");
    await expect(Agent.connect(hub.url, "hrmr_wrong")).rejects.toThrow("the token is wrong");
    const token = await addToken(hub, "agent", "rpc:bank.who");
    await using agent = await Agent.connect(hub.url, token);
    expect((await agent.client.listTools()).tools.map(({ name }) => name)).toEqual(["bank.who"]);
    expect(await agent.call("bank.who")).toEqual({ text: '["agent","rpc"]', isError: false });
    await expect(agent.call("bank.close")).rejects.toThrow('no scope for "rpc:bank.close"');
    await expect(agent.call("bank.none")).rejects.toThrow('no scope for "rpc:bank.none"');
    const refused = await fetch(`${hub.url}/mcp`, { headers: { Accept: "text/event-stream" } });
    expect([refused.status, refused.headers.get("www-authenticate")]).toEqual([401, "Bearer"]);
  }));

test("a session is of no use with another token", () =>
  withServer(async (hub) => {
    const [one, other] = [await addToken(hub, "one", "rpc:*"), await addToken(hub, "other", "rpc:*")];
    const listen = (token: string): Promise<Response> =>
      fetch(`${hub.url}/mcp`, {
        headers: { Accept: "text/event-stream", Authorization: `Bearer ${token}`, "Mcp-Session-Id": "shared" },
      });
    const first = await listen(one);
    const second = await listen(other);
    const end = (token: string): Promise<Response> =>
      fetch(`${hub.url}/mcp`, {
        method: "DELETE",
        headers: { Authorization: `Bearer ${token}`, "Mcp-Session-Id": "shared" },
      });
    await end(other);
    expect(await second.text()).toBe(":\n\n");
    const reader = first.body?.getReader();
    expect(new TextDecoder().decode((await reader?.read())?.value)).toBe(":\n\n");
    await end(one);
    expect((await reader?.read())?.done).toBe(true);
  }));

test("the stream of an agent ends when its token is revoked", () =>
  withServer(async (hub) => {
    const token = await addToken(hub, "leaver", "rpc:*");
    const stream = await fetch(`${hub.url}/mcp`, {
      headers: { Accept: "text/event-stream", Authorization: `Bearer ${token}` },
    });
    revokeToken(hub, "leaver");
    expect(await stream.text()).toBe(":\n\n");
  }));
