/** A link to a database that is cut at a word of the client, before the database gets it, or behind its work. */
interface Ends {
  readonly client: Bun.Socket<Ends>;
  server: Bun.Socket<Ends> | null;
  waiting: Buffer[];
  /** The database has got the word: its next answer is dropped. */
  isDoomed: boolean;
}

export class CutLink implements Disposable {
  readonly #listener: Bun.TCPSocketListener<Ends>;
  readonly #serverPort: number;
  #cut: { readonly word: RegExp; readonly at: "before" | "behind" } | null = null;
  /** How many connections were cut. */
  cuts = 0;

  constructor(serverPort: number) {
    this.#serverPort = serverPort;
    this.#listener = Bun.listen<Ends>({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        open: (client) => this.#opened(client),
        data: ({ data }, bytes) => this.#fromClient(data, Buffer.from(bytes)),
        close: ({ data }) => void data.server?.end(),
        error: () => {},
      },
    });
  }

  get port(): number {
    return this.#listener.port;
  }

  /** Cuts the first connection whose client sends the word. */
  cutAt(word: RegExp, at: "before" | "behind"): void {
    this.#cut = { word, at };
  }

  #opened(client: Bun.Socket<Ends>): void {
    const ends: Ends = { client, server: null, waiting: [], isDoomed: false };
    client.data = ends;
    const connecting = Bun.connect<Ends>({
      hostname: "127.0.0.1",
      port: this.#serverPort,
      data: ends,
      socket: {
        open: (server) => {
          ends.server = server;
          for (const bytes of ends.waiting) server.write(bytes);
          ends.waiting = [];
        },
        data: (server, bytes) => {
          if (!ends.isDoomed) return void client.write(bytes);
          this.cuts++;
          client.terminate();
          server.end();
        },
        close: () => void client.end(),
        error: () => {},
      },
    });
    connecting.catch(() => client.terminate());
  }

  #fromClient(ends: Ends, bytes: Buffer): void {
    if (this.#cut !== null && this.#cut.word.test(bytes.toString("latin1"))) {
      const { at } = this.#cut;
      this.#cut = null;
      if (at === "before") {
        this.cuts++;
        ends.client.terminate();
        ends.server?.terminate();
        return;
      }
      ends.isDoomed = true;
    }
    if (ends.server === null) ends.waiting.push(bytes);
    else ends.server.write(bytes);
  }

  [Symbol.dispose](): void {
    this.#listener.stop(true);
  }
}
