/**
 * `hrmr send HOST:PORT TEXT`: a raw client for trying things out, where there is no nc.
 */
import { defineCommand } from "citty";
import { formatListen, type ListenAddress, parseHostPort, parseListen } from "../config/listen";
import { UserError } from "../config/user-error";
import { type Flags, usageError } from "./flags";

const DEFAULT_WAIT_MS = 2000;
/** Longer timers would fire at once. */
const MAX_WAIT_MS = 2_147_483_647;
const CONNECT_TIMEOUT_MS = 10_000;

const args = {
  address: { type: "positional", required: true, description: "HOST:PORT, [IPv6]:PORT or unix:///path" },
  text: { type: "positional", required: true, description: "What to send, as it is; - sends what comes on stdin" },
  wait: {
    type: "string",
    valueHint: "ms",
    integer: { min: 0, max: MAX_WAIT_MS },
    description: `Stop when the server has been quiet for so long. In milliseconds. Default ${DEFAULT_WAIT_MS}. 0 waits for ever`,
  },
} as const satisfies Flags;

export const sendCommand = defineCommand({
  meta: { name: "send", description: "Send bytes to a server and print its reply" },
  args,
  async run({ args: { address, text, wait } }) {
    const target = parseTarget(address);
    const bytes = text === "-" ? await Bun.stdin.bytes() : new TextEncoder().encode(text);
    await exchange(target, bytes, wait === undefined ? DEFAULT_WAIT_MS : Number(wait));
  },
});

function parseTarget(text: string): ListenAddress {
  const hostAndPort = parseHostPort(text);
  const target: ListenAddress | null = hostAndPort === null ? parseListen(text) : { transport: "tcp", ...hostAndPort };
  if (target === null || target.transport === "udp" || target.transport === "tls") {
    throw usageError("BAD_VALUE", `hrmr send cannot reach ${JSON.stringify(text)}.`, "Write HOST:PORT, [IPv6]:PORT or unix:///path.");
  }
  return target;
}

/**
 * Sends `bytes`, then FIN, and prints until the server ends or was quiet for `waitMs` (0: for ever).
 *
 * @throws UserError CANNOT_CONNECT or CONNECTION_LOST (reset before the server's FIN)
 */
async function exchange(target: ListenAddress, bytes: Uint8Array, waitMs: number): Promise<void> {
  const done = Promise.withResolvers<void>();
  let unsent = bytes;
  let printed: Promise<unknown> = Promise.resolve();
  let timer: Timer | undefined;
  const restartTimer = () => {
    clearTimeout(timer);
    if (waitMs > 0) timer = setTimeout(() => done.resolve(), waitMs);
  };
  const sendMore = (socket: Bun.Socket<undefined>) => {
    const count = socket.write(unsent);
    unsent = unsent.subarray(Math.max(count, 0));
    restartTimer();
    // FIN only: the replies to what was sent still come.
    if (unsent.length === 0) socket.shutdown();
  };
  const socket = await connect(target, {
    open: sendMore,
    drain: (socket) => {
      if (unsent.length > 0) sendMore(socket);
    },
    data: (socket, piece) => {
      restartTimer();
      // Reading waits for the one who reads us, so that a long reply is not held in memory.
      socket.pause();
      printed = Bun.write(Bun.stdout, piece).then(
        () => socket.resume(),
        // `hrmr send ... | head -1`: whoever read us has enough.
        () => done.resolve(),
      );
    },
    end: () => done.resolve(),
    close: (_, error) => {
      if (!error) return done.resolve();
      const message = `${formatListen(target)} cut the connection (${codeOf(error)}).`;
      done.reject(
        new UserError(message, { code: "CONNECTION_LOST", hint: "What is printed above may be only a part of its reply.", cause: error }),
      );
    },
  });
  try {
    await done.promise;
    await printed;
  } finally {
    clearTimeout(timer);
    socket.terminate();
  }
}

async function connect(target: ListenAddress, socket: Bun.SocketHandler<undefined>): Promise<Bun.Socket<undefined>> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error("no answer", { cause: "ETIMEDOUT" })), CONNECT_TIMEOUT_MS);
  try {
    const opened =
      target.transport === "unix"
        ? Bun.connect({ unix: target.path, allowHalfOpen: true, socket })
        : Bun.connect({ hostname: target.host, port: target.port, allowHalfOpen: true, socket });
    return await Promise.race([opened, late.promise]);
  } catch (cause) {
    const hint = "Is the server running, and is the address right? `hrmr` starts one here.";
    throw new UserError(`Cannot connect to ${formatListen(target)} (${codeOf(cause)}).`, { code: "CANNOT_CONNECT", hint, cause });
  } finally {
    clearTimeout(timer);
  }
}

function codeOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return code ?? message;
}
