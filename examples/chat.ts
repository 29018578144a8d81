/**
 * A chat room in sequential code. Edit the file and RELOAD in the middle of a talk: all stay connected, and names stay.
 *
 *   nc -N localhost 8080       # in two terminals: type CHAT ada, CHAT bob, then talk; /who lists, /bye leaves
 */
import { defineModule, type Connection } from "hrmr";

type Room = Map<Connection, string>;

function say(room: Room, from: Connection, text: string): void {
  // Do not wait for each write: a member that reads slowly or is gone must not delay the others.
  for (const member of room.keys()) if (member !== from) member.write(text + "\n").catch(() => room.delete(member));
}

async function enter(connection: Connection, room: Room): Promise<string | null> {
  const first = await connection.readUntil("\n");
  if (first === null) return null;
  const name = new TextDecoder().decode(first).slice("CHAT".length).trim() || `guest ${connection.client.connection}`;
  say(room, connection, `* ${name} came in`);
  await connection.write(`* hello ${name}, ${room.size} here\n`);
  return name;
}

export default defineModule({
  // Each version has its own room. It fills by itself: `connect` runs again for every connection that is handed over.
  setup: (): Room => new Map(),
  routes: {
    CHAT: {
      description: "CHAT name: come into the room",
      async connect(connection, { state: room }) {
        // `data` stays with the connection over reloads. If it has a name already, the connection was handed over.
        const name = typeof connection.data === "string" ? connection.data : await enter(connection, room);
        if (name === null) return;
        connection.data = name;
        room.set(connection, name);
        try {
          for await (const line of connection.lines()) {
            if (line === "/bye") break;
            if (line === "/who") await connection.write(`* ${[...room.values()].join(", ")}\n`);
            else if (line !== "") say(room, connection, `${name}: ${line}`);
          }
        } finally {
          room.delete(connection);
          // The loop also ends when a new version takes over, but then nobody leaves.
          if (!connection.replaced) say(room, connection, `* ${name} left`);
        }
      },
    },
  },
});
