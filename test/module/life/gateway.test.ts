/** A connection out that outlives versions: which version acts on it, from its start to its end. */
import { afterAll, expect, test } from "bun:test";
import type { ServerWebSocket } from "bun";
import { shareHub } from "../../support/hub";
import { until } from "../../support/until";

/** The other end. */
const sockets = new Set<ServerWebSocket<unknown>>();
let opened = 0;
const said: string[] = [];
const gateway = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  fetch: (request, server) => (server.upgrade(request) ? undefined : new Response("no")),
  websocket: {
    open(socket) {
      opened++;
      sockets.add(socket);
    },
    message: (_, message) => void said.push(String(message)),
    close: (socket) => void sockets.delete(socket),
  },
});
afterAll(() => gateway.stop(true));

/** Says a word to the module, and waits for what it says. */
async function hears(word: string): Promise<string> {
  said.length = 0;
  for (const socket of sockets) socket.send(word);
  await until(`an answer to ${word}`, () => said.length > 0);
  return said.join();
}

/** Each version answers with its name. @param wired where it wires the connection: with addEventListener in start */
const bot = (version: string, options = "", wiring = "onmessage") => `
const connect = () => new Promise((resolve, reject) => {
  const socket = new WebSocket("ws://127.0.0.1:${gateway.port}/");
  socket.onopen = () => resolve(socket);
  socket.onerror = reject;
});
let socket, heard;
export default {
  ${options}
  async start({ shared }) {
    socket = await shared.open("gateway", connect);
    heard = ({ data }) => socket.send("${version} " + data);
    ${wiring === "onmessage" ? "socket.onmessage = heard;" : `socket.addEventListener("message", heard);`}
  },
  stop() { ${wiring === "onmessage" ? "" : `socket.removeEventListener("message", heard);`} },
};
`;

const shared = shareHub({});

test.each(["onmessage", "addEventListener"])(
  "a WebSocket in context.shared, wired by %s in start, is acted on by the version that serves, and by no refused or deleted one",
  (wiring) =>
    shared(async (hub) => {
      const before = opened;
      const reload = async (source: string) => {
        hub.write("modules/bot.ts", source);
        return await hub.ask("RELOAD bot\n");
      };
      expect(await reload(bot("one", "", wiring))).toStartWith("OK");
      await until("the connection", () => sockets.size === 1);
      expect(await hears("a")).toBe("one a");
      // Refused at each step: its shape, its setup, its check.
      expect(await reload(bot("wrong", "background: 1,", wiring))).toStartWith("ERR");
      expect(await reload(bot("wrong", `setup() { throw new Error("no"); },`, wiring))).toStartWith("ERR");
      expect(await reload(bot("wrong", `check: () => false,`, wiring))).toStartWith("ERR");
      expect(await reload(bot("wrong", `needs: ["nobody"],`, wiring))).toStartWith("ERR");
      expect(await hears("b")).toBe("one b");
      expect(await reload(bot("two", "", wiring))).toStartWith("OK");
      expect(await hears("c")).toBe("two c");
      expect(opened - before).toBe(1);
      hub.remove("modules/bot.ts");
      expect(await hub.ask("RELOAD bot\n")).toContain('context.shared "gateway" is closed');
      await until("the connection to be closed", () => sockets.size === 0);
      // It comes back with a connection of its own.
      expect(await reload(bot("three", "", wiring))).toStartWith("OK");
      await until("the next connection", () => sockets.size === 1);
      expect(await hears("d")).toBe("three d");
      expect(opened - before).toBe(2);
      hub.remove("modules/bot.ts");
      expect(await hub.ask("RELOAD bot\n")).toStartWith("OK");
      await until("the end of it", () => sockets.size === 0);
    }),
);
