/** A client of Redis that writes to the store all the time, and knows what was acknowledged. */

/** Requests under way. */
const PIPELINED = 24;
/** Each write is three requests: a transaction of two keys, an increment, and a read of both keys. */
const REQUESTS = 3;

/** What one writer has written, as the store must have it. */
export interface Written {
  readonly name: string;
  /** Its pairs 0 to below it were answered. */
  readonly pairs: number;
  readonly pairsSent: number;
  /** As often its counter was incremented, at least. */
  readonly increments: number;
  readonly incrementsSent: number;
  /** Pairs that may be there or not: the answer was UNKNOWN. */
  readonly unsure: ReadonlySet<number>;
  /** Answers that no write may get. */
  readonly wrong: readonly string[];
}

/**
 * Its pair N are the keys `NAME:N:a` and `NAME:N:b` with the value N, written together; `NAME` counts the pairs. It
 * writes until the connection is lost, or `stop`.
 */
export class PairWriter implements Written {
  readonly name: string;
  readonly wrong: string[] = [];
  readonly unsure = new Set<number>();
  #unsureIncrements = 0;
  readonly #ended = Promise.withResolvers<void>();
  readonly #collection: string;
  #answers = 0;
  #sent = 0;
  #rest = "";
  #isStopping = false;
  #selected = false;

  constructor(collection: string, name: string) {
    this.#collection = collection;
    this.name = name;
  }

  get pairs(): number {
    return Math.ceil(this.#answers / REQUESTS);
  }

  get pairsSent(): number {
    return this.#sent;
  }

  get increments(): number {
    return Math.ceil(Math.max(0, this.#answers - 1) / REQUESTS) - this.#unsureIncrements;
  }

  get incrementsSent(): number {
    return this.#sent;
  }

  /** Resolves when the connection has ended. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  async start(port: number): Promise<this> {
    const done = (): void => this.#ended.resolve();
    await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        open: (socket) =>
          void socket.write(`*2\r\n$6\r\nSELECT\r\n$${this.#collection.length}\r\n${this.#collection}\r\n`),
        data: (socket, bytes) => this.#read(socket, bytes),
        close: done,
        end: done,
        error: done,
      },
    });
    return this;
  }

  /** Sends no more. Resolves when all is answered, or the connection lost. */
  stop(): Promise<void> {
    this.#isStopping = true;
    return this.ended;
  }

  #read(socket: Bun.Socket, bytes: Uint8Array): void {
    const lines = (this.#rest + Buffer.from(bytes).toString("latin1")).split("\r\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.#take(line);
    if (!this.#isStopping) this.#send(socket);
    else if (this.#answers === this.#sent * REQUESTS) socket.end();
  }

  #take(line: string): void {
    if (!this.#selected) {
      if (line !== "+OK") this.wrong.push(line);
      this.#selected = true;
      return;
    }
    const [pair, request] = [Math.floor(this.#answers / REQUESTS), this.#answers % REQUESTS];
    this.#answers++;
    if (line.startsWith("-UNKNOWN")) {
      if (request === 0) this.unsure.add(pair);
      else if (request === 1) this.#unsureIncrements++;
    } else if (!this.#expected(pair, request).includes(line))
      this.wrong.push(`${line} for request ${request} of ${pair}`);
  }

  #expected(pair: number, request: number): string[] {
    if (request === 0) return ["+OK"];
    if (request === 2) return this.unsure.has(pair) ? [":2", ":0"] : [":2"];
    return Array.from({ length: this.#unsureIncrements + 1 }, (_, missing) => `:${pair + 1 - missing}`);
  }

  #send(socket: Bun.Socket): void {
    let text = "";
    for (; this.#sent * REQUESTS - this.#answers < PIPELINED; this.#sent++) {
      const [a, b] = [`${this.name}:${this.#sent}:a`, `${this.name}:${this.#sent}:b`];
      text += `MSET ${a} ${this.#sent} ${b} ${this.#sent}\r\nINCR ${this.name}\r\nEXISTS ${a} ${b}\r\n`;
    }
    socket.write(text);
  }
}

/**
 * Compares the documents of a collection with what its writers know.
 *
 * @param values by key. @returns what is wrong, each a sentence
 */
export function faultsOf(writers: readonly Written[], values: ReadonlyMap<string, unknown>): string[] {
  return writers.flatMap((writer) => {
    const { name, pairs, pairsSent, increments, incrementsSent, unsure } = writer;
    const faults = writer.wrong.map((answer) => `${name} was answered ${answer}`);
    const counted = Number(values.get(name) ?? 0);
    if (counted < increments || counted > incrementsSent)
      faults.push(`${name} is ${counted}; ${increments} increments were answered, and ${incrementsSent} sent`);
    let hasEnded = false;
    for (let pair = 0; pair < pairsSent; pair++) {
      const [a, b] = [values.get(`${name}:${pair}:a`), values.get(`${name}:${pair}:b`)];
      if (a !== b) faults.push(`half of the pair ${pair} of ${name} is there: ${String(a)}, ${String(b)}`);
      if (a === undefined && unsure.has(pair)) continue;
      if (a === undefined && pair < pairs) faults.push(`the pair ${pair} of ${name} was answered, and is not there`);
      if (a !== undefined && hasEnded) faults.push(`the pair ${pair} of ${name} is there, and one before it is not`);
      if (a !== undefined && Number(a) !== pair) faults.push(`the pair ${pair} of ${name} is ${String(a)}`);
      hasEnded ||= a === undefined;
    }
    return faults;
  });
}
