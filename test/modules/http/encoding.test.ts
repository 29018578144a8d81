/**
 * modules/http: which content coding a client gets, for compressed files beside a file, and for text that the server
 * compresses.
 */
import { describe, expect, test } from "bun:test";
import { rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from "node:zlib";
import { OLD_SECONDS, StaticFolder } from "../../support/static-fixture";
import { until } from "../../support/until";

const TEXT = "All work and no play makes Jack a dull boy.\n".repeat(100);

const DECODERS: Record<string, (bytes: Uint8Array) => Uint8Array> = {
  br: brotliDecompressSync,
  zstd: zstdDecompressSync,
  gzip: gunzipSync,
};

async function decoded(response: Response): Promise<string> {
  const bytes = await response.bytes();
  return Buffer.from(DECODERS[response.headers.get("content-encoding") ?? ""]?.(bytes) ?? bytes).toString();
}

describe("the coding that is chosen", () => {
  const cases: [accepted: string | null, coding: string | null][] = [
    [null, null],
    ["", null],
    ["gzip", "gzip"],
    ["GZIP", "gzip"],
    ["x-gzip", "gzip"],
    ["br", "br"],
    ["zstd", "zstd"],
    ["deflate", null],
    ["gzip, deflate, br, zstd", "zstd"],
    ["gzip, deflate, br", "gzip"],
    ["gzip;q=0.5, br;q=0.8", "br"],
    ["gzip ; q=1.0 , zstd ; q=0.3", "gzip"],
    ["gzip;q=0", null],
    ["gzip;q=0, br;q=0, *", "zstd"],
    ["*", "zstd"],
    ["*;q=0.1", "zstd"],
    ["zstd;q=0, *;q=0.5", "gzip"],
    ["identity", null],
    ["identity, gzip;q=0.5", null],
    ["identity;q=0.5, gzip", "gzip"],
    ["identity;q=0.5, gzip;q=0.2", null],
    ["identity;q=0, br", "br"],
    ["gzip;q=2", null],
    ["gzip;q=0.1234", null],
    ["gzip;q=x, br", "br"],
    [",, gzip ,", "gzip"],
  ];

  test("follows the client's weights, then what costs least", async () => {
    using folder = new StaticFolder();
    folder.put("a.txt", TEXT);
    const site = await folder.site();
    for (const [accepted, coding] of cases) {
      const response = await site("/a.txt", accepted === null ? {} : { "accept-encoding": accepted });
      const { status, headers } = response;
      expect([accepted, status, headers.get("content-encoding"), headers.get("vary")]).toEqual([
        accepted,
        200,
        coding,
        "Accept-Encoding",
      ]);
      expect(await decoded(response)).toBe(TEXT);
    }
  });

  test("a client that takes nothing there is gets a 406", async () => {
    using folder = new StaticFolder();
    folder.put("a.txt", TEXT);
    folder.put("young.txt", TEXT, Date.now() / 1000);
    const site = await folder.site();
    for (const accepted of [
      "identity;q=0",
      "*;q=0",
      "deflate, identity;q=0",
      "br;q=0, gzip;q=0, zstd;q=0, identity;q=0",
    ]) {
      expect([accepted, (await site("/a.txt", { "accept-encoding": accepted })).status]).toEqual([accepted, 406]);
    }
    expect((await site("/young.txt", { "accept-encoding": "gzip, identity;q=0" })).status).toBe(406);
  });

  test("a client that refuses the plain form gets even what compression makes no smaller", async () => {
    using folder = new StaticFolder();
    folder.put("noise.bin", crypto.getRandomValues(new Uint8Array(500)));
    const site = await folder.site();
    expect((await site("/noise.bin", { "accept-encoding": "gzip" })).headers.get("content-encoding")).toBeNull();
    for (const _ of ["made", "kept"]) {
      const response = await site("/noise.bin", { "accept-encoding": "gzip, identity;q=0" });
      expect([response.status, response.headers.get("content-encoding")]).toEqual([200, "gzip"]);
      expect(gunzipSync(await response.bytes()).length).toBe(500);
    }
  });
});

describe("compressed on the way", () => {
  test("each form has a tag of its own, by which it is revalidated", async () => {
    using folder = new StaticFolder();
    folder.put("a.txt", TEXT);
    const site = await folder.site();
    const tags = new Set<string>();
    for (const coding of ["identity", "gzip", "br", "zstd"]) {
      const etag = (await site("/a.txt", { "accept-encoding": coding })).headers.get("etag") ?? "";
      expect(etag).toStartWith('"');
      tags.add(etag);
      const again = await site("/a.txt", { "accept-encoding": coding, "if-none-match": etag });
      expect([again.status, again.headers.get("etag"), again.headers.get("vary")]).toEqual([
        304,
        etag,
        "Accept-Encoding",
      ]);
      const other = coding === "gzip" ? "br" : "gzip";
      expect((await site("/a.txt", { "accept-encoding": other, "if-none-match": etag })).status).toBe(200);
    }
    expect(tags.size).toBe(4);
  });

  test("is paid for once, also by clients that ask at the same time", async () => {
    using folder = new StaticFolder();
    folder.put("a.txt", TEXT);
    const site = await folder.site();
    const headers = { "accept-encoding": "br" };
    const together = await Promise.all([site("/a.txt", headers), site("/a.txt", headers)]);
    const bodies = await Promise.all(together.map((response) => response.bytes()));
    // A body made anew could not be got without waiting: now it is there at once.
    const kept = Bun.peek(site("/a.txt", headers));
    expect(kept).toBeInstanceOf(Response);
    expect(await (kept as Response).bytes()).toEqual(bodies[0]!);
    expect(bodies[1]).toEqual(bodies[0]!);
  });

  test("HEAD tells the length that GET sends", async () => {
    using folder = new StaticFolder();
    folder.put("a.txt", TEXT);
    const site = await folder.site();
    const headers = { "accept-encoding": "gzip" };
    const head = await site("/a.txt", headers, "HEAD");
    const length = (await (await site("/a.txt", headers)).bytes()).length;
    expect([head.headers.get("content-encoding"), head.headers.get("content-length"), head.body]).toEqual([
      "gzip",
      String(length),
      null,
    ]);
  });

  test("what is small, large, young or compressed already goes out as it is", async () => {
    using folder = new StaticFolder();
    folder.put("small.txt", "x".repeat(1023));
    folder.put("large.txt", "x".repeat(10_001));
    folder.put("young.txt", TEXT, Date.now() / 1000);
    folder.put("picture.png", TEXT);
    folder.put("noise.txt", crypto.getRandomValues(new Uint8Array(5000)));
    folder.put("enough.txt", "x".repeat(1024));
    const site = await folder.site({ compressMaxBytes: 10_000 });
    for (const name of ["small.txt", "large.txt", "young.txt", "picture.png", "noise.txt"]) {
      expect([name, (await site(`/${name}`, { "accept-encoding": "gzip" })).headers.get("content-encoding")]).toEqual([
        name,
        null,
      ]);
    }
    expect((await site("/enough.txt", { "accept-encoding": "gzip" })).headers.get("content-encoding")).toBe("gzip");
    const picture = await site("/picture.png");
    expect(picture.headers.get("vary")).toBeNull();
  });

  test("a file too large to be kept is compressed once nevertheless, and anew when it has changed", async () => {
    using folder = new StaticFolder();
    const text = TEXT.repeat(20);
    folder.put("app.js", text);
    const site = await folder.site({ cacheFileBytes: 1000 });
    const headers = { "accept-encoding": "zstd" };
    const first = await site("/app.js", headers);
    expect(first.headers.get("content-encoding")).toBe("zstd");
    expect(await decoded(first)).toBe(text);
    expect(Bun.peek(site("/app.js", headers))).toBeInstanceOf(Response);
    folder.put("app.js", `${text}!`, OLD_SECONDS + 1);
    const second = await site("/app.js", headers);
    expect(await decoded(second)).toBe(`${text}!`);
    expect(second.headers.get("etag")).not.toBe(first.headers.get("etag"));
  });

  test("a cache that is too small for the compressed form still answers", async () => {
    using folder = new StaticFolder();
    const text = Array.from({ length: 500 }, (_, index) => Bun.hash(String(index)).toString(36)).join("\n");
    folder.put("a.txt", text);
    const site = await folder.site({ cacheBytes: 2000, cacheFileBytes: 0 });
    for (const _ of ["first", "again"])
      expect(await decoded(await site("/a.txt", { "accept-encoding": "gzip" }))).toBe(text);
  });

  test("a range is cut from the plain form", async () => {
    using folder = new StaticFolder();
    folder.put("a.txt", TEXT);
    folder.put("a.txt.gz", Bun.gzipSync(TEXT));
    const response = await (await folder.site())("/a.txt", { "accept-encoding": "gzip", range: "bytes=0-7" });
    expect([response.status, response.headers.get("content-encoding"), await response.text()]).toEqual([
      206,
      null,
      "All work",
    ]);
  });

  test("`compress` switches off both, or only what is compressed here", async () => {
    using folder = new StaticFolder();
    folder.put("a.txt", TEXT);
    folder.put("b.txt", TEXT);
    folder.put("b.txt.gz", Bun.gzipSync(TEXT));
    const codingsWith = async (compress: unknown): Promise<(string | null)[]> => {
      const site = await folder.site({ compress });
      const responses = ["/a.txt", "/b.txt"].map((path) => site(path, { "accept-encoding": "gzip" }));
      return (await Promise.all(responses)).map(({ headers }) => headers.get("content-encoding"));
    };
    expect(await codingsWith(true)).toEqual(["gzip", "gzip"]);
    expect(await codingsWith("siblings")).toEqual([null, "gzip"]);
    expect(await codingsWith(false)).toEqual([null, null]);
    await expect(codingsWith("yes")).rejects.toThrow(/modules\.http\.compress/);
  });
});

describe("compressed files beside a file", () => {
  test("are sent as they are, with the file's type and a tag of their own", async () => {
    using folder = new StaticFolder();
    folder.put("pic.svg", "<svg/>");
    const made: Record<string, string> = { br: ".br", zstd: ".zst", gzip: ".gz" };
    for (const [coding, suffix] of Object.entries(made)) folder.put(`pic.svg${suffix}`, `made by hand: ${coding}`);
    const site = await folder.site();
    const plainTag = (await site("/pic.svg", { "accept-encoding": "identity" })).headers.get("etag");
    for (const coding of Object.keys(made)) {
      const response = await site("/pic.svg", { "accept-encoding": coding });
      const { headers } = response;
      expect(await response.text()).toBe(`made by hand: ${coding}`);
      expect([headers.get("content-encoding"), headers.get("content-type")]).toEqual([
        coding,
        "image/svg+xml; charset=utf-8",
      ]);
      expect(headers.get("vary")).toBe("Accept-Encoding");
      expect(headers.get("etag")).not.toBe(plainTag);
      expect(
        (await site("/pic.svg", { "accept-encoding": coding, "if-none-match": headers.get("etag") ?? "" })).status,
      ).toBe(304);
    }
    expect((await site("/pic.svg")).headers.get("vary")).toBe("Accept-Encoding");
    expect((await site("/pic.svg.gz")).headers.get("content-encoding")).toBeNull();
  });

  test("of those liked equally, the smallest is sent", async () => {
    using folder = new StaticFolder();
    folder.put("a.txt", TEXT);
    folder.put("a.txt.gz", "gzip, 12345");
    folder.put("a.txt.br", "br");
    folder.put("a.txt.zst", "zstandard");
    const site = await folder.site();
    const codingFor = async (accepted: string) =>
      (await site("/a.txt", { "accept-encoding": accepted })).headers.get("content-encoding");
    expect(await codingFor("gzip, br, zstd")).toBe("br");
    expect(await codingFor("gzip, zstd")).toBe("zstd");
    expect(await codingFor("gzip, br;q=0.9")).toBe("gzip");
  });

  test("one that is older than the file, a folder, or a link that leads out, is not sent", async () => {
    using folder = new StaticFolder();
    using outside = new StaticFolder();
    for (const name of ["old.png", "folder.png", "link.png", "same.png"]) folder.put(name, "plain");
    folder.put("old.png.gz", "stale", OLD_SECONDS - 1);
    folder.put("folder.png.gz/x", "x");
    symlinkSync(outside.put("secret.gz", "secret"), join(folder.root, "link.png.gz"));
    folder.put("same.png.gz", "fresh");
    const site = await folder.site();
    for (const name of ["old", "folder", "link"]) {
      const response = await site(`/${name}.png`, { "accept-encoding": "gzip" });
      expect([name, response.headers.get("content-encoding"), await response.text()]).toEqual([name, null, "plain"]);
    }
    expect(await (await site("/same.png", { "accept-encoding": "gzip" })).text()).toBe("fresh");
  });

  test("one that is replaced or deleted shows at once, one that is new within a second", async () => {
    using folder = new StaticFolder();
    folder.put("a.png", "plain");
    const packed = folder.put("a.png.gz", "one");
    const site = await folder.site();
    const ask = async () => (await site("/a.png", { "accept-encoding": "gzip" })).text();
    expect(await ask()).toBe("one");
    expect(await ask()).toBe("one");
    folder.put("a.png.gz", "two", OLD_SECONDS + 5);
    expect(await ask()).toBe("two");
    rmSync(packed);
    expect(await ask()).toBe("plain");
    writeFileSync(packed, "three");
    await until("the new file is served", async () => (await ask()) === "three");
  });

  test("a newer file makes its compressed one stale", async () => {
    using folder = new StaticFolder();
    const file = folder.put("a.png", "plain");
    folder.put("a.png.gz", "packed");
    const site = await folder.site();
    expect(await (await site("/a.png", { "accept-encoding": "gzip" })).text()).toBe("packed");
    utimesSync(file, OLD_SECONDS + 9, OLD_SECONDS + 9);
    expect(await (await site("/a.png", { "accept-encoding": "gzip" })).text()).toBe("plain");
  });

  test("a large one is streamed", async () => {
    using folder = new StaticFolder();
    folder.put("a.bin", "plain");
    const packed = crypto.getRandomValues(new Uint8Array(65_536)).toBase64().repeat(8);
    folder.put("a.bin.zst", packed);
    const response = await (await folder.site())("/a.bin", { "accept-encoding": "zstd" });
    expect(response.headers.get("content-length")).toBe(String(packed.length));
    expect(await response.text()).toBe(packed);
  });
});

test("a cache that holds few of many files answers for all of them", async () => {
  using folder = new StaticFolder();
  for (let index = 0; index < 40; index++) folder.put(`${index}.txt`, `${index} ${TEXT}`);
  const site = await folder.site({ cacheBytes: 60_000 });
  for (const _ of ["fill", "again"]) {
    for (let index = 0; index < 40; index++) {
      const response = await site(`/${index}.txt`, { "accept-encoding": "gzip" });
      expect(await decoded(response)).toBe(`${index} ${TEXT}`);
    }
  }
});
