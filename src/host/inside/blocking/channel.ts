/**
 * The channel of code that cannot await: a module in C stops in the middle of its function until an answer is there.
 * Meanwhile nothing reads the channel of its process, so what it asks has a channel of its own. One thing at a time.
 */
import { ptr } from "bun:ffi";
import { deserialize } from "bun:jsc";
import { isHalfClosed } from "../../../module/half-closed";
import type { CallFrame } from "../../../module/service/frame";
import { openLibc } from "../../../system/libc";
import { frameOf, MessageReader } from "../../process/channel";
import type { FromPlace, ToPlace } from "../../remote/messages";

const SYMBOLS = {
  poll: { args: ["ptr", "u64", "i32"], returns: "i32" },
  send: { args: ["i32", "ptr", "u64", "i32"], returns: "i64" },
  recv: { args: ["i32", "ptr", "u64", "i32"], returns: "i64" },
} as const;

const POLLIN = 1;
const POLLOUT = 4;
/** POLLERR, POLLHUP and POLLNVAL. */
const POLL_BROKEN = 8 | 16 | 32;
const MSG_DONTWAIT = process.platform === "darwin" ? 0x80 : 0x40;
const MSG_NOSIGNAL = process.platform === "darwin" ? 0 : 0x4000;
const READ_BYTES = 65_536;
/** The server answers at the deadline with a better text. In milliseconds. */
const SERVER_FIRST_MS = 100;
/** A longer wait is repeated. In milliseconds. */
const MAX_POLL_MS = 60_000;

type Libc = NonNullable<ReturnType<typeof openLibc<typeof SYMBOLS>>>;
type CancelCall = (seq: number, reason: Extract<ToPlace, { type: "cancel" }>["reason"]) => void;

/** Who waits, and how long. */
interface Wait {
  /** "kv.get". */
  readonly name: string;
  /** The call that is being answered. null: none. */
  readonly frame: CallFrame | null;
  /** In milliseconds; 0: for ever. */
  readonly leftMs: number;
}

/** There is no answer. */
export class Unanswered extends Error {
  readonly code: "TIMEOUT" | "CANCELLED" | "UNAVAILABLE";
  /** The server may have begun with it. */
  readonly hasBegun: boolean;

  constructor(code: Unanswered["code"], message: string, hasBegun: boolean) {
    super(message);
    this.code = code;
    this.hasBegun = hasBegun;
  }
}

export class BlockingChannel {
  readonly #fd: number;
  readonly #cancelled: CancelCall;
  readonly #reader: MessageReader;
  readonly #input = Buffer.allocUnsafeSlow(READ_BYTES);
  /** `struct pollfd`. */
  readonly #polled = new Int32Array(2);
  #libc: Libc | null = null;
  /** Negative, so that the server tells them from the others. */
  #last = 0;
  #received: ToPlace[] = [];

  /**
   * @param fd         a stream socket to the server
   * @param cancelled  called while somebody waits: the server cancels the call that is being answered
   */
  constructor(fd: number, cancelled: CancelCall) {
    this.#fd = fd;
    this.#cancelled = cancelled;
    this.#reader = new MessageReader((bytes) => this.#receive(deserialize(bytes) as ToPlace));
  }

  /**
   * Asks the server, and waits.
   *
   * @param make makes the message with the number that the answer names
   * @param take reads the answer with this number out of a message; undefined: it is not there
   * @throws Unanswered, and what `make` and `take` throw
   */
  ask<T>(wait: Wait, make: (ask: number) => FromPlace, take: (message: ToPlace, ask: number) => T | undefined): T {
    const endsAt = wait.leftMs === 0 ? Infinity : performance.now() + wait.leftMs + SERVER_FIRST_MS;
    refuseCancelled(wait, false);
    const ask = --this.#last;
    this.#received = [];
    try {
      this.#send(make(ask), wait, endsAt);
      return this.#answer(wait, endsAt, (message) => take(message, ask));
    } catch (error) {
      if (error instanceof Unanswered && error.code !== "UNAVAILABLE") this.leave(ask, wait);
      throw error;
    }
  }

  /** The server need not answer any more. Never throws. */
  leave(ask: number, wait: Wait): void {
    try {
      this.#send({ type: "askCancel", ask }, wait, 0);
    } catch {
      // The server does not read: its own deadline ends it.
    }
  }

  #answer<T>(wait: Wait, endsAt: number, take: (message: ToPlace) => T | undefined): T {
    for (;;) {
      for (const message of this.#received.splice(0)) {
        const answer = take(message);
        if (answer !== undefined) return answer;
      }
      refuseCancelled(wait, true);
      this.#wait(POLLIN, wait, endsAt);
      const got = Number(this.#open().recv(this.#fd, ptr(this.#input), READ_BYTES, MSG_DONTWAIT));
      if (got === 0) throw serverIsGone(wait.name);
      if (got > 0) this.#reader.read(new Uint8Array(this.#input.subarray(0, got)));
    }
  }

  #receive(message: ToPlace): void {
    if (message.type === "cancel") this.#cancelled(message.seq, message.reason);
    else this.#received.push(message);
  }

  #send(message: FromPlace, wait: Wait, endsAt: number): void {
    let rest: Uint8Array = frameOf(message);
    while (rest.length > 0) {
      const sent = Number(this.#open().send(this.#fd, ptr(rest), rest.length, MSG_DONTWAIT | MSG_NOSIGNAL));
      if (sent > 0) rest = rest.subarray(sent);
      else this.#wait(POLLOUT, wait, endsAt);
    }
  }

  /** Returns when the socket is ready, and now and then. @throws Unanswered */
  #wait(event: number, { name }: Wait, endsAt: number): void {
    const leftMs = endsAt - performance.now();
    if (leftMs <= 0) throw new Unanswered("TIMEOUT", `${name} did not answer in time`, true);
    this.#polled[0] = this.#fd;
    // `events` is the lower half, and `revents` the upper one, which poll writes.
    this.#polled[1] = event;
    const ready = this.#open().poll(ptr(this.#polled), 1, Math.min(MAX_POLL_MS, Math.ceil(leftMs)));
    const happened = (this.#polled[1] as number) >>> 16;
    // At the end of the stream it is readable, too, and what came before the end is read first.
    if (ready > 0 && (happened & event) === 0 && (happened & POLL_BROKEN) !== 0) throw serverIsGone(name);
  }

  #open(): Libc {
    this.#libc ??= openLibc(SYMBOLS);
    if (this.#libc === null)
      throw new Unanswered("UNAVAILABLE", "the server cannot be asked: there is no C library", false);
    return this.#libc;
  }
}

function refuseCancelled({ name, frame }: Wait, hasBegun: boolean): void {
  const signal = frame?.cancellation();
  if (signal?.aborted !== true || isHalfClosed(signal.reason)) return;
  const isLate = (signal.reason as Error | undefined)?.name === "TimeoutError";
  throw isLate
    ? new Unanswered("TIMEOUT", `${name} did not answer before the time of its caller was over`, hasBegun)
    : new Unanswered("CANCELLED", `${name} was cancelled: its caller no longer waits`, hasBegun);
}

function serverIsGone(name: string): Unanswered {
  return new Unanswered("UNAVAILABLE", `${name} cannot be called: the server is gone`, true);
}
