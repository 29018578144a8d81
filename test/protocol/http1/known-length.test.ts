/**
 * A response of known length is sent with its Content-Length, in every host. Clients see the progress, and HTTP/1.0 can
 * keep alive.
 */
import { expect, test } from "bun:test";
import { moduleSource, withHub } from "../../support/hub";

const BIG = 1_500_000;

const routes = (run: string) => `
  "/${run}/text": { run: "${run}", fetch: () => new Response("x".repeat(${BIG})) },
  "/${run}/bytes": { run: "${run}", fetch: () => new Response(new Uint8Array(${BIG})) },
  "/${run}/small": { run: "${run}", fetch: () => new Response(new Uint8Array(12)) },
  "/${run}/buffer": { run: "${run}", fetch: () => new Response(new ArrayBuffer(${BIG})) },
  "/${run}/view": { run: "${run}", fetch: () => new Response(new DataView(new ArrayBuffer(20), 4, 9)) },
  "/${run}/blob": { run: "${run}", fetch: () => new Response(new Blob(["b".repeat(${BIG})])) },
  "/${run}/small-blob": { run: "${run}", fetch: () => new Response(new Blob(["blob"], { type: "text/css" })) },
  "/${run}/file": { run: "${run}", fetch: () => new Response(Bun.file("big.txt")) },
  "/${run}/part": { run: "${run}", fetch: () => new Response(Bun.file("big.txt").slice(10, 30)) },
  "/${run}/form": { run: "${run}", fetch: () => new Response(new URLSearchParams({ a: "1 2" })) },
  "/${run}/json": { run: "${run}", fetch: () => Response.json({ a: 1 }) },
  "/${run}/clone": { run: "${run}", fetch: () => new Response(new Uint8Array(${BIG})).clone() },
  "/${run}/again": { run: "${run}", fetch() { const made = new Response("made again"); return new Response(made.body, made); } },
  "/${run}/told": { run: "${run}", fetch() {
    async function* parts() { yield "twelve"; await Bun.sleep(5); yield " bytes"; }
    return new Response(parts(), { headers: { "content-length": "12" } });
  } },
  "/${run}/unknown": { run: "${run}", fetch() {
    async function* parts() { yield "some"; await Bun.sleep(5); yield " parts"; }
    return new Response(parts());
  } },
  "/${run}/proxied": { run: "${run}", fetch: async (request) => fetch(new URL("/upstream", request.url)) },
  "/${run}/zipped": { run: "${run}", fetch: async (request) => fetch(new URL("/zipped", request.url)) },`;

const MODULE = moduleSource(`{ routes: {
  "/upstream": { fetch: () => new Response("from upstream", { headers: { "x-up": "1" } }) },
  "/zipped": { fetch: () => new Response(Bun.gzipSync("z".repeat(5000)), { headers: { "content-encoding": "gzip" } }) },
  ${["inline", "pool", "process"].map(routes).join("")}
} }`);

const LENGTHS: Record<string, number | null> = {
  text: BIG,
  bytes: BIG,
  small: 12,
  buffer: BIG,
  view: 9,
  blob: BIG,
  "small-blob": 4,
  file: BIG,
  part: 20,
  form: 5,
  json: 7,
  clone: BIG,
  again: 10,
  told: 12,
  unknown: null,
};

test("a known length is sent as Content-Length, inline, from the pool and from a process", async () => {
  await withHub({ "modules/m.ts": MODULE, "big.txt": "f".repeat(BIG) }, ["--threads", "1"], async (hub) => {
    for (const run of ["inline", "pool", "process"]) {
      for (const [path, length] of Object.entries(LENGTHS)) {
        // There the standard class copies the bytes into a stream.
        if (run === "inline" && path === "clone") continue;
        const response = await fetch(`${hub.url}/${run}/${path}`);
        const bytes = (await response.bytes()).length;
        const told = response.headers.get("content-length");
        expect({ run, path, told, chunked: response.headers.get("transfer-encoding"), bytes }).toEqual({
          run,
          path,
          told: length === null ? null : String(length),
          chunked: length === null ? "chunked" : null,
          bytes: length ?? 10,
        });
      }
      expect((await fetch(`${hub.url}/${run}/form`)).headers.get("content-type")).toStartWith(
        "application/x-www-form-urlencoded",
      );
      expect((await fetch(`${hub.url}/${run}/small-blob`)).headers.get("content-type")).toStartWith("text/css");
      const proxied = await fetch(`${hub.url}/${run}/proxied`);
      expect([proxied.headers.get("x-up"), await proxied.text()]).toEqual(["1", "from upstream"]);
      // Decoded on its way: neither its coding nor the length that it had with it is true any more.
      const zipped = await fetch(`${hub.url}/${run}/zipped`);
      expect([zipped.headers.get("content-encoding"), (await zipped.text()).length]).toEqual([null, 5000]);
    }
  });
});
