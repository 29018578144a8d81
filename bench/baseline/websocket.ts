/** Bun's own WebSocket server with the same handler. */
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch: (request, self) => (self.upgrade(request) ? undefined : new Response("no WebSocket", { status: 400 })),
  websocket: { message: (socket, data) => void socket.send(data) },
});
console.log(`listening on http://127.0.0.1:${server.port}`);

export {};
