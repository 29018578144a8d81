/**
 * A room of WebSockets: a message goes to all others. Edit the file and RELOAD in the middle of a talk: all stay
 * connected, names stay, and the new version handles the next message.
 *
 *   In a browser's console on http://localhost:8080/:
 *     room = new WebSocket("ws://localhost:8080/room?name=ada"); room.onmessage = ({ data }) => console.log(data)
 *     room.onopen = () => room.send("hi")
 *   From a shell, to everyone in the room:
 *     printf 'TELL dinner is ready\n' | nc -N localhost 8080
 */
import { defineModule, type ServerWebSocket } from "hrmr";

interface Member {
  name: string;
}

export default defineModule({
  routes: {
    "GET /room": {
      description: "a WebSocket room; ?name=NAME",
      websocket: {
        maxMessageBytes: 10_000,
        upgrade(request) {
          const name = new URL(request.url).searchParams.get("name") ?? "";
          if (!/^\w{1,20}$/.test(name)) return new Response("name yourself with ?name=\n", { status: 400 });
          return { data: { name } };
        },
        open(socket: ServerWebSocket<Member>) {
          socket.subscribe("room");
          socket.publish("room", `* ${socket.data.name} came in`);
          socket.send(`* hello ${socket.data.name}`);
        },
        message(socket: ServerWebSocket<Member>, data) {
          if (typeof data === "string") socket.publish("room", `${socket.data.name}: ${data}`);
          else socket.close(1003, "this room takes text");
        },
        close(socket: ServerWebSocket<Member>, _code, _reason, context) {
          // The socket has already left the room, so it cannot publish to it.
          context.publish("room", `* ${socket.data.name} left`);
        },
      },
    },
    // Other routes of the module reach the same topics.
    "TELL ": {
      framing: "line",
      description: "TELL text: says it to everyone in the room",
      handle(message, { publish }) {
        publish("room", `* ${message.text.slice("TELL ".length)}`);
        return "told\n";
      },
    },
  },
});
