/** Bun's own HTTP server with the same handler: `bun hello.ts [--http2] [--cert FILE --key FILE]`. */
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: { http2: { type: "boolean" }, cert: { type: "string" }, key: { type: "string" } },
});
const { cert, key, http2 = false } = values;
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  http2,
  tls: cert === undefined || key === undefined ? undefined : { cert: Bun.file(cert), key: Bun.file(key) },
  fetch: () => new Response("Hello, World!"),
});
console.log(`listening on http://127.0.0.1:${server.port}`);
