/** modules/http: files whose names are no UTF-8, and files whose bytes are coded by their type. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { gunzipSync, gzipSync } from "node:zlib";
import { diskPath, encodeName, nameOf } from "../../../modules/http/names";
import { moduleSource, withHub } from "../../support/hub";
import { StaticFolder } from "../../support/static-fixture";
import { until } from "../../support/until";

/** ISO 8859-1, as old archives have it. */
const CAFE = Buffer.from("caf\xe9", "latin1");

function below(folder: StaticFolder, ...names: (string | Buffer)[]): Buffer {
  return Buffer.concat([Buffer.from(folder.root), ...names.flatMap((name) => [Buffer.from("/"), Buffer.from(name)])]);
}

describe("a name that is no UTF-8", () => {
  test("is served by its percent-encoded bytes, and so are files in a folder of such a name", async () => {
    using folder = new StaticFolder();
    mkdirSync(below(folder, CAFE));
    for (const path of [below(folder, "caf\u00e9.txt"), below(folder, "\u00ff\u{1f600}.txt")])
      writeFileSync(path, "UTF-8");
    writeFileSync(below(folder, Buffer.concat([CAFE, Buffer.from(".txt")])), "Latin-1");
    writeFileSync(below(folder, CAFE, Buffer.from([0xff, 0xc3])), "deep");
    writeFileSync(below(folder, CAFE, "index.html"), "index");
    for (const config of [{}, { cacheBytes: 0 }, { cacheFileBytes: 0 }]) {
      const site = await folder.site(config);
      for (let round = 0; round < 2; round++) {
        expect(await (await site("/caf%E9.txt")).text()).toBe("Latin-1");
        expect(await (await site("/caf%e9.txt")).text()).toBe("Latin-1");
        expect(await (await site("/caf%C3%A9.txt")).text()).toBe("UTF-8");
        expect(await (await site("/%C3%BF%F0%9F%98%80.txt")).text()).toBe("UTF-8");
        expect(await (await site("/caf%E9/%FF%C3")).text()).toBe("deep");
        expect(await (await site("/caf%E9/")).text()).toBe("index");
        expect((await site("/caf%E9.txt", {}, "HEAD")).headers.get("content-length")).toBe("7");
        expect(await (await site("/caf%E9.txt", { range: "bytes=0-2" })).text()).toBe("Lat");
      }
      for (const path of [
        "/caf%E8.txt",
        "/caf%EF%BF%BD.txt",
        "/caf%ED%B3%A9.txt",
        "/caf%E9%zz",
        "/%2e%2e/%E9%2f",
        "/caf%E9%00.txt",
      ]) {
        expect([path, (await site(path)).status]).toEqual([path, 404]);
      }
    }
  });

  test("is in redirects and listings as its percent-encoded bytes, and is shown with U+FFFD for bytes that are no UTF-8", async () => {
    using folder = new StaticFolder();
    mkdirSync(below(folder, CAFE));
    writeFileSync(below(folder, CAFE, Buffer.from([0x61, 0xff])), "deep");
    const site = await folder.site({ listing: true });
    const moved = await site("/caf%E9?a=1");
    expect([moved.status, moved.headers.get("location")]).toEqual([308, "/caf%E9/?a=1"]);
    expect(await (await site("/")).text()).toContain('<a href="./caf%E9/">caf\u{fffd}/</a>');
    const listed = await (await site("/caf%E9/")).text();
    expect(listed).toContain('<a href="./a%FF">a\u{fffd}</a>');
    expect(listed).toContain("<h1>Index of /caf\u{fffd}/</h1>");
    expect(await (await site("/caf%E9/a%FF")).text()).toBe("deep");
  });

  test("has one text, and each text one name", () => {
    // Not UTF-8: a lone surrogate, an overlong form, a cut character, a number beyond Unicode.
    const bytes = [
      "41",
      "e9",
      "c3a9",
      "eda080",
      "c080",
      "f0808080",
      "e282",
      "f4908080",
      "f09f9880",
      "ff41fe",
      "c3",
      "80",
      "edb3a9",
      "ee8080",
    ];
    const texts = bytes.map((hex) => nameOf(Buffer.from(hex, "hex")));
    expect(new Set(texts).size).toBe(texts.length);
    expect(texts.map((text) => Buffer.from(diskPath(text)).toString("hex"))).toEqual(bytes);
    for (const [at, text] of texts.entries()) {
      const decoded = encodeName(text).replace(/%([\dA-F]{2})/g, (_, hex: string) =>
        String.fromCharCode(Number.parseInt(hex, 16)),
      );
      expect(Buffer.from(decoded, "latin1").toString("hex")).toBe(bytes[at] ?? "");
    }
  });
});

test("a name that is no UTF-8 is asked for over HTTP, and a :name of a route has a mark for what is no letter", async () => {
  const own = moduleSource(
    '{ routes: { "GET /own/:name": { fetch: (request, { params }) => Response.json([params.name, request.url.slice(-4)]) } } }',
  );
  await withHub({ "modules/own.ts": own, "static_html/index.html": "home" }, [], async (hub) => {
    writeFileSync(Buffer.concat([Buffer.from(`${hub.dir}/static_html/`), CAFE, Buffer.from(".txt")]), "Latin-1");
    const client = await hub.connect();
    await client.send(
      "GET /caf%E9.txt HTTP/1.1\r\nHost: a\r\n\r\nGET /own/a%ff HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    await until("both are answered", () => client.hasEnded);
    expect(client.text).toContain("\r\n\r\nLatin-1HTTP/1.1 200 OK");
    expect(client.text).toEndWith('["a\u{fffd}","a%FF"]');
  });
});

describe("an .svgz", () => {
  const SVG = `<svg xmlns="http://www.w3.org/2000/svg">${"<g/>".repeat(1000)}</svg>`;

  test("is sent as gzip, whatever the client accepts, without a second coding", async () => {
    using folder = new StaticFolder();
    for (const name of ["a.svgz", "a.SVGZ"]) folder.put(name, gzipSync(SVG));
    folder.put("a.svgz.br", "not looked for");
    for (const config of [{}, { cacheFileBytes: 0 }, { compress: false }]) {
      const site = await folder.site(config);
      for (const headers of [
        {},
        { "accept-encoding": "gzip, br, zstd" },
        { "accept-encoding": "br;q=1, identity;q=0" },
        { "accept-encoding": "" },
      ]) {
        for (const name of ["/a.svgz", "/a.SVGZ"]) {
          const response = await site(name, headers as Record<string, string>);
          const { status, headers: sent } = response;
          expect([status, sent.get("content-type"), sent.get("content-encoding"), sent.get("vary")]).toEqual([
            200,
            "image/svg+xml; charset=utf-8",
            "gzip",
            null,
          ]);
          expect(gunzipSync(await response.bytes()).toString()).toBe(SVG);
        }
      }
    }
  });
});
