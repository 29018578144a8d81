import { describe, expect, test } from "bun:test";
import type { ConnectionOptions } from "node:tls";
import { RawClient } from "../../support/client";
import { type Hub, moduleSource, reuseHubs, shareHub } from "../../support/hub";
import { askTls, captureHello, pairFiles, serverCertificate, TLS_FLAGS, TlsClient } from "../../support/tls";
import { until } from "../../support/until";

const reused = reuseHubs();

const MODULE = moduleSource(`{
  routes: {
    "PING": () => "PONG\\n",
    "WHO": { framing: "line", handle: (message) => JSON.stringify(message.client) + "\\n" },
    "POOLED": { framing: "line", run: "pool", handle: (message) => JSON.stringify(message.client) + "\\n" },
    "LATE": { framing: "line", handle: async () => { await new Promise((done) => setTimeout(done, 30)); return "late äöü\\n"; } },
    "MUCH": { framing: "line", handle: () => new Uint8Array(5_000_000).fill(120) },
    "SINK": { framing: { length: { prefixBytes: 4 } }, handle: (message) => "got " + message.bytes.length + " " + Bun.hash(message.bytes.subarray(8)) + "\\n" },
    "CHAT": { async connect(connection) { for await (const line of connection.lines()) await connection.write("<" + line + ">\\n"); } },
    "GET /hello": { fetch: () => new Response("hello") },
    "/url": { fetch: (request, context) => Response.json({ url: request.url, clone: request.clone().url, tls: context.client.tls }) },
    "/echo": { fetch: async (request) => new Response(await request.bytes()) },
  },
}`);

const CERTIFICATE = serverCertificate("first.example");
const FILES = { "modules/m.ts": MODULE, ...pairFiles(CERTIFICATE) };
const BOTH = ["--listen", "tcp://127.0.0.1:0", "--listen", "tls://127.0.0.1:0", ...TLS_FLAGS];

const shared = shareHub(FILES, BOTH);

function tlsPort(hub: Hub): number {
  return Number(/:(\d+)$/.exec(hub.program.listening.find((url) => url.startsWith("tls://")) ?? "")?.[1]);
}

async function curl(hub: Hub, ...args: string[]): Promise<{ stdout: string; exitCode: number }> {
  const child = Bun.spawn(["curl", "-sS", "--max-time", "8", "--cacert", "cert.pem", ...args], {
    cwd: hub.dir,
    stdout: "pipe",
    stderr: "ignore",
  });
  return { stdout: await child.stdout.text(), exitCode: await child.exited };
}

const NO_CURL = Bun.which("curl") === null ? "no curl" : "";
const NO_NODE = Bun.which("node") === null ? "no node" : "";
const NO_OPENSSL = Bun.which("openssl") === null ? "no openssl" : "";

describe("TLS", () => {
  test.skipIf(NO_CURL !== "")(
    "curl checks the certificate and is served on a tls:// listener and, by its first byte, on a plain one",
    () =>
      shared(async (hub) => {
        for (const port of [hub.port, tlsPort(hub)]) {
          expect(
            (
              await curl(
                hub,
                "--http1.1",
                "-w",
                " %{http_version} %{ssl_verify_result}",
                `https://localhost:${port}/hello`,
              )
            ).stdout,
          ).toBe("hello 1.1 0");
          expect(JSON.parse((await curl(hub, "--http1.1", `https://127.0.0.1:${port}/url?a=1`)).stdout)).toMatchObject({
            url: `https://127.0.0.1:${port}/url?a=1`,
            clone: `https://127.0.0.1:${port}/url?a=1`,
            tls: { version: "TLSv1.3", alpn: "http/1.1", serverName: null, authorized: false, peer: null },
          });
        }
        expect(
          (await curl(hub, "--resolve", `other.example:${hub.port}:127.0.0.1`, `https://other.example:${hub.port}/`))
            .exitCode,
        ).toBe(60);
        expect((await curl(hub, `http://localhost:${hub.port}/hello`)).stdout).toBe("hello");
        expect((await curl(hub, `http://localhost:${tlsPort(hub)}/hello`)).exitCode).not.toBe(0);
      }),
  );

  test("text commands, framed and pooled routes, and handed-over connections work over it as over plain text", () =>
    shared(async (hub) => {
      for (const port of [hub.port, tlsPort(hub)]) {
        const client = await TlsClient.connect(port, { servername: "First.example" });
        await client.send("PING").waitFor("PONG\n");
        const who = JSON.parse((await client.clear().send("WHO\n").waitFor("}\n")).trim()) as object;
        expect(who).toMatchObject({
          address: "127.0.0.1",
          transport: "tcp",
          isLocal: true,
          tls: { serverName: "first.example" },
        });
        expect(JSON.parse((await client.clear().send("POOLED\n").waitFor("}\n")).trim())).toEqual(who);
        expect(await client.clear().send("RELOAD\n").waitFor("\n")).toStartWith("OK 2 modules unchanged");
        expect(await client.clear().send("NOPE\n").waitFor("\n")).toContain("no module is bound");
        await client.send("CHAT\nab").waitFor("<CHAT>\n");
        await client.send("c\n").waitFor("<abc>\n");
        client.close();
      }
      expect(await (await hub.connect()).send("WHO\n").then((client) => client.waitFor("}"))).toContain('"tls":null');
    }));

  test.skipIf(NO_NODE !== "")(
    "a reply that is not ready yet comes after the client's close_notify, and then the server ends",
    () =>
      shared(async (hub) => {
        // Bun's own client does not read on after it has ended.
        const script = `const s = require("tls").connect({ port: +process.argv[1], rejectUnauthorized: false, allowHalfOpen: true }, () => s.end(process.argv[2]));
        s.pipe(process.stdout); s.on("error", (error) => console.log(error.code));`;
        const ask = (port: number, text: string) =>
          Bun.spawnSync(["node", "-e", script, String(port), text], { timeout: 8000 }).stdout.toString();
        expect(ask(hub.port, "LATE\nPING")).toBe("late äöü\nPONG\n");
        expect(ask(tlsPort(hub), "LATE\nLATE\n")).toBe("late äöü\nlate äöü\n");
        const client = await TlsClient.connect(hub.port);
        expect(await client.send("WHO\nCLOSE\n").waitForEnd()).toEndWith("}\n");
        client.close();
      }),
  );

  test("5 MB go both ways while the reader is slow, byte for byte", () =>
    reused(
      { ...FILES, "hrmr.json": `{ "limits": { "maxBodyBytes": 6000000, "maxMessageBytes": 6000000 } }` },
      // 5 MB take longer than 30 s on a machine that is busy enough.
      [...BOTH, ...["requestMs", "bodyMs", "writeMs"].flatMap((name) => ["--set", `timeouts.${name}=100000`])],
      async (hub) => {
        const body = Buffer.from(Array.from({ length: 5000 }, (_, at) => String(at).padStart(1000, ".")).join(""));
        const response = await fetch(`https://127.0.0.1:${hub.port}/echo`, {
          method: "POST",
          body,
          tls: { rejectUnauthorized: false },
        });
        expect(response.status).toBe(200);
        expect(Buffer.from(await response.bytes()).equals(body)).toBe(true);

        const client = await TlsClient.connect(hub.port);
        client.socket.pause();
        client.send("MUCH\n");
        // Another client is served while this one does not read.
        expect(await askTls(hub.port, "PING")).toBe("PONG\n");
        client.socket.resume();
        expect((await client.waitForBytes(5_000_000)).every((byte) => byte === 120)).toBe(true);
        const head = Buffer.from("SINK0000");
        head.writeUInt32BE(body.length, 4);
        expect(await client.clear().send(head).send(body).waitFor("\n")).toBe(
          `got ${body.length + 8} ${Bun.hash(body)}\n`,
        );
        client.close();
      },
    ));

  test("a ClientHello is answered whole, split at every point and byte by byte", async () => {
    const hello = await captureHello({ servername: "first.example", ALPNProtocols: ["http/1.1"] });
    await shared(async (hub) => {
      const isAnswered = async (port: number, pieces: Uint8Array[]) => {
        const client = await RawClient.connect(port);
        try {
          for (const piece of pieces) {
            await client.send(piece);
            await new Promise((done) => setImmediate(done));
          }
          // A handshake record with a ServerHello.
          expect((await client.waitForBytes(6)).subarray(0, 6).toString("hex")).toMatch(/^1603..(....)02$/);
        } finally {
          client.close();
        }
      };
      const cuts = Array.from({ length: hello.length - 1 }, (_, at) => at + 1);
      for (let at = 0; at < cuts.length; at += 25) {
        await Promise.all(
          cuts.slice(at, at + 25).map((cut) => isAnswered(hub.port, [hello.subarray(0, cut), hello.subarray(cut)])),
        );
      }
      for (const port of [hub.port, tlsPort(hub)])
        await isAnswered(
          port,
          [...hello].map((byte) => Buffer.from([byte])),
        );
    });
  });

  test("a whole conversation works byte by byte, whatever the server's reads hold", () =>
    shared(async (hub) => {
      const proxy = slowProxy(hub.port);
      try {
        const client = await TlsClient.connect(proxy.port, { servername: "first.example" });
        expect(await client.send("NOPE\nLATE\n").waitFor("late äöü\n")).toMatch(/^ERR .*\nlate äöü\n$/);
        client.close();
      } finally {
        proxy.stop();
      }
    }));

  test("TLS after plain text on one connection is not taken up", () =>
    shared(async (hub) => {
      const client = await hub.connect();
      await (await client.send("PING")).waitFor("PONG\n");
      await client.send(await captureHello());
      await client.waitForEnd();
      expect(client.text).toBe("PONG\n");
    }));

  test("TLS inside of TLS is not taken up", () =>
    shared(async (hub) => {
      const hello = await captureHello();
      for (const port of [hub.port, tlsPort(hub)]) {
        const client = await TlsClient.connect(port);
        expect(await client.send(hello).waitForEnd()).toBe("");
        client.close();
      }
    }));

  test("plain text on a tls:// listener, garbage, and a broken ClientHello end that connection and no other", () =>
    shared(async (hub) => {
      const working = await TlsClient.connect(hub.port);
      const hello = await captureHello();
      const broken = Buffer.from(hello);
      // The length of the session id.
      broken[43] = 0xff;
      const cases: [port: number, bytes: Uint8Array, reply: string][] = [
        [tlsPort(hub), Buffer.from("PING\n"), ""],
        [tlsPort(hub), Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), ""],
        [tlsPort(hub), Buffer.from([0x80, 0x2e, 1, 3, 1]), ""],
        [hub.port, broken, "15030100020232"],
        [tlsPort(hub), broken, "15030100020232"],
        [hub.port, Buffer.from([22, 3, 1, 0, 4, 2, 0, 0, 0]), "15030100020232"],
        // A good ClientHello, then bytes that are no record: the engine answers the first and ends; its alert is
        // encrypted.
        [hub.port, Buffer.concat([hello, Buffer.alloc(100, 0xff)]), "1603"],
      ];
      for (const [port, bytes, reply] of cases) {
        const client = await hub.connect(port);
        await client.send(bytes);
        await client.waitForEnd();
        const hex = client.bytes.toString("hex");
        if (reply === "1603") expect(hex).toStartWith(reply);
        else expect(hex).toBe(reply);
        client.close();
      }
      for (const port of [hub.port, tlsPort(hub)]) {
        const gone = await hub.connect(port);
        await gone.send(hello.subarray(0, 100));
        gone.close();
      }
      await working.send("PING").waitFor("PONG\n");
      expect(await askTls(tlsPort(hub), "PING")).toBe("PONG\n");
      working.close();
      await noConnectionsBut(hub, 0);
    }));

  test("a handshake that is never finished, and a client of a tls:// listener that says nothing, are cut at the deadline", () =>
    reused({ ...FILES, "hrmr.json": `{ "tls": { "handshakeTimeoutMs": 200 } }` }, BOTH, async (hub) => {
      const hello = await captureHello();
      const silent = await hub.connect(tlsPort(hub));
      const half = await (await hub.connect(hub.port)).send(hello.subarray(0, 50));
      const unfinished = await (await hub.connect(hub.port)).send(hello);
      const plain = await hub.connect(hub.port);
      const done = await TlsClient.connect(hub.port);
      await Promise.all([silent.waitForEnd(), half.waitForEnd(), unfinished.waitForEnd()]);
      expect([silent.text, half.text]).toEqual(["", ""]);
      // The deadline is neither for clients of plain text nor for finished handshakes.
      await (await plain.send("PING")).waitFor("PONG\n");
      await done.send("PING").waitFor("PONG\n");
      done.close();
    }));

  test("a connection is counted once for its address, and once when it is gone", () =>
    reused({ ...FILES, "hrmr.json": `{ "limits": { "maxConnectionsPerAddress": 3 } }` }, BOTH, async (hub) => {
      const ports = [hub.port, tlsPort(hub), hub.port];
      const clients = await Promise.all(ports.map((port) => TlsClient.connect(port)));
      for (let round = 0; round < 4; round++) {
        for (const port of ports) await expect(TlsClient.connect(port)).rejects.toThrow();
        clients.shift()?.close();
        // One place is free as soon as the server has seen it, and one only.
        clients.push(await connectSoon(ports[round % 2] ?? 0));
      }
      for (const client of clients) client.close();
    }));

  test("a unix listener takes it too", async () => {
    const files = { ...FILES, "hrmr.json": "{}" };
    await reused(
      files,
      ["--listen", "tcp://127.0.0.1:0", "--listen", `unix:///tmp/hrmr-tls-${process.pid}.sock`, ...TLS_FLAGS],
      async () => {
        const path = `/tmp/hrmr-tls-${process.pid}.sock`;
        const reply = await askTls(0, "WHO\n", { path, host: undefined, port: undefined } as ConnectionOptions);
        expect(JSON.parse(reply)).toMatchObject({ address: "unix", transport: "unix", tls: { version: "TLSv1.3" } });
      },
    );
  });

  test("while it is off, a TLS client is dropped as before", () =>
    reused({ "modules/m.ts": MODULE }, [], async (hub) => {
      await expect(TlsClient.connect(hub.port)).rejects.toThrow();
      expect(await hub.ask("PING")).toBe("PONG\n");
    }));

  test("a route that claims a TLS client's first bytes gets them", () =>
    reused(
      {
        ...FILES,
        "modules/raw.ts": moduleSource(`{ routes: { "\\x16\\x03": (message) => "raw " + message.bytes.length } }`),
      },
      BOTH,
      async (hub) => {
        const hello = await captureHello();
        expect(await hub.ask(hello)).toBe(`raw ${hello.length}`);
        expect(await askTls(tlsPort(hub), "PING")).toBe("PONG\n");
      },
    ));

  test.skipIf(NO_OPENSSL !== "")(
    "openssl s_client agrees on the protocol by ALPN, and is refused one that is not spoken",
    () =>
      shared(async (hub) => {
        const client = (...args: string[]) => {
          const command = [
            "openssl",
            "s_client",
            "-connect",
            `127.0.0.1:${hub.port}`,
            "-servername",
            "first.example",
            "-CAfile",
            "cert.pem",
            ...args,
          ];
          const { stdout, stderr } = Bun.spawnSync(command, {
            cwd: hub.dir,
            stdin: Buffer.from("PING"),
            timeout: 8000,
          });
          return `${stdout}${stderr}`;
        };
        const good = client("-alpn", "http/1.1", "-verify_hostname", "first.example");
        expect(good).toContain("ALPN protocol: http/1.1");
        expect(good).toContain("Verify return code: 0 (ok)");
        expect(client("-alpn", "nonsense")).toContain("no application protocol");
        expect(client("-tls1_2")).toContain("Protocol  : TLSv1.2");
      }),
  );
});

describe("versions and names", () => {
  test("a version below the minimum is refused, for all or for one certificate", () =>
    reused(
      {
        ...FILES,
        "hrmr.json": JSON.stringify({
          tls: {
            certFile: "cert.pem",
            keyFile: "key.pem",
            minVersion: "1.3",
            sni: [{ serverNames: ["old.example"], certFile: "cert.pem", keyFile: "key.pem", minVersion: "1.2" }],
          },
        }),
      },
      ["--port", "0"],
      async (hub) => {
        const only12: ConnectionOptions = { maxVersion: "TLSv1.2" };
        await expect(TlsClient.connect(hub.port, only12)).rejects.toThrow(/protocol.version/i);
        const old = await TlsClient.connect(hub.port, { ...only12, servername: "old.example" });
        expect(JSON.parse((await old.send("WHO\n").waitFor("}\n")).trim())).toMatchObject({
          tls: { version: "TLSv1.2", serverName: "old.example" },
        });
        old.close();
        expect(await askTls(hub.port, "PING")).toBe("PONG\n");
      },
    ));

  test("tls.ciphers sets the ciphers of TLS 1.2, and a reload changes them", () => {
    const tls = { certFile: "cert.pem", keyFile: "key.pem" };
    const config = (ciphers: string | null) => JSON.stringify({ tls: { ...tls, ciphers } });
    const [strong, other] = ["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"] as const;
    const spoken = async (port: number, ciphers: string) => {
      const client = await TlsClient.connect(port, { maxVersion: "TLSv1.2", ciphers }).catch(() => null);
      const { name = null } = client?.socket.getCipher() ?? {};
      client?.close();
      return name;
    };
    const both = `${other}:${strong}`;
    return reused({ ...FILES, "hrmr.json": config(strong) }, ["--port", "0"], async (hub) => {
      expect([await spoken(hub.port, both), await spoken(hub.port, strong), await spoken(hub.port, other)]).toEqual([
        strong,
        strong,
        null,
      ]);
      hub.write("hrmr.json", config(other));
      expect(await hub.ask("RELOAD\n")).toStartWith("OK");
      expect([await spoken(hub.port, both), await spoken(hub.port, strong), await spoken(hub.port, other)]).toEqual([
        other,
        null,
        other,
      ]);
      hub.write("hrmr.json", config("nonsense"));
      expect(await hub.ask("RELOAD\n")).toStartWith("ERR");
      expect(await spoken(hub.port, both)).toBe(other);
      // Nothing of it holds for TLS 1.3.
      expect(await askTls(hub.port, "PING")).toBe("PONG\n");
    });
  });

  test("TLS 1.1 is never spoken", () =>
    shared(async (hub) => {
      await expect(TlsClient.connect(hub.port, { minVersion: "TLSv1", maxVersion: "TLSv1.1" })).rejects.toThrow();
      expect(await askTls(hub.port, "PING")).toBe("PONG\n");
    }));

  test("the name a client asks for picks the certificate: exact, then one label of a wildcard, then the default", () => {
    const files = {
      ...FILES,
      ...pairFiles(serverCertificate("a.example"), "a-"),
      ...pairFiles(serverCertificate("wild.example"), "wild-"),
      ...pairFiles(serverCertificate("exact.b.example"), "exact-"),
      "hrmr.json": JSON.stringify({
        tls: {
          certFile: "cert.pem",
          keyFile: "key.pem",
          sni: [
            { serverNames: ["a.example"], certFile: "a-cert.pem", keyFile: "a-key.pem" },
            { serverNames: ["*.b.example", "*.c.example"], certFile: "wild-cert.pem", keyFile: "wild-key.pem" },
            { serverNames: ["exact.b.example"], certFile: "exact-cert.pem", keyFile: "exact-key.pem" },
          ],
        },
      }),
    };
    return reused(files, ["--port", "0"], async (hub) => {
      const served = async (servername: string | undefined) => {
        const client = await TlsClient.connect(hub.port, { servername });
        const { serverName } = client;
        client.close();
        return serverName;
      };
      const cases = {
        "a.example": "a.example",
        "A.EXAMPLE": "a.example",
        "x.b.example": "wild.example",
        "x.c.example": "wild.example",
        "exact.b.example": "exact.b.example",
        "b.example": "first.example",
        "x.y.b.example": "first.example",
        "xb.example": "first.example",
        "other.example": "first.example",
        "a.example.": "a.example",
        "X.B.example.": "wild.example",
      };
      for (const [name, expected] of Object.entries(cases))
        expect(`${name} ${await served(name)}`).toBe(`${name} ${expected}`);
      expect(await served(undefined)).toBe("first.example");
      const dotted = await TlsClient.connect(hub.port, { servername: "A.example." });
      expect(JSON.parse((await dotted.send("WHO\n").waitFor("}\n")).trim())).toMatchObject({
        tls: { serverName: "a.example" },
      });
      dotted.close();
    });
  });

  test.each(["TLSv1.2", "TLSv1.3"] as const)("a %s session is resumed", (version) =>
    shared(async (hub) => {
      const options = { minVersion: version, maxVersion: version };
      const first = await TlsClient.connect(hub.port, options);
      await first.send("PING").waitFor("PONG\n");
      const session = await first.waitForSession();
      first.close();
      const second = await TlsClient.connect(hub.port, { ...options, session });
      expect(second.socket.isSessionReused()).toBe(true);
      await second.send("PING").waitFor("PONG\n");
      second.close();
    }),
  );
});

/** Forwards both ways one byte at a time. */
function slowProxy(target: number): { port: number; stop(): void } {
  type State = { peer: Bun.Socket<State> | null; queue: number[]; isRunning: boolean; hasEnded: boolean };
  const state = (): State => ({ peer: null, queue: [], isRunning: false, hasEnded: false });
  const pump = async (from: State) => {
    if (from.isRunning || from.peer === null) return;
    from.isRunning = true;
    while (from.queue.length > 0) {
      from.peer.write(Buffer.from([from.queue.shift() as number]));
      await new Promise((done) => setImmediate(done));
    }
    from.isRunning = false;
    if (from.hasEnded) from.peer.shutdown();
  };
  const socket: Bun.SocketHandler<State> = {
    data(socket, bytes) {
      socket.data.queue.push(...bytes);
      void pump(socket.data);
    },
    end(socket) {
      socket.data.hasEnded = true;
      void pump(socket.data);
    },
    close(socket) {
      socket.data.peer?.end();
    },
    error() {},
  };
  const listener = Bun.listen<State>({
    hostname: "127.0.0.1",
    port: 0,
    allowHalfOpen: true,
    socket: {
      ...socket,
      open(client) {
        client.data = state();
        const data = { ...state(), peer: client };
        void Bun.connect<State>({ hostname: "127.0.0.1", port: target, allowHalfOpen: true, data, socket }).then(
          (server) => {
            client.data.peer = server;
            void pump(client.data);
          },
        );
      },
    },
  });
  return { port: listener.port, stop: () => listener.stop(true) };
}

/** Tries until there is room for one more. */
async function connectSoon(port: number): Promise<TlsClient> {
  return await until("the server has room, since a client left", () => TlsClient.connect(port).catch(() => null));
}

/** Waits until the server knows of `count` connections besides the one that asks. */
async function noConnectionsBut(hub: Hub, count: number): Promise<void> {
  await until(`${count} connections are open`, async () => (await hub.status()).openConnections - 1 === count);
}
