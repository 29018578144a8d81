/**
 * Sends your input back, in three ways: as a message, as an HTTP request, as a conversation. It ships with hrmr and is
 * off until hrmr.json names it: "modules": { "echo": {} }
 *
 *   printf 'ECHO hello\n' | nc -N localhost 8080     # hello
 *   curl -d hello localhost:8080/echo                # hello
 *   printf 'TALK\nhi\nBYE\n' | nc -N localhost 8080  # or without printf: type TALK and a few lines; BYE ends it
 */
import { defineModule } from "hrmr";

export default defineModule({
  routes: {
    "ECHO ": {
      description: "ECHO text: the text comes back",
      framing: "line",
      handle: (message) => message.text.slice("ECHO ".length) + "\n",
    },

    "POST /echo": {
      description: "the body comes back, with its type",
      fetch: async (request) => {
        const type = request.headers.get("content-type") ?? "application/octet-stream";
        // nosniff and the sandbox: a stranger's input must not run as a page of this host.
        const headers = {
          "content-type": type,
          "x-content-type-options": "nosniff",
          "content-security-policy": "sandbox",
        };
        return new Response(await request.bytes(), { headers });
      },
    },

    TALK: {
      description: "a conversation: each line comes back until BYE",
      async connect(connection) {
        // After a reload the next version continues here with the same connection. `data` stays with it, and shows that
        // the greeting was sent.
        if (connection.data === undefined) {
          await connection.readUntil("\n"); // the word TALK itself
          await connection.write("Talk to me. BYE ends it.\n");
          connection.data = { lines: 0 };
        }
        const talk = connection.data as { lines: number };
        for await (const line of connection.lines()) {
          if (line === "BYE") break;
          talk.lines += 1;
          await connection.write(`${talk.lines}: ${line}\n`);
        }
        // The loop ends for three reasons: BYE, the client's end, or a new version that waits. In the last case, send
        // no good-bye.
        if (!connection.replaced) await connection.end(`Bye after ${talk.lines} lines.\n`);
      },
    },
  },
});
