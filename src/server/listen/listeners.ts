/** Listeners: TCP (with or without TLS) and unix stream sockets. See `datagrams.ts` for UDP. */
import type { Socket } from "bun";
import { formatListen, LISTEN_FORMS, type ListenAddress, parseListen } from "../../config/listen";
import type { Options } from "../../config/options";
import { UserError } from "../../config/user-error";
import type { ServerConnection } from "../connection/connection";
import { removeStaleSocket, setMode } from "../../system/bind";
import type { Transport } from "../connection/client";
import { listenError } from "../../system/listen-error";

/** Accepts connections. It decides about each before any cost. */
export interface Acceptor {
  /** null: TLS is off. Read at each connection, since a reload may change it. */
  readonly tls: { readonly isGate: boolean } | null;
  /** @returns the connection, or null if it is one too many: the socket is then closed */
  accept(socket: Socket<ServerConnection>, transport: Transport): ServerConnection | null;
}

/** An open listener. */
export interface Listener {
  /** Its URL, with the real port. */
  readonly url: string;
  /** Accepts no more clients; connected ones stay. */
  stop(): void;
}

/** @throws UserError for an invalid URL, and for a tls:// listener without a certificate */
export function listenAddresses({ listen, tls }: Options): ListenAddress[] {
  return listen.map((url) => {
    const address = parseListen(url);
    if (address === null) {
      throw new UserError(`Cannot listen on "${url}": this is not an address.`, {
        code: "LISTEN_ADDRESS",
        exitCode: 2,
        hint: `Write ${LISTEN_FORMS}.`,
      });
    }
    if (address.transport === "tls" && tls.certFile === null) {
      throw new UserError(`Cannot listen on ${url}: there is no certificate.`, {
        code: "TLS_CONFIG",
        hint: "Pass --tls-cert FILE --tls-key FILE; `hrmr cert` writes both for development.",
      });
    }
    return address;
  });
}

/** Bun.listen takes a bound descriptor too, though its types don't say so. */
type ListenOnDescriptor = (options: {
  fd: number;
  socket: Bun.SocketHandler<ServerConnection>;
  allowHalfOpen: true;
}) => Bun.SocketListener<ServerConnection>;

/**
 * Opens a stream listener.
 *
 * @param fd a socket that is bound to `address` and listens, closed by `stop`; null: one is opened
 * @throws UserError naming the address, if it is taken, not ours or not permitted
 */
export async function openStreamListener(
  address: ListenAddress,
  acceptor: Acceptor,
  fd: number | null,
): Promise<Listener> {
  const socket = socketHandlers(acceptor, address.transport === "unix" ? "unix" : "tcp", address.transport === "tls");
  try {
    if (fd !== null) {
      const listener = (Bun.listen as unknown as ListenOnDescriptor)({ fd, socket, allowHalfOpen: true });
      return { url: formatListen(address), stop: () => listener.stop(false) };
    }
    if (address.transport === "unix") {
      await removeStaleSocket(address.path);
      const listener = Bun.listen<ServerConnection>({ unix: address.path, socket, allowHalfOpen: true });
      setMode(address);
      return { url: formatListen(address), stop: () => listener.stop(false) };
    }
    const listener = Bun.listen<ServerConnection>({
      hostname: address.host,
      port: address.port,
      socket,
      allowHalfOpen: true,
    });
    return { url: formatListen({ ...address, port: listener.port }), stop: () => listener.stop(false) };
  } catch (error) {
    throw error instanceof UserError ? error : listenError(address, error);
  }
}

/**
 * The handlers of a listener's sockets: they pass each event to the connection.
 *
 * @param isTls whether clients must use TLS; otherwise their first byte decides, unless they must have a certificate
 */
export function socketHandlers(
  acceptor: Acceptor,
  transport: Transport,
  isTls: boolean,
): Bun.SocketHandler<ServerConnection> {
  return {
    open(socket) {
      const connection = acceptor.accept(socket, transport);
      if (connection === null) socket.terminate();
      else {
        socket.data = connection;
        if (isTls || acceptor.tls?.isGate === true) connection.expectTls();
      }
    },
    // None: a TLS socket has replaced this one, and these bytes are ciphertext.
    data: (socket, bytes) => socket.data?.receive(bytes),
    end: (socket) => socket.data?.ended(),
    drain: (socket) => socket.data?.drained(),
    close: (socket) => socket.data?.closed(),
    error: (socket, error) => socket.data?.broke(error),
  };
}
