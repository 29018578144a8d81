/**
 * Where clients come in: TCP (with or without TLS) and unix stream sockets. Datagrams are `datagrams.ts`.
 */
import { existsSync, lstatSync, unlinkSync } from "node:fs";
import type { Socket } from "bun";
import { formatListen, type ListenAddress } from "../config/listen";
import { UserError } from "../config/user-error";
import { ServerConnection } from "./connection";
import type { Transport } from "./client";

/** Accepts connections; decides about each before it costs anything. */
export interface Acceptor {
  /** @returns the connection, or null if it is one too many: the socket is then closed */
  accept(socket: Socket<ServerConnection>, transport: Transport): ServerConnection | null;
}

/** An open listener. */
export interface Listener {
  /** As a user would write it, with the real port. */
  readonly url: string;
  /** No new clients from here on; those that are connected stay. */
  stop(): void;
}

/**
 * Opens a stream listener.
 *
 * @throws UserError naming the address, if it is taken, not ours or not permitted
 */
export async function openStreamListener(address: ListenAddress, acceptor: Acceptor): Promise<Listener> {
  const socket = socketHandlers(acceptor, address.transport === "unix" ? "unix" : "tcp", address.transport === "tls");
  try {
    if (address.transport === "unix") {
      await removeStaleSocket(address.path);
      const listener = Bun.listen<ServerConnection>({ unix: address.path, socket, allowHalfOpen: true });
      return { url: formatListen(address), stop: () => listener.stop(false) };
    }
    const listener = Bun.listen<ServerConnection>({ hostname: address.host, port: address.port, socket, allowHalfOpen: true });
    return { url: formatListen({ ...address, port: listener.port }), stop: () => listener.stop(false) };
  } catch (error) {
    throw listenError(address, error);
  }
}

/** @param isTls whether clients must speak TLS; else they may, by their first byte */
function socketHandlers(acceptor: Acceptor, transport: Transport, isTls: boolean): Bun.SocketHandler<ServerConnection> {
  return {
    open(socket) {
      const connection = acceptor.accept(socket, transport);
      if (connection === null) socket.terminate();
      else {
        socket.data = connection;
        if (isTls) connection.expectTls();
      }
    },
    data(socket, bytes) {
      // None: a TLS socket has taken this one's place, and these bytes are ciphertext.
      socket.data?.receive(bytes);
    },
    end(socket) {
      socket.data?.ended();
    },
    drain(socket) {
      socket.data?.drained();
    },
    close(socket) {
      socket.data?.closed();
    },
    error(socket, error) {
      socket.data?.broke(error);
    },
  };
}

/** A server that was killed leaves its socket's file behind, and listening on it would fail. One that answers is in use. */
async function removeStaleSocket(path: string): Promise<void> {
  if (!existsSync(path) || !lstatSync(path).isSocket()) return;
  const isUsed = await new Promise<boolean>((resolve) => {
    Bun.connect({
      unix: path,
      socket: {
        open: (socket) => (socket.terminate(), resolve(true)),
        connectError: () => resolve(false),
        data: () => {},
        error: () => resolve(false),
      },
    }).catch(() => resolve(false));
  });
  if (!isUsed) unlinkSync(path);
}

/** @returns two lines for the user: what happened where, and what to do */
export function listenError(address: ListenAddress, error: unknown): Error {
  const isUnix = address.transport === "unix";
  const code = (error as { code?: string }).code ?? "";
  const reasons: Record<string, [string, string]> = {
    EADDRINUSE: [
      `the ${isUnix ? "socket" : "port"} is in use`,
      isUnix ? "Stop the other program, or choose another path." : "Stop the other program, or pass --port 0 to take any free port.",
    ],
    EACCES: [
      "permission denied",
      isUnix ? "Choose a folder that you may write to." : "Ports below 1024 need privileges: choose a higher one.",
    ],
    EADDRNOTAVAIL: ["this machine has no such address", "Use 127.0.0.1, ::1, 0.0.0.0 or one of the machine's own addresses."],
    ENOENT: ["there is no such folder", "Make the folder first, or choose another path."],
  };
  const [reason, hint] = reasons[code] ?? [error instanceof Error ? error.message : String(error), "Check the address."];
  return new UserError(`Cannot listen on ${formatListen(address)}: ${reason}${code === "" ? "" : ` (${code})`}.`, {
    code: "LISTEN_FAILED",
    hint,
    cause: error,
  });
}
