/** Bun's own HTTP server with the same handler. */
const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("Hello, World!") });
console.log(`listening on http://127.0.0.1:${server.port}`);

export {};
