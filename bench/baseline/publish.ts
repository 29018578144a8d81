/** Bun's own WebSocket server: a GET of /go publishes events to all sockets, each in a turn of its own. */
const EVENTS = Number(process.argv[2] ?? 50);
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch(request, self) {
    if (self.upgrade(request)) return undefined;
    void publishAll();
    return new Response("told\n");
  },
  websocket: { open: (socket) => void socket.subscribe("bench"), message: () => {} },
});
console.log(`listening on http://127.0.0.1:${server.port}`);

async function publishAll(): Promise<void> {
  for (let n = 0; n < EVENTS; n++) {
    const data = { n, text: "some words of an event" };
    server.publish("bench", JSON.stringify({ topic: "bench.x", data, emitter: "emitter", id: `1f0a9c3e.${n}` }));
    await new Promise((resolve) => setImmediate(resolve));
  }
}

export {};
