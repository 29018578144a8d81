/**
 * A bot on another service: one WebSocket out, which stays open over reloads. Each version takes it over in `start`, so
 * a changed answer is in force at once, and the service sees no new connection. Settings, in hrmr.json:
 * { "modules": { "gateway": { "url": "wss://chat.example/bots" } } }
 *
 *   printf 'BOT SAY hi\n' | nc -N localhost 8080     # -> the bot is told
 */
import { defineModule, type ModuleContext } from "hrmr";

const CONNECT_MS = 10_000;
const FIRST_WAIT_MS = 250;
const LAST_WAIT_MS = 30_000;

interface State {
  /** Aborted by `stop`: from then on another version has the socket. */
  hold: AbortController;
  socket: WebSocket | null;
}

/** What the bot says to a message; null: nothing. Change it, and RELOAD. */
function answer(text: string): string | null {
  const [, name] = /^my name is (\w+)/i.exec(text) ?? [];
  return name === undefined ? null : `Hello, ${name}`;
}

function open(url: string): Promise<WebSocket> {
  const { promise, resolve, reject } = Promise.withResolvers<WebSocket>();
  const socket = new WebSocket(url);
  // A service that takes the connection and says nothing is given up.
  const late = setTimeout(() => socket.close(), CONNECT_MS);
  socket.onopen = () => resolve(socket);
  socket.onclose = () => reject(new Error(`cannot connect to ${url}`));
  return promise.finally(() => clearTimeout(late));
}

/** Resolves when the socket is lost, or another version takes it. */
async function serve(socket: WebSocket, state: State): Promise<void> {
  const over = Promise.withResolvers<void>();
  state.hold.signal.addEventListener("abort", () => over.resolve());
  // Every handler is assigned anew: one that stayed would keep the version that made it in memory.
  socket.onopen = null;
  socket.onclose = () => over.resolve();
  socket.onmessage = ({ data }) => {
    const reply = answer(String(data));
    if (reply !== null) socket.send(reply);
  };
  state.socket = socket;
  if (socket.readyState === WebSocket.OPEN) await over.promise;
  state.socket = null;
}

/** Connects, and connects again when the socket was lost. */
async function keep(url: string, { shared, log, state }: ModuleContext<State>): Promise<void> {
  const { signal } = state.hold;
  let waitMs = FIRST_WAIT_MS;
  while (!signal.aborted) {
    try {
      const link = await shared.open(
        "link",
        async () => ({ url, socket: await open(url) }),
        ({ socket }) => socket.close(),
      );
      if (signal.aborted) return;
      // With another `url` in the settings, the old socket is of no use.
      if (link.url === url) await serve(link.socket, state);
      if (signal.aborted) return;
      await shared.close("link");
      waitMs = FIRST_WAIT_MS;
    } catch (error) {
      log.warn("the gateway is away:", error);
      waitMs = Math.min(2 * waitMs, LAST_WAIT_MS);
    }
    await Bun.sleep(waitMs);
  }
}

export default defineModule({
  setup: (): State => ({ hold: new AbortController(), socket: null }),
  // One process of the server runs `start`, so there is one connection. The loop is not awaited: the module serves, even
  // if the gateway is away.
  async start(context) {
    context.state.hold = new AbortController();
    const { url } = context.config;
    if (typeof url === "string") void keep(url, context);
    else await context.shared.close("link");
  },
  async stop({ shared, state }, reason) {
    state.hold.abort();
    // Another process connects. When the module is replaced, the socket stays open for the next version; when it is
    // removed, or the server ends, the server closes it.
    if (reason === "moved") await shared.close("link");
  },
  // A message may come to any process of the server. The event goes to the one with the socket.
  on: {
    "gateway.say": ({ data }, { state }) => void state.socket?.send(data.text),
  },
  routes: {
    "BOT SAY ": {
      framing: "line",
      description: "BOT SAY text: the bot says it",
      handle({ text }, { events }) {
        events.emit("gateway.say", { text: text.slice("BOT SAY ".length) });
        return "the bot is told\n";
      },
    },
  },
});
