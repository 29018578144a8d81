// The `ws` client under node against the server at argv[2]. Prints one line of JSON with what it saw.
import WebSocket from "ws";

const url = process.argv[2];

function run(path, options, script) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`${url}${path}`, options.protocols ?? [], options);
    const seen = [];
    socket.on("message", (data, isBinary) => seen.push(isBinary ? data.length : data.toString().length));
    socket.on("pong", (data) => seen.push(`pong ${data}`));
    socket.on("close", (code, reason) =>
      resolve({ seen, code, reason: reason.toString(), extensions: socket.extensions, protocol: socket.protocol }),
    );
    socket.on("error", reject);
    script(socket);
  });
}

function talk(socket) {
  socket.on("open", () => {
    socket.send("hello");
    socket.send("ä".repeat(40_000));
    socket.send(Buffer.alloc(300_000, 7));
    socket.send("first ", { fin: false });
    socket.send("second", { fin: true });
    socket.ping("p");
  });
  socket.on("pong", () => socket.close(4002, "done"));
}

console.log(
  JSON.stringify([
    await run("/echo", { perMessageDeflate: false }, talk),
    await run("/echo", { perMessageDeflate: { threshold: 0 } }, talk),
    await run("/echo", { perMessageDeflate: { threshold: 0, serverMaxWindowBits: 10, clientMaxWindowBits: 10 } }, talk),
    await run("/server-closes", { protocols: ["other", "mine"] }, () => {}),
  ]),
);
