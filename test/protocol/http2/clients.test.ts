/** The HTTP/2 clients that people have at hand: curl, nghttp, h2load and Node, with prior knowledge and by ALPN. */
import { describe, expect, test } from "bun:test";
import { readdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Hub, moduleSource, reuseHubs } from "../../support/hub";
import { Http2Client, withHttp2 } from "../../support/http2";
import { pairFiles, serverCertificate, TLS_FLAGS } from "../../support/tls";
import { until, UNTIL_MS } from "../../support/until";

const reused = reuseHubs();

const WEB = moduleSource(`{ routes: {
  "/hello": { fetch: () => new Response("hello VERSION") },
  "/wait": { fetch: async () => { await Bun.sleep(1); return new Response("waited VERSION"); } },
  "/large": { fetch: () => new Response(new Uint8Array(5_000_000).fill(120)) },
  "POST /length": { fetch: async (request) => new Response(String((await request.bytes()).length)) },
  "/seen": { fetch: (request, { client }) => Response.json({ url: request.url, clone: request.clone().url, tls: client.tls, port: client.port }) },
} }`);
const FILES = { "modules/web.ts": WEB, "hrmr.json": '{ "limits": { "maxBodyBytes": 6000000 } }' };
const SECURE = { ...FILES, ...pairFiles(serverCertificate("first.example")) };

async function run(hub: Hub, ...command: string[]): Promise<string> {
  const child = Bun.spawn(command, {
    cwd: hub.dir,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: UNTIL_MS,
  });
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  await child.exited;
  return out + err;
}

const without = (tool: string): boolean => Bun.which(tool) === null;
const PRIOR = "--http2-prior-knowledge";

describe.skipIf(without("curl"))("curl (skipped where it is not installed)", () => {
  test("downloads, uploads and asks for heads with prior knowledge", () =>
    reused(FILES, [], async (hub) => {
      expect(await run(hub, "curl", "-sS", PRIOR, "-w", " %{http_version}", `${hub.url}/hello`)).toBe(
        "hello VERSION 2",
      );
      expect(
        await run(hub, "curl", "-sS", PRIOR, "-o", "/dev/null", "-w", "%{size_download}", `${hub.url}/large`),
      ).toBe("5000000");
      writeFileSync(join(hub.dir, "large.bin"), Buffer.alloc(5_000_000, "abc"));
      expect(await run(hub, "curl", "-sS", PRIOR, "--data-binary", "@large.bin", `${hub.url}/length`)).toBe("5000000");
      expect(
        await run(
          hub,
          "curl",
          "-sS",
          PRIOR,
          "-X",
          "POST",
          "-T",
          "large.bin",
          "--limit-rate",
          "50M",
          `${hub.url}/length`,
        ),
      ).toBe("5000000");
      expect(await run(hub, "curl", "-sSI", PRIOR, `${hub.url}/hello`)).toMatch(/^HTTP\/2 200 \r\n/);
    }));

  test("speaks HTTP/2 over TLS by ALPN, on the plain port too; the handler sees https, and what the handshake told", () =>
    reused(SECURE, [...TLS_FLAGS, "--listen", "tcp://127.0.0.1:0", "--listen", "tls://127.0.0.1:0"], async (hub) => {
      const ports = hub.program.listening.map((url) => Number(/\d+$/.exec(url)?.[0]));
      expect(ports.length).toBe(2);
      for (const port of ports) {
        const base = `https://127.0.0.1:${port}`;
        expect(await run(hub, "curl", "-sS", "--cacert", "cert.pem", "-w", " %{http_version}", `${base}/hello`)).toBe(
          "hello VERSION 2",
        );
        expect(JSON.parse(await run(hub, "curl", "-sSk", `${base}/seen?a=1`))).toMatchObject({
          url: `${base}/seen?a=1`,
          clone: `${base}/seen?a=1`,
          tls: { version: "TLSv1.3", alpn: "h2" },
        });
        expect(await run(hub, "curl", "-sSk", "-o", "/dev/null", "-w", "%{size_download}", `${base}/large`)).toBe(
          "5000000",
        );
        expect(await run(hub, "curl", "-sSk", "--http1.1", "-w", " %{http_version}", `${base}/hello`)).toBe(
          "hello VERSION 1.1",
        );
      }
    }));

  test("is offered no HTTP/2 by ALPN when it is off", () =>
    reused({ ...SECURE, "hrmr.json": '{ "http2": { "enabled": false } }' }, TLS_FLAGS, async (hub) => {
      const url = `https://127.0.0.1:${hub.port}/hello`;
      expect(await run(hub, "curl", "-sSk", "-w", " %{http_version}", url)).toBe("hello VERSION 1.1");
    }));
});

describe.skipIf(without("nghttp") || without("h2load"))(
  "nghttp and h2load (skipped where they are not installed)",
  () => {
    test("nghttp gets many resources over one connection", () =>
      reused(FILES, [], async (hub) => {
        const out = await run(hub, "nghttp", "-ns", `${hub.url}/hello`, `${hub.url}/large`, `${hub.url}/wait`);
        expect(out.match(/ 200 +(13|4\.8M|4M|14) /g)?.length ?? out).toBe(3);
      }));

    test("no stream fails while the module is reloaded under load", () =>
      reused(FILES, [], async (hub) => {
        for (let round = 0; round < 4; round++) {
          const load = run(hub, "h2load", "-c8", "-m32", "-n", "5000", `${hub.url}/hello`, `${hub.url}/wait`);
          for (const version of [`${round}a`, `${round}b`]) {
            hub.write("modules/web.ts", WEB.replaceAll("VERSION", version));
            expect(await hub.ask("RELOAD")).toMatch(/^OK/);
            const { body } = await withHttp2(hub.url, (client) => client.ask("/hello"));
            expect(body.toString()).toBe(`hello ${version}`);
          }
          expect(await load).toContain("5000 succeeded, 0 failed, 0 errored, 0 timeout");
        }
      }));
  },
);

test.skipIf(without("node"))("Node's client (skipped where there is no node) gets and posts", () =>
  reused(FILES, [], async (hub) => {
    writeFileSync(
      join(hub.dir, "client.mjs"),
      `import http2 from "node:http2";
       const client = http2.connect(process.argv[2]);
       const ask = (headers, body) => new Promise((resolve, reject) => {
         const stream = client.request(headers, { endStream: body === undefined });
         let text = "";
         stream.setEncoding("utf8").on("data", (part) => (text += part)).on("end", () => resolve(text)).on("error", reject);
         if (body !== undefined) stream.end(body);
       });
       const replies = await Promise.all([ask({ ":path": "/hello" }), ask({ ":path": "/length", ":method": "POST" }, Buffer.alloc(3_000_000))]);
       console.log(replies.join());
       client.close();`,
    );
    expect(await run(hub, "node", "client.mjs", hub.url)).toBe("hello VERSION,3000000\n");
  }),
);

test("a module that is replaced exclusively is unavailable over HTTP/2 as over HTTP/1.1", () =>
  reused(
    {
      "modules/only.ts":
        moduleSource(`{ reload: "exclusive", routes: { "/only": { fetch: () => new Response("VERSION") } },
        dispose: async () => { console.log("leaving"); await Bun.sleep(300); } }`),
    },
    [],
    (hub) =>
      withHttp2(hub.url, async (client) => {
        expect((await client.ask("/only")).body.toString()).toBe("VERSION");
        hub.write(
          "modules/only.ts",
          moduleSource(`{ reload: "exclusive", routes: { "/only": { fetch: () => new Response("next") } } }`),
        );
        const reloaded = hub.ask("RELOAD");
        await hub.program.waitFor("leaving");
        const { status, headers, body } = await client.ask("/only");
        const http1 = await fetch(`${hub.url}/only`);
        expect([status, headers["retry-after"], body.toString()]).toEqual([503, "1", await http1.text()]);
        expect(http1.status).toBe(503);
        expect(await reloaded).toMatch(/^OK only v2/);
        expect((await client.ask("/only")).body.toString()).toBe("next");
      }),
  ));

test("HTTP/2 opens no port and no descriptor besides its connection, and leaves nothing in the temporary folder", () =>
  reused(FILES, [], async (hub) => {
    const found = () => readdirSync(tmpdir()).filter((name) => name.startsWith("hrmr-h2-"));
    const descriptors = () => readdirSync(`/proc/${hub.program.pid}/fd`).length;
    const before = new Set(found());
    expect((await fetch(`${hub.url}/hello`, { keepalive: false })).status).toBe(200);
    await until("the connection to be closed", async () => (await hub.status()).connections.open === 1);
    const open = descriptors();
    const clients = Array.from({ length: 10 }, () => new Http2Client(hub.url));
    try {
      for (const client of clients) await client.ask("/hello");
      // A file that the server reads or writes meanwhile has a descriptor for a moment.
      await until("no descriptor besides the connections", () => descriptors() - open <= clients.length);
      expect(found().filter((name) => !before.has(name))).toEqual([]);
    } finally {
      for (const client of clients) client.destroy();
    }
  }));
