/**
 * HTTP/1.1 without the server around it: the protocol on a plain listener, with fetch handlers for modules. The test
 * sees its answers, its held bytes and its counts.
 */
import type { Socket } from "bun";
import { CallFigures } from "../../src/observe/figures";
import { DeadlineWheel } from "../../src/host/deadlines";
import { DEFAULT_LIMITS, DEFAULT_TIMEOUTS, type Limits, type Timeouts } from "../../src/config/options";
import { ANONYMOUS } from "../../src/module/session";
import type { BoundRoute, InFlight, RouteOwner } from "../../src/module/route";
import { beginHttp1, beginParsed } from "../../src/protocol/http1/http1";
import { type Routing, routingOf } from "../../src/protocol/routing";
import { newCounters, type Dispatch, type Protocol, type Wire } from "../../src/protocol/wire";
import { RouteTable } from "../../src/router/table";

export type FetchHandler = (
  request: Request,
  context: { client: { port: number }; params: Record<string, string> },
) => unknown;

export interface HarnessOptions {
  routes: Record<
    string,
    FetchHandler | { fetch: FetchHandler; timeoutMs?: number; isUnavailable?: boolean; isBehindMiddleware?: boolean }
  >;
  limits?: Partial<Limits>;
  timeouts?: Partial<Timeouts>;
  /** false: every request is read by llhttp. Default true. */
  mayBeFast?: boolean;
  /** The server's own endpoints, by path, for every client. */
  endpoints?: Record<string, FetchHandler>;
  /** Whether the next client may see them. Default: every client. */
  endpointsAreFor?: () => boolean;
}

export interface Harness {
  readonly port: number;
  readonly dispatch: Dispatch;
  /** The calls of handlerFailed. */
  readonly failures: unknown[];
  /** The open work of the generation. */
  readonly inFlight: Set<InFlight>;
  /** How often reading of a connection was stopped. */
  pauses: number;
  stop(): void;
}

/** Starts a listener on a free port of 127.0.0.1. Stop it in `finally`. */
export function startHarness(options: HarnessOptions): Harness {
  const inFlight = new Set<InFlight>();
  const failures: unknown[] = [];
  const wheel = new DeadlineWheel();
  const dispatch: Dispatch = {
    routing: routingOf(buildTable(options.routes, inFlight), null, buildEndpoints(options, inFlight)),
    limits: { ...DEFAULT_LIMITS, ...options.limits },
    timeouts: { ...DEFAULT_TIMEOUTS, ...options.timeouts },
    wheel,
    isDraining: false,
    httpDate: "Sun, 06 Nov 1994 08:49:37 GMT",
    handlerFailed: (_route, _client, error) => void failures.push(error),
    counters: newCounters(),
    access: null,
  };
  const harness = { port: 0, dispatch, failures, inFlight, pauses: 0, stop };
  const listener = Bun.listen<HarnessWire>({
    hostname: "127.0.0.1",
    port: 0,
    allowHalfOpen: true,
    socket: {
      open: (socket) => void (socket.data = new HarnessWire(socket, harness, options.mayBeFast ?? true)),
      data: (socket, bytes) => socket.data.receive(bytes),
      end: (socket) => socket.data.end(),
      drain: (socket) => socket.data.flush(),
      close: (socket) => socket.data.close(),
      error: (socket, error) => {
        failures.push(error);
        socket.terminate();
      },
    },
  });
  function stop(): void {
    wheel.close();
    listener.stop(true);
  }
  harness.port = listener.port;
  return harness;
}

function buildTable(routes: HarnessOptions["routes"], inFlight: Set<InFlight>): RouteTable<BoundRoute> {
  const entries = Object.entries(routes).map(([key, route], index) => {
    return {
      key,
      kind: "http" as const,
      owner: "test",
      file: "test.ts",
      value: buildRoute(key, route, index, inFlight),
    };
  });
  return RouteTable.build(entries).table;
}

function buildEndpoints(
  { endpoints = {}, endpointsAreFor = () => true }: HarnessOptions,
  inFlight: Set<InFlight>,
): Routing["endpoints"] {
  return new Map(
    Object.entries(endpoints).map(([path, fetch]) => [
      path,
      { route: buildRoute(path, fetch, 0, inFlight), isFor: endpointsAreFor },
    ]),
  );
}

function buildRoute(
  key: string,
  route: HarnessOptions["routes"][string],
  index: number,
  inFlight: Set<InFlight>,
): BoundRoute {
  const {
    fetch,
    timeoutMs = undefined,
    isUnavailable = false,
    isBehindMiddleware = false,
  } = typeof route === "function" ? { fetch: route } : route;
  const owner: RouteOwner = {
    name: "test",
    id: 1,
    number: 1,
    context: { name: "test", generation: 1 },
    unavailable: null,
    figures: new CallFigures(),
    run: (fn, ...args) => fn(...args),
    enter: (call) => void inFlight.add(call),
    leave: (call) => void inFlight.delete(call),
  };
  return {
    key,
    index,
    kind: "fetch",
    run: "inline",
    timeoutMs,
    description: "",
    module: "test",
    keyBytes: key.length,
    framing: "chunk",
    handler: fetch as BoundRoute["handler"],
    generation: owner,
    isUnavailable,
    isBehindMiddleware,
  };
}

class HarnessWire implements Wire {
  readonly isSecure = false;
  readonly session = ANONYMOUS;
  readonly canSendFile = false;
  isClosed = false;
  hasEnded = false;
  queuedBytes = 0;
  readonly client;
  private protocol: Protocol | null = null;
  private queue: Uint8Array[] = [];
  private isFinishing = false;
  private timer: Timer | undefined;
  private waiting: (() => void)[] = [];

  constructor(
    private readonly socket: Socket<HarnessWire>,
    private readonly harness: Harness,
    private readonly mayBeFast: boolean,
  ) {
    this.client = {
      address: "127.0.0.1",
      port: socket.remotePort,
      transport: "tcp" as const,
      isLocal: true,
      connection: 1,
    };
  }

  get dispatch(): Dispatch {
    return this.harness.dispatch;
  }

  writeFile(message: Buffer): boolean {
    return this.write(message);
  }

  sendFile(): Promise<void> {
    return Promise.reject(new Error("Files are read here, and not sent."));
  }

  receive(bytes: Uint8Array): void {
    if (this.isFinishing) return;
    if (this.protocol !== null) return this.protocol.receive(bytes);
    for (let at = 0; at < bytes.length && this.protocol === null && !this.isFinishing;) {
      at = this.mayBeFast ? beginHttp1(this, bytes, at) : beginParsed(this, Buffer.from(bytes), at);
    }
  }

  end(): void {
    this.hasEnded = true;
    this.protocol?.ended();
    this.endIfDone();
  }

  close(): void {
    this.isClosed = true;
    clearTimeout(this.timer);
    this.protocol?.closed();
    this.wake();
  }

  write(data: string | Uint8Array): boolean {
    if (this.isClosed) return true;
    const bytes = typeof data === "string" ? Buffer.from(data) : data;
    this.queue.push(bytes);
    this.queuedBytes += bytes.length;
    if (this.queue.length === 1) this.flush();
    return this.queuedBytes <= this.dispatch.limits.maxWriteBufferBytes;
  }

  writeShared(bytes: Uint8Array): boolean {
    return this.write(Buffer.from(bytes));
  }

  writeInPlace(): number {
    return 0;
  }

  flush(): void {
    while (this.queue.length > 0) {
      const next = this.queue[0] as Uint8Array;
      const taken = this.socket.write(next);
      if (taken < 0) return;
      this.queuedBytes -= taken;
      if (taken < next.length) {
        this.queue[0] = next.subarray(taken);
        break;
      }
      this.queue.shift();
    }
    if (this.queuedBytes <= this.dispatch.limits.maxWriteBufferBytes) this.wake();
    if (this.queue.length === 0) this.endIfDone();
  }

  probePeer(): void {}

  waitForDrain(): Promise<void> {
    if (this.isClosed || this.queuedBytes <= this.dispatch.limits.maxWriteBufferBytes) return Promise.resolve();
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  pause(): void {
    this.harness.pauses++;
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  take(protocol: Protocol): void {
    this.protocol = protocol;
  }

  release(rest: Uint8Array): void {
    this.protocol = null;
    this.armDeadline(0);
    if (rest.length > 0) this.receive(rest);
    // The present owner of the connection decides itself.
    if (this.protocol === null) this.resume();
    this.endIfDone();
  }

  armDeadline(ms: number): void {
    clearTimeout(this.timer);
    if (ms > 0) this.timer = setTimeout(() => this.protocol?.expired(), ms);
  }

  finish(): void {
    this.isFinishing = true;
    this.resume();
    this.endIfDone();
  }

  abort(): void {
    this.socket.terminate();
  }

  private wake(): void {
    const waiting = this.waiting;
    this.waiting = [];
    for (const resolve of waiting) resolve();
  }

  private endIfDone(): void {
    if (this.isClosed || this.queue.length > 0) return;
    if (this.hasEnded && (this.isFinishing || this.protocol === null)) this.socket.end();
    else if (this.isFinishing) this.socket.shutdown();
  }
}
