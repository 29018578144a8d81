/** The handlers of rows/http.ts that read a body or a path's parameter, on Bun's own HTTP server. */
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  routes: {
    "/json": { POST: async (request) => new Response(`id ${((await request.json()) as { id: number }).id}`) },
    "/text": { POST: async (request) => new Response(`n ${(await request.text()).length}`) },
    "/ignore": { POST: () => new Response("Hello, World!") },
    "/x/:id": { GET: (request) => new Response(`id ${request.params.id}`) },
  },
});
console.log(`listening on http://127.0.0.1:${server.port}`);
