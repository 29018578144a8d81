/**
 * `hrmr send HOST:PORT TEXT`: a raw client for trying things out, where there is no nc.
 */
import { resolve } from "node:path";
import { defineCommand } from "citty";
import { formatListen, type ListenAddress, parseHostPort, parseListen } from "../config/listen";
import { quoted } from "../config/quoted";
import { UserError } from "../config/user-error";
import { isLoopback } from "../server/address";
import { readToken } from "../server/token";
import { type Flags, usageError } from "./flags";
import { type ClientTls, handshakeError, noTlsError, readTlsFlags, TLS_ARGS } from "./send-tls";

const DEFAULT_WAIT_MS = 2000;
/** Longer timers would fire at once. */
const MAX_WAIT_MS = 2_147_483_647;
const CONNECT_TIMEOUT_MS = 10_000;

const args = {
  address: { type: "positional", required: true, description: "HOST:PORT, [IPv6]:PORT, tls://HOST:PORT or unix:PATH" },
  text: { type: "positional", required: true, description: "What to send, as it is; - sends what comes on stdin" },
  wait: {
    type: "string",
    valueHint: "ms",
    integer: { min: 0, max: MAX_WAIT_MS },
    description: `Stop when the server has been quiet for so long. In milliseconds. Default ${DEFAULT_WAIT_MS}. 0 waits for ever`,
  },
  "token-file": {
    type: "string",
    valueHint: "file",
    description: "End the text with the token that this file holds: for the built-in commands of a server elsewhere",
  },
  ...TLS_ARGS,
} as const satisfies Flags;

export const sendCommand = defineCommand({
  meta: { name: "send", description: "Send bytes to a server and print its reply" },
  args,
  async run({ args: { address, text, wait, "token-file": tokenFile, ...flags } }) {
    const target = parseTarget(address);
    const tls = readTlsFlags(flags, target.transport === "tls");
    const token = tokenFile === undefined ? null : readToken(resolve(tokenFile));
    if (token !== null && tls === null && isElsewhere(target)) {
      console.error(`The token goes to ${formatListen(target)} unencrypted: --tls encrypts it.`);
    }
    const plain = text === "-" ? await Bun.stdin.bytes() : new TextEncoder().encode(text);
    const bytes = token === null ? plain : withToken(plain, token);
    await exchange({ target, tls }, bytes, wait === undefined ? DEFAULT_WAIT_MS : Number(wait));
  },
});

/** Whom to send to, and how. */
interface Peer {
  readonly target: ListenAddress;
  /** null: plain text. */
  readonly tls: ClientTls | null;
}

/** The token ends a command, before the line end if there is one. */
function withToken(bytes: Uint8Array, token: string): Uint8Array {
  const text = Buffer.from(bytes).toString("latin1");
  return Buffer.from(
    text.replace(/(?:\r?\n)?$/, (lineEnd) => ` token:${token}${lineEnd}`),
    "latin1",
  );
}

function isElsewhere(target: ListenAddress): boolean {
  return target.transport !== "unix" && target.host !== "localhost" && !isLoopback(target.host);
}

function parseTarget(text: string): ListenAddress {
  const hostAndPort = parseHostPort(text);
  const path = /^unix:(?!\/\/)(.+)$/.exec(text)?.[1];
  if (path !== undefined) return { transport: "unix", path: resolve(path) };
  const target: ListenAddress | null = hostAndPort === null ? parseListen(text) : { transport: "tcp", ...hostAndPort };
  if (target === null || target.transport === "udp") {
    const hint = "Write HOST:PORT, [IPv6]:PORT, tls://HOST:PORT or unix:PATH.";
    throw usageError("BAD_VALUE", `hrmr send cannot reach ${quoted(text)}.`, hint);
  }
  return target;
}

/**
 * Sends `bytes`, then FIN, and prints until the server ends or was quiet for `waitMs` (0: for ever).
 *
 * @throws UserError CANNOT_CONNECT, TLS_FAILED or TLS_UNTRUSTED (then nothing was sent), or CONNECTION_LOST (reset before the server's FIN)
 */
async function exchange({ target, tls }: Peer, bytes: Uint8Array, waitMs: number): Promise<void> {
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
  let mayWrite = tls === null;
  const ended = () => (mayWrite ? done.resolve() : done.reject(noTlsError(target)));
  const handshake = (socket: Bun.Socket<undefined>, isGood: boolean) => {
    const error = tls === null ? null : handshakeError(target, tls, socket, isGood);
    if (error !== null) return done.reject(error);
    mayWrite = true;
    sendMore(socket);
  };
  const socket = await connect(
    { target, tls },
    {
      // Of TLS it comes before the handshake.
      open: (socket) => {
        if (mayWrite) sendMore(socket);
        else timer = setTimeout(ended, CONNECT_TIMEOUT_MS);
      },
      ...(tls === null ? {} : { handshake }),
      drain: (socket) => {
        if (mayWrite && unsent.length > 0) sendMore(socket);
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
      end: ended,
      close: (_, error) => {
        if (!error || !mayWrite) return ended();
        const message = `${formatListen(target)} cut the connection (${codeOf(error)}).`;
        done.reject(
          new UserError(message, { code: "CONNECTION_LOST", hint: "What is printed above may be only a part of its reply.", cause: error }),
        );
      },
    },
  );
  try {
    await done.promise;
    await printed;
  } finally {
    clearTimeout(timer);
    socket.terminate();
  }
}

async function connect({ target, tls }: Peer, socket: Bun.SocketHandler<undefined>): Promise<Bun.Socket<undefined>> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error("no answer", { cause: "ETIMEDOUT" })), CONNECT_TIMEOUT_MS);
  const options = { allowHalfOpen: true, socket, ...(tls === null ? {} : { tls: { ...tls } }) };
  try {
    const opened =
      target.transport === "unix"
        ? Bun.connect({ unix: target.path, ...options })
        : Bun.connect({ hostname: target.host, port: target.port, ...options });
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
