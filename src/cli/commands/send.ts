/** `hrmr send [ADDRESS] TEXT`: a raw client for experiments, on machines without nc. */
import { resolve } from "node:path";
import { defineCommand } from "citty";
import { formatListen, isReachable, type ListenAddress, parseHostPort } from "../../config/listen";
import { UserError } from "../../config/user-error";
import { underDeadline } from "../../system/deadline";
import { readToken } from "../../server/token";
import { findPeer, type Peer, peerAt, PROJECT_ARGS } from "../remote/peer";
import { argument, type Flags, positionals, usageError, valueFlag } from "../flags";
import { handshakeError, noTlsError, TLS_ARGS } from "../remote/send-tls";

const DEFAULT_WAIT_MS = 2000;
/** Longer timers would fire at once. */
const MAX_WAIT_MS = 2_147_483_647;
const CONNECT_TIMEOUT_MS = 10_000;

const args = {
  address: argument(
    "HOST:PORT, [IPv6]:PORT, tls://HOST:PORT or unix:PATH. Default: the server of this folder, as hrmr status finds it",
    { required: false },
  ),
  text: argument("The text to send, unchanged; - sends stdin", { required: false, isNeeded: true }),
  wait: valueFlag(
    "ms",
    `Stop after the server has been quiet for this long. In milliseconds. Default ${DEFAULT_WAIT_MS}. 0 waits for ever`,
    { integer: { min: 0, max: MAX_WAIT_MS } },
  ),
  "token-file": valueFlag(
    "file",
    "End the text with the token in this file, for the built-in commands of a remote server",
  ),
  ...TLS_ARGS,
  ...PROJECT_ARGS,
} as const satisfies Flags;

export const sendCommand = defineCommand({
  meta: { name: "send", description: "Send bytes to a server and print its reply" },
  args,
  async run({ args: { wait, "token-file": tokenFile, ...flags }, rawArgs }) {
    const { address, text } = readWords(positionals(rawArgs));
    const { target, tls } = address === null ? await findPeer(flags) : peerAt(address, flags);
    const token = tokenFile === undefined ? null : readToken(resolve(tokenFile));
    if (token !== null && tls === null && isReachable(target)) {
      console.error(`The token goes to ${formatListen(target)} unencrypted: --tls encrypts it.`);
    }
    const plain = text === "-" ? await Bun.stdin.bytes() : new TextEncoder().encode(text);
    const bytes = token === null ? plain : withToken(plain, token);
    await exchange({ target, tls }, bytes, wait === undefined ? DEFAULT_WAIT_MS : Number(wait));
  },
});

/** The token ends a command, before the line end if there is one. */
function withToken(bytes: Uint8Array, token: string): Uint8Array {
  const text = Buffer.from(bytes).toString("latin1");
  return Buffer.from(
    text.replace(/(?:\r?\n)?$/, (lineEnd) => ` token:${token}${lineEnd}`),
    "latin1",
  );
}

/** `[ADDRESS] TEXT`. @throws UserError MISSING_ARGUMENT for an address alone, since the text is missing */
function readWords([first = "", second]: readonly string[]): { address: string | null; text: string } {
  if (second !== undefined) return { address: first, text: second };
  if (parseHostPort(first) === null && !/^(?:tcp|tls|udp|unix):./.test(first)) return { address: null, text: first };
  throw usageError(
    "MISSING_ARGUMENT",
    `hrmr send needs TEXT: ${args.text.description}`,
    "`hrmr help send` shows how it is used.",
  );
}

/**
 * Sends `bytes`, then FIN, and prints the reply until the server ends it or is quiet for `waitMs` (0: for ever).
 *
 * @throws UserError CANNOT_CONNECT, TLS_FAILED or TLS_UNTRUSTED (then nothing was sent), CONNECTION_LOST (reset before
 *   the server's FIN), or NO_REPLY (quiet for `waitMs`, and nothing was printed)
 */
async function exchange({ target, tls }: Peer, bytes: Uint8Array, waitMs: number): Promise<void> {
  const done = Promise.withResolvers<void>();
  let unsent = bytes;
  let printed: Promise<unknown> = Promise.resolve();
  let timer: Timer | undefined;
  let hasReply = false;
  const restartTimer = () => {
    clearTimeout(timer);
    if (waitMs > 0)
      timer = setTimeout(() => (hasReply ? done.resolve() : done.reject(noReply(target, waitMs))), waitMs);
  };
  const sendMore = (socket: Bun.Socket<undefined>) => {
    const count = socket.write(unsent);
    unsent = unsent.subarray(Math.max(count, 0));
    restartTimer();
    // Sends only FIN: replies still arrive.
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
      // With TLS, this comes before the handshake.
      open: (socket) => {
        if (mayWrite) sendMore(socket);
        else timer = setTimeout(ended, CONNECT_TIMEOUT_MS);
      },
      ...(tls === null ? {} : { handshake }),
      drain: (socket) => {
        if (mayWrite && unsent.length > 0) sendMore(socket);
      },
      data: (socket, piece) => {
        hasReply = true;
        restartTimer();
        // Pauses while our own reader is slow, so that a long reply does not fill the memory.
        socket.pause();
        printed = Bun.write(Bun.stdout, piece).then(
          () => socket.resume(),
          // `hrmr send ... | head -1`: our reader has enough.
          () => done.resolve(),
        );
      },
      end: ended,
      close: (_, error) => {
        if (!error || !mayWrite) return ended();
        const message = `${formatListen(target)} cut the connection (${codeOf(error)}).`;
        done.reject(
          new UserError(message, {
            code: "CONNECTION_LOST",
            hint: "The output above may be only a part of its reply.",
            cause: error,
          }),
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

function noReply(target: ListenAddress, waitMs: number): UserError {
  const hint = "--wait MS waits longer, for a slow handler; `hrmr status` says whether the server is well.";
  return new UserError(`${formatListen(target)} sent no reply within ${waitMs / 1000} s.`, { code: "NO_REPLY", hint });
}

async function connect({ target, tls }: Peer, socket: Bun.SocketHandler<undefined>): Promise<Bun.Socket<undefined>> {
  const options = { allowHalfOpen: true, socket, ...(tls === null ? {} : { tls: { ...tls } }) };
  try {
    const opened =
      target.transport === "unix"
        ? Bun.connect({ unix: target.path, ...options })
        : Bun.connect({ hostname: target.host, port: target.port, ...options });
    return await underDeadline(opened, CONNECT_TIMEOUT_MS, new Error("no answer", { cause: "ETIMEDOUT" }));
  } catch (cause) {
    const hint = "Is the server running, and is the address right? `hrmr` starts one here.";
    throw new UserError(`Cannot connect to ${formatListen(target)} (${codeOf(cause)}).`, {
      code: "CANNOT_CONNECT",
      hint,
      cause,
    });
  }
}

function codeOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return code ?? message;
}
