/**
 * The replies that a connection still owes, in the order of their messages. A slot is made only for
 * a reply that is not there at once, or that must wait for one before it.
 */
import type { Call, CallOwner } from "../../host/call";
import { type Caller, countError, failCall, handlerMs } from "../../host/inline";
import { HandlerTimeoutError, HostBusyError, UnavailableError } from "../../host/errors";
import type { CallHandle, RemoteCallOwner } from "../../host/remote/call";
import type { Reply, Session } from "../../module/contract";
import { ProgramError } from "../../module/program/error";
import type { BoundRoute } from "../../module/route";
import { byteLength } from "../access";
import type { RawMessage } from "./message";
import { checkReply, StreamPump, type StreamTarget } from "./reply";
import { isStream, type StreamReply } from "../../module/graph/returned";
import { unavailableReply } from "../web/unavailable";
import type { Dispatch } from "../wire";
import { escapeBytes } from "../../router/escape";

/** A command's reply that closes the connection once it is sent. */
export class LastReply {
  constructor(readonly text: string) {}
}

/** A command's reply that closes the connection once everything before it is sent. */
export const CLOSE_CONNECTION: unique symbol = Symbol("close the connection");

/** The parts of its connection that a slot needs. */
export interface ReplyOwner extends StreamTarget, Caller {
  readonly dispatch: Dispatch;
  session: Session;
  /** The slot is ready, or has sent its last byte: send all that can be sent now, in order. */
  advance(): void;
  finish(): void;
  abort(): void;
}

const WAITING = 0;
const READY = 1;
const STREAMING = 2;
const SENT = 3;

/** One waiting reply: of a call on another host, of an asynchronous inline handler, or a finished one behind these. */
export class ReplySlot implements RemoteCallOwner, CallOwner {
  readonly #owner: ReplyOwner;
  readonly #message: RawMessage | null;
  /** Its call; null: the reply is the server's own. */
  call: Call | null = null;
  /** The handle of a call on another host. */
  remote: CallHandle | null = null;
  #state = WAITING;
  #isLast = false;
  #reply: Exclude<Reply, void | undefined> | typeof CLOSE_CONNECTION = null;
  #pump: StreamPump | null = null;

  /** @param message the message, if its handler runs here and may use its signal; null: none */
  constructor(owner: ReplyOwner, message: RawMessage | null) {
    this.#owner = owner;
    this.#message = message;
  }

  resolve(value: unknown): void {
    if (this.#state !== WAITING) return this.call?.over();
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
    if (this.#state !== WAITING) return this.call?.over();
    this.#fail(error);
  }

  /** The handler's time is up. */
  late(): void {
    const { call } = this;
    if (call === null) return;
    if (this.#state === WAITING) this.#fail(timeoutError(call));
    call.over();
  }

  cut(reason: string): void {
    this.remote?.cancel();
    this.#message?.abort(new Error(reason));
    if (this.#state === WAITING) this.#fail(new Error(reason));
    else if (this.#state === STREAMING) {
      this.#pump?.stop();
      this.#owner.abort();
    }
    this.call?.over();
  }

  /** The client is gone. A handler that still runs stays counted until it ends or its time is up. */
  drop(): void {
    this.#message?.abort(new Error("The client closed the connection."));
    this.call?.left();
    const wasWaiting = this.#state === WAITING;
    this.#state = SENT;
    this.#pump?.stop();
    this.remote?.cancel();
    if (!wasWaiting || this.remote !== null) this.call?.over();
  }

  /** Sends the reply if it is ready. Called for the head of the line only. @returns whether the next slot may go */
  send(): boolean {
    if (this.#state !== READY) return this.#state === SENT;
    const reply = this.#reply;
    if (isStream(reply)) {
      this.#state = STREAMING;
      if (this.call !== null) void this.#stream(this.call, reply);
      return false;
    }
    this.#state = SENT;
    if (reply === CLOSE_CONNECTION) this.#owner.finish();
    else if (reply !== null) this.#owner.write(reply as string | Uint8Array);
    if (this.#isLast) this.#owner.finish();
    if (this.call !== null && this.#owner.dispatch.access !== null)
      this.#tell(
        this.call,
        reply === CLOSE_CONNECTION || reply === null ? 0 : byteLength(reply as string | Uint8Array),
      );
    this.call?.over();
    return true;
  }

  #tell(call: Call, bytes: number): void {
    call.tell({ protocol: "raw", bytes });
  }

  #ready(reply: Exclude<Reply, void | undefined> | typeof CLOSE_CONNECTION): void {
    this.call?.answered();
    this.#reply = reply;
    this.#state = READY;
    // A stream may wait in line. From here on its source keeps the generation, and no deadline holds.
    if (isStream(reply)) this.call?.streams(true);
    this.#owner.advance();
  }

  #fail(error: unknown): void {
    this.#message?.abort(error instanceof Error ? error : new Error("the handler failed", { cause: error }));
    const { call } = this;
    this.#ready(call === null ? "ERR internal error\n" : failRaw(this.#owner.dispatch, call.route, this.#owner, error));
  }

  async #stream(call: Call, source: StreamReply): Promise<void> {
    try {
      // Inside the graph: resources that the source opens are the module's.
      await call.run(() => {
        this.#pump = new StreamPump(source);
        return this.#pump.run(this.#owner);
      });
    } catch (error) {
      if (!this.#owner.isClosed) {
        call.failed(error);
        // A part of the reply has been sent: the client must not take later bytes for the rest.
        this.#owner.abort();
      }
    }
    this.#tell(call, this.#pump?.sentBytes ?? 0);
    this.#state = SENT;
    call.over();
    this.#owner.advance();
  }
}

/**
 * A handler failed, or its host did not take the call.
 *
 * @returns the caller's reply: an error line, or the text of a module in quarantine. The handler's own error only goes
 *   to the log
 */
export function failRaw(dispatch: Dispatch, route: BoundRoute, caller: Caller, error: unknown): string | Uint8Array {
  dispatch.counters.errors++;
  if (error instanceof UnavailableError) {
    countError(route);
    return unavailableReply(route, error.retryAfterSeconds);
  }
  if (error instanceof HostBusyError) {
    countError(route);
    return "ERR busy\n";
  }
  failCall(dispatch, route, caller, error);
  if (error instanceof ProgramError) return `ERR ${error.message.replaceAll(/[\r\n]+/g, " ")}\n`;
  return error instanceof HandlerTimeoutError
    ? `ERR ${timeoutText(route, handlerMs(dispatch, route))}\n`
    : `ERR ${quoteKey(route)} failed\n`;
}

/** For the log. */
export function timeoutError({ route, timeoutMs }: Call): HandlerTimeoutError {
  return new HandlerTimeoutError(timeoutText(route, timeoutMs));
}

function timeoutText(route: BoundRoute, ms: number): string {
  return `${quoteKey(route)} did not answer within ${ms} ms`;
}

function quoteKey(route: BoundRoute): string {
  return `"${escapeBytes(Buffer.from(route.key), 32)}"`;
}
