/** The least a text server can do: a constant for whatever arrives. */
const reply = "PONG\n";
const listener = Bun.listen({
  hostname: "127.0.0.1",
  port: 0,
  socket: {
    data(socket) {
      socket.write(reply);
    },
  },
});
console.log(`listening on tcp://127.0.0.1:${listener.port}`);
