/** Certificates made at test time, TLS clients, and the bytes that a TLS client begins with. */
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import { issueCertificate } from "../../src/cli/certificate/x509";
import { UNTIL_MS } from "./until";

type Issued = ReturnType<typeof issueCertificate>;

/** A self-signed certificate for these names and for 127.0.0.1. */
export function serverCertificate(...names: string[]): Issued {
  return issueCertificate({
    commonName: names[0] ?? "localhost",
    names: [...names, "localhost", "127.0.0.1"],
    days: 2,
  });
}

/** An authority and a client's certificate of it. */
export function clientAuthority(name: string): { authority: Issued; client: Issued } {
  const authority = issueCertificate({ commonName: `${name} authority`, names: [], days: 2, purpose: "authority" });
  return {
    authority,
    client: issueCertificate({ commonName: name, names: [], days: 2, purpose: "client", issuer: authority }),
  };
}

/** The project's files cert.pem and key.pem. */
export function pairFiles(certificate: Issued, prefix = ""): Record<string, string> {
  return { [`${prefix}cert.pem`]: certificate.certificatePem, [`${prefix}key.pem`]: certificate.keyPem };
}

/** Flags for `pairFiles`. */
export const TLS_FLAGS = ["--tls-cert", "cert.pem", "--tls-key", "key.pem"];

/**
 * A TLS client that waits for expected bytes, under a deadline. It trusts nobody unless `ca` is given, and does not ask
 * who it is.
 */
export class TlsClient {
  readonly socket: TLSSocket;
  /** PEM or DER of the latest session, for another connection to resume. */
  session: Buffer | undefined;
  #received: Buffer[] = [];
  #isEnded = false;
  #error: Error | null = null;
  #changed = Promise.withResolvers<void>();

  private constructor(socket: TLSSocket) {
    this.socket = socket;
    const note = (change: () => void) => () => {
      change();
      this.#changed.resolve();
      this.#changed = Promise.withResolvers();
    };
    socket.on("data", (piece: Buffer) => note(() => this.#received.push(piece))());
    socket.on("session", (session: Buffer) => note(() => (this.session = session))());
    socket.on(
      "secureConnect",
      note(() => {}),
    );
    socket.on(
      "end",
      note(() => (this.#isEnded = true)),
    );
    socket.on(
      "close",
      note(() => (this.#isEnded = true)),
    );
    socket.on("error", (error) => note(() => (this.#error = error))());
  }

  /**
   * Resolves when the client's side of the handshake is over. @throws the handshake's error, or that the server closed
   */
  static async connect(port: number, options: ConnectionOptions = {}): Promise<TlsClient> {
    let isSecure = false;
    const all: ConnectionOptions = { port, host: "127.0.0.1", rejectUnauthorized: false, ...options };
    const socket = connect(all, () => (isSecure = true));
    const client = new TlsClient(socket);
    try {
      await client.#wait(() => isSecure, "handshake");
      return client;
    } catch (error) {
      socket.destroy();
      throw error;
    }
  }

  get text(): string {
    return Buffer.concat(this.#received).toString();
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#received);
  }

  get receivedBytes(): number {
    return this.#received.reduce((sum, piece) => sum + piece.length, 0);
  }

  get hasEnded(): boolean {
    return this.#isEnded;
  }

  /** The common name of the server's certificate. */
  get serverName(): string {
    return String(this.socket.getPeerCertificate().subject?.CN);
  }

  send(data: string | Uint8Array): this {
    this.socket.write(data);
    return this;
  }

  /** close_notify and FIN: nothing more will be sent; replies are still read. */
  finish(): this {
    this.socket.end();
    return this;
  }

  async waitFor(pattern: string): Promise<string> {
    await this.#wait(() => this.text.includes(pattern), pattern);
    return this.text;
  }

  async waitForBytes(count: number): Promise<Buffer> {
    await this.#wait(() => this.receivedBytes >= count, `${count} bytes`);
    return this.bytes;
  }

  async waitForSession(): Promise<Buffer> {
    await this.#wait(() => this.session !== undefined, "a session to resume");
    return this.session as Buffer;
  }

  /** Resolves with all that was received once the server has ended or cut the connection. */
  async waitForEnd(): Promise<string> {
    await this.#wait(() => this.#isEnded || this.#error !== null, "the end of the connection");
    return this.text;
  }

  clear(): this {
    this.#received = [];
    return this;
  }

  close(): void {
    this.socket.destroy();
  }

  async #wait(isThere: () => boolean, what: string): Promise<void> {
    const late = Promise.withResolvers<"late">();
    const timer = setTimeout(() => late.resolve("late"), UNTIL_MS);
    try {
      while (!isThere()) {
        if (this.#error !== null) throw this.#error;
        if (this.#isEnded)
          throw new Error(`closed before ${what}; received ${JSON.stringify(this.text.slice(0, 500))}`);
        if ((await Promise.race([this.#changed.promise, late.promise])) === "late") {
          throw new Error(`no ${what} within ${UNTIL_MS} ms; received ${JSON.stringify(this.text.slice(0, 500))}`);
        }
      }
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Sends all, ends the sending side, and returns all that comes back until the server closes. */
export async function askTls(
  port: number,
  data: string | Uint8Array,
  options: ConnectionOptions = {},
): Promise<string> {
  const client = await TlsClient.connect(port, options);
  try {
    return await client.send(data).finish().waitForEnd();
  } finally {
    client.close();
  }
}

/** The first bytes of a real TLS client. */
export async function captureHello(options: ConnectionOptions = {}): Promise<Buffer> {
  const hello = Promise.withResolvers<Buffer>();
  const listener = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: { data: (_, bytes) => hello.resolve(Buffer.from(bytes)), error: () => {} },
  });
  const socket = connect({ port: listener.port, host: "127.0.0.1", rejectUnauthorized: false, ...options });
  socket.on("error", () => {});
  try {
    return await hello.promise;
  } finally {
    socket.destroy();
    listener.stop(true);
  }
}

/** A ClientHello built by hand: no two real clients send the same. */
export function buildHello({
  extensions = [] as Uint8Array[],
  sessionId = Buffer.alloc(0),
  suites = Buffer.from([0x13, 0x01]),
} = {}): Buffer {
  const body = Buffer.concat([
    Buffer.from([3, 3]),
    Buffer.alloc(32, 7),
    Buffer.from([sessionId.length]),
    sessionId,
    uint16(suites.length),
    suites,
    Buffer.from([1, 0]),
    uint16(Buffer.concat(extensions).length),
    ...extensions,
  ]);
  return Buffer.concat([Buffer.from([1, 0]), uint16(body.length), body]);
}

export function extension(type: number, content: Uint8Array): Buffer {
  return Buffer.concat([uint16(type), uint16(content.length), content]);
}

export function serverNameExtension(name: string | Uint8Array): Buffer {
  const bytes = Buffer.from(name as string);
  return extension(0, Buffer.concat([uint16(bytes.length + 3), Buffer.from([0]), uint16(bytes.length), bytes]));
}

/** Cuts a handshake message into records of at most `size` bytes. */
export function inRecords(message: Uint8Array, size = 16_384): Buffer {
  const records: Uint8Array[] = [];
  for (let at = 0; at < message.length; at += size) {
    const fragment = message.subarray(at, at + size);
    records.push(Buffer.from([22, 3, 1]), uint16(fragment.length), fragment);
  }
  return Buffer.concat(records);
}

export function uint16(value: number): Buffer {
  return Buffer.from([value >> 8, value & 0xff]);
}
