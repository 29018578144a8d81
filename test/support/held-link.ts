/**
 * A link between a client and a server that holds back what the client sends, at a byte or behind a flight, until it is
 * let go.
 */

interface Ends {
  readonly client: Bun.Socket<Ends>;
  server: Bun.Socket<Ends> | null;
  /** All that the client has sent. */
  sent: Buffer;
  passed: number;
}

export class HeldLink implements Disposable {
  readonly #listener: Bun.TCPSocketListener<Ends>;
  readonly #ends: Ends[] = [];
  readonly #serverPort: number;
  #mayPass: (bytes: Buffer) => number;
  #isReached = Promise.withResolvers<void>();

  /** @param mayPass  how many of the bytes that a client has sent so far may pass; the rest is held until `release` */
  constructor(serverPort: number, mayPass: (bytes: Buffer) => number) {
    this.#serverPort = serverPort;
    this.#mayPass = mayPass;
    this.#listener = Bun.listen<Ends>({
      hostname: "127.0.0.1",
      port: 0,
      allowHalfOpen: true,
      socket: {
        open: (client) => this.#opened(client),
        data: ({ data }, bytes) => {
          data.sent = Buffer.concat([data.sent, bytes]);
          this.#pump(data);
        },
        end: ({ data }) => void data.server?.shutdown(),
        close: ({ data }) => void data.server?.end(),
        error: () => {},
      },
    });
  }

  get port(): number {
    return this.#listener.port;
  }

  /** Resolves once bytes are held: all that may pass is with the server's kernel. */
  get holds(): Promise<void> {
    return this.#isReached.promise;
  }

  /** From here on everything passes. */
  release(): void {
    this.#mayPass = ({ length }) => length;
    for (const ends of this.#ends) this.#pump(ends);
  }

  [Symbol.dispose](): void {
    this.#listener.stop(true);
    for (const { server } of this.#ends) server?.terminate();
  }

  #opened(client: Bun.Socket<Ends>): void {
    const ends: Ends = { client, server: null, sent: Buffer.alloc(0), passed: 0 };
    client.data = ends;
    this.#ends.push(ends);
    void Bun.connect<Ends>({
      hostname: "127.0.0.1",
      port: this.#serverPort,
      data: ends,
      allowHalfOpen: true,
      socket: {
        open: (server) => {
          ends.server = server;
          this.#pump(ends);
        },
        data: (_, bytes) => void client.write(bytes),
        end: () => void client.shutdown(),
        close: () => void client.end(),
        error: () => {},
      },
    });
  }

  #pump(ends: Ends): void {
    if (ends.server === null || ends.sent.length === ends.passed) return;
    const until = Math.max(ends.passed, Math.min(ends.sent.length, this.#mayPass(ends.sent)));
    if (until > ends.passed) ends.server.write(ends.sent.subarray(ends.passed, until));
    ends.passed = until;
    if (ends.passed < ends.sent.length) this.#isReached.resolve();
  }
}

/** Half of a TLS client's first record: the server waits for the rest of its ClientHello. */
export function halfRecord(bytes: Buffer): number {
  return bytes.length < RECORD_HEADER_BYTES ? 0 : Math.floor(recordBytes(bytes) / 2);
}

/** A TLS client's first record: the server has answered its ClientHello, and waits for its Finished. */
export function oneRecord(bytes: Buffer): number {
  return bytes.length < RECORD_HEADER_BYTES ? 0 : recordBytes(bytes);
}

const RECORD_HEADER_BYTES = 5;

function recordBytes(bytes: Buffer): number {
  return RECORD_HEADER_BYTES + bytes.readUInt16BE(3);
}
