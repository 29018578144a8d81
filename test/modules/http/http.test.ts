/** modules/http: what a browser, a proxy and an attacker would see of a folder. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import http from "../../../modules/http";
import type { FetchRoute, ModuleContext, RequestContext } from "../../../src/module/contract";
import { until } from "../../support/until";

const LARGE_BYTES = 3_000_000;
const OLD = 1_600_000_000;
const OLD_DATE = "Sun, 13 Sep 2020 12:26:40 GMT";

let base: string;
let root: string;

/** Writes a file that was last changed long ago, so that it has a strong tag and may be cached. */
function put(path: string, content: string | Uint8Array, seconds = OLD): string {
  const file = join(root, path);
  mkdirSync(join(file, ".."), { recursive: true });
  writeFileSync(file, content);
  utimesSync(file, seconds, seconds);
  return file;
}

type Handler = (target: string, init?: RequestInit) => Promise<Response>;

/** The module as the server would call it, without the server. */
async function site(config: Record<string, unknown> = {}): Promise<Handler> {
  const call = await open(config);
  return async (target, init) => call(new Request(`http://localhost${target}`, init));
}

/**
 * Like site, for a target that no URL parser has tidied up: a server's own Request may hand on what the client wrote.
 */
async function rawSite(): Promise<Handler> {
  const call = await open({});
  return async (target) =>
    call({ method: "GET", url: `http://localhost${target}`, headers: new Headers() } as unknown as Request);
}

async function open(config: Record<string, unknown>): Promise<(request: Request) => Promise<Response>> {
  const context = { name: "http", config: { root, ...config } } as unknown as ModuleContext<never>;
  const state = await http.setup?.(context, undefined);
  const { fetch } = http.routes["/"] as FetchRoute<never>;
  return async (request) => fetch(request, { ...context, state } as unknown as RequestContext<never>);
}

const get = async (handler: Handler, target: string, headers: Record<string, string> = {}) =>
  await handler(target, { headers });

beforeAll(() => {
  base = mkdtempSync(join(tmpdir(), "hrmr-static-"));
  root = join(base, "site");
  mkdirSync(root);
  writeFileSync(join(base, "secret.txt"), "secret");
  mkdirSync(join(base, "site-private"));
  writeFileSync(join(base, "site-private", "secret.txt"), "secret");
  put("index.html", "<h1>home</h1>");
  put("404.html", "<h1>lost</h1>");
  put("style.css", "body{}");
  put("docs/index.html", "<h1>docs</h1>");
  put("docs/a b.txt", "spaced");
  put("empty/readme.md", "no index here");
  put("percent%2e.txt", "literal");
  put("grüße.txt", "grüße");
  put("latin1.txt", new Uint8Array([0x67, 0x72, 0xfc, 0xdf]));
  put("bom.txt", new Uint8Array([0xef, 0xbb, 0xbf, 0x61]));
  put("digits.txt", "0123456789");
  put("nothing.txt", "");
  put(".env", "SECRET=1");
  put(".git/config", "[core]");
  put(".well-known/security.txt", "Contact: a");
  put("large.bin", pattern(LARGE_BYTES));
});

afterAll(() => rmSync(base, { recursive: true, force: true }));

function pattern(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * 31) ^ (index >> 8));
}

describe("files", () => {
  test("the root and a folder answer with their index.html", async () => {
    const handler = await site();
    expect(await (await get(handler, "/")).text()).toBe("<h1>home</h1>");
    expect(await (await get(handler, "/?x=/a")).text()).toBe("<h1>home</h1>");
    expect(await (await get(handler, "/docs/")).text()).toBe("<h1>docs</h1>");
  });

  test("a reply carries its type, validators and nosniff", async () => {
    const { status, headers } = await get(await site(), "/style.css");
    expect(status).toBe(200);
    expect(headers.get("content-type")).toBe("text/css; charset=utf-8");
    expect(headers.get("etag")).toMatch(/^"[0-9a-f]+-[0-9a-f]+"$/);
    expect(headers.get("last-modified")).toBe(OLD_DATE);
    expect(headers.get("accept-ranges")).toBe("bytes");
    expect(headers.get("x-content-type-options")).toBe("nosniff");
    expect(headers.get("cache-control")).toBe("no-cache");
  });

  test("types follow the extension, whatever its case; unknown ones are bytes", async () => {
    const handler = await site();
    const expected: Record<string, string> = {
      "a.HTML": "text/html; charset=utf-8",
      "a.js": "text/javascript; charset=utf-8",
      "a.json": "application/json; charset=utf-8",
      "a.svg": "image/svg+xml; charset=utf-8",
      "a.png": "image/png",
      "a.woff2": "font/woff2",
      "a.wasm": "application/wasm",
      "a.xhtml": "application/xhtml+xml; charset=utf-8",
      "a.yaml": "application/yaml; charset=utf-8",
      "a.yml": "application/yaml; charset=utf-8",
      "a.m3u8": "application/vnd.apple.mpegurl; charset=utf-8",
      "a.ts": "video/mp2t",
      "a.mpd": "application/dash+xml; charset=utf-8",
      "a.weba": "audio/webm",
      "a.mkv": "video/x-matroska",
      "a.ogv": "video/ogg",
      "a.jxl": "image/jxl",
      "a.heic": "image/heic",
      "a.heif": "image/heif",
      "a.apng": "image/apng",
      "a.glb": "model/gltf-binary",
      "a.gltf": "model/gltf+json; charset=utf-8",
      "a.geojson": "application/geo+json; charset=utf-8",
      "a.toml": "application/toml; charset=utf-8",
      "a.docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
      "a.7z": "application/x-7z-compressed",
      "a.tgz": "application/gzip",
      "a.strange": "application/octet-stream",
      a: "application/octet-stream",
    };
    for (const [name, type] of Object.entries(expected)) {
      put(`types/${name}`, "x");
      expect((await get(handler, `/types/${name}`)).headers.get("content-type")).toBe(type);
    }
  });

  test("bytes arrive as they are on the disk: UTF-8, a byte order mark, other encodings", async () => {
    const handler = await site();
    for (const name of ["grüße.txt", "latin1.txt", "bom.txt", "nothing.txt", "large.bin"]) {
      for (const _ of ["read", "cached"]) {
        const sent = await (await get(handler, `/${encodeURIComponent(name)}`)).bytes();
        expect(Buffer.from(sent).equals(readFileSync(join(root, name)))).toBe(true);
      }
    }
  });

  test("HEAD has the length and no body, for cached and for streamed files", async () => {
    const handler = await site();
    for (const [path, length] of [["/style.css", 6] as const, ["/large.bin", LARGE_BYTES] as const]) {
      const response = await handler(path, { method: "HEAD" });
      expect(response.status).toBe(200);
      expect(response.headers.get("content-length")).toBe(String(length));
      expect(response.body).toBeNull();
    }
  });

  test("other methods get a 405 that names the possible ones", async () => {
    const handler = await site();
    for (const method of ["POST", "PUT", "DELETE", "OPTIONS"]) {
      const response = await handler("/", { method });
      expect(response.status).toBe(405);
      expect(response.headers.get("allow")).toBe("GET, HEAD");
    }
  });

  test("what is missing gets the folder's 404 page, and plain text without one", async () => {
    const handler = await site();
    for (const path of ["/none", "/style.css/", "/style.css/x", "/empty/", `/${"x".repeat(5000)}`, "/%zz"]) {
      const response = await get(handler, path);
      expect(response.status).toBe(404);
      expect(response.headers.get("content-type")).toBe("text/html; charset=utf-8");
      expect(await response.text()).toBe("<h1>lost</h1>");
    }
    const head = await handler("/none", { method: "HEAD" });
    expect([head.status, head.body, head.headers.get("content-length")]).toEqual([404, null, "13"]);
    const bare = await get(await site({ notFound: "none.html" }), "/none");
    expect([bare.status, await bare.text()]).toEqual([404, "Not found\n"]);
  });

  test("a root that does not exist is refused by name, as are settings of the wrong kind", async () => {
    await expect(site({ root: join(base, "nowhere") })).rejects.toThrow(/nowhere does not exist/);
    await expect(site({ cacheBytes: "big" })).rejects.toThrow(/cacheBytes/);
    await expect(site({ index: 5 })).rejects.toThrow(/index/);
  });
});

describe("folders", () => {
  test("a folder without its slash is redirected, and keeps the query", async () => {
    const response = await get(await site(), "/docs?a=1&b=/x");
    expect(response.status).toBe(308);
    expect(response.headers.get("location")).toBe("/docs/?a=1&b=/x");
  });

  test("no spelling makes the redirect leave this host", async () => {
    const handler = await site();
    put("evil.example/index.html", "x");
    const raw = await rawSite();
    for (const path of [
      "//evil.example",
      "///evil.example",
      "/docs/..//evil.example",
      "/../../evil.example",
      "/%2e/evil.example",
    ]) {
      expect((await get(handler, path)).headers.get("location")).toBe("/evil.example/");
      expect((await get(raw, path)).headers.get("location")).toBe("/evil.example/");
    }
    for (const path of ["/%2f/evil.example", "/%5cevil.example", "/docs%0d%0aSet-Cookie:a"]) {
      expect((await get(handler, path)).status).toBe(404);
    }
  });
});

describe("containment", () => {
  test.each([
    ["parsed", site],
    ["raw", rawSite],
  ])("no spelling of a path leaves the folder (%s)", async (_, make) => {
    const handler = await make();
    const ways = [
      "..",
      "..\\..",
      "..\0",
      "%2e%2e",
      ".%2e",
      "%2E.",
      "..%2f..",
      "%2e%2e%2f%2e%2e",
      "..%5c..",
      "%252e%252e",
      "....",
      "..%00",
      "..;",
    ];
    for (const way of ways) {
      for (const target of ["secret.txt", "site-private/secret.txt"]) {
        for (const path of [
          `/${way}/${target}`,
          `/docs/${way}/${way}/${target}`,
          `//${way}/${target}`,
          `/docs/${way}%2f${target}`,
        ]) {
          const response = await get(handler, path);
          expect([path, response.status, await response.text()]).toEqual([path, 404, "<h1>lost</h1>"]);
        }
      }
    }
  });

  test("a path that was encoded twice stays literal", async () => {
    const handler = await site();
    expect(await (await get(handler, "/percent%252e.txt")).text()).toBe("literal");
    expect((await get(handler, "/percent%2e.txt")).status).toBe(404);
    expect(await (await get(handler, "/docs/a%20b.txt")).text()).toBe("spaced");
  });

  test("names that begin with a dot are not served, but for .well-known", async () => {
    const handler = await site();
    for (const path of ["/.env", "/%2eenv", "/.git/config", "/docs/../.env", "/.git", "/docs/.hidden/x"]) {
      expect((await get(handler, path)).status).toBe(404);
    }
    expect((await get(handler, "/.well-known/security.txt")).status).toBe(200);
  });

  test("a link is followed inside the folder and refused outside it, also when it moves later", async () => {
    const handler = await site();
    const link = join(root, "link.txt");
    symlinkSync(join(root, "digits.txt"), link);
    symlinkSync(base, join(root, "up"));
    symlinkSync(join(base, "site-private"), join(root, "sibling"));
    expect(await (await get(handler, "/link.txt")).text()).toBe("0123456789");
    for (const path of ["/up/secret.txt", "/sibling/secret.txt", "/sibling", "/up"])
      expect((await get(handler, path)).status).toBe(404);
    unlinkSync(link);
    symlinkSync(join(base, "secret.txt"), link);
    expect((await get(handler, "/link.txt")).status).toBe(404);
  });

  test("a root that is a link may be switched to another release", async () => {
    const current = join(base, "current");
    for (const release of ["r1", "r2"]) {
      mkdirSync(join(base, release));
      writeFileSync(join(base, release, "index.html"), release);
      utimesSync(join(base, release, "index.html"), OLD, OLD);
    }
    symlinkSync("r1", current);
    const handler = await site({ root: current });
    expect(await (await get(handler, "/")).text()).toBe("r1");
    symlinkSync("r2", `${current}.next`);
    renameSync(`${current}.next`, current);
    expect(await (await get(handler, "/")).text()).toBe("r2");
  });

  test("a pipe is not opened", async () => {
    expect(Bun.spawnSync(["mkfifo", join(root, "pipe")]).exitCode).toBe(0);
    expect((await get(await site(), "/pipe")).status).toBe(404);
  });
});

describe("conditional requests", () => {
  test("If-None-Match answers 304 for its own tag, in a list, weak, and for *", async () => {
    const handler = await site();
    const etag = (await get(handler, "/style.css")).headers.get("etag") ?? "";
    for (const value of [etag, `W/${etag}`, `"a", ${etag}`, `"x,y" ,W/"b",${etag}`, "*"]) {
      const response = await get(handler, "/style.css", { "if-none-match": value });
      expect([value, response.status]).toEqual([value, 304]);
      expect([response.headers.get("etag"), response.headers.get("cache-control"), response.body]).toEqual([
        etag,
        "no-cache",
        null,
      ]);
      expect(response.headers.get("content-length")).toBeNull();
    }
    for (const value of ['"other"', etag.slice(1, -1), ""]) {
      expect((await get(handler, "/style.css", { "if-none-match": value })).status).toBe(200);
    }
  });

  test("If-Modified-Since answers 304 from that second on, and only without If-None-Match", async () => {
    const handler = await site();
    const cases: [string, number][] = [
      [OLD_DATE, 304],
      ["Sunday, 13-Sep-20 12:26:40 GMT", 304],
      ["Sun Sep 13 12:26:40 2020", 304],
      ["Mon, 14 Sep 2020 12:26:40 GMT", 304],
      ["Sun, 13 Sep 2020 12:26:39 GMT", 200],
      ["2030", 200],
      ["yesterday", 200],
    ];
    for (const [date, status] of cases) {
      expect([date, (await get(handler, "/style.css", { "if-modified-since": date })).status]).toEqual([date, status]);
    }
    expect((await get(handler, "/style.css", { "if-modified-since": OLD_DATE, "if-none-match": '"x"' })).status).toBe(
      200,
    );
  });

  test("If-Match and If-Unmodified-Since answer 412 for another version", async () => {
    const handler = await site();
    const etag = (await get(handler, "/style.css")).headers.get("etag") ?? "";
    expect((await get(handler, "/style.css", { "if-match": etag })).status).toBe(200);
    expect((await get(handler, "/style.css", { "if-match": "*" })).status).toBe(200);
    expect((await get(handler, "/style.css", { "if-match": `W/${etag}` })).status).toBe(412);
    expect((await get(handler, "/style.css", { "if-unmodified-since": OLD_DATE })).status).toBe(200);
    expect((await get(handler, "/style.css", { "if-unmodified-since": "Sun, 13 Sep 2020 12:26:39 GMT" })).status).toBe(
      412,
    );
  });

  test("a file that was changed just now has a weak tag, which still revalidates", async () => {
    const handler = await site();
    put("young.txt", "young", Date.now() / 1000);
    const etag = (await get(handler, "/young.txt")).headers.get("etag") ?? "";
    expect(etag).toStartWith('W/"');
    expect((await get(handler, "/young.txt", { "if-none-match": etag })).status).toBe(304);
    expect((await get(handler, "/young.txt", { range: "bytes=0-1", "if-range": etag })).status).toBe(200);
  });
});

describe("ranges", () => {
  const whole = "0123456789";
  const cases: [range: string, status: number, body: string, contentRange: string | null][] = [
    ["bytes=0-0", 206, "0", "bytes 0-0/10"],
    ["bytes=2-5", 206, "2345", "bytes 2-5/10"],
    ["bytes=7-", 206, "789", "bytes 7-9/10"],
    ["bytes=-3", 206, "789", "bytes 7-9/10"],
    ["bytes=-99", 206, whole, "bytes 0-9/10"],
    ["bytes=5-999999999999999999999", 206, "56789", "bytes 5-9/10"],
    ["BYTES=0-1", 206, "01", "bytes 0-1/10"],
    ["bytes=10-", 416, "", "bytes */10"],
    ["bytes=99-100", 416, "", "bytes */10"],
    ["bytes=-0", 416, "", "bytes */10"],
    ["bytes=5-2", 200, whole, null],
    ["bytes=-", 200, whole, null],
    ["bytes=a-b", 200, whole, null],
    ["lines=0-1", 200, whole, null],
    ["bytes=0-1,20-", 206, "01", "bytes 0-1/10"],
    ["bytes=20-,30-40", 416, "", "bytes */10"],
    ["bytes=0-1,a-b", 200, whole, null],
    ["bytes=0-5,3-4", 200, whole, null],
    ["bytes=0-1,1-2,", 200, whole, null],
  ];
  for (const cacheFileBytes of [64, 0]) {
    test(`single ranges are cut, others get the whole file (${cacheFileBytes === 0 ? "streamed" : "from memory"})`, async () => {
      const handler = await site({ cacheFileBytes });
      for (const [range, status, body, contentRange] of cases) {
        const response = await get(handler, "/digits.txt", { range });
        const { headers } = response;
        expect([range, response.status, await response.text(), headers.get("content-range")]).toEqual([
          range,
          status,
          body,
          contentRange,
        ]);
        if (status === 206) expect(headers.get("content-length")).toBe(String(body.length));
      }
    });
  }

  test("If-Range cuts only what has not changed", async () => {
    const handler = await site();
    const etag = (await get(handler, "/digits.txt")).headers.get("etag") ?? "";
    for (const [condition, status] of [
      [etag, 206],
      [OLD_DATE, 206],
      [`W/${etag}`, 200],
      ['"other"', 200],
      ["Mon, 14 Sep 2020 12:26:40 GMT", 200],
    ] as const) {
      const response = await get(handler, "/digits.txt", { range: "bytes=1-2", "if-range": condition });
      expect([condition, response.status]).toEqual([condition, status]);
    }
  });

  test("a range of a text counts bytes, not letters", async () => {
    const response = await get(await site(), "/gr%C3%BC%C3%9Fe.txt", { range: "bytes=2-3" });
    expect(await response.text()).toBe("ü");
  });

  test("an empty file and HEAD have no ranges", async () => {
    const handler = await site();
    expect((await get(handler, "/nothing.txt", { range: "bytes=0-" })).status).toBe(200);
    expect((await handler("/digits.txt", { method: "HEAD", headers: { range: "bytes=0-1" } })).status).toBe(200);
  });
});

describe("the cache", () => {
  test("an edit shows at once, also one of the same length and time", async () => {
    const handler = await site();
    put("edit.txt", "one");
    for (const content of ["two", "six", "longer"]) {
      put("edit.txt", content);
      expect(await (await get(handler, "/edit.txt")).text()).toBe(content);
      expect(await (await get(handler, "/edit.txt")).text()).toBe(content);
    }
    unlinkSync(join(root, "edit.txt"));
    expect((await get(handler, "/edit.txt")).status).toBe(404);
  });

  test("a cached file is not read again", async () => {
    const handler = await site();
    const file = put("kept.txt", "kept");
    await get(handler, "/kept.txt");
    const reads = countReads(() => get(handler, "/kept.txt"));
    expect(await reads).toBe(0);
    expect(await countReads(() => get(handler, `/large.bin`).then((response) => response.bytes()))).toBeGreaterThan(
      LARGE_BYTES - 1,
    );
    unlinkSync(file);
  });

  test("what may still change unseen, and what does not fit, is read each time", async () => {
    put("young.txt", "y".repeat(5000), Date.now() / 1000);
    put("kept.txt", "k".repeat(5000));
    const young = await site();
    const none = await site({ cacheBytes: 0 });
    for (const read of [() => get(young, "/young.txt"), () => get(none, "/kept.txt")]) {
      await read();
      expect(await countReads(read)).toBeGreaterThan(4999);
    }
  });

  test("a small cache drops the oldest and stays right", async () => {
    const handler = await site({ cacheBytes: 4000 });
    for (let index = 0; index < 12; index++) put(`many/${index}.txt`, `file ${index}`);
    for (const _ of ["fill", "again"]) {
      for (let index = 0; index < 12; index++)
        expect(await (await get(handler, `/many/${index}.txt`)).text()).toBe(`file ${index}`);
    }
  });
});

/** Bytes that this process read while `action` ran. */
async function countReads(action: () => Promise<unknown>): Promise<number> {
  const read = () => Number(/^rchar: (\d+)/.exec(readFileSync("/proc/self/io", "latin1"))?.[1]);
  const before = read();
  const cost = read() - before;
  await action();
  return Math.max(0, read() - before - 2 * cost);
}

function openFiles(name: string): number {
  const targets = readdirSync("/proc/self/fd").map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return "";
    }
  });
  return targets.filter((target) => target.startsWith(join(root, name))).length;
}

describe("streams", () => {
  test("a stream opens its file at the first read and closes it at the end", async () => {
    const response = await get(await site(), "/large.bin");
    expect(response.headers.get("content-length")).toBe(String(LARGE_BYTES));
    expect(openFiles("large.bin")).toBe(0);
    const reader = response.body!.getReader();
    const { value } = await reader.read();
    expect(value?.length).toBe(256 * 1024);
    expect(openFiles("large.bin")).toBe(1);
    while (!(await reader.read()).done);
    expect(openFiles("large.bin")).toBe(0);
  });

  test("cancel closes the file, before, between and during reads", async () => {
    const handler = await site();
    const untouched = (await get(handler, "/large.bin")).body!;
    await untouched.cancel();
    const between = (await get(handler, "/large.bin")).body!.getReader();
    await between.read();
    await between.cancel();
    const during = (await get(handler, "/large.bin")).body!.getReader();
    const pending = during.read();
    await during.cancel();
    await pending;
    expect(openFiles("large.bin")).toBe(0);
  });

  test("a file that is cut short meanwhile fails the stream and closes the file", async () => {
    const file = put("shrinking.bin", pattern(1_000_000));
    const reader = (await get(await site(), "/shrinking.bin")).body!.getReader();
    await reader.read();
    truncateSync(file, 300_000);
    const drain = async () => {
      while (!(await reader.read()).done);
    };
    await expect(drain()).rejects.toThrow(/was changed/);
    expect(openFiles("shrinking.bin")).toBe(0);
  });

  test("a file that was replaced before its first byte fails instead of mixing two versions", async () => {
    const file = put("replaced.bin", pattern(400_000));
    const response = await get(await site(), "/replaced.bin");
    writeFileSync(file, "short");
    await expect(response.bytes()).rejects.toThrow(/was changed/);
    expect(openFiles("replaced.bin")).toBe(0);
  });

  test.skipIf(process.getuid?.() === 0)("a file that may not be read is missing (root may read all)", async () => {
    for (const size of [10, 100_000]) {
      chmodSync(put("denied.bin", pattern(size)), 0);
      expect((await get(await site(), "/denied.bin")).status).toBe(404);
    }
  });
});

describe("over a real server", () => {
  async function serve(run: (port: number) => Promise<void>): Promise<void> {
    const handler = await site();
    const server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: (request) =>
        handler(request.url.slice(request.url.indexOf("/", 8)), { method: request.method, headers: request.headers }),
    });
    try {
      await run(server.port!);
    } finally {
      await server.stop(true);
    }
  }

  async function curl(...args: string[]): Promise<string> {
    const child = Bun.spawn(["curl", "-s", "--max-time", "5", ...args], { stdout: "pipe", stdin: "ignore" });
    return await new Response(child.stdout).text();
  }

  test("curl gets pages, heads, ranges and whole large files", async () => {
    await serve(async (port) => {
      const url = `http://127.0.0.1:${port}`;
      expect(await curl(`${url}/`)).toBe("<h1>home</h1>");
      expect(await curl("-L", `${url}/docs`)).toBe("<h1>docs</h1>");
      expect(await curl("-I", `${url}/large.bin`)).toMatch(new RegExp(`content-length: ${LARGE_BYTES}`, "i"));
      expect(await curl("-r", "3-5", `${url}/digits.txt`)).toBe("345");
      expect(
        await curl("-r", "1000000-1000004", "-o", "-", "-w", "%{http_code} %{size_download}", `${url}/large.bin`),
      ).toEndWith("206 5");
      expect(await curl("-o", "/dev/null", "-w", "%{size_download}", `${url}/large.bin`)).toBe(String(LARGE_BYTES));
      expect(await curl("--path-as-is", `${url}/../secret.txt`)).toBe("<h1>lost</h1>");
    });
  });

  test("a client that leaves in the middle leaves no open file", async () => {
    put("huge.bin", new Uint8Array(40_000_000));
    await serve(async (port) => {
      const left = new AbortController();
      const response = await fetch(`http://127.0.0.1:${port}/huge.bin`, { signal: left.signal });
      const reader = response.body!.getReader();
      await reader.read();
      expect(openFiles("huge.bin")).toBe(1);
      left.abort();
      await until("the file is closed", () => openFiles("huge.bin") === 0);
      expect(await curl(`http://127.0.0.1:${port}/`)).toBe("<h1>home</h1>");
    });
  });
});
