/**
 * The replies that a connection still owes, in the order of their messages. A slot is made only for
 * a reply that is not there at once, or that must wait for one before it.
 */
import { HandlerTimeoutError, HostBusyError, UnavailableError } from "../../host/errors";
import type { CallHandle, CallSink } from "../../host/remote/call";
import { runInline } from "../../host/inline";
import type { Reply } from "../../module/contract";
import type { BoundRoute, InFlight, InFlightKind } from "../../module/route";
import { byteLength, tellRaw } from "../access";
import type { RawMessage } from "./message";
import { checkReply, isStream, StreamPump, type StreamReply, type StreamTarget } from "./reply";
import { unavailableReply } from "../web/unavailable";
import type { Dispatch } from "../wire";
import { escapeBytes } from "../../router/escape";
import type { Deadline, DeadlineWheel } from "../deadlines";

/** A command's reply that closes the connection once it is sent. */
export class LastReply {
  constructor(readonly text: string) {}
}

/** A command's reply that closes the connection once everything before it is sent. */
export const CLOSE_CONNECTION: unique symbol = Symbol("close the connection");

/** The parts of its connection that a slot needs. */
export interface ReplyOwner extends StreamTarget {
  readonly dispatch: Dispatch;
  readonly wheel: DeadlineWheel;
  readonly client: RawMessage["client"];
  /** The slot is ready, or has sent its last byte: send what can be sent now, in order. */
  advance(): void;
  finish(): void;
  abort(): void;
}

const WAITING = 0;
const READY = 1;
const STREAMING = 2;
const SENT = 3;

/** One reply on its way: of a call elsewhere, of an asynchronous inline handler, or a finished one behind such. */
export class ReplySlot implements CallSink, InFlight, Deadline {
  deadlineAt = 0;
  isEndless = false;
  readonly #owner: ReplyOwner;
  readonly #route: BoundRoute | null;
  readonly #message: RawMessage | null;
  #state = WAITING;
  #isLast = false;
  #reply: Exclude<Reply, void | undefined> | typeof CLOSE_CONNECTION = null;
  #pump: StreamPump | null = null;
  #isCounted = false;
  /** The call that answers here, of a handler that runs elsewhere. */
  remote: CallHandle | null = null;
  /** Start of the handler's call, by performance.now(). 0: there is none. */
  startedAt: number;
  /** The call is counted: it was over before there was a slot. */
  isTimed = false;
  #sentBytes = 0;

  /** @param route null for a reply of the server's own, which no handler made */
  constructor(owner: ReplyOwner, route: BoundRoute | null, message: RawMessage | null, startedAt: number) {
    this.#owner = owner;
    this.#route = route;
    this.#message = message;
    this.startedAt = startedAt;
  }

  get kind(): InFlightKind {
    return this.isEndless ? "stream" : "call";
  }

  get isSent(): boolean {
    return this.#state === SENT;
  }

  /** Counts the call on its generation and arms its deadline. `timeoutMs` 0: none (a pool keeps its own). */
  begin(timeoutMs: number): void {
    if (this.#route === null) return;
    this.#isCounted = true;
    this.#route.generation.enter(this);
    this.#owner.wheel.arm(this, timeoutMs);
  }

  resolve(value: unknown): void {
    if (this.#state !== WAITING) return this.#leave();
    this.#owner.wheel.disarm(this);
    if (value === CLOSE_CONNECTION) return this.#ready(CLOSE_CONNECTION);
    if (value instanceof LastReply) {
      this.#isLast = true;
      return this.#ready(value.text);
    }
    try {
      this.#ready(checkReply(value));
    } catch (error) {
      this.#fail(error);
    }
  }

  reject(error: unknown): void {
    if (this.#state !== WAITING) return this.#leave();
    this.#owner.wheel.disarm(this);
    this.#fail(error);
  }

  /** The handler's time is up. */
  expired(): void {
    if (this.#state === WAITING) this.#fail(timeoutError(this.#route, this.#owner.dispatch));
    this.#leave();
  }

  cut(reason: string): void {
    this.remote?.cancel();
    this.#message?.abort(new Error(reason));
    if (this.#state === WAITING) this.#fail(new Error(reason));
    else if (this.#state === STREAMING) {
      this.#pump?.stop();
      this.#owner.abort();
    }
    this.#leave();
  }

  /** The client is gone. A handler that still runs stays counted until it ends or its time is up. */
  drop(): void {
    this.#message?.abort(new Error("The client closed the connection."));
    this.#time();
    const wasWaiting = this.#state === WAITING;
    this.#state = SENT;
    this.#pump?.stop();
    this.remote?.cancel();
    if (!wasWaiting || this.remote !== null) this.#leave();
  }

  /** Sends the reply if it is ready. Called for the head of the line only. @returns whether the next slot may go */
  send(): boolean {
    if (this.#state !== READY) return this.#state === SENT;
    const reply = this.#reply;
    if (isStream(reply)) {
      this.#state = STREAMING;
      void this.#stream(reply);
      return false;
    }
    this.#state = SENT;
    if (reply === CLOSE_CONNECTION) this.#owner.finish();
    else if (reply !== null) this.#owner.write(reply as string | Uint8Array);
    if (this.#isLast) this.#owner.finish();
    if (this.#owner.dispatch.access !== null) {
      this.#sentBytes = reply === CLOSE_CONNECTION || reply === null ? 0 : byteLength(reply as string | Uint8Array);
      this.#tell();
    }
    this.#leave();
    return true;
  }

  /** The handler has answered, or nobody waits for it any more. */
  #time(): void {
    if (this.isTimed || this.startedAt === 0) return;
    this.isTimed = true;
    this.#route?.generation.figures.record(performance.now() - this.startedAt);
  }

  /** The reply has ended. */
  #tell(): void {
    const { access } = this.#owner.dispatch;
    if (access !== null && this.#route !== null)
      tellRaw(access, this.#owner.client, this.#route, this.#sentBytes, this.startedAt);
  }

  #ready(reply: Exclude<Reply, void | undefined> | typeof CLOSE_CONNECTION): void {
    this.#time();
    this.#reply = reply;
    this.#state = READY;
    // A stream may wait in line; from here on it is its source that keeps the generation, not a deadline.
    this.isEndless = isStream(reply);
    this.#owner.advance();
  }

  #fail(error: unknown): void {
    this.#message?.abort(error instanceof Error ? error : new Error("the handler failed", { cause: error }));
    const route = this.#route;
    if (route === null) return this.#ready("ERR internal error\n");
    const isRefused = error instanceof HostBusyError || error instanceof UnavailableError;
    if (!isRefused) this.#owner.dispatch.handlerFailed(route, this.#owner.client, error);
    this.#ready(errorReply(route, error, this.#owner.dispatch));
  }

  async #stream(source: StreamReply): Promise<void> {
    const route = this.#route as BoundRoute;
    try {
      // Inside the graph: what the source opens while it is pulled is the module's.
      await runInline(route, () => {
        this.#pump = new StreamPump(source);
        return this.#pump.run(this.#owner);
      });
    } catch (error) {
      if (!this.#owner.isClosed) {
        route.generation.figures.fail();
        this.#owner.dispatch.handlerFailed(route, this.#owner.client, error);
        // Half a reply is out: the client must not take what follows for the rest of it.
        this.#owner.abort();
      }
    }
    this.#sentBytes = this.#pump?.sentBytes ?? 0;
    this.#tell();
    this.#state = SENT;
    this.#leave();
    this.#owner.advance();
  }

  #leave(): void {
    if (!this.#isCounted) return;
    this.#isCounted = false;
    this.#owner.wheel.disarm(this);
    this.#route?.generation.leave(this);
  }
}

/**
 * @returns what a caller gets instead of its reply: a line, or what a module in quarantine says; never what the handler
 * threw, which is for the log
 */
export function errorReply(route: BoundRoute, error: unknown, dispatch: Dispatch): string | Uint8Array {
  dispatch.counters.errors++;
  route.generation.figures.fail();
  if (error instanceof UnavailableError) return unavailableReply(route, error.retryAfterSeconds);
  if (error instanceof HostBusyError) return "ERR busy\n";
  if (error instanceof HandlerTimeoutError) return `ERR ${handlerTimeoutText(route, dispatch)}\n`;
  return `ERR ${quoteKey(route)} failed\n`;
}

/** For the log and for the caller alike. */
export function timeoutError(route: BoundRoute | null, dispatch: Dispatch): HandlerTimeoutError {
  return new HandlerTimeoutError(route === null ? "no answer in time" : handlerTimeoutText(route, dispatch));
}

function handlerTimeoutText(route: BoundRoute, dispatch: Dispatch): string {
  return `${quoteKey(route)} did not answer within ${route.timeoutMs ?? dispatch.timeouts.handlerMs} ms`;
}

function quoteKey(route: BoundRoute): string {
  return `"${escapeBytes(Buffer.from(route.key), 32)}"`;
}
