/**
 * A chat for raw clients, in all processes of the server. Type `COMMAND ada`, and then talk, in two terminals with `nc -N`.
 *
 *   printf 'COMMAND ada\n/bye\n' | nc -N localhost 8080
 */
import { type Connection, defineModule } from "hrmr";

async function write(connection: Connection, said: AsyncIterable<{ data: { text: string } }>): Promise<void> {
  for await (const { data } of said) await connection.write(`${data.text}\n`);
}

export default defineModule({
  routes: {
    "COMMAND ": {
      description: "COMMAND name: come in",
      async connect(connection, { events }) {
        // `data` stays with the connection over reloads: if there is a name, this version took the connection over.
        const isNew = connection.data === undefined;
        if (isNew) {
          const first = new TextDecoder().decode((await connection.readUntil("\n")) ?? undefined);
          connection.data = first.slice("COMMAND ".length).trim() || "somebody";
        }
        const name = connection.data;
        const said = events.subscribe("NAME.said");
        // If a write fails, the client is gone, and the loop below ends.
        write(connection, said).catch(() => {});
        const say = (text: string) => events.emit("NAME.said", { text });
        if (isNew) say(`* ${name} came in`);
        for await (const line of connection.lines()) {
          if (line === "/bye") break;
          if (line !== "") say(`${name}: ${line}`);
        }
        await said.return?.();
        if (!connection.replaced) say(`* ${name} left`);
      },
    },
  },
});
