import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Hub, moduleSource, shareHub } from "../../support/hub";
import { callProgram } from "../../support/call-program";
import { runProgram } from "../../support/program";
import { addToken, revokeToken } from "../../support/tokens";
import { until } from "../../support/until";

const withServer = shareHub({
  "hrmr.json": '{ "access": { "required": true }, "limits": { "maxMessageBytes": 2000 } }',
  "modules/bank.ts": moduleSource(`{ services: {
    who: { public: true, call: (_, { identity }) => identity },
    close: { public: true, call: () => "closed" },
    follow: { public: true, call: async function* (_, { signal }) {
      yield "first";
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      console.log("follow was left");
    } },
    hidden: () => "",
  } }`),
});

const WHO = '{"jsonrpc":"2.0","method":"bank.who","id":1}';

function post(hub: Hub, path: string, body: string, token?: string): Promise<Response> {
  const headers = { "Content-Type": "application/json", ...(token && { Authorization: `Bearer ${token}` }) };
  return fetch(`${hub.url}${path}`, { method: "POST", headers, body });
}

test("without a token no procedure is called, and none is named", () =>
  withServer(async (hub) => {
    const needed = "a token is needed";
    for (const name of ["bank.who", "bank.hidden", "no.where", "rpc.discover"]) {
      const line = `{"jsonrpc":"2.0","method":"${name}","id":1}`;
      expect(JSON.parse(await hub.ask(`${line}\n`))).toMatchObject({ error: { code: -32001, message: needed }, id: 1 });
      expect((await post(hub, "/rpc", line)).status).toBe(401);
      expect((await post(hub, `/rpc/${name}`, "")).status).toBe(401);
      expect(await hub.ask(`CALL ${name}\n`)).toBe(`ERR UNAUTHENTICATED ${needed}\n`);
    }
    const { paths } = (await (await fetch(`${hub.url}/openapi.json`)).json()) as { paths: object };
    expect(paths).toEqual({});
  }));

test("hrmr call and hrmr client say how to show a token where one is needed", () =>
  withServer(async (hub) => {
    const called = await callProgram(["call", "bank.who"], { cwd: hub.dir });
    expect([called.exitCode, called.stderr]).toEqual([1, expect.stringContaining("--token-file FILE. Make one:")]);
    const missing = await callProgram(["call", "--token-file", "none", "bank.who"], { cwd: hub.dir });
    expect(missing.stderr).toContain(
      "cannot be read (ENOENT).\nCheck the path. Make one: (umask 077 && hrmr token add",
    );
    const client = await callProgram(["client"], { cwd: hub.dir });
    expect([client.exitCode, client.stderr]).toEqual([1, expect.stringContaining("Show a token: --token-file FILE.")]);
    expect(client.stderr).toStartWith("The server does not tell its procedures (UNAUTHENTICATED): a token is needed.");
    const shows = async (token: string) => {
      writeFileSync(join(hub.dir, "writer.token"), `${token}\n`, { mode: 0o600 });
      return await callProgram(["client", "--token-file", "writer.token"], { cwd: hub.dir });
    };
    const written = await shows(await addToken(hub, "writer", "rpc:bank.who"));
    expect([written.exitCode, written.stderr]).toEqual([0, ""]);
    expect(written.stdout).toMatch(/readonly bank: \{\s+who\([^\n]*\n  \};/);
    expect((await shows("hrmr_wrong_and_long")).stderr).toContain("the token is wrong");
  }));

test("a token's scopes say which procedures its client calls and sees, over every protocol", () =>
  withServer(async (hub) => {
    const token = await addToken(hub, "teller", "rpc:bank.who");
    const close = WHO.replace("who", "close");
    const lines = (await hub.ask(`AUTH ${token}\n${WHO}\n${close}\nCALL bank.who\n`)).split("\n");
    expect(lines[0]).toBe("OK teller");
    expect(lines[1]).toBe('{"jsonrpc":"2.0","result":"teller","id":1}');
    expect(JSON.parse(lines[2] ?? "")).toMatchObject({ error: { code: -32001, data: { code: "FORBIDDEN" } } });
    expect(lines[3]).toBe('"teller"');
    expect(await (await post(hub, "/rpc", WHO, token)).json()).toMatchObject({ result: "teller" });
    expect((await post(hub, "/rpc", close, token)).status).toBe(403);
    expect(await (await post(hub, "/rpc/bank.who", "", token)).json()).toBe("teller");
    expect((await post(hub, "/rpc/bank.close", "", token)).status).toBe(403);
    const discovered = await (await post(hub, "/rpc", WHO.replace("bank.who", "rpc.discover"), token)).json();
    expect(discovered).toMatchObject({ result: { methods: [{ name: "bank.who" }] } });
    const socket = new WebSocket(`${hub.url.replace("http", "ws")}/rpc`, ["hrmr", `hrmr.token.${token}`]);
    const got: unknown[] = [];
    socket.onmessage = ({ data }) => got.push(JSON.parse(data as string));
    await new Promise((resolve) => (socket.onopen = resolve));
    socket.send(`[${WHO},${close.replace('"id":1', '"id":2')}]`);
    await until("the answer is there", () => got.length > 0);
    socket.close();
    expect(got).toMatchObject([[{ result: "teller" }, { error: { code: -32001 } }]]);
  }));

const FOLLOW = WHO.replace("who", "follow");
const OVER = "the token is not valid any more";

async function openSocket(hub: Hub, protocols: string[]) {
  const socket = new WebSocket(`${hub.url.replace("http", "ws")}/rpc`, protocols);
  const got: unknown[] = [];
  const closed = new Promise<CloseEvent>((resolve) => (socket.onclose = resolve));
  socket.onmessage = ({ data }) => got.push(JSON.parse(data as string));
  await new Promise((resolve) => (socket.onopen = resolve));
  return { socket, got, closed };
}

test("a streamed result ends with an error when its client's token is revoked, over every protocol", () =>
  withServer(async (hub) => {
    const token = await addToken(hub, "reader", "rpc:bank.follow");
    const raw = await hub.connect();
    await raw.send(`AUTH ${token}\n${FOLLOW}\n`);
    const line = await hub.connect();
    await line.send(`AUTH ${token}\nCALL bank.follow\n`);
    const posted = await post(hub, "/rpc/bank.follow", "", token);
    const messaged = await post(hub, "/rpc", FOLLOW, token);
    const { socket, got } = await openSocket(hub, ["hrmr", `hrmr.token.${token}`]);
    socket.send(FOLLOW);
    await raw.waitFor('"first"');
    await line.waitFor('"first"');
    await until("the socket has a part", () => got.length > 0);
    revokeToken(hub, "reader");
    await raw.waitFor(`"message":"${OVER}"`);
    await line.waitFor(`ERR UNAUTHENTICATED ${OVER}\n`);
    expect(await posted.text()).toContain(`event: error\ndata: {"error":{"code":-32001,"message":"${OVER}"`);
    expect(await messaged.text()).toContain(OVER);
    await until("the socket has the error", () => got.length > 1);
    expect(got[1]).toMatchObject({ id: 1, error: { code: -32001, data: { code: "UNAUTHENTICATED" } } });
    await until("the service is left", () => hub.program.output().split("follow was left").length > 5);
    socket.close();
  }));

test("a WebSocket shows its token in a message, and has the rights of it from then on", () =>
  withServer(async (hub) => {
    const token = await addToken(hub, "page", "rpc:bank.who");
    const { socket, got } = await openSocket(hub, []);
    socket.send(WHO);
    socket.send(JSON.stringify({ auth: token }));
    socket.send(WHO);
    await until("three answers", () => got.length > 2);
    expect(got).toMatchObject([{ error: { message: "a token is needed" } }, { auth: "page" }, { result: "page" }]);
    revokeToken(hub, "page");
    await until("the token ends", () => {
      socket.send(WHO);
      return JSON.stringify(got.at(-1)).includes(OVER);
    });
    socket.close();
    const other = await openSocket(hub, []);
    other.socket.send('{"auth":"hrmr_wrong"}');
    other.socket.send(WHO);
    const { code, reason } = await other.closed;
    expect([code, reason, other.got]).toEqual([
      1008,
      "the token is wrong",
      [{ error: { code: "UNAUTHENTICATED", message: "the token is wrong" } }],
    ]);
  }));

test("a token that is revoked ends what its connection may do", () =>
  withServer(async (hub) => {
    const token = await addToken(hub, "leaver", "rpc:*");
    const client = await hub.connect();
    await client.send(`AUTH ${token}\n${WHO}\n`);
    await client.waitFor('"result":"leaver"');
    revokeToken(hub, "leaver");
    await until("the connection is nobody's", async () => {
      await client.send(`${WHO}\n`);
      await client.waitFor(/\n$/);
      return client.text.includes("-32001");
    });
  }));

test("a line that is too long is refused in JSON, and a fresh client is served", () =>
  withServer(async (hub) => {
    const token = await addToken(hub, "fresh", "rpc:*");
    expect(JSON.parse(await hub.ask(`{"jsonrpc":"2.0","method":"${"x".repeat(3000)}","id":1}\n`))).toMatchObject({
      error: { code: -32600, message: expect.stringContaining("2000 bytes") },
      id: null,
    });
    expect(await hub.ask(`AUTH ${token}\n${WHO}\n`)).toContain('"result":"fresh"');
  }));

test("a server with procedures that other machines reach does not start without a token", () =>
  withServer(async (hub) => {
    const dir = `${hub.dir}/data/open`;
    hub.write("data/open/modules/bank.ts", moduleSource("{ services: { who: { public: true, call: () => 1 } } }"));
    const { exitCode, stderr } = await runProgram(["start", "--listen", "tcp://0.0.0.0:0"], { cwd: dir });
    expect([exitCode, stderr]).toEqual([1, expect.stringContaining("(procedures)")]);
    const validated = await runProgram(["validate", "--listen", "tcp://0.0.0.0:0"], { cwd: dir });
    expect([validated.exitCode, validated.stdout + validated.stderr]).toEqual([
      1,
      expect.stringContaining("(procedures)"),
    ]);
  }));

test("hrmr validate tells of a schema that clients cannot see", () =>
  withServer(async (hub) => {
    const dir = `${hub.dir}/data/mini`;
    const source = `{ services: { who: { public: true, input: z.object({ a: z.string() }), call: () => 1 } } }`;
    hub.write("data/mini/modules/bank.ts", `import * as z from "zod/mini";\n${moduleSource(source)}`);
    const { stdout, stderr } = await runProgram(["validate"], { cwd: dir });
    expect(stdout + stderr).toContain("the schema of who cannot be written as JSON Schema");
  }));
