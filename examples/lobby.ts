/**
 * A chat for raw clients and browsers together. It does not matter to which process of the server they are connected.
 * Edit the file and RELOAD in the middle of a talk: all stay connected, and names stay.
 *
 *   printf 'LOBBY ada\n/bye\n' | nc -N localhost 8080     # -> * hello ada
 *
 *   In a browser's console on http://localhost:8080/:
 *     lobby = new WebSocket("ws://localhost:8080/lobby?name=bob"); lobby.onmessage = ({ data }) => console.log(data)
 *     lobby.onopen = () => lobby.send("hi")
 */
import { defineModule, type Connection, type ModuleContext, type ServerWebSocket } from "hrmr";

const TOPIC = "lobby.said";

/** To all: `publish` reaches the WebSockets of all processes, the event all that read it below. */
function say({ publish, events }: ModuleContext, text: string): void {
  publish(TOPIC, text);
  events.emit(TOPIC, { text });
}

/** Each raw client has a queue of its own: one that reads slowly delays nobody, and misses what is too much for it. */
async function write(connection: Connection, said: AsyncIterable<{ data: { text: string } }>): Promise<void> {
  for await (const { data } of said) await connection.write(`${data.text}\n`);
}

async function readName(connection: Connection): Promise<string | null> {
  const first = new TextDecoder().decode((await connection.readUntil("\n")) ?? undefined);
  return /^LOBBY (\w{1,20})\r?\n/.exec(first)?.[1] ?? null;
}

export default defineModule({
  routes: {
    "LOBBY ": {
      description: "LOBBY name: come in, from a raw connection",
      async connect(connection, context) {
        // `data` stays with the connection over reloads. If there is a name, this version took the connection over.
        const isNew = typeof connection.data !== "string";
        if (isNew) connection.data = await readName(connection);
        const name = connection.data;
        if (name === null) return await connection.end("ERR a name has 1 to 20 letters and digits\n");
        if (isNew) await connection.write(`* hello ${name}\n`);
        const said = context.events.subscribe(TOPIC);
        // If a write fails, the client is gone, and the loop below ends.
        write(connection, said).catch(() => {});
        try {
          if (isNew) say(context, `* ${name} came in`);
          for await (const line of connection.lines()) {
            if (line === "/bye") break;
            if (line !== "") say(context, `${name}: ${line}`);
          }
        } finally {
          await said.return?.();
          // When a new version takes over, the loop ends, and nobody leaves.
          if (!connection.replaced) say(context, `* ${name} left`);
        }
      },
    },
    "GET /lobby": {
      description: "?name=NAME: come in, by a WebSocket",
      websocket: {
        maxMessageBytes: 10_000,
        upgrade(request) {
          const name = new URL(request.url).searchParams.get("name") ?? "";
          if (!/^\w{1,20}$/.test(name)) return new Response("name yourself with ?name=\n", { status: 400 });
          return { data: name };
        },
        open(socket: ServerWebSocket<string>, context) {
          socket.send(`* hello ${socket.data}`);
          say(context, `* ${socket.data} came in`);
          // The subscription stays with the socket over reloads.
          socket.subscribe(TOPIC);
        },
        message(socket: ServerWebSocket<string>, data, context) {
          if (typeof data === "string") say(context, `${socket.data}: ${data}`);
          else socket.close(1003, "the lobby takes text");
        },
        close: (socket: ServerWebSocket<string>, _code, _reason, context) => say(context, `* ${socket.data} left`),
      },
    },
  },
});
