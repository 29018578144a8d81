/**
 * curl as people use it: the static site, a hono app, uploads, ranges, the things that it does by itself (Expect,
 * keep-alive, retries of its own).
 */
import { expect, test } from "bun:test";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Hub, moduleSource, shareHub } from "../support/hub";

const MODULE = moduleSource(`{
  routes: {
    "POST /upload": { fetch: async (request) => Response.json({ bytes: (await request.bytes()).length, type: request.headers.get("content-type") }) },
    "PUT /upload": { fetch: async (request) => new Response(new Bun.CryptoHasher("sha256").update(await request.bytes()).digest("hex")) },
    "POST /refuse": { fetch: () => new Response("no room\\n", { status: 507 }) },
    "GET /agent": { fetch: (request) => new Response(request.headers.get("user-agent") + "\\n") },
    "GET /query": { fetch: (request) => new Response(new URL(request.url).searchParams.get("q")) },
    "DELETE /thing": { fetch: () => new Response(null, { status: 204 }) },
  },
}`);
const SITE = {
  "modules/api.ts": MODULE,
  "static_html/index.html": "<h1>home</h1>",
  "static_html/digits.txt": "0123456789",
  "static_html/sub/in.txt": "inside",
  "secret.txt": "SECRET",
};
const LARGE = Buffer.alloc(6_000_000, Buffer.from(Array.from({ length: 251 }, (_, at) => at)));

const withSite = shareHub({ ...SITE, "hrmr.json": '{ "limits": { "maxBodyBytes": 8000000 } }' });
const withSmallBodies = shareHub({ ...SITE, "hrmr.json": '{ "limits": { "maxBodyBytes": 100000 } }' });

async function curl(hub: Hub, args: string[], stdin?: Uint8Array): Promise<{ out: string; err: string; code: number }> {
  const child = Bun.spawn(
    ["curl", "-sS", "--max-time", "60", ...args.map((arg) => arg.replace(/^URL(?=\/)/, hub.url))],
    {
      cwd: hub.dir,
      stdin: stdin === undefined ? "ignore" : new Blob([new Uint8Array(stdin)]),
      stdout: "pipe",
      stderr: "pipe",
    },
  );
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { out, err, code: await child.exited };
}

test("GET, HEAD, POST, DELETE and a query give what the handler said", () =>
  withSite(async (hub) => {
    expect((await curl(hub, ["URL/"])).out).toBe("<h1>home</h1>");
    expect((await curl(hub, ["-I", "URL/"])).out).toMatch(/^HTTP\/1\.1 200 OK\r\n[^]*content-length: 13\r\n\r\n$/i);
    expect(JSON.parse((await curl(hub, ["-d", "a=1&b=2", "URL/upload"])).out)).toEqual({
      bytes: 7,
      type: "application/x-www-form-urlencoded",
    });
    expect((await curl(hub, ["-X", "DELETE", "-w", "%{http_code}", "URL/thing"])).out).toBe("204");
    expect((await curl(hub, ["-G", "--data-urlencode", "q=a b&ü", "URL/query"])).out).toBe("a b&ü");
    expect((await curl(hub, ["-A", "me/1", "URL/agent"])).out).toBe("me/1\n");
    expect((await curl(hub, ["--http1.0", "URL/"])).out).toBe("<h1>home</h1>");
    expect((await curl(hub, ["-w", "%{http_code}", "-o", "/dev/null", "URL/missing"])).out).toBe("404");
  }));

test("a chunked upload from stdin arrives whole, with and without a wait for 100 Continue", () =>
  withSite(async (hub) => {
    const hash = new Bun.CryptoHasher("sha256").update(LARGE).digest("hex");
    expect((await curl(hub, ["-T", "-", "-H", "Transfer-Encoding: chunked", "URL/upload"], LARGE)).out).toBe(hash);
    writeFileSync(join(hub.dir, "large.bin"), LARGE);
    const expecting = await curl(hub, [
      "-v",
      "-T",
      "large.bin",
      "-H",
      "Expect: 100-continue",
      "--expect100-timeout",
      "30",
      "URL/upload",
    ]);
    expect(expecting.out).toBe(hash);
    expect(expecting.err).toContain("< HTTP/1.1 100 Continue");
    expect((await curl(hub, ["-T", "large.bin", "-H", "Expect:", "URL/upload"])).out).toBe(hash);
  }));

test("a POST that is refused without reading its body is answered before the body is sent", () =>
  withSite(async (hub) => {
    writeFileSync(join(hub.dir, "large.bin"), LARGE);
    const args = ["--data-binary", "@large.bin", "-H", "Expect: 100-continue", "--expect100-timeout", "30"];
    const refused = await curl(hub, [...args, "-w", "%{size_upload}", "URL/refuse"]);
    expect(refused.code).toBe(0);
    expect(refused.out).toBe("no room\n0");
  }));

test("a body over the limit gets its 413, whether announced, chunked or waiting for 100 Continue", () =>
  withSmallBodies(async (hub) => {
    writeFileSync(join(hub.dir, "large.bin"), LARGE);
    for (const header of ["Expect:", "Expect: 100-continue", "Transfer-Encoding: chunked"]) {
      const args = ["-T", "large.bin", "-H", header, "--expect100-timeout", "30", "-w", " %{http_code}", "URL/upload"];
      expect([header, (await curl(hub, args)).out]).toEqual([
        header,
        "The body is larger than this server accepts.\n 413",
      ]);
    }
    expect((await curl(hub, ["URL/"])).out).toBe("<h1>home</h1>");
  }));

test("several URLs of one run share one connection", () =>
  withSite(async (hub) => {
    const { out, err } = await curl(hub, [
      "-v",
      "URL/",
      "URL/digits.txt",
      "-d",
      "q",
      "--next",
      "URL/agent",
      "-A",
      "x",
      "--next",
      "URL/missing",
    ]);
    expect(out).toContain("x\n");
    expect(err.match(/Connected to/g)?.length).toBe(1);
  }));

test("ranges, If-None-Match and If-Modified-Since work on the static site", () =>
  withSite(async (hub) => {
    expect((await curl(hub, ["-r", "2-4", "-w", " %{http_code}", "URL/digits.txt"])).out).toBe("234 206");
    expect((await curl(hub, ["-r", "-3", "URL/digits.txt"])).out).toBe("789");
    expect((await curl(hub, ["-r", "50-60", "-w", "%{http_code}", "URL/digits.txt"])).out).toBe("416");
    writeFileSync(join(hub.dir, "part.txt"), "0123");
    await curl(hub, ["-C", "-", "-o", "part.txt", "URL/digits.txt"]);
    expect(readFileSync(join(hub.dir, "part.txt"), "utf8")).toBe("0123456789");
    await curl(hub, ["--etag-save", "tag", "-o", "/dev/null", "URL/digits.txt"]);
    const tag = readFileSync(join(hub.dir, "tag"), "utf8").trim();
    expect(tag).toMatch(/^(W\/)?".+"$/);
    expect(
      (await curl(hub, ["-H", `If-None-Match: ${tag}`, "-w", "%{http_code} %{size_download}", "URL/digits.txt"])).out,
    ).toBe("304 0");
    expect((await curl(hub, ["-z", "Fri, 01 Jan 2038 00:00:00 GMT", "-w", "%{http_code}", "URL/digits.txt"])).out).toBe(
      "304",
    );
  }));

test("a large file arrives byte by byte as it is, also at a slow reader's pace", () =>
  withSite(async (hub) => {
    writeFileSync(join(hub.dir, "static_html", "large.bin"), LARGE);
    expect((await curl(hub, ["-o", "copy.bin", "URL/large.bin"])).code).toBe(0);
    expect(Bun.spawnSync(["cmp", "static_html/large.bin", "copy.bin"], { cwd: hub.dir }).exitCode).toBe(0);
    expect((await curl(hub, ["--limit-rate", "6M", "-o", "slow.bin", "URL/large.bin"])).code).toBe(0);
    expect(Bun.spawnSync(["cmp", "static_html/large.bin", "slow.bin"], { cwd: hub.dir }).exitCode).toBe(0);
  }));

test("no spelling of a path leaves the site's folder, nor does a link", () =>
  withSite(async (hub) => {
    mkdirSync(join(hub.dir, "static_html", ".hidden"));
    writeFileSync(join(hub.dir, "static_html", ".hidden", "x"), "SECRET");
    symlinkSync(join(hub.dir, "secret.txt"), join(hub.dir, "static_html", "link.txt"));
    symlinkSync(hub.dir, join(hub.dir, "static_html", "dir"));
    const ups = ["..", "%2e%2e", ".%2e", "%2E.", "%252e%252e", "..%00", "..;", "...", "%c0%ae%c0%ae", "%u002e%u002e"];
    const separators = ["/", "%2f", "%5c", "\\", "//", "%252f", "/./"];
    const paths = ups.flatMap((up) =>
      separators.flatMap((at) => [`/${up}${at}secret.txt`, `/sub/${up}${at}${up}${at}secret.txt`]),
    );
    paths.push(
      "/link.txt",
      "/dir/secret.txt",
      "/.hidden/x",
      "/%2ehidden/x",
      "//secret.txt",
      "/sub//../../secret.txt",
      "/secret.txt%00.html",
    );
    paths.push(
      "/digits.txt/../../secret.txt",
      "/sub/../../secret.txt?/..",
      `${hub.dir}/secret.txt`,
      `/${hub.dir}/secret.txt`,
    );
    for (let at = 0; at < paths.length; at += 40) {
      const urls = paths.slice(at, at + 40).map((path) => `URL${path}`);
      const { out } = await curl(hub, ["--path-as-is", "-g", "-L", "-w", "\n[%{http_code}]\n", ...urls]);
      expect(out).not.toContain("SECRET");
      const codes = [...out.matchAll(/\[(\d+)\]/g)].map(([, code]) => code);
      expect(codes.length).toBe(urls.length);
      expect(codes.filter((code) => code !== "404" && code !== "400")).toEqual([]);
    }
    expect((await curl(hub, ["-L", "URL/sub/%69n.txt"])).out).toBe("inside");
  }));
