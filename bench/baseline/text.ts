/** The smallest text server: it answers everything with a constant. */
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
