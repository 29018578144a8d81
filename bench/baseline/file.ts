/** One file by Bun's own HTTP server: `bun file.ts PATH`. */
const path = process.argv[2] ?? "";
const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response(Bun.file(path)) });
console.log(`listening on http://127.0.0.1:${server.port}`);

export {};
