/** modules/http: Cache-Control by pattern, several ranges, listings and the fallback page. */
import { describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { type Look, needsLook } from "../../../modules/http/site";
import { StaticFolder } from "../../support/static-fixture";

const YEAR = "public, max-age=31536000, immutable";

describe("Cache-Control", () => {
  test("the first pattern that matches the file's path counts", async () => {
    using folder = new StaticFolder();
    for (const path of [
      "index.html",
      "assets/app.js",
      "assets/deep/er/a.css",
      "assets.txt",
      "docs/index.html",
      "docs/a.css",
    ])
      folder.put(path, path);
    const site = await folder.site({
      cacheControl: { "/assets/**": YEAR, "*.css": "max-age=60", "docs/**": "max-age=5", "*.txt": "private" },
    });
    const expected: Record<string, string> = {
      "/": "no-cache",
      "/assets/app.js": YEAR,
      "/assets/deep/er/a.css": YEAR,
      "/assets.txt": "private",
      "/docs/": "max-age=5",
      "/docs/a.css": "max-age=60",
      "/docs/%61.css": "max-age=60",
    };
    for (const [path, value] of Object.entries(expected)) {
      expect([path, (await site(path)).headers.get("cache-control")]).toEqual([path, value]);
    }
  });

  test("a text holds for every file; what is missing or redirected is asked for each time", async () => {
    using folder = new StaticFolder();
    folder.put("a.txt", "a");
    folder.put("docs/index.html", "docs");
    const site = await folder.site({ cacheControl: YEAR });
    expect((await site("/a.txt")).headers.get("cache-control")).toBe(YEAR);
    for (const path of ["/none", "/docs"]) expect((await site(path)).headers.get("cache-control")).toBe("no-cache");
  });

  test("what is no header value is refused by its pattern", async () => {
    using folder = new StaticFolder();
    for (const cacheControl of [{ "*.js": 5 }, { "*.js": "a\r\nset-cookie: b" }, { "*.js": "" }]) {
      await expect(folder.site({ cacheControl })).rejects.toThrow(/cacheControl\["\*\.js"\]/);
    }
    await expect(folder.site({ cacheControl: ["no-cache"] })).rejects.toThrow(/cacheControl/);
  });
});

describe("several ranges", () => {
  /** The parts of a multipart/byteranges body, each with its fields; checked for its framing. */
  async function partsOf(response: Response): Promise<[range: string, body: string][]> {
    const boundary =
      /^multipart\/byteranges; boundary=(\S+)$/.exec(response.headers.get("content-type") ?? "")?.[1] ?? "none";
    const text = Buffer.from(await response.bytes()).toString("latin1");
    expect(response.headers.get("content-length")).toBe(String(text.length));
    expect(text).toEndWith(`\r\n--${boundary}--\r\n`);
    return text
      .slice(0, -`\r\n--${boundary}--\r\n`.length)
      .split(new RegExp(`(?:^|\\r\\n)--${boundary}\\r\\n`))
      .slice(1)
      .map((part) => {
        const [head = "", body = ""] = part.split("\r\n\r\n");
        expect(head).toContain("Content-Type: text/plain; charset=utf-8");
        return [/Content-Range: (.*)/.exec(head)?.[1] ?? "", body];
      });
  }

  for (const cacheFileBytes of [1000, 0]) {
    test(`come as parts in the order asked for (${cacheFileBytes === 0 ? "streamed" : "from memory"})`, async () => {
      using folder = new StaticFolder();
      folder.put("a.txt", "0123456789");
      const site = await folder.site({ cacheFileBytes });
      const cases: [string, [string, string][]][] = [
        [
          "bytes=0-1,4-5",
          [
            ["bytes 0-1/10", "01"],
            ["bytes 4-5/10", "45"],
          ],
        ],
        [
          "bytes=-2, 0-0,,50-60,3-4",
          [
            ["bytes 8-9/10", "89"],
            ["bytes 0-0/10", "0"],
            ["bytes 3-4/10", "34"],
          ],
        ],
        [
          "bytes=0-4,5-",
          [
            ["bytes 0-4/10", "01234"],
            ["bytes 5-9/10", "56789"],
          ],
        ],
      ];
      for (const [range, parts] of cases) {
        const response = await site("/a.txt", { range });
        expect([range, response.status, response.headers.get("content-range")]).toEqual([range, 206, null]);
        expect(await partsOf(response)).toEqual(parts);
      }
    });
  }

  test("sixteen are the most, and none may overlap: else the whole file is sent", async () => {
    using folder = new StaticFolder();
    folder.put("a.txt", "x".repeat(100));
    const site = await folder.site();
    const ranges = (count: number) =>
      `bytes=${Array.from({ length: count }, (_, index) => `${2 * index}-${2 * index}`).join(",")}`;
    expect(await partsOf(await site("/a.txt", { range: ranges(16) }))).toHaveLength(16);
    for (const range of [ranges(17), "bytes=0-5,5-9", "bytes=50-,-60", "bytes=0-,0-,0-", "bytes=1-2,2-1", "bytes=,"]) {
      const response = await site("/a.txt", { range });
      expect([range, response.status, (await response.text()).length]).toEqual([range, 200, 100]);
    }
  });

  test("If-Range holds for them as for one", async () => {
    using folder = new StaticFolder();
    folder.put("a.txt", "0123456789");
    const site = await folder.site();
    const etag = (await site("/a.txt")).headers.get("etag") ?? "";
    const range = "bytes=0-1,4-5";
    expect((await site("/a.txt", { range, "if-range": etag })).status).toBe(206);
    expect((await site("/a.txt", { range, "if-range": '"other"' })).status).toBe(200);
    expect((await site("/a.txt", { range, "if-range": `W/${etag}` })).status).toBe(200);
  });
});

describe("listings", () => {
  test("a folder without an index is listed only when the settings say so", async () => {
    using folder = new StaticFolder();
    folder.put("files/a.txt", "a");
    expect((await (await folder.site())("/files/")).status).toBe(404);
    const response = await (await folder.site({ listing: true }))("/files/");
    expect([response.status, response.headers.get("content-type")]).toEqual([200, "text/html; charset=utf-8"]);
    expect(await response.text()).toContain('<a href="./a.txt">a.txt</a>');
    folder.put("files/index.html", "index");
    expect(await (await (await folder.site({ listing: true }))("/files/")).text()).toBe("index");
  });

  test("names are sorted and escaped; what would not be served is left out", async () => {
    using folder = new StaticFolder();
    using outside = new StaticFolder();
    for (const name of [
      "b.txt",
      "a b.txt",
      '<img src=x onerror="1">.txt',
      "c&d#?%.txt",
      "javascript:x",
      ".secret",
      "grüße.txt",
    ]) {
      folder.put(`f/${name}`, "12345");
    }
    mkdirSync(join(folder.root, "f/sub"));
    symlinkSync(outside.put("secret.txt", "x"), join(folder.root, "f/out.txt"));
    symlinkSync(outside.root, join(folder.root, "f/outside"));
    Bun.spawnSync(["mkfifo", join(folder.root, "f/pipe")]);
    const site = await folder.site({ listing: true });
    const html = await (await site("/f/")).text();
    const links = [...html.matchAll(/<a href="([^"]*)">([^<]*)<\/a>/g)].map(([, href]) => href ?? "");
    const names = links.map((href) => decodeURIComponent(href));
    expect(names).toEqual([
      "../",
      './<img src=x onerror="1">.txt',
      "./a b.txt",
      "./b.txt",
      "./c&d#?%.txt",
      "./grüße.txt",
      "./javascript:x",
      "./sub/",
    ]);
    expect(html).not.toMatch(/secret|out\.txt|outside|pipe|<img/);
    for (const href of links.slice(1, -1))
      expect(await (await site(new URL(href, "http://localhost/f/").pathname)).text()).toBe("12345");
  });

  test("the root has no way up, and HEAD has a length without a body", async () => {
    using folder = new StaticFolder();
    folder.put("a.txt", "a");
    const site = await folder.site({ listing: true });
    const page = await site("/");
    const html = await page.text();
    expect(html).not.toContain('href="../"');
    const head = await site("/", {}, "HEAD");
    expect([head.headers.get("content-length"), head.body]).toEqual([String(Buffer.byteLength(html)), null]);
  });

  test("no spelling lists a folder above the root, or a hidden one", async () => {
    using folder = new StaticFolder();
    folder.put(".git/config", "x");
    folder.put("a.txt", "a");
    const site = await folder.site({ listing: true });
    for (const path of ["/.git/", "/%2egit/", "/..%2f", "/x/"])
      expect([path, (await site(path)).status]).toEqual([path, 404]);
  });

  test.skipIf(process.getuid?.() === 0)("a folder that may not be read says so (root may read all)", async () => {
    using folder = new StaticFolder();
    folder.put("f/a.txt", "a");
    chmodSync(join(folder.root, "f"), 0o311);
    expect((await (await folder.site({ listing: true }))("/f/")).status).toBe(403);
    chmodSync(join(folder.root, "f"), 0o755);
  });
});

describe("the fallback page", () => {
  test("answers for paths of the application, and for nothing else", async () => {
    using folder = new StaticFolder();
    folder.put("index.html", "<h1>app</h1>");
    folder.put("404.html", "lost");
    folder.put("a.txt", "a");
    folder.put("assets/a.js", "a");
    const site = await folder.site({ fallback: "/index.html" });
    const html = { accept: "text/html,application/xhtml+xml,*/*;q=0.8" };
    const cases: [path: string, headers: Record<string, string>, body: string][] = [
      ["/users/5", html, "<h1>app</h1>"],
      ["/users/5/?q=1", html, "<h1>app</h1>"],
      ["/users/5", {}, "<h1>app</h1>"],
      ["/users/5", { accept: "*/*" }, "<h1>app</h1>"],
      ["/users/5", { accept: "text/*" }, "<h1>app</h1>"],
      ["/users/5", { accept: "application/json" }, "lost"],
      ["/users/5", { accept: "text/html;q=0, */*" }, "lost"],
      ["/missing.js", html, "lost"],
      ["/.env", html, "lost"],
      ["/a.txt", html, "a"],
      ["/assets/", html, "<h1>app</h1>"],
    ];
    for (const [path, headers, body] of cases) {
      const response = await site(path, headers);
      expect([path, headers, response.status, await response.text()]).toEqual([
        path,
        headers,
        body === "lost" ? 404 : 200,
        body,
      ]);
    }
    expect((await site("/users/5", html, "POST")).status).toBe(405);
  });

  test("depends on Accept, is revalidated by its tag, and shows an edit at once", async () => {
    using folder = new StaticFolder();
    folder.put("app/main.html", "<h1>app</h1>".repeat(200));
    const site = await folder.site({ fallback: "app/main.html", cacheControl: { "*.html": "max-age=9" } });
    const response = await site("/x", { "accept-encoding": "gzip" });
    const { headers } = response;
    expect([headers.get("vary"), headers.get("cache-control"), headers.get("content-encoding")]).toEqual([
      "Accept, Accept-Encoding",
      "max-age=9",
      "gzip",
    ]);
    expect((await site("/y", { "accept-encoding": "gzip", "if-none-match": headers.get("etag") ?? "" })).status).toBe(
      304,
    );
    expect((await site("/app/main.html")).headers.get("vary")).toBe("Accept-Encoding");
    folder.put("app/main.html", "new");
    expect(await (await site("/x")).text()).toBe("new");
  });

  test("one that is missing leaves the 404, and a wrong setting is refused", async () => {
    using folder = new StaticFolder();
    expect((await (await folder.site({ fallback: "/none.html" }))("/x")).status).toBe(404);
    expect((await (await folder.site({ fallback: "/.env" }))("/x")).status).toBe(404);
    await expect(folder.site({ fallback: 5 })).rejects.toThrow(/modules\.http\.fallback/);
    await expect(folder.site({ listing: "yes" })).rejects.toThrow(/modules\.http\.listing/);
  });
});

describe("a look at the disk", () => {
  /** The requests at these times, in milliseconds, that need a look. */
  function looks(times: readonly number[], look: Look = { at: 0, asked: 0, until: 0 }): number[] {
    return times.filter((time) => needsLook(look, 1000 + time));
  }

  test("comes with each request of a client that asks and changes in turn", () => {
    const times = Array.from({ length: 40 }, (_, index) => index * 0.3);
    expect(looks(times)).toEqual(times);
  });

  test("serves all requests of a millisecond, once they are many", () => {
    const times = Array.from({ length: 1000 }, (_, index) => index / 50);
    const needed = looks(times);
    // The first requests show that they are many.
    expect(needed.slice(0, 6)).toEqual(times.slice(0, 6));
    expect(needed.length).toBeLessThanOrEqual(6 + 20);
    expect(needed.slice(6).every((time, at) => time - (needed[at + 5] as number) > 0.99)).toBe(true);
  });

  test("serves the rest of a burst, however long the pause before it was", () => {
    const look: Look = { at: 0, asked: 0, until: 0 };
    for (const begin of [0, 10, 20]) {
      const burst = Array.from({ length: 30 }, (_, index) => begin + index / 100);
      expect(looks(burst, look)).toEqual(burst.slice(0, 6));
    }
  });

  test("is never older than a millisecond", () => {
    const look: Look = { at: 0, asked: 0, until: 0 };
    let last = 0;
    for (let time = 0; time < 100; time += 0.07) {
      if (needsLook(look, 1000 + time)) last = time;
      else expect(time - last).toBeLessThan(1);
    }
  });

  test("comes with each request again when fewer come", () => {
    const look: Look = { at: 0, asked: 0, until: 0 };
    looks(
      Array.from({ length: 100 }, (_, index) => index / 50),
      look,
    );
    const later = [10, 10.4, 11.5, 13, 14.5];
    expect(looks(later, look)).toEqual(later);
  });
});
