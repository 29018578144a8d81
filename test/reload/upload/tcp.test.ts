/** The control API over TCP: for clients that have the token, and for nobody else. */
import { describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ConnectionOptions } from "node:tls";
import { DEFAULT_TLS } from "../../../src/config/options";
import { ControlPort } from "../../../src/control/tcp";
import { ask, RawClient } from "../../support/client";
import { fakeOperations, NO_AUDIT } from "../../support/control-fixture";
import { type Hub, makeProject, moduleSource, withHub } from "../../support/hub";
import { freePort } from "../../support/free-port";
import { until, UNTIL_MS } from "../../support/until";

import { callProgram } from "../../support/call-program";
import { type ProgramResult, runProgram, startProgram } from "../../support/program";
import { lives } from "../../support/supervised";
import { clientAuthority, pairFiles, serverCertificate, TLS_FLAGS, TlsClient } from "../../support/tls";

const TOKEN = "0123456789abcdef-the-right-one";
const WRONG = "0123456789abcdef-the-wrong-one";
const greet = (text: string): string =>
  moduleSource(`{ routes: { "GREET": { framing: "line", handle: () => "${text}\\n" } } }`);

/** The real port of control.listen, as the server tells it. */
function controlPort(hub: Hub): number {
  return Number(/control on \w+:\/\/127\.0\.0\.1:(\d+)/.exec(hub.program.output())?.[1]);
}

/** A server with control.listen on a free port, and token files `right` and `wrong` in the project. */
async function withPort(
  scheme: "tcp" | "tls",
  test: (hub: Hub, port: number) => Promise<void>,
  args: string[] = [],
  more: { files?: Record<string, string>; config?: object } = {},
): Promise<void> {
  const certificate = pairFiles(serverCertificate("localhost"));
  const config = { control: { listen: `${scheme}://127.0.0.1:0`, tokenFile: "right" } };
  const files = {
    "modules/greet.ts": greet("v1"),
    right: `${TOKEN}\n`,
    wrong: `${WRONG}\n`,
    ...certificate,
    ...more.files,
  };
  const project = makeProject({});
  try {
    // Before the server looks at them.
    const tokens = { right: join(project, "right"), wrong: join(project, "wrong") };
    for (const [name, path] of Object.entries(tokens))
      writeFileSync(path, files[name as keyof typeof files] as string, { mode: 0o600 });
    const text = JSON.stringify({ ...more.config, control: { ...config.control, tokenFile: tokens.right } });
    await withHub({ ...files, "hrmr.json": text }, [...(scheme === "tls" ? TLS_FLAGS : []), ...args], async (hub) => {
      for (const name of ["right", "wrong"]) chmodSync(join(hub.dir, name), 0o600);
      const port = controlPort(hub);
      expect(port).toBeGreaterThan(0);
      await test(hub, port);
    });
  } finally {
    rmSync(project, { recursive: true, force: true });
  }
}

/** In this process; the first test starts the program. */
function run(hub: Hub, ...args: string[]): Promise<ProgramResult> {
  return callProgram(args, { cwd: hub.dir });
}

/** One request as bytes. @returns status line, headers and body */
async function send(
  port: number,
  request: string,
): Promise<{ status: number; head: string; body: { error?: string; hint?: string } }> {
  const client = await RawClient.connect(port);
  try {
    await client.send(request);
    const text = await client.waitForEnd();
    const [head = "", body = "{}"] = text.split("\r\n\r\n");
    return { status: Number(head.split(" ")[1]), head, body: JSON.parse(body) as { error?: string } };
  } finally {
    client.close();
  }
}

const requestOf = (port: number, fields: Record<string, string>, path = "/v1/status", method = "GET") => {
  const all = { Host: `127.0.0.1:${port}`, Connection: "close", ...fields };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${path} HTTP/1.1\r\n${lines.join("")}\r\n`;
};
const get = (port: number, ...request: [fields: Record<string, string>, path?: string, method?: string]) =>
  send(port, requestOf(port, ...request));
const bearer = (token: string) => ({ Authorization: `Bearer ${token}` });

describe("the control port", () => {
  test("takes all commands of who has the token, and the audit log has their address", () =>
    withPort("tcp", async (hub, port) => {
      const remote = ["--server", `127.0.0.1:${port}`, "--token-file", "right"];
      mkdirSync(join(hub.dir, "out"));
      writeFileSync(join(hub.dir, "out/greet.ts"), greet("v2"));
      expect(await runProgram(["push", "out/greet.ts", ...remote], { cwd: hub.dir })).toMatchObject({
        exitCode: 0,
        stdout: expect.stringContaining("OK greet v2"),
      });
      expect(await hub.ask("GREET\n")).toBe("v2\n");
      writeFileSync(join(hub.dir, "out/greet.ts"), "export default {");
      const broken = await runProgram(["push", "out/greet.ts", ...remote], { cwd: hub.dir });
      expect([broken.exitCode, broken.stderr]).toEqual([1, expect.stringContaining("modules/greet.ts:1:")]);
      expect((await runProgram(["pull", "greet", "back", ...remote], { cwd: hub.dir })).stdout).toBe("back/greet.ts\n");
      expect(readFileSync(join(hub.dir, "back/greet.ts"), "utf8")).toBe(greet("v2"));
      expect(JSON.parse((await runProgram(["status", "--json", ...remote], { cwd: hub.dir })).stdout)).toMatchObject({
        pid: hub.program.pid,
      });
      expect((await runProgram(["modules", ...remote], { cwd: hub.dir })).stdout).toContain("greet");
      expect((await runProgram(["reload", "greet", ...remote], { cwd: hub.dir })).stdout).toStartWith("OK");
      expect((await runProgram(["remove", "greet", ...remote], { cwd: hub.dir })).exitCode).toBe(0);
      expect(await runProgram(["stop", ...remote], { cwd: hub.dir })).toMatchObject({ exitCode: 0 });
      const lines = readFileSync(join(hub.dir, ".hrmr/audit.log"), "utf8").trim().split("\n");
      const told = lines.map((line) => JSON.parse(line) as { by: string; action: string });
      expect(told.map(({ action }) => action)).toEqual(["push", "push", "remove", "stop"]);
      expect(new Set(told.map(({ by }) => by))).toEqual(new Set(["127.0.0.1"]));
      expect(lines.join("") + hub.program.output()).not.toContain(TOKEN);
    }));

  test("speaks TLS with the server's certificate, and takes a new one at a reload without another port", () =>
    withPort("tls", async (hub, port) => {
      const remote = ["--server", `tls://127.0.0.1:${port}`, "--token-file", "right"];
      const untrusted = await run(hub, "status", ...remote);
      expect([untrusted.exitCode, untrusted.stderr]).toEqual([1, expect.stringContaining("is not trusted")]);
      expect((await run(hub, "status", ...remote, "--tls-ca", "cert.pem")).exitCode).toBe(0);
      hub.write("old.pem", readFileSync(join(hub.dir, "cert.pem"), "utf8"));
      for (const [name, text] of Object.entries(pairFiles(serverCertificate("localhost")))) hub.write(name, text);
      expect((await run(hub, "reload", ...remote, "--tls-ca", "old.pem")).exitCode).toBe(0);
      expect((await run(hub, "status", ...remote, "--tls-ca", "cert.pem")).exitCode).toBe(0);
      expect((await run(hub, "status", ...remote, "--tls-ca", "old.pem")).exitCode).toBe(1);
      const plain = await run(hub, "status", "--server", `127.0.0.1:${port}`, "--token-file", "right");
      expect(plain.exitCode).toBe(1);
    }));

  test("follows the policy of tls: its oldest version, its ciphers, and clients' certificates", async () => {
    const { authority, client } = clientAuthority("operator");
    const rogue = clientAuthority("rogue").client;
    const tls = {
      certFile: "cert.pem",
      keyFile: "key.pem",
      clientCaFile: "ca.pem",
      clientCert: "require",
      ciphers: "ECDHE-ECDSA-AES256-GCM-SHA384",
    };
    const files = {
      "ca.pem": authority.certificatePem,
      ...pairFiles(client, "client-"),
      ...pairFiles(rogue, "rogue-"),
    };
    await withPort(
      "tls",
      async (hub, port) => {
        const shakes = async (options: ConnectionOptions): Promise<boolean> => {
          const made = await TlsClient.connect(port, options).catch(() => null);
          // Of TLS 1.3 the server's refusal comes behind the handshake.
          const text = await made
            ?.send(`GET /v1/ready HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n`)
            .waitForEnd()
            .catch(() => "");
          made?.close();
          return text?.startsWith("HTTP/1.1 401") === true;
        };
        const shown = { cert: client.certificatePem, key: client.keyPem };
        const foreign = { cert: rogue.certificatePem, key: rogue.keyPem };
        const old = { maxVersion: "TLSv1.2" } as const;
        for (const version of [{}, old]) {
          expect([
            await shakes({ ...shown, ...version }),
            await shakes(version),
            await shakes({ ...foreign, ...version }),
          ]).toEqual([true, false, false]);
        }
        expect(await shakes({ ...shown, ...old, ciphers: "ECDHE-ECDSA-AES128-GCM-SHA256" })).toBe(false);
        const remote = ["--server", `tls://127.0.0.1:${port}`, "--token-file", "right", "--tls-ca", "cert.pem"];
        expect((await run(hub, "status", ...remote)).exitCode).toBe(1);
        const operator = [...remote, "--client-cert", "client-cert.pem", "--client-key", "client-key.pem"];
        expect(await run(hub, "status", ...operator)).toMatchObject({ exitCode: 0 });
        // A reload changes the policy as it does that of the other listeners.
        const config = JSON.parse(readFileSync(join(hub.dir, "hrmr.json"), "utf8")) as { tls: object };
        hub.write("hrmr.json", JSON.stringify({ ...config, tls: { ...tls, minVersion: "1.3", clientCert: "none" } }));
        expect(await run(hub, "reload", ...operator)).toMatchObject({ exitCode: 0 });
        await until("the new policy", () => shakes({}));
        expect(await shakes(old)).toBe(false);
      },
      [],
      { files, config: { tls } },
    );
  });

  test("answers 401 to who has no token, or a wrong one, and does nothing", () =>
    withPort("tcp", async (hub, port) => {
      const refused: Record<string, string>[] = [
        {},
        { Authorization: "" },
        { Authorization: TOKEN },
        { Authorization: `Basic ${TOKEN}` },
        bearer(""),
        bearer(WRONG),
        bearer(`${TOKEN}x`),
        bearer(TOKEN.slice(0, -1)),
        bearer(TOKEN.toUpperCase()),
      ];
      for (const fields of refused) {
        const { status, head, body } = await get(port, fields, "/v1/stop", "POST");
        expect([fields, status, body.error]).toEqual([
          fields,
          401,
          expect.stringMatching(/^The (request has no token|token is wrong)\.$/),
        ]);
        expect(head.toLowerCase()).toContain('www-authenticate: bearer realm="hrmr"');
      }
      expect((await get(port, bearer(TOKEN))).status).toBe(200);
      expect((await get(port, { authorization: `bearer ${TOKEN}` })).status).toBe(200);
      const ran = await run(hub, "reload", "--server", `127.0.0.1:${port}`, "--token-file", "wrong");
      expect([ran.exitCode, ran.stderr]).toEqual([1, expect.stringContaining("The token is wrong.")]);
      expect(existsSync(join(hub.dir, ".hrmr/audit.log"))).toBe(false);
      await hub.program.waitFor("with a wrong token, the last from 127.0.0.1");
      expect(hub.program.output()).not.toContain(WRONG);
    }));

  test("makes wrong tokens wait, many of them no longer than one, and looks at no more than it has room for", () =>
    withPort("tcp", async (hub, port) => {
      // The server finds all of them waiting, however slowly this test sends them.
      hub.program.signal("SIGSTOP");
      const clients = await Promise.all(Array.from({ length: 40 }, () => RawClient.connect(port)));
      for (const client of clients) await client.send(requestOf(port, bearer(WRONG)));
      const startedAt = performance.now();
      hub.program.signal("SIGCONT");
      const heads = await Promise.all(clients.map((client) => client.waitForEnd()));
      const tookMs = performance.now() - startedAt;
      for (const client of clients) client.close();
      const count = (status: number) => heads.filter((head) => head.startsWith(`HTTP/1.1 ${status} `)).length;
      expect([count(401), count(429)]).toEqual([32, 8]);
      expect(tookMs).toBeGreaterThanOrEqual(500);
      // The right one is not kept waiting by the wrong ones.
      const wrong = get(port, bearer(WRONG));
      const right = await Promise.race([wrong.then(() => "wrong"), get(port, bearer(TOKEN)).then(() => "right")]);
      expect(right).toBe("right");
      await wrong;
      expect(await hub.ask("GREET\n")).toBe("v1\n");
    }));

  test("answers no page in a browser, and no name that is not its own", () =>
    withPort("tcp", async (_, port) => {
      const refused: Record<string, string>[] = [
        { Host: "evil.example" },
        { Host: `evil.example:${port}` },
        { Host: "127.0.0.1.evil.example" },
        { Host: "localhost.evil.example" },
        { Origin: "https://evil.example" },
        { Origin: `http://127.0.0.1:${port}` },
        { Origin: "null" },
      ];
      for (const fields of refused) {
        const answer = await get(port, { ...bearer(TOKEN), ...fields });
        expect([fields, answer.status]).toEqual([fields, 403]);
        expect(answer.head.toLowerCase()).not.toContain("access-control");
      }
      // An empty Host makes the request malformed.
      expect(await ask(port, `GET /v1/status HTTP/1.1\r\nHost:\r\nAuthorization: Bearer ${TOKEN}\r\n\r\n`)).toStartWith(
        "HTTP/1.1 400 ",
      );
      for (const host of [`127.0.0.1:${port}`, "localhost", `LOCALHOST:${port}`, "[::1]:1", "10.0.0.1"]) {
        expect([host, (await get(port, { ...bearer(TOKEN), Host: host })).status]).toEqual([host, 200]);
      }
      expect(
        (await get(port, { ...bearer(TOKEN), "Access-Control-Request-Method": "POST" }, "/v1/modules/x", "OPTIONS"))
          .status,
      ).toBe(405);
    }));

  test("reads the token anew at a reload; a file that is no good leaves the old one", () =>
    withPort("tcp", async (hub, port) => {
      const file = JSON.parse(readFileSync(join(hub.dir, "hrmr.json"), "utf8")) as { control: { tokenFile: string } };
      writeFileSync(file.control.tokenFile, `${WRONG}\n`);
      expect((await run(hub, "reload")).exitCode).toBe(0);
      expect([(await get(port, bearer(TOKEN))).status, (await get(port, bearer(WRONG))).status]).toEqual([401, 200]);
      writeFileSync(file.control.tokenFile, "short\n");
      await run(hub, "reload");
      expect((await get(port, bearer(WRONG))).status).toBe(200);
      await hub.program.waitFor("The old one stays in use.");
    }));

  test("goes on without a gap over an upgrade", () =>
    withPort("tcp", async (hub) => {
      // Of a free port the successor would take another one.
      const config = JSON.parse(readFileSync(join(hub.dir, "hrmr.json"), "utf8")) as {
        control: Record<string, string>;
      };
      const port = freePort();
      hub.write("second/modules/greet.ts", greet("s1"));
      hub.write(
        "second/hrmr.json",
        JSON.stringify({ control: { ...config.control, listen: `tcp://127.0.0.1:${port}` } }),
      );
      const server = await startProgram(["--port", "0"], { cwd: join(hub.dir, "second") });
      const remote = ["--json", "--server", `127.0.0.1:${port}`, "--token-file", "right"];
      let successor = 0;
      try {
        const answers: number[] = [];
        let isOver = false;
        const asking = (async () => {
          while (!isOver) {
            answers.push((await get(port, bearer(TOKEN), "/v1/config")).status);
            // The new server has to start meanwhile.
            await Bun.sleep(5);
          }
        })();
        const ran = await run(hub, "upgrade", ...remote);
        successor = (JSON.parse(ran.stdout) as { pid: number }).pid;
        await until("the old process has ended", () => !lives(server.pid));
        isOver = true;
        await asking;
        expect([ran.exitCode, new Set(answers)]).toEqual([0, new Set([200])]);
        expect(JSON.parse((await run(hub, "status", ...remote)).stdout)).toMatchObject({ pid: successor });
        expect((await run(hub, "stop", ...remote)).exitCode).toBe(0);
      } finally {
        // It has the first one's output: that ends with it.
        if (successor !== 0 && lives(successor)) process.kill(successor, "SIGKILL");
        await server.stop();
      }
    }));
});

describe("of two servers on the control port", () => {
  const CLIENTS = 64;
  /**
   * As many clients at once, each of which prints its answer, or why it got none. `sent` is made when all have
   * sent.
   */
  const ASKERS = `const [port, sent] = process.argv.slice(-2);
    let open = 0;
    for (let count = 0; count < ${CLIENTS}; count++) {
      let text = "";
      const socket = require("node:net").connect({ port: Number(port), host: "127.0.0.1" });
      socket.on("connect", () => socket.write("GET /v1/config HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\nAuthorization: Bearer ${TOKEN}\\r\\n\\r\\n", () => {
        if (++open === ${CLIENTS}) require("node:fs").writeFileSync(sent, "");
      }));
      socket.on("data", (bytes) => (text += bytes));
      socket.on("error", (error) => (text += error.code));
      socket.on("close", () => console.log(/"who":"(\\w+)"/.exec(text)?.[1] ?? "cut: " + JSON.stringify(text)));
    }`;

  async function withTwo(
    test: (servers: { first: ControlPort; second: ControlPort; askers(): () => Promise<string[]> }) => Promise<void>,
  ): Promise<void> {
    const dir = makeProject({ token: `${TOKEN}\n` });
    chmodSync(join(dir, "token"), 0o600);
    const open = (who: string, port: number, isTakeover: boolean) =>
      ControlPort.open({
        url: `tcp://127.0.0.1:${port}`,
        tokenFile: join(dir, "token"),
        tls: DEFAULT_TLS,
        isTakeover,
        api: { operations: fakeOperations({ config: () => ({ who }) }), audit: NO_AUDIT, report: () => {} },
        log: { warn: () => {}, error: () => {} } as never,
      });
    const first = await open("first", 0, false);
    const port = Number(/:(\d+)$/.exec(first.url)?.[1]);
    const second = await open("second", port, true);
    /** The clients wait in the kernel's queues: this process does nothing meanwhile. */
    const askers = () => {
      const sent = join(dir, `sent-${Math.random()}`);
      const child = Bun.spawn([process.execPath, "-e", ASKERS, String(port), sent], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      for (const deadline = performance.now() + UNTIL_MS; !existsSync(sent); Bun.sleepSync(5)) {
        if (performance.now() > deadline) throw new Error("the clients did not get as far as to send");
      }
      return async () => (await child.stdout.text()).trim().split("\n");
    };
    try {
      await test({ first, second, askers });
    } finally {
      await Promise.all([first.close(), second.close()]);
      rmSync(dir, { recursive: true, force: true });
    }
  }
  const count = (answers: string[], who: string) => answers.filter((answer) => answer === who).length;

  test.skipIf(process.platform !== "linux")(
    "the first answers the clients in its queue after it hands on, and gets no new ones",
    () =>
      withTwo(async ({ first, askers }) => {
        const before = askers();
        const handedOn = first.handOn();
        const after = askers();
        expect(count(await after(), "second")).toBe(CLIENTS);
        const answers = await before();
        expect([
          answers.length,
          count(answers, "first") + count(answers, "second"),
          count(answers, "first") > 0,
        ]).toEqual([CLIENTS, CLIENTS, true]);
        await handedOn;
        expect(count(await askers()(), "second")).toBe(CLIENTS);
      }),
  );
});

describe("a start is refused", () => {
  const start = async (control: object, files: Record<string, string> = {}): Promise<ProgramResult> => {
    const dir = makeProject({ "modules/greet.ts": greet("v1"), "hrmr.json": JSON.stringify({ control }), ...files });
    try {
      for (const name of Object.keys(files)) chmodSync(join(dir, name), name === "open" ? 0o644 : 0o600);
      return await runProgram(["start", "--port", "0"], { cwd: dir });
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  };

  test.each([
    ["without a token file", { listen: "tcp://127.0.0.1:0" }, "control.listen is set, and control.tokenFile is not"],
    [
      "with TLS and no certificate",
      { listen: "tls://127.0.0.1:0", tokenFile: "right" },
      "control.listen is a tls:// URL, and tls.certFile is not set",
    ],
    [
      "with a token file that is not there",
      { listen: "tcp://127.0.0.1:0", tokenFile: "nowhere" },
      "cannot be read (ENOENT)",
    ],
    ["with a token that is too short", { listen: "tcp://127.0.0.1:0", tokenFile: "short" }, "a token has at least 16"],
    [
      "with a token that others may read",
      { listen: "tcp://127.0.0.1:0", tokenFile: "open" },
      "may be read or written by others",
    ],
    ["for a unix socket", { listen: "unix:///tmp/x", tokenFile: "right" }, "tls://host:port"],
    ["for UDP", { listen: "udp://127.0.0.1:1", tokenFile: "right" }, "tls://host:port"],
  ])("%s", async (_, control, told) => {
    const { exitCode, stderr } = await start(control, { right: TOKEN, short: "short", open: TOKEN });
    expect([exitCode, stderr]).toEqual([1, expect.stringContaining(told)]);
  });

  test("when the port is somebody else's, also a server's that shares its own", async () => {
    const other = Bun.serve({ hostname: "127.0.0.1", port: 0, reusePort: true, fetch: () => new Response("other") });
    try {
      const { exitCode, stderr } = await start(
        { listen: `tcp://127.0.0.1:${other.port}`, tokenFile: "right" },
        { right: TOKEN },
      );
      expect([exitCode, stderr]).toEqual([1, expect.stringContaining("the port is in use (EADDRINUSE)")]);
    } finally {
      await other.stop(true);
    }
  });

  test("but without control.listen nothing listens for it", () =>
    withHub({ "modules/greet.ts": greet("v1") }, [], async (hub) =>
      expect(hub.program.output()).not.toContain("control on"),
    ));
});

describe("--server", () => {
  test.each([
    [["--server", "127.0.0.1:1"], 2, "needs --token-file FILE"],
    [["--server", "127.0.0.1", "--token-file", "right"], 2, "--server takes HOST:PORT"],
    [["--server", "ftp://a:1", "--token-file", "right"], 2, "--server takes HOST:PORT"],
    [["--server", "a:0", "--token-file", "right"], 2, "--server takes HOST:PORT"],
    [["--server", "a:1", "--token-file", "right", "--control", "x"], 2, "name two servers"],
    [["--server", "unix:x", "--token-file", "right"], 2, "--token-file goes with --server HOST:PORT"],
    [["--token-file", "right"], 2, "--token-file goes with --server HOST:PORT"],
    [["--server", "tcp://a:1", "--tls-ca", "cert.pem", "--token-file", "right"], 2, "say different things"],
    [
      ["--server", "127.0.0.1:1", "--token-file", "right"],
      1,
      "Cannot reach the server at http://127.0.0.1:1 (ECONNREFUSED)",
    ],
    [["--server", "127.0.0.1:1", "--token-file", "nowhere"], 1, "cannot be read (ENOENT)"],
    [["--server", "unix:nowhere.sock"], 1, "there is no control socket at"],
  ] as [string[], number, string][])("%j is told what is wrong with it", async (args, code, told) => {
    const dir = makeProject({ right: TOKEN });
    try {
      chmodSync(join(dir, "right"), 0o600);
      const { exitCode, stderr } = await callProgram(["status", ...args], { cwd: dir });
      expect([exitCode, stderr]).toEqual([code, expect.stringContaining(told)]);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });

  test("unix:PATH is a control socket", () =>
    withHub({ "modules/greet.ts": greet("v1") }, [], async (hub) => {
      for (const server of ["unix:.hrmr/control.sock", `unix://${join(hub.dir, ".hrmr/control.sock")}`]) {
        expect((await run(hub, "status", "--server", server)).exitCode).toBe(0);
      }
    }));

  test("sends the token to nobody else: no proxy, and not where an answer points to", () =>
    withPort("tcp", async (hub, port) => {
      const seen: string[] = [];
      const proxy = Bun.serve({
        hostname: "127.0.0.1",
        port: 0,
        fetch: (request) => {
          seen.push(request.headers.get("Authorization") ?? "");
          return Response.redirect(`http://127.0.0.1:${port}/v1/status`);
        },
      });
      try {
        const env = { HTTP_PROXY: String(proxy.url), http_proxy: String(proxy.url) };
        const remote = ["--token-file", "right", "--server"];
        expect((await runProgram(["status", ...remote, `127.0.0.1:${port}`], { cwd: hub.dir, env })).exitCode).toBe(0);
        expect(seen).toEqual([]);
        const other = await run(hub, "status", ...remote, `127.0.0.1:${proxy.port}`);
        expect([other.exitCode, other.stderr]).toEqual([1, expect.stringContaining("is not the control port of hrmr")]);
      } finally {
        await proxy.stop(true);
      }
    }));
});

test("hrmr validate looks at the token, and warns where it would travel in the clear", async () => {
  const dir = makeProject({ "modules/greet.ts": greet("v1"), right: TOKEN, short: "short" });
  const validate = async (listen: string, tokenFile: string) => {
    writeFileSync(
      join(dir, "hrmr.json"),
      JSON.stringify({ listen: ["tcp://127.0.0.1:0"], control: { listen, tokenFile } }),
    );
    const { exitCode, stdout, stderr } = await runProgram(["validate"], { cwd: dir });
    return [exitCode, stdout + stderr];
  };
  try {
    for (const name of ["right", "short"]) chmodSync(join(dir, name), 0o600);
    expect(await validate("tcp://127.0.0.1:0", "right")).toEqual([0, expect.not.stringContaining("on the way")]);
    expect(await validate("tcp://0.0.0.0:0", "right")).toEqual([
      0,
      expect.stringContaining("others on the network can read the token"),
    ]);
    expect(await validate("tcp://127.0.0.1:0", "short")).toEqual([
      1,
      expect.stringContaining("a token has at least 16"),
    ]);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
