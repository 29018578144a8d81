/** A raw TCP or unix client that waits for expected bytes, under a deadline. */
import { UNTIL_MS } from "./until";

export class RawClient {
  /** The received bytes, in parts: they are joined on demand, and not at each of thousands of reads. */
  #parts: Uint8Array[] = [];
  #count = 0;
  #hasEnded = false;
  #isClosed = false;
  #changed = Promise.withResolvers<void>();
  #opened: Bun.Socket | null = null;

  private constructor() {}

  get #socket(): Bun.Socket {
    if (this.#opened === null) throw new Error("not connected");
    return this.#opened;
  }

  /** @param address a port of 127.0.0.1, host and port, or the path of a unix socket */
  static async connect(address: number | string | { hostname: string; port: number }): Promise<RawClient> {
    const client = new RawClient();
    const socket = {
      data: (_: Bun.Socket, bytes: Uint8Array) => client.#note(() => client.#keep(bytes)),
      end: () => client.#note(() => (client.#hasEnded = true)),
      close: () => client.#note(() => (client.#isClosed = client.#hasEnded = true)),
      error: () => {},
      drain: () => client.#note(() => {}),
    };
    const opened =
      typeof address === "string"
        ? await Bun.connect({ unix: address, socket, allowHalfOpen: true })
        : await Bun.connect({
            ...(typeof address === "number" ? { hostname: "127.0.0.1", port: address } : address),
            socket,
            allowHalfOpen: true,
          });
    client.#opened = opened;
    return client;
  }

  get text(): string {
    return this.bytes.toString();
  }

  get bytes(): Buffer {
    if (this.#parts.length !== 1) this.#parts = [Buffer.concat(this.#parts)];
    return this.#parts[0] as Buffer;
  }

  #keep(bytes: Uint8Array): void {
    this.#parts.push(Buffer.from(bytes));
    this.#count += bytes.length;
  }

  /** The server sent FIN or closed. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Writes all, waiting while the kernel is full. */
  async send(data: string | Uint8Array): Promise<this> {
    let rest: Uint8Array = typeof data === "string" ? Buffer.from(data) : data;
    while (rest.length > 0) {
      const taken = this.#socket.write(rest);
      if (taken < 0) throw new Error("the server closed the connection while this client was sending");
      rest = rest.subarray(taken);
      if (rest.length > 0) await this.#wait(() => true, "room to send", true);
    }
    return this;
  }

  /** Writes as much as the kernel takes at once. @returns the number of bytes */
  offer(data: Uint8Array): number {
    const taken = this.#socket.write(data);
    if (taken < 0) throw new Error("the server closed the connection while this client was sending");
    return taken;
  }

  /** FIN: nothing more will be sent; replies are still read. */
  finish(): this {
    this.#socket.shutdown();
    return this;
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Resolves once the received text holds `pattern`; fails at the deadline with the text so far. */
  async waitFor(pattern: string | RegExp): Promise<string> {
    await this.#wait(
      () => (typeof pattern === "string" ? this.text.includes(pattern) : pattern.test(this.text)),
      String(pattern),
    );
    return this.text;
  }

  async waitForBytes(count: number): Promise<Buffer> {
    await this.#wait(() => this.#count >= count, `${count} bytes`);
    return this.bytes;
  }

  /** Resolves with all that was received once the server has ended the connection. */
  async waitForEnd(): Promise<string> {
    await this.#wait(() => this.#hasEnded, "the end of the connection");
    return this.text;
  }

  /** Drops the received bytes. */
  clear(): this {
    this.#parts = [];
    this.#count = 0;
    return this;
  }

  close(): void {
    this.#socket.terminate();
  }

  #note(change: () => void): void {
    change();
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  async #wait(isThere: () => boolean, what: string, needsChange = false): Promise<void> {
    const late = Promise.withResolvers<"late">();
    const timer = setTimeout(() => late.resolve("late"), UNTIL_MS);
    try {
      let changed = needsChange;
      while (changed || !isThere()) {
        changed = false;
        // Nothing follows a FIN, but it keeps nobody from sending.
        if ((this.#isClosed || (this.#hasEnded && !needsChange)) && !isThere())
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

/** Sends all at once, ends the sending side, and returns all that comes back until the server closes. */
export async function ask(
  address: number | string | { hostname: string; port: number },
  data: string | Uint8Array,
): Promise<string> {
  const client = await RawClient.connect(address);
  try {
    await client.send(data);
    return await client.finish().waitForEnd();
  } finally {
    client.close();
  }
}
