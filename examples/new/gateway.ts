/**
 * A WebSocket to another service, which stays open over reloads. Name the service in hrmr.json:
 * { "modules": { "NAME": { "url": "wss://chat.example/bots" } } }
 *
 *   hrmr send 'COMMAND hi'
 */
import { defineModule, type ModuleContext } from "hrmr";

function open(url: string): Promise<WebSocket> {
  const { promise, resolve, reject } = Promise.withResolvers<WebSocket>();
  const socket = new WebSocket(url);
  // A service that takes the connection and says nothing is given up.
  const late = setTimeout(() => socket.close(), 4000);
  socket.onopen = () => resolve(socket);
  socket.onclose = () => reject(new Error(`cannot connect to ${url}`));
  return promise.finally(() => clearTimeout(late));
}

/** Takes the open socket over, or connects. If that fails, the server tries `start` again, after 1 s, 2 s, ... */
async function connect(context: ModuleContext<{ socket: WebSocket | null; isOver: boolean }>): Promise<void> {
  const { shared, config, log, state } = context;
  const socket = await shared.open("socket", () => open(String(config.url)));
  if (state.isOver) return;
  socket.onmessage = ({ data }) => log.info("the service says:", data);
  socket.onclose = async () => {
    state.socket = null;
    await shared.close("socket");
    while (!state.isOver) {
      await Bun.sleep(1000);
      if (
        await connect(context).then(
          () => true,
          () => false,
        )
      )
        return;
    }
  };
  state.socket = socket;
}

export default defineModule({
  setup: (): { socket: WebSocket | null; isOver: boolean } => ({ socket: null, isOver: false }),
  async start(context) {
    context.state.isOver = false;
    if (context.config.url !== undefined) await connect(context);
  },
  async stop({ shared, state }, reason) {
    state.isOver = true;
    // Another process of the server connects. The next version takes the open socket.
    if (reason === "moved") await shared.close("socket");
  },
  // A message may come to any process. The one with the socket gets the event.
  on: { "NAME.say": ({ data }, { state }) => void state.socket?.send(data.text) },
  routes: {
    "COMMAND ": {
      framing: "line",
      description: "COMMAND text: sends it to the service",
      handle({ text }, { events }) {
        events.emit("NAME.say", { text: text.slice("COMMAND ".length) });
        return "OK\n";
      },
    },
  },
});
