/** A redis-server for tests, to compare with. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../free-port";
import { until } from "../until";
import { commandBytes, type Reply, ReplyReader } from "./reply";

/** Why there is none here. null: there is one. */
export const NO_REDIS: string | null = Bun.which("redis-server") === null ? "redis-server is not there" : null;

export class RedisServer {
  readonly socket: string;
  /** Of 127.0.0.1. */
  readonly port: number;
  readonly #folder: string;
  readonly #process: Bun.Subprocess;

  private constructor(folder: string, port: number) {
    this.#folder = folder;
    this.port = port;
    this.socket = join(folder, "redis.sock");
    const args = [
      "--port",
      String(port),
      "--bind",
      "127.0.0.1",
      "--unixsocket",
      this.socket,
      "--save",
      "",
      "--appendonly",
      "no",
      "--databases",
      "2000",
    ];
    this.#process = Bun.spawn(["redis-server", ...args], { cwd: folder, stdout: "ignore", stderr: "ignore" });
  }

  static async start(): Promise<RedisServer> {
    const server = new RedisServer(mkdtempSync(join(tmpdir(), "hrmr-redis-")), freePort());
    await until("redis-server to listen", () => existsSync(server.socket));
    return server;
  }

  async stop(): Promise<void> {
    this.#process.kill();
    await this.#process.exited;
    rmSync(this.#folder, { recursive: true });
  }
}

/** A connection that sends commands and gets their replies. */
export class RedisConnection {
  readonly #reader = new ReplyReader();
  readonly #waiting: ((reply: Reply | null) => void)[] = [];
  #socket: Bun.Socket | null = null;
  #isClosed = false;

  /** @param address a port of this machine, or a unix socket */
  static async open(address: number | string): Promise<RedisConnection> {
    const connection = new RedisConnection();
    const closed = (): void => connection.#close();
    const socket = {
      data: (_: Bun.Socket, bytes: Uint8Array) => connection.#read(bytes),
      close: closed,
      end: closed,
      error: closed,
    };
    connection.#socket = await (typeof address === "number"
      ? Bun.connect({ hostname: "127.0.0.1", port: address, socket })
      : Bun.connect({ unix: address, socket }));
    return connection;
  }

  /** Sends commands together. @returns their replies; null: the connection has ended before */
  async sendAll(commands: readonly (readonly string[])[]): Promise<(Reply | null)[]> {
    if (this.#isClosed) return commands.map(() => null);
    const replies = commands.map(() => new Promise<Reply | null>((resolve) => this.#waiting.push(resolve)));
    this.#socket?.write(Buffer.concat(commands.map(commandBytes)));
    return await Promise.all(replies);
  }

  close(): void {
    this.#socket?.end();
  }

  #read(bytes: Uint8Array): void {
    for (const reply of this.#reader.read(bytes)) this.#waiting.shift()?.(reply);
  }

  #close(): void {
    this.#isClosed = true;
    for (const resolve of this.#waiting.splice(0)) resolve(null);
  }
}
