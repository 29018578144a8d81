/** UDP: each datagram is a message, the reply a datagram. */
import { expect, test } from "bun:test";
import { moduleSource, withHub } from "./support/hub";

const TEXT = moduleSource(`{ routes: {
  "PING": () => "PONG\\n",
  "GREET ": { framing: "line", handle: async (m) => "Hello, " + m.text.slice(6) + " by " + m.client.transport + "\\n" },
  "UP ": { framing: "line", run: "pool", handle: (m) => m.text.slice(3).toUpperCase() + "\\n" },
  "MANY": async function* () { yield "a"; yield "b"; },
  "NEVER": { framing: "line", timeoutMs: 100, handle: () => new Promise(() => {}) },
  "HUGE": () => "x".repeat(100_000),
} }`);

test("datagrams are answered by inline and pool handlers, with their transport told", () =>
  withUdp(async (ask) => {
    expect(await ask("PING")).toBe("PONG\n");
    expect(await ask("GREET bob")).toBe("Hello, bob by udp\n");
    expect(await ask("GREET bob\n")).toBe("Hello, bob by udp\n");
    expect(await ask("UP abc")).toBe("ABC\n");
    expect(await ask("MANY")).toBe("ab");
    expect(await ask("nobody")).toBe('ERR no module is bound to "nobody"\n');
    expect(await ask("NEVER")).toBe('ERR "NEVER" did not answer within 100 ms\n');
    expect(await ask("GREET a\nGREET b\n")).toBe("ERR a datagram must hold one whole message\n");
    expect(await ask("HELP\n")).toBe("ERR HELP is not taken over UDP\n");
    expect(await ask("PING")).toBe("PONG\n");
  }));

async function withUdp(test: (ask: (text: string) => Promise<string>) => Promise<void>): Promise<void> {
  await withHub({ "modules/text.ts": TEXT }, ["--listen", "udp://127.0.0.1:0", "--listen", "tcp://127.0.0.1:0"], async (hub) => {
    const port = Number(/udp:\/\/127\.0\.0\.1:(\d+)/.exec(hub.program.listening.join(" "))?.[1]);
    let answered: (text: string) => void = () => {};
    const socket = await Bun.udpSocket({
      connect: { hostname: "127.0.0.1", port },
      socket: { data: (_, bytes) => answered(bytes.toString()) },
    });
    try {
      await test((text) => {
        const { promise, resolve, reject } = Promise.withResolvers<string>();
        const timer = setTimeout(() => reject(new Error(`no datagram in answer to ${JSON.stringify(text)}`)), 5000);
        answered = (reply) => (clearTimeout(timer), resolve(reply));
        socket.send(text);
        return promise;
      });
    } finally {
      socket.close();
    }
  });
}
