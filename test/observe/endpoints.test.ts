/** /health, /ready, /stats and /metrics: their answers, their clients, and the modules that they come before. */
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import type { BoundRoute } from "../../src/module/route";
import type { Readiness, ServerStatus } from "../../src/observe/snapshot";
import { Endpoints } from "../../src/server/endpoints";
import { readExposition } from "../support/exposition";
import { withHttp2 } from "../support/http2";
import { type Hub, moduleSource, reuseHubs, shareHub, withHub } from "../support/hub";
import { talk } from "../support/raw-client";

const reused = reuseHubs();

const GREET = moduleSource(
  `{ routes: { "GET /page": { fetch: () => new Response("page") }, "GREET": () => "hello" } }`,
);
const FILES = { "modules/greet.ts": GREET };
const withGreet = shareHub(FILES);
const PATHS = ["/health", "/ready", "/stats", "/metrics"];
const http = (policies: Record<string, string>): string => JSON.stringify({ http: policies });
const everything = (policy: string): string => http(Object.fromEntries(PATHS.map((path) => [path.slice(1), policy])));

const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
const outer = addresses.find(({ internal, family }) => !internal && family === "IPv4")?.address ?? "";
/** By loopback everybody is of this machine: where there is no other address, nobody can come from elsewhere. */
const fromElsewhere = test.skipIf(outer === "");

async function bodyOf<T>(hub: Hub, path: string): Promise<T> {
  return (await (await fetch(hub.url + path)).json()) as T;
}

test("each answers GET and HEAD, over HTTP/1.1 and HTTP/2, and is not to be stored", () =>
  withGreet(async (hub) => {
    for (const path of PATHS) {
      const [get, head] = await Promise.all([fetch(hub.url + path), fetch(hub.url + path, { method: "HEAD" })]);
      expect([path, get.status, get.headers.get("cache-control")]).toEqual([path, 200, "no-store"]);
      expect(get.headers.get("content-type")).toBe(
        path === "/metrics" ? "text/plain; version=0.0.4; charset=utf-8" : "application/json;charset=utf-8",
      );
      expect([path, head.status, await head.text()]).toEqual([path, 200, ""]);
      expect((await fetch(`${hub.url + path}?x=1`)).status).toBe(200);
      expect((await fetch(hub.url + path, { method: "POST", body: "x" })).status).not.toBe(200);
    }
    await withHttp2(hub.url, async (client) => {
      for (const path of PATHS) {
        const reply = await client.ask(path);
        expect([path, reply.status, reply.headers["cache-control"], reply.body.length > 0]).toEqual([
          path,
          200,
          "no-store",
          true,
        ]);
        expect((await client.ask(path, { method: "HEAD" })).body.length).toBe(0);
      }
    });
  }));

test("/health says that the server lives, /stats is what STATUS tells, /metrics is what Prometheus reads", () =>
  withGreet(async (hub) => {
    expect(await bodyOf<object>(hub, "/health")).toMatchObject({ status: "ok" });
    const stats = await bodyOf<ServerStatus>(hub, "/stats");
    expect(Object.keys(stats)).toEqual(Object.keys(JSON.parse(await hub.ask("STATUS\n")) as ServerStatus));
    expect(stats).toMatchObject({ state: "serving", wantedProcesses: 1, pid: hub.program.pid });
    expect(stats.processes).toHaveLength(1);
    expect(stats.processes[0]?.memoryBytes).toBeGreaterThan(1e6);
    const metrics = readExposition(await (await fetch(`${hub.url}/metrics`)).text());
    expect(metrics.get("hrmr_process_open_fds")?.samples[0]?.value).toBeGreaterThan(5);
    expect(metrics.get("hrmr_process_cpu_seconds_total")?.samples[0]?.value).toBeGreaterThan(0);
    expect(metrics.get("hrmr_ready")?.samples[0]?.value).toBe(1);
  }));

test("/ready refuses while a module has never loaded, naming it, and not while an older version serves", () =>
  reused({ ...FILES, "modules/chat.ts": "export default 1 +;" }, [], async (hub) => {
    const first = await fetch(`${hub.url}/ready`);
    expect(first.status).toBe(503);
    const readiness = (await first.json()) as Readiness;
    expect(readiness.reasons).toHaveLength(1);
    expect(readiness.reasons[0]).toStartWith('module "chat" failed to load: modules/chat.ts:1:');
    expect((await bodyOf<ServerStatus>(hub, "/stats")).state).toBe("degraded");
    // Its lines are not the server's errors.
    expect((await hub.status()).errors).toBe(0);
    hub.write("modules/chat.ts", moduleSource(`{ routes: { "CHAT": () => "" } }`));
    await hub.ask("RELOAD\n");
    expect((await fetch(`${hub.url}/ready`)).status).toBe(200);
    hub.write("modules/chat.ts", "export default 2 +;");
    await hub.ask("RELOAD\n");
    const degraded = await fetch(`${hub.url}/ready`);
    expect(degraded.status).toBe(200);
    expect(((await degraded.json()) as Readiness).modules).toContainEqual({
      name: "chat",
      state: "degraded",
      generation: 1,
    });
  }));

test("what is off is as if it were not there, and a reload of the config changes it", () =>
  reused({ ...FILES, "hrmr.json": everything("off") }, [], async (hub) => {
    for (const path of PATHS) expect([path, (await fetch(hub.url + path)).status]).toEqual([path, 404]);
    hub.write("hrmr.json", http({ health: "off", ready: "local" }));
    expect(await hub.ask("RELOAD\n")).toStartWith("OK ");
    expect((await fetch(`${hub.url}/health`)).status).toBe(404);
    for (const path of PATHS.slice(1)) expect([path, (await fetch(hub.url + path)).status]).toEqual([path, 200]);
  }));

test("a module that claims exactly such a path has it, told once; one that takes all paths has none", () => {
  const own = moduleSource(`{ routes: {
    "GET /metrics": { fetch: () => new Response("mine") },
    "/stats": { fetch: ({ method }) => new Response("all of " + method) },
    "POST /ready": { fetch: () => new Response("posted") },
    "GET /*": { fetch: () => new Response("any") },
  } }`);
  return withHub({ "modules/own.ts": own }, [], async (hub) => {
    const told = /\/metrics is answered by the module "own", and not by the server/g;
    const text = async (path: string, method = "GET"): Promise<string> =>
      (await fetch(hub.url + path, { method })).text();
    expect([await text("/metrics"), await text("/stats"), await text("/stats", "PUT")]).toEqual([
      "mine",
      "all of GET",
      "all of PUT",
    ]);
    expect([await text("/ready", "POST"), await text("/other")]).toEqual(["posted", "any"]);
    expect(JSON.parse(await text("/ready"))).toMatchObject({ isReady: true });
    expect(JSON.parse(await text("/health"))).toMatchObject({ status: "ok" });
    hub.write("modules/own.ts", `${own}\nexport const more = 1;\n`);
    expect(await hub.ask("RELOAD\n")).toStartWith("OK ");
    expect(hub.program.output().match(told)).toHaveLength(1);
    // It is the server's again when nobody else wants it.
    hub.write("modules/own.ts", GREET);
    expect(await hub.ask("RELOAD\n")).toStartWith("OK ");
    expect(readExposition(await text("/metrics")).has("hrmr_up")).toBe(true);
  });
});

fromElsewhere("strangers see what is for anyone, and of /ready no more than the answer", () => {
  const any = moduleSource(`{ routes: { "GET /*": { fetch: () => new Response("any") } } }`);
  const files = { "modules/any.ts": any, "modules/chat.ts": "export default 1 +;" };
  return reused(files, ["--listen", "tcp://0.0.0.0:0"], async (hub) => {
    const there = `http://${outer}:${hub.port}`;
    const text = async (url: string): Promise<string> => (await fetch(url)).text();
    for (const path of ["/stats", "/metrics"]) expect(await text(there + path)).toBe("any");
    expect(JSON.parse(await text(`${there}/health`))).toMatchObject({ status: "ok" });
    const ready = await fetch(`${there}/ready`);
    expect([ready.status, await ready.json()]).toEqual([503, { status: "not ready" }]);
    // The same URL for another client, over one table of known URLs.
    await withHttp2(there, async (client) =>
      expect((await client.ask("/stats", { headers: { host: "localhost" } })).body.toString()).toBe("any"),
    );
    await withHttp2(hub.url, async (client) => {
      expect(
        JSON.parse((await client.ask("/stats", { headers: { host: "localhost" } })).body.toString()),
      ).toHaveProperty("pid");
    });
  });
});

const NAMED = {
  "modules/any.ts": moduleSource(`{ routes: { "GET /*": { fetch: () => new Response("any") } } }`),
  "modules/chat.ts": "export default 1 +;",
  "hrmr.json": JSON.stringify({ http: { localNames: ["Hub.Example", "[fd00::1]"] } }),
};

const withNamed = shareHub(NAMED);

const LOCAL = [
  "localhost",
  "localhost:8080",
  "LOCALHOST.",
  "a.b.localhost:1",
  "127.0.0.1:80",
  "127.255.3.4",
  "[::1]:9",
  "hub.example",
  "hub.example.:81",
  "[fd00::1]:8",
];
const FOREIGN = [
  "rebind.example:8080",
  "localhost.example",
  "localhost.example:8080",
  "xlocalhost",
  "127.0.0.1.example",
  "128.0.0.1",
  "10.0.0.1:8080",
  "0.0.0.0:8080",
  "[::]",
  "[::2]:80",
  "2130706433",
  "a.hub.example",
  "hub.example.evil",
];

test("what is for local clients is there under local names only, and for no page of another site", () =>
  withNamed(async (hub) => {
    const ask = async (path: string, lines: string): Promise<string> => {
      const [reply] = await talk(hub.port, `GET ${path} HTTP/1.1\r\n${lines}Connection: close\r\n\r\n`);
      return reply?.body ?? "";
    };
    const isThere = async (path: string, lines: string): Promise<boolean> => (await ask(path, lines)) !== "any";
    for (const path of ["/stats", "/metrics"]) {
      for (const host of LOCAL)
        expect([path, host, await isThere(path, `Host: ${host}\r\n`)]).toEqual([path, host, true]);
      for (const host of FOREIGN)
        expect([path, host, await isThere(path, `Host: ${host}\r\n`)]).toEqual([path, host, false]);
      for (const origin of ["http://localhost:8080", "https://LOCALHOST:8080"]) {
        expect([origin, await isThere(path, `Host: localhost:8080\r\nOrigin: ${origin}\r\n`)]).toEqual([origin, true]);
      }
      for (const origin of [
        "http://evil.example",
        "null",
        "http://localhost",
        "http://localhost:3000",
        "file://localhost:8080",
        "http://localhost:8080.evil.example",
      ]) {
        expect([origin, await isThere(path, `Host: localhost:8080\r\nOrigin: ${origin}\r\n`)]).toEqual([origin, false]);
      }
      expect(
        await isThere(path, "Host: localhost\r\nOrigin: http://localhost\r\nOrigin: http://evil.example\r\n"),
      ).toBe(false);
    }
    // An absolute target's authority is the Host (RFC 9112 section 3.2.2), whatever the field says.
    expect(await isThere("http://rebind.example/stats", "Host: localhost\r\n")).toBe(false);
    expect(await isThere("http://localhost/stats", "Host: rebind.example\r\n")).toBe(true);
    expect(await (await fetch(`${hub.url}/stats`)).json()).toHaveProperty("pid");
    await withHttp2(hub.url, async (client) => {
      const there = async (headers: Record<string, string>) =>
        (await client.ask("/stats", { headers })).body.toString() !== "any";
      expect(await there({ ":authority": "rebind.example" })).toBe(false);
      expect(await there({ ":authority": "a.localhost:81" })).toBe(true);
      expect(await there({ ":authority": "localhost", origin: "http://evil.example" })).toBe(false);
    });
  }));

test("/health and /ready answer any Host; names of modules are told under local names only", () =>
  withNamed(async (hub) => {
    const ask = async (path: string, host: string): Promise<unknown> => {
      const [reply] = await talk(hub.port, `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
      return JSON.parse(reply?.body ?? "");
    };
    for (const host of [...LOCAL, ...FOREIGN])
      expect([host, await ask("/health", host)]).toMatchObject([host, { status: "ok" }]);
    for (const host of LOCAL) expect(await ask("/ready", host)).toHaveProperty("reasons");
    for (const host of FOREIGN) expect([host, await ask("/ready", host)]).toEqual([host, { status: "not ready" }]);
  }));

test("what is for anyone is there under any name, and a unix socket is no way round the names", () => {
  const files = { ...NAMED, "hrmr.json": http({ stats: "anyone", metrics: "local" }) };
  const folder = mkdtempSync(join(tmpdir(), "hrmr-endpoints-"));
  const unix = join(folder, "hub.sock");
  return reused(files, ["--listen", "tcp://127.0.0.1:0", "--listen", `unix://${unix}`], async () => {
    const ask = (path: string, host: string) => fetch(`http://${host}${path}`, { unix });
    expect(await (await ask("/stats", "rebind.example")).json()).toHaveProperty("pid");
    expect(await (await ask("/metrics", "rebind.example")).text()).toBe("any");
    expect(readExposition(await (await ask("/metrics", "localhost")).text()).has("hrmr_up")).toBe(true);
  }).finally(() => rmSync(folder, { recursive: true }));
});

function readyOf(sources: Partial<ConstructorParameters<typeof Endpoints>[0]>): Promise<Response> {
  const endpoints = new Endpoints({
    policies: { health: "anyone", ready: "anyone", stats: "off", metrics: "off", localNames: [] },
    version: "1",
    isDraining: () => false,
    uptimeSeconds: () => 1,
    snapshots: () => Promise.reject(new Error("nobody there")),
    note: () => {},
    ...sources,
  });
  const route = endpoints.beside([]).get("/ready")?.route as BoundRoute;
  const handler = route.handler as unknown as (request: Request, context: object) => Promise<Response>;
  return handler(new Request("http://localhost/ready"), { client: { isLocal: true } });
}

test("/ready refuses during a drain, and when the master does not answer", async () => {
  const [drains, alone] = await Promise.all([readyOf({ isDraining: () => true }), readyOf({})]);
  expect([drains.status, ((await drains.json()) as Readiness).reasons]).toEqual([503, ["draining"]]);
  expect([alone.status, ((await alone.json()) as Readiness).reasons]).toEqual([503, ["no server process answers"]]);
});
