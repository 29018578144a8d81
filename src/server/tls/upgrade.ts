/**
 * Starts TLS on a connection: holds the ClientHello until it is complete, chooses the certificate by it, and replaces
 * the raw socket by the TLS socket. The connection then works like any other.
 */
import type { Socket } from "bun";
import { HeldBytes } from "../../protocol/raw/held";
import type { Protocol, Wire } from "../../protocol/wire";
import { NEED_MORE } from "../../router/match";
import { alpnProtocols, type TlsContexts } from "./contexts";
import { HelloReader, MALFORMED } from "./hello";

const NOTHING = new Uint8Array(0);
/**
 * A fatal decode_error alert in a record of its own (RFC 8446 section 6.2): the client learns that its ClientHello was
 * wrong.
 */
const DECODE_ERROR = new Uint8Array([21, 3, 1, 0, 2, 2, 50]);
const TLS_HANDSHAKE = 22;
/**
 * Time for the ClientHello of a silent tls:// client when the server shuts down: it may be on its way. In milliseconds.
 */
const SILENT_MS = 300;

/** A connection whose socket TLS may replace. The TLS socket then sends events to the connection. */
export interface Upgradable extends Wire {
  /** Gives the raw socket away. The connection must not use it afterwards. */
  upgrade(start: (raw: Socket<Upgradable>) => void): void;
  /** The TLS socket exists; its handshake may still fail. */
  secured(socket: Socket<Upgradable>): void;
  /** The TLS handshake is over. */
  shook(socket: Socket<Upgradable>, isGood: boolean): void;
  receive(bytes: Uint8Array): void;
  ended(): void;
  drained(): void;
  closed(): void;
  broke(error: unknown): void;
}

/** A connection between its first byte and the end of the TLS handshake. */
export class TlsOpening implements Protocol {
  readonly speaks = "tls";
  readonly #connection: Upgradable;
  readonly #contexts: TlsContexts;
  readonly #reader = new HelloReader();
  #held: HeldBytes | null = null;
  #isUpgraded = false;

  private constructor(connection: Upgradable, contexts: TlsContexts) {
    this.#connection = connection;
    this.#contexts = contexts;
  }

  /** Takes the connection, which must not have sent anything yet. @param bytes the bytes so far, may be empty */
  static begin(connection: Upgradable, contexts: TlsContexts, bytes: Uint8Array): void {
    const opening = new TlsOpening(connection, contexts);
    connection.take(opening);
    connection.armDeadline(contexts.settings.handshakeTimeoutMs);
    if (bytes.length > 0) opening.receive(bytes);
  }

  receive(bytes: Uint8Array): void {
    // The raw socket's bytes now belong to the TLS engine.
    if (this.#isUpgraded) return;
    if (this.#held === null) this.#held = new HeldBytes(bytes);
    else this.#held.append(bytes);
    const hello = this.#held.view();
    // Plain text on a tls:// listener: its sender cannot read an alert.
    if (hello[0] !== TLS_HANDSHAKE) return this.#connection.abort();
    const serverName = this.#reader.read(hello);
    if (serverName === NEED_MORE) return;
    if (serverName === MALFORMED) return this.#refuse();
    this.#held = null;
    this.#isUpgraded = true;
    this.#connection.upgrade((socket) => startTls(socket, this.#connection, this.#contexts, serverName, hello));
  }

  /** The handshake is over. @param isGood whether the engine agreed with the peer; its certificate is judged here */
  shook(socket: Socket<Upgradable>, isGood: boolean): void {
    const connection = this.#connection;
    // The engine has sent an alert and closes; a reset by us could overtake it.
    if (!isGood) return this.#fail();
    // The engine closes too, but first delivers the bytes that came with the handshake.
    if (this.#contexts.settings.clientCert === "require" && !socket.authorized) {
      this.#fail();
      return connection.abort();
    }
    connection.release(NOTHING);
  }

  #refuse(): void {
    this.#fail();
    this.#connection.write(DECODE_ERROR);
    this.#connection.finish();
  }

  #fail(): void {
    this.#connection.dispatch.counters.errors++;
  }

  ended(): void {
    this.#connection.abort();
  }

  drained(): void {}

  closed(): void {
    this.#held = null;
  }

  expired(): void {
    // Silence is no error while the server shuts down.
    if (this.#hasBegun || !this.#connection.dispatch.isDraining) this.#fail();
    this.#connection.abort();
  }

  /**
   * A handshake that has begun is finished, and its client's message is answered, within handshakeTimeoutMs and
   * drainMs.
   */
  draining(): void {
    if (!this.#hasBegun) this.#connection.armDeadline(SILENT_MS);
  }

  get #hasBegun(): boolean {
    return this.#held !== null || this.#isUpgraded;
  }
}

/** @param hello all bytes so far: without `initialData` the engine would never see them */
function startTls(
  socket: Socket<Upgradable>,
  connection: Upgradable,
  contexts: TlsContexts,
  serverName: string,
  hello: Uint8Array,
): void {
  const { clientCert } = contexts.settings;
  const options = {
    isServer: true,
    initialData: hello,
    data: connection,
    tls: {
      secureContext: contexts.pick(serverName),
      ALPNProtocols: alpnProtocols(connection.dispatch),
      requestCert: clientCert !== "none",
      rejectUnauthorized: clientCert === "require",
    },
    socket: TLS_HANDLERS,
  };
  // The raw socket still calls the listener's handlers for every read, with ciphertext. Without a connection they do
  // nothing, even while this runs. (`reload` of the raw socket would take the handlers from the listener itself.)
  socket.data = undefined as unknown as Upgradable;
  // Bun's types lack secureContext and initialData.
  socket.upgradeTLS(options as unknown as Bun.TLSUpgradeOptions<Upgradable>);
}

/** One object for all connections. A handshake that fails at once closes before upgradeTLS has returned. */
const TLS_HANDLERS: Bun.SocketHandler<Upgradable> = {
  open: (socket) => socket.data.secured(socket),
  // Bun reports an error of the certificate for every client that has none: only `isGood` and `authorized` count.
  handshake: (socket, isGood) => socket.data.shook(socket, isGood),
  data: (socket, bytes) => socket.data.receive(bytes),
  end: (socket) => socket.data.ended(),
  drain: (socket) => socket.data.drained(),
  close: (socket) => socket.data.closed(),
  error: (socket, error) => socket.data.broke(error),
};
