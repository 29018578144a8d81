/** Clients that leave: the module's signal, its error count, and the reply to a client that has only half-closed. */
import { connect as connectHttp2, constants } from "node:http2";
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Hub, makeProject, moduleSource } from "../../support/hub";
import { startProgram } from "../../support/program";
import { pairFiles, serverCertificate, TLS_FLAGS, TlsClient } from "../../support/tls";
import { until } from "../../support/until";

const PAGES = (run: string, host: string) => `
    "GET /${host}/throws": { run: "${run}", fetch: async (request) => {
      await new Promise((resolve) => request.signal.addEventListener("abort", resolve, { once: true }));
      request.signal.throwIfAborted();
    } },
    "GET /${host}/own-error": { run: "${run}", fetch: async (request) => {
      await new Promise((resolve) => request.signal.addEventListener("abort", resolve, { once: true }));
      throw new Error("the search was cancelled");
    } },
    "GET /${host}/bad-gateway": { run: "${run}", fetch: async (request) => {
      await new Promise((resolve) => request.signal.addEventListener("abort", resolve, { once: true }));
      return new Response("it was cancelled", { status: 502 });
    } },
    "GET /${host}/late": { run: "${run}", timeoutMs: 1500, fetch: async (request) => { await new Promise(() => {}); } },
    "POST /${host}/upload": { run: "${run}", fetch: async (request) => new Response(String((await request.text()).length)) },
    "GET /${host}/broken": { run: "${run}", fetch: async () => { await Bun.sleep(1); throw new Error("broken by itself"); } },
    "GET /${host}/finite": { run: "${run}", fetch: async () => { await Bun.sleep(60); return new Response("a whole answer"); } },
    "GET /${host}/told": { run: "${run}", fetch: async () => {
      await Bun.sleep(30);
      async function* parts() { yield "twelve"; await Bun.sleep(60); yield " bytes"; }
      return new Response(parts(), { headers: { "Content-Length": "12" } });
    } },
    "GET /${host}/events": { run: "${run}", fetch: async (request) => {
      return new Response(new ReadableStream({ start: (c) => c.enqueue(": hello\\n\\n"), cancel() { console.log("${host} events cancelled"); } }), { headers: { "content-type": "text/event-stream" } });
    } },
    "GET /${host}/quiet": { run: "${run}", fetch: async (request) => {
      return new Response(new ReadableStream({ start: (c) => c.enqueue("part"), cancel() { console.log("${host} quiet cancelled"); } }));
    } },`;

const HOSTS = { inline: "inline", pool: "pool", process: "process" } as const;
const modules = Object.fromEntries(
  Object.entries(HOSTS).map(([host, run]) => [
    `modules/${host}m.ts`,
    moduleSource(`{ routes: {${PAGES(run, host)}\n } }`),
  ]),
);

let hub: Hub;
beforeAll(async () => {
  const dir = makeProject({ ...modules, ...pairFiles(serverCertificate()) });
  hub = new Hub(dir, await startProgram(["--port", "0", ...TLS_FLAGS], { cwd: dir }));
});
afterAll(() => hub.stop());

interface Figures {
  readonly calls: number;
  readonly errors: number;
  readonly inFlight: number;
}

async function figuresOf(host: string): Promise<Figures> {
  const found = (await hub.status()).modules.find(({ name }) => name === `${host}m`);
  if (found === undefined) throw new Error(`There is no module ${host}m.`);
  return found;
}

/** A client that has asked for something: how it leaves, and how its resources are closed. */
interface Asked {
  leave(): void;
  close(): void;
}

type Ask = (method: string, path: string) => Promise<Asked>;

const head = (method: string, path: string) =>
  `${method} ${path} HTTP/1.1\r\nHost: a\r\n${method === "POST" ? "Content-Length: 1000\r\n\r\nabc" : "\r\n"}`;

/** By name, how clients leave. */
const WAYS: Record<string, Ask> = {
  "HTTP/1.1, by FIN": async (method, path) => {
    const client = await hub.connect();
    await client.send(head(method, path));
    return { leave: () => void client.finish(), close: () => client.close() };
  },
  "HTTP/1.1, by a reset": async (method, path) => {
    const client = await hub.connect();
    await client.send(head(method, path));
    return { leave: () => client.close(), close: () => {} };
  },
  "HTTP/1.1 over TLS": async (method, path) => {
    const client = await TlsClient.connect(hub.port);
    client.socket.write(head(method, path));
    return { leave: () => void client.socket.end(), close: () => void client.socket.destroy() };
  },
  "HTTP/2, by RST_STREAM": async (method, path) => {
    const session = connectHttp2(hub.url);
    session.on("error", () => {});
    const stream = session.request({ ":method": method, ":path": path }, { endStream: method === "GET" });
    stream.on("error", () => {});
    if (method === "POST") stream.write("abc");
    return { leave: () => stream.close(constants.NGHTTP2_CANCEL), close: () => session.destroy() };
  },
  "HTTP/2, with its connection": async (method, path) => {
    const session = connectHttp2(hub.url);
    session.on("error", () => {});
    const stream = session.request({ ":method": method, ":path": path }, { endStream: method === "GET" });
    stream.on("error", () => {});
    if (method === "POST") stream.write("abc");
    return { leave: () => session.destroy(), close: () => {} };
  },
};

for (const host of Object.keys(HOSTS)) {
  for (const [way, ask] of Object.entries(WAYS)) {
    test(`a call whose client leaves (${way}) is no failure of its module, ${host}`, async () => {
      const before = await figuresOf(host);
      const logged = hub.program.output().length;
      for (const path of ["throws", "own-error", "bad-gateway", "late", "upload"]) {
        const asked = await ask(path === "upload" ? "POST" : "GET", `/${host}/${path}`);
        await until(`the call of ${path} to begin`, async () => (await figuresOf(host)).inFlight === 1);
        asked.leave();
        await until(`the call of ${path} to be over`, async () => (await figuresOf(host)).inFlight === 0);
        asked.close();
      }
      expect((await figuresOf(host)).errors - before.errors).toBe(0);
      // The handler's own failure is one, for a client that waits.
      expect((await fetch(`${hub.url}/${host}/broken`)).status).toBe(500);
      await hub.program.waitFor("broken by itself");
      expect((await figuresOf(host)).errors - before.errors).toBe(1);
      const errors = hub.program
        .output()
        .slice(logged)
        .split("\n")
        .filter((line) => / (error|fatal) /.test(line));
      expect(errors.filter((line) => !line.includes("broken by itself"))).toEqual([]);
    });
  }

  test(`a client that half-closes gets its answer, if that has an end, ${host}`, async () => {
    for (const [path, body] of [
      ["finite", "a whole answer"],
      ["told", "twelve bytes"],
    ] as const) {
      const client = await hub.connect();
      await client.send(head("GET", `/${host}/${path}`));
      const reply = await client.finish().waitForEnd();
      expect(reply).toStartWith("HTTP/1.1 200 ");
      expect(reply).toEndWith(`\r\n\r\n${body}`);
    }
    const upload = await hub.connect();
    await upload.send(`POST /${host}/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n`);
    await upload.send("u".repeat(200_000));
    expect(await upload.finish().waitForEnd()).toEndWith("\r\n\r\n200000");
    const pipelined = await hub.connect();
    await pipelined.send(head("GET", `/${host}/finite`).repeat(3));
    expect((await pipelined.finish().waitForEnd()).match(/a whole answer/g)?.length).toBe(3);
  });

  for (const path of ["events", "quiet"]) {
    for (const isSecure of [false, true]) {
      test(`a stream without an end (${path}) is cancelled when its client ends${isSecure ? ", over TLS" : ""}, ${host}`, async () => {
        const logged = hub.program.output().length;
        const open = (await hub.status()).connections.open;
        if (isSecure) {
          const client = await TlsClient.connect(hub.port);
          client.socket.write(head("GET", `/${host}/${path}`));
          await client.waitFor(path === "events" ? "hello" : "part");
          client.socket.end();
        } else {
          const client = await hub.connect();
          await client.send(head("GET", `/${host}/${path}`));
          await client.waitFor(path === "events" ? "hello" : "part");
          await client.finish().waitForEnd();
        }
        await until("the stream to be cancelled", () =>
          hub.program.output().slice(logged).includes(`${host} ${path} cancelled`),
        );
        await until("nothing to be under way", async () => (await figuresOf(host)).inFlight === 0);
        await until("the connection to be closed", async () => (await hub.status()).connections.open <= open);
      });
    }
  }
}

test("an event stream whose client has gone does not keep an old version", async () => {
  const client = await hub.connect();
  await client.send(head("GET", "/inline/events"));
  await client.waitFor("hello");
  hub.write("modules/inlinem.ts", `${modules["modules/inlinem.ts"]}// changed\n`);
  expect(await hub.ask("RELOAD\n")).toContain("OK");
  expect((await hub.status()).modules.find(({ name }) => name === "inlinem")?.draining).toHaveLength(1);
  client.finish();
  await until("the old version to be gone", async () => {
    return (await hub.status()).modules.find(({ name }) => name === "inlinem")?.draining.length === 0;
  });
});
