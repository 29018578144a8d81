/**
 * The load generator, in a process of its own so that its CPU is not the server's. Takes orders by IPC (generator.ts
 * sends them).
 *
 * A load is a number of connections with one request in flight each (or `pipeline` of them in one write). All its
 * replies have one length, which the first reply shows. Each is compared byte for byte with the last one that was
 * checked in full. A different one (another Date, another version, a mistake) is checked in full itself. Long replies
 * are compared with a file as they come.
 */
import { readFileSync } from "node:fs";
import type { Socket } from "bun";
import { type Accounts, transferWrites } from "./accounts";
import { LargeReply } from "./large";
import { checkReply, type Expectation } from "./reply";

/** JSON. */
export interface LoadSpec {
  readonly port: number;
  readonly connections: number;
  readonly request: string;
  readonly reply: Expectation;
  /** Requests in one write. Default 1. */
  readonly pipeline?: number;
  /** The request is a transfer between accounts, which are others each time. */
  readonly accounts?: Accounts;
  /** What each connection sends first, and the status of the HTTP reply that it waits for. */
  readonly opening?: Opening;
  /** `request` is bytes, a character each; else text. */
  readonly isBinary?: boolean;
  /** Speaks TLS, and takes any certificate. */
  readonly isTls?: boolean;
}

export interface Opening {
  readonly request: string;
  readonly status: number;
}

/** The result of a load. */
export interface LoadResult {
  requests: number;
  elapsedMs: number;
  /** Longest time from a request to its reply, in milliseconds. */
  longestMs: number;
  wrong: number;
  /** Connections that the server closed. */
  closed: number;
  /** Requests without a reply: the connection was closed, or the time was over. */
  lost: number;
  /** The first failure, in words; null: none. */
  problem: string | null;
}

export type Order =
  | { do: "open"; load: string; spec: LoadSpec }
  | { do: "run"; load: string; ms: number }
  | { do: "start"; load: string }
  | { do: "stop"; load: string }
  | { do: "hold"; port: number; connections: number; opening?: Opening }
  | { do: "close" };

/** How long the last replies may take once no more requests are sent, and the first ones. In milliseconds. */
const REPLY_DEADLINE_MS = 5000;
/** Fewer than the listen backlog of 512, so that no connect has to be tried again. */
const CONNECTS_AT_ONCE = 200;

/** Different requests of a load of transfers. Behind them it begins again. */
const TRANSFERS = 100_000;

class Client {
  socket: Socket<Client> | null = null;
  isWaiting = false;
  sentAt = 0;
  received = 0;
  parts: Uint8Array[] = [];
  /** Waits for the reply to the opening. */
  opening: PromiseWithResolvers<void> | null = null;
  /** Waits for the end of the TLS handshake. */
  handshake: PromiseWithResolvers<void> | null = null;
  /** For replies that are compared as they come; null: a reply is compared when it is complete. */
  large: LargeReply | null = null;
  constructor(readonly load: Load) {}
}

class Load {
  readonly clients: Client[] = [];
  /** What is written at once. */
  readonly #writes: Uint8Array[];
  #nextWrite = 0;
  readonly pipeline: number;
  result = emptyResult();
  #startedAt = 0;
  #isRunning = false;
  #waiting = 0;
  #idle = Promise.withResolvers<void>();
  #replyBytes = 0;
  /** The last right replies to one write. Empty before the first. */
  #known = Buffer.alloc(0);

  constructor(readonly spec: LoadSpec) {
    this.pipeline = spec.pipeline ?? 1;
    this.#writes = writesOf(spec, this.pipeline);
  }

  #takeWrite(): Uint8Array {
    if (this.#nextWrite === this.#writes.length) this.#nextWrite = 0;
    return this.#writes[this.#nextWrite++] as Uint8Array;
  }

  async open(): Promise<void> {
    for (let i = 0; i < this.spec.connections; i++) this.clients.push(new Client(this));
    await inBatches(this.clients, (client) => connect(client, this.spec.port));
    const { file, http } = this.spec.reply;
    if (file === undefined || http === undefined) return await this.#learn();
    const body = readFileSync(file);
    for (const client of this.clients) client.large = new LargeReply(body, http);
    await this.#tryOnce();
  }

  /** One request, before there are many. */
  async #tryOnce(): Promise<void> {
    this.#send(this.clients[0] as Client);
    const { problem } = await this.stop();
    if (problem !== null) throw new Error(problem);
  }

  /** One request, to see how long a reply is. */
  async #learn(): Promise<void> {
    const client = this.clients[0] as Client;
    const answered = Promise.withResolvers<void>();
    this.#learnt = (text) => {
      const problem = checkReply(text, this.spec.reply);
      if (problem === "incomplete") return;
      client.parts = [];
      client.received = 0;
      this.#learnt = null;
      if (problem !== null)
        return answered.reject(new Error(`wrong reply (${problem}): ${JSON.stringify(text.slice(0, 400))}`));
      this.#replyBytes = text.length;
      this.#known = Buffer.from(text.repeat(this.pipeline), "latin1");
      answered.resolve();
    };
    const first = this.#takeWrite();
    client.socket?.write(first.subarray(0, first.length / this.pipeline));
    await withDeadline(
      answered.promise,
      () =>
        `no right reply to ${JSON.stringify(this.spec.request)}; got ${JSON.stringify(textOf(client.parts).slice(0, 400))}`,
    );
  }
  #learnt: ((text: string) => void) | null = null;

  start(): void {
    this.result = emptyResult();
    this.#idle = Promise.withResolvers<void>();
    this.#isRunning = true;
    this.#startedAt = performance.now();
    for (const client of this.clients) this.#send(client);
  }

  async stop(): Promise<LoadResult> {
    this.#isRunning = false;
    if (this.#waiting > 0) {
      const late = () => `${this.#waiting} requests got no reply`;
      await withDeadline(this.#idle.promise, late).catch((error: Error) => {
        this.result.lost += this.#waiting;
        this.result.problem ??= error.message;
      });
    }
    this.result.elapsedMs = performance.now() - this.#startedAt;
    return this.result;
  }

  #send(client: Client): void {
    if (client.socket === null) return;
    client.isWaiting = true;
    client.sentAt = performance.now();
    this.#waiting++;
    const request = this.#takeWrite();
    if (client.socket.write(request) !== request.length) this.#fail("a request was not taken whole by the kernel");
  }

  receive(client: Client, bytes: Uint8Array): void {
    if (client.opening !== null) return this.#open(client, client.opening, bytes);
    if (client.large !== null) return this.#compare(client, client.large, bytes);
    const expected = this.#known.length;
    if (client.received === 0 && bytes.length === expected && this.#learnt === null) return this.#finish(client, bytes);
    client.parts.push(bytes);
    client.received += bytes.length;
    if (this.#learnt !== null) return this.#learnt(textOf(client.parts));
    if (client.received < expected) return;
    const whole = Buffer.concat(client.parts);
    client.parts = [];
    client.received = 0;
    this.#finish(client, whole);
  }

  #open(client: Client, opening: PromiseWithResolvers<void>, bytes: Uint8Array): void {
    client.parts.push(bytes);
    const text = textOf(client.parts);
    if (!text.includes("\r\n\r\n")) return;
    client.parts = [];
    client.opening = null;
    if (text.startsWith(`HTTP/1.1 ${this.spec.opening?.status} `) && text.endsWith("\r\n\r\n")) opening.resolve();
    else opening.reject(new Error(`wrong reply to the opening: ${JSON.stringify(text.slice(0, 400))}`));
  }

  #compare(client: Client, large: LargeReply, bytes: Uint8Array): void {
    if (!client.isWaiting) return this.#fail("bytes that nobody asked for");
    const problem = large.receive(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length));
    if (problem === "incomplete") return;
    if (problem !== null) this.#fail(`wrong reply (${problem})`);
    this.#next(client);
  }

  #finish(client: Client, bytes: Uint8Array): void {
    if (!client.isWaiting)
      return this.#fail(`bytes that nobody asked for: ${JSON.stringify(textOf([bytes]).slice(0, 200))}`);
    if (!this.#known.equals(bytes)) this.#checkWhole(bytes);
    this.#next(client);
  }

  #next(client: Client): void {
    const { result } = this;
    result.requests += this.pipeline;
    const ms = performance.now() - client.sentAt;
    if (ms > result.longestMs) result.longestMs = ms;
    client.isWaiting = false;
    this.#waiting--;
    if (this.#isRunning) this.#send(client);
    else if (this.#waiting === 0) this.#idle.resolve();
  }

  #checkWhole(bytes: Uint8Array): void {
    const text = textOf([bytes]);
    for (let i = 0; i < this.pipeline; i++) {
      const isLast = i === this.pipeline - 1;
      const one = text.slice(i * this.#replyBytes, isLast ? undefined : (i + 1) * this.#replyBytes);
      const problem = checkReply(one, this.spec.reply);
      if (problem !== null) return this.#fail(`wrong reply (${problem}): ${JSON.stringify(one.slice(0, 400))}`);
    }
    this.#known = Buffer.from(bytes);
  }

  #fail(problem: string): void {
    this.result.wrong++;
    this.result.problem ??= problem;
  }

  closed(client: Client): void {
    if (client.socket === null) return;
    client.socket = null;
    this.result.closed++;
    this.result.problem ??= "the server closed a connection";
    if (!client.isWaiting) return;
    client.isWaiting = false;
    this.result.lost++;
    if (--this.#waiting === 0 && !this.#isRunning) this.#idle.resolve();
  }

  close(): void {
    for (const client of this.clients) {
      const { socket } = client;
      client.socket = null;
      socket?.terminate();
    }
  }
}

function writesOf({ request, accounts, isBinary }: LoadSpec, pipeline: number): Uint8Array[] {
  const encoding = isBinary ? "latin1" : "utf8";
  if (accounts === undefined) return [Buffer.from(request.repeat(pipeline), encoding)];
  return transferWrites(request, accounts, TRANSFERS / pipeline, pipeline).map((text) => Buffer.from(text, encoding));
}

function emptyResult(): LoadResult {
  return { requests: 0, elapsedMs: 0, longestMs: 0, wrong: 0, closed: 0, lost: 0, problem: null };
}

function textOf(parts: Uint8Array[]): string {
  return Buffer.concat(parts).toString("latin1");
}

async function connect(client: Client, port: number): Promise<void> {
  const { opening, isTls = false } = client.load.spec;
  if (isTls) client.handshake = Promise.withResolvers();
  if (opening !== undefined) client.opening = Promise.withResolvers();
  client.socket = await Bun.connect<Client>({
    hostname: "127.0.0.1",
    port,
    data: client,
    socket: handlers,
    ...(isTls && ANY_CERTIFICATE),
  });
  if (client.handshake !== null) await withDeadline(client.handshake.promise, () => "no TLS handshake");
  if (opening === undefined || client.opening === null) return;
  client.socket.write(opening.request);
  await withDeadline(client.opening.promise, () => "no reply to the opening");
}

const ANY_CERTIFICATE = { tls: { rejectUnauthorized: false } };

const handlers: Bun.SocketHandler<Client> = {
  handshake: (socket) => socket.data.handshake?.resolve(),
  data: (socket, bytes) => socket.data.load.receive(socket.data, bytes),
  close: (socket) => socket.data.load.closed(socket.data),
  error: (socket) => socket.data.load.closed(socket.data),
};

async function inBatches<T>(items: T[], act: (item: T) => Promise<void>): Promise<void> {
  for (let at = 0; at < items.length; at += CONNECTS_AT_ONCE)
    await Promise.all(items.slice(at, at + CONNECTS_AT_ONCE).map(act));
}

async function withDeadline(promise: Promise<void>, describe: () => string): Promise<void> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(describe())), REPLY_DEADLINE_MS);
  await Promise.race([promise, late.promise]).finally(() => clearTimeout(timer));
}

const loads = new Map<string, Load>();

function loadOf(name: string): Load {
  const load = loads.get(name);
  if (load === undefined) throw new Error(`there is no load "${name}"`);
  return load;
}

async function obey(order: Order): Promise<LoadResult | null> {
  if (order.do === "open") {
    const load = new Load(order.spec);
    loads.set(order.load, load);
    await load.open();
  } else if (order.do === "run") {
    loadOf(order.load).start();
    await Bun.sleep(order.ms);
    return await loadOf(order.load).stop();
  } else if (order.do === "start") loadOf(order.load).start();
  else if (order.do === "stop") return await loadOf(order.load).stop();
  else if (order.do === "hold") return await hold(order);
  else {
    for (const load of loads.values()) load.close();
    loads.clear();
  }
  return null;
}

/** Opens silent connections, until "close". @returns how many the server has accepted and kept, as `requests` */
async function hold({ port, connections, opening }: Extract<Order, { do: "hold" }>): Promise<LoadResult> {
  const load = new Load({ port, connections: 0, request: "", reply: { pattern: "" }, opening });
  for (let i = 0; i < connections; i++) load.clients.push(new Client(load));
  loads.set(`idle ${loads.size}`, load);
  await inBatches(load.clients, (client) => connect(client, port));
  return { ...load.result, requests: load.clients.filter(({ socket }) => socket !== null).length };
}

process.on("message", (message: { id: number; order: Order }) => {
  obey(message.order).then(
    (result) => process.send?.({ id: message.id, result, error: null }),
    (error: Error) => process.send?.({ id: message.id, result: null, error: error.message }),
  );
});
process.on("disconnect", () => process.exit(0));
