/** Tokens on a running server: every way to show one, and what a module sees of it. */
import { describe, expect, test } from "bun:test";
import { chmodSync, rmSync } from "node:fs";
import { join } from "node:path";
import { readTokens, TOKENS_FILE, writeTokens } from "../../src/hub/access/token-file";
import { hashOf, makeToken, type TokenRecord } from "../../src/hub/access/tokens";
import { callProgram } from "../support/call-program";
import { withHttp2 } from "../support/http2";
import { type Hub, makeProject, shareHub } from "../support/hub";
import { runProgram } from "../support/program";
import { until } from "../support/until";

const WHO = `
  const told = ({ session }) => JSON.stringify(session) + "\\n";
  export default { routes: {
    "WHO": { framing: "line", handle: told },
    "MARK": { framing: "line", handle: ({ session }) => console.log("marked " + session.identity) },
    "POOLWHO": { framing: "line", run: "pool", handle: told },
    "OWNWHO": { framing: "line", run: "process", handle: told },
    "HAND": { connect: async (connection) => { await connection.end(told(connection)); } },
    "GET /who": { fetch: (_, context) => new Response(told(context)) },
    "GET /pool-who": { run: "pool", fetch: (_, context) => new Response(told(context)) },
    "GET /live": { websocket: {
      upgrade: (_, context) => ({ data: context.session.identity }),
      message: (socket) => socket.send(JSON.stringify([socket.data, socket.session.identity])),
    } },
  } };
`;
const NOBODY = '{"identity":null,"scopes":[]}\n';

const CALLED = `export default { routes: {}, services: {
  whoami: (_, { identity }) => String(identity),
  deeper: (_, { services }) => services.called.whoami(),
} };`;
const CALLER = `
  const ask = (_, { services }) => services.called.deeper();
  export default { routes: {
    "CALLING": { framing: "line", handle: async (message, context) => (await ask(message, context)) + "\\n" },
    "POOLCALLING": { framing: "line", run: "pool", handle: async (message, context) => (await ask(message, context)) + "\\n" },
    "HANDCALLING": { connect: async (connection, context) => { await connection.end(await ask(connection, context)); } },
    "GET /calling": { fetch: async (request, context) => new Response(await ask(request, context)) },
    "GET /pool-calling": { run: "pool", fetch: async (request, context) => new Response(await ask(request, context)) },
  } };
`;

/** The data is not where a command in the folder would look for it without a server. */
const onHub = shareHub({ "modules/who.ts": WHO, "modules/called.ts": CALLED, "modules/caller.ts": CALLER }, [
  "--data",
  "kept",
]);

function recordOf(name: string, token: string, scopes: string[]): TokenRecord {
  return { name, hash: hashOf(token).toString("hex"), scopes, created: new Date().toISOString(), expires: null };
}

const tokensFile = ({ dir }: Hub): string => join(dir, "kept", TOKENS_FILE);

/** @returns the new token */
function addToken(hub: Hub, name: string, ...scopes: string[]): string {
  const token = makeToken();
  const record = {
    name,
    hash: hashOf(token).toString("hex"),
    scopes,
    created: new Date().toISOString(),
    expires: null,
  };
  writeTokens(tokensFile(hub), [...readTokens(tokensFile(hub)), record]);
  return token;
}

function revokeToken(hub: Hub, name: string): void {
  writeTokens(
    tokensFile(hub),
    readTokens(tokensFile(hub)).filter((record) => record.name !== name),
  );
}

describe("a token", () => {
  test("by AUTH holds for the connection, on every host, until it is revoked", () =>
    onHub(async (hub) => {
      const token = addToken(hub, "raw", "http");
      const known = '{"identity":"raw","scopes":["http"]}\n';
      const client = await hub.connect();
      const ask = async (line: string) => {
        await client.clear().send(line);
        return client.waitFor("\n");
      };
      expect(await ask("WHO\n")).toBe(NOBODY);
      expect(await ask("POOLWHO\n")).toBe(NOBODY);
      expect(await ask("OWNWHO\n")).toBe(NOBODY);
      expect(await ask(`AUTH ${token}\r\n`)).toBe("OK raw\n");
      expect(await ask("WHO\n")).toBe(known);
      expect(await ask("POOLWHO\n")).toBe(known);
      expect(await ask("OWNWHO\n")).toBe(known);
      // Nobody else has it.
      expect(await hub.ask("WHO\n")).toBe(NOBODY);
      // In one read with the messages behind it, and handed over with the connection.
      expect(await hub.ask(`AUTH ${token}\nWHO\nHAND`)).toBe(`OK raw\n${known}${known}`);
      revokeToken(hub, "raw");
      await until("the revoked token's session is over", async () => (await ask("WHO\n")) === NOBODY);
      expect(await ask("POOLWHO\n")).toBe(NOBODY);
      expect(await ask("OWNWHO\n")).toBe(NOBODY);
    }));

  test("by Authorization holds for the request, and by AUTH for those that have none", () =>
    onHub(async (hub) => {
      const token = addToken(hub, "web", "http");
      const known = '{"identity":"web","scopes":["http"]}\n';
      for (const path of ["/who", "/pool-who"]) {
        const get = async (authorization?: string) =>
          (await fetch(hub.url + path, { headers: authorization === undefined ? {} : { authorization } })).text();
        expect(await get(`Bearer ${token}`)).toBe(known);
        expect(await get(`bearer  ${token} `)).toBe(known);
        expect(await get()).toBe(NOBODY);
        // A module's own tokens and schemes are nobody for the server.
        for (const other of ["Bearer a.b.c", `Basic ${token}`, `Bearer ${token}x`, "Bearer"])
          expect(await get(other)).toBe(NOBODY);
      }
      await withHttp2(hub.url, async (client) => {
        for (const path of ["/who", "/pool-who"]) {
          const { body } = await client.ask(path, { headers: { authorization: `Bearer ${token}` } });
          expect(body.toString()).toBe(known);
          expect((await client.ask(path)).body.toString()).toBe(NOBODY);
        }
      });
      const reply = await hub.ask(`AUTH ${token}\nGET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
      expect(reply).toStartWith("OK web\nHTTP/1.1 200 OK\r\n");
      expect(reply).toEndWith(known);
    }));

  test("by a header or a subprotocol holds for the WebSocket, and no reply repeats it", () =>
    onHub(async (hub) => {
      const token = addToken(hub, "ws", "http");
      const whoIs = async (socket: WebSocket) => {
        const said = Promise.withResolvers<string>();
        socket.onopen = () => socket.send("?");
        socket.onmessage = ({ data }) => said.resolve(String(data));
        socket.onerror = () => said.resolve("failed");
        const text = await said.promise;
        return [text, socket.protocol, socket.close()].slice(0, 2);
      };
      const url = `ws://127.0.0.1:${hub.port}/live`;
      const headers = { authorization: `Bearer ${token}` };
      expect(await whoIs(new WebSocket(url, { headers } as never))).toEqual(['["ws","ws"]', ""]);
      expect(await whoIs(new WebSocket(url, ["hrmr", `hrmr.token.${token}`]))).toEqual(['["ws","ws"]', "hrmr"]);
      expect(await whoIs(new WebSocket(url))).toEqual(["[null,null]", ""]);
      // An open socket keeps its data, and loses its identity.
      const socket = new WebSocket(url, { headers } as never);
      const said: string[] = [];
      socket.onmessage = ({ data }) => said.push(String(data));
      await new Promise((resolve) => (socket.onopen = resolve));
      revokeToken(hub, "ws");
      await until("the socket's session is over", () => (socket.send("?"), said.at(-1) === '["ws",null]'));
      socket.close();
    }));

  test("is told to the services that its client's handlers call, and to those that these call", () =>
    onHub(async (hub) => {
      const token = addToken(hub, "caller", "http");
      expect(await hub.ask(`CALLING\nAUTH ${token}\nCALLING\n`)).toBe("null\nOK caller\ncaller\n");
      expect(await hub.ask(`POOLCALLING\nAUTH ${token}\nPOOLCALLING\n`)).toBe("null\nOK caller\ncaller\n");
      expect(await hub.ask(`AUTH ${token}\nHANDCALLING`)).toBe("OK caller\ncaller");
      for (const path of ["/calling", "/pool-calling"]) {
        const headers = { authorization: `Bearer ${token}` };
        expect(await (await fetch(hub.url + path, { headers })).text()).toBe("caller");
        expect(await (await fetch(hub.url + path)).text()).toBe("null");
      }
    }));

  test("that is wrong is answered late, ends the connection, and stands in the log once", () =>
    onHub(async (hub) => {
      const client = await hub.connect();
      const right = addToken(hub, "late", "http");
      const guesses = ["AUTH nonsense\n", `AUTH ${makeToken()}\n`.repeat(50), `AUTH ${right}\nMARK\n`];
      await client.send(guesses.join(""));
      expect(await client.waitForEnd()).toBe("ERR the token is wrong\n");
      await hub.program.waitFor(/access: a client with a wrong token/);
      // Nothing behind a wrong token is compared: the right one was not taken either.
      await hub.program.waitFor("marked");
      expect(hub.program.output()).toContain("marked null");
      expect(hub.program.output()).not.toContain("nonsense");
      expect(await hub.ask("AUTH\n")).toBe("ERR AUTH takes one token: AUTH TOKEN\n");
      expect(await hub.ask("AUTH a b\n")).toBe("ERR AUTH takes one token: AUTH TOKEN\n");
      expect(await hub.ask("WHO\n")).toBe(NOBODY);
    }));
});

describe("a start", () => {
  const open = ["--set", "access.required=true", "--listen", "tcp://0.0.0.0:0"];
  const said =
    " can be reached from other machines, and there is no token that their clients could show " +
    "(access.required is true).\nMake one: hrmr token add NAME --scope 'rpc:*'. ";

  test("without a token is refused where other machines come in and need one, as validate says, and goes on with one", async () => {
    const dir = makeProject({ "modules/who.ts": WHO });
    try {
      const start = await runProgram(open, { cwd: dir });
      expect(start.stderr).toContain(said);
      expect(start.exitCode).toBe(1);
      const validate = async () => (await callProgram(["validate", ...open], { cwd: dir })).stdout;
      expect(await validate()).toContain("there is no token that");
      writeTokens(join(dir, "data", TOKENS_FILE), [recordOf("x", makeToken(), ["http"])]);
      expect(await validate()).not.toContain("there is no token that");
      chmodSync(join(dir, "data", TOKENS_FILE), 0o644);
      const loose = await runProgram(["--port", "0"], { cwd: dir });
      expect(loose.stderr).toContain("may be read or written by others than its owner (mode 644)");
      expect(loose.exitCode).toBe(1);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});

test("AUTH is a module's, if a module claims it", () =>
  onHub(async (hub) => {
    hub.write(
      "modules/own-auth.ts",
      'export default { routes: { "AUTH ": { framing: "line", handle: (m) => "mine\\n" } } };',
    );
    expect(await hub.ask("RELOAD\n")).toStartWith("OK");
    expect(await hub.ask("AUTH x\n")).toBe("mine\n");
    await hub.program.waitFor('AUTH is answered by the module "own-auth", and not by the server');
    hub.remove("modules/own-auth.ts");
    expect(await hub.ask("RELOAD\n")).toStartWith("OK");
    expect(await hub.ask("AUTH\n")).toBe("ERR AUTH takes one token: AUTH TOKEN\n");
  }));

describe("hrmr token", () => {
  test("adds, lists and revokes what a running server then knows, and never shows a token twice", () =>
    onHub(async (hub) => {
      const run = async (...args: string[]) => (await callProgram(["token", ...args], { cwd: hub.dir })).stdout;
      const scopes = ["--scope", "rpc:a.*", "--scope", "http"];
      const added = JSON.parse(await run("add", "cli", ...scopes, "--expires", "30d", "--json"));
      expect(added).toMatchObject({ name: "cli", scopes: ["rpc:a.*", "http"], file: tokensFile(hub) });
      await until("it is known", async () => (await hub.ask(`AUTH ${added.token}\n`)) === "OK cli\n");
      const table = await run("list");
      expect(table).toMatch(/^NAME +SCOPES +CREATED +EXPIRES\n/);
      expect(table).toMatch(/^cli +rpc:a\.\*, http +20/m);
      const json = await run("--json");
      expect(JSON.parse(json)).toContainEqual(expect.objectContaining({ name: "cli", isExpired: false }));
      expect(table + json).not.toContain(added.token);
      expect(json).not.toMatch(/[0-9a-f]{64}/);
      expect(await run("revoke", "cli")).toBe("cli is revoked.\n");
      expect(await run("list")).not.toContain("cli");
    }));

  test("changes the file one after the other: of commands at once, none is lost, and a name is taken once", () =>
    onHub(async (hub) => {
      const names = ["many-1", "many-2", "many-3", "many-3"];
      const add = (name: string) => runProgram(["token", "add", name, "--scope", "http"], { cwd: hub.dir });
      const results = await Promise.all(names.map(add));
      const refused = results.filter(({ exitCode }) => exitCode === 1);
      expect(refused.map(({ stderr }) => stderr.split("\n")[0])).toEqual([
        expect.stringContaining("There is a token named many-3 already"),
      ]);
      expect(readTokens(tokensFile(hub)).map(({ name }) => name)).toEqual(
        expect.arrayContaining(["many-1", "many-2", "many-3"]),
      );
    }));

  test.each([
    [["add"], 2, "hrmr token add needs NAME"],
    [["add", "x"], 2, "needs --scope"],
    [["add", "x", "--scope", "rpc"], 2, '--scope: "rpc" names nothing'],
    [["add", "a b", "--scope", "http"], 2, "cannot be a token's name"],
    [["add", "x", "--scope", "http", "--expires", "soon"], 2, "--expires takes a time from now on"],
    [["list", "x"], 2, "takes no name"],
    [["revok", "x"], 2, "hrmr token does add, list, revoke"],
    [["revoke", "x", "--scope", "http"], 2, "go with add"],
    [["revoke", "nobody"], 1, 'There is no token named "nobody"'],
  ])("%j fails and says why", async (args, exitCode, why) =>
    onHub(async (hub) => {
      const failed = await callProgram(["token", ...args], { cwd: hub.dir });
      expect(failed.stderr).toContain(why);
      expect(failed.exitCode).toBe(exitCode);
    }),
  );
});
