/**
 * Service calls of code that cannot await: a module in C stops in the middle of its function until the result is there.
 * Meanwhile nothing reads the channel of its process, so these calls have a channel of their own.
 */
import { ptr } from "bun:ffi";
import { deserialize } from "bun:jsc";
import { isHalfClosed } from "../../module/half-closed";
import type { ServiceCallsNow, ServiceOrder } from "../../module/service/calls";
import { errorOf, ServiceError, type ServiceFailure } from "../../module/service/error";
import { Carried, decodeValue } from "../../module/service/values";
import { openLibc } from "../../system/libc";
import { frameOf, MessageReader } from "../process/channel";
import type { FromPlace, ToPlace } from "../remote/messages";
import { TOLD, TOLD_FIELDS, type ToldBatch, type ToldKind } from "../services/messages";
import { askOf, leastMs } from "./asks";

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

interface Told {
  readonly ask: number;
  readonly kind: ToldKind;
  readonly text: string;
}

export class BlockingCalls implements ServiceCallsNow {
  readonly #fd: number;
  readonly #cancelled: CancelCall;
  readonly #reader: MessageReader;
  readonly #input = Buffer.allocUnsafeSlow(READ_BYTES);
  /** `struct pollfd`. */
  readonly #polled = new Int32Array(2);
  readonly #maxLetters: number;
  #libc: Libc | null = null;
  /** Negative, so that the server tells them from the others. */
  #last = 0;
  #told: Told[] = [];

  /**
   * @param fd         a stream socket to the server
   * @param cancelled  called while a call waits: the server cancels the call that is being answered
   */
  constructor(fd: number, maxLetters: number, cancelled: CancelCall) {
    this.#fd = fd;
    this.#maxLetters = maxLetters;
    this.#cancelled = cancelled;
    this.#reader = new MessageReader((bytes) => this.#receive(deserialize(bytes) as ToPlace));
  }

  callNow(order: ServiceOrder): Carried {
    const name = `${order.module}.${order.service}`;
    const left = leastMs(order.frame, order.timeoutMs);
    const waiting: Waiting = {
      name,
      order,
      endsAt: left === 0 ? Infinity : performance.now() + left + SERVER_FIRST_MS,
    };
    this.#refuseCancelled(waiting);
    const ask = --this.#last;
    this.#told = [];
    this.#send({ type: "asks", asks: askOf(ask, order, this.#maxLetters) }, waiting);
    try {
      return this.#resultOf(ask, waiting);
    } catch (error) {
      this.#leave(ask, error, waiting);
      throw error;
    }
  }

  #resultOf(ask: number, waiting: Waiting): Carried {
    for (;;) {
      const told = this.#told.find((each) => each.ask === ask);
      if (told !== undefined) return resultOf(told, waiting.name);
      this.#refuseCancelled(waiting);
      this.#wait(POLLIN, waiting);
      const got = Number(this.#open().recv(this.#fd, ptr(this.#input), READ_BYTES, MSG_DONTWAIT));
      if (got === 0) throw serverIsGone(waiting.name);
      if (got > 0) this.#reader.read(new Uint8Array(this.#input.subarray(0, got)));
    }
  }

  #receive(message: ToPlace): void {
    if (message.type === "cancel") return this.#cancelled(message.seq, message.reason);
    if (message.type === "told") this.#told.push(...toldIn(message.told));
  }

  #send(message: FromPlace, waiting: Waiting): void {
    let rest: Uint8Array = frameOf(message);
    while (rest.length > 0) {
      const sent = Number(this.#open().send(this.#fd, ptr(rest), rest.length, MSG_DONTWAIT | MSG_NOSIGNAL));
      if (sent > 0) rest = rest.subarray(sent);
      else this.#wait(POLLOUT, waiting);
    }
  }

  /** The call ended here and not at the server. */
  #leave(ask: number, error: unknown, waiting: Waiting): void {
    if (!(error instanceof ServiceError) || !ENDED_HERE.has(error)) return;
    try {
      this.#send({ type: "askCancel", ask }, { ...waiting, endsAt: 0 });
    } catch {
      // The server does not read: its own deadline ends the call.
    }
  }

  /** Returns when the socket is ready, and now and then. @throws ServiceError */
  #wait(event: number, { name, endsAt }: Waiting): void {
    const leftMs = endsAt - performance.now();
    if (leftMs <= 0) throw endedHere(new ServiceError("TIMEOUT", `${name} did not answer in time`));
    this.#polled[0] = this.#fd;
    // `events` is the lower half, and `revents` the upper one, which poll writes.
    this.#polled[1] = event;
    const ready = this.#open().poll(ptr(this.#polled), 1, Math.min(MAX_POLL_MS, Math.ceil(leftMs)));
    const happened = (this.#polled[1] as number) >>> 16;
    // At the end of the stream it is readable, too, and what came before the end is read first.
    if (ready > 0 && (happened & event) === 0 && (happened & POLL_BROKEN) !== 0) throw serverIsGone(name);
  }

  #refuseCancelled({ name, order }: Waiting): void {
    const signal = order.frame?.cancellation();
    if (signal?.aborted !== true || isHalfClosed(signal.reason)) return;
    const isLate = (signal.reason as Error | undefined)?.name === "TimeoutError";
    throw endedHere(
      isLate
        ? new ServiceError("TIMEOUT", `${name} did not answer before the time of its caller was over`)
        : new ServiceError("CANCELLED", `${name} was cancelled: its caller no longer waits`),
    );
  }

  #open(): Libc {
    this.#libc ??= openLibc(SYMBOLS);
    if (this.#libc === null) throw new ServiceError("UNAVAILABLE", "services cannot be called: there is no C library");
    return this.#libc;
  }
}

type CancelCall = (seq: number, reason: Extract<ToPlace, { type: "cancel" }>["reason"]) => void;

interface Waiting {
  /** "kv.get". */
  readonly name: string;
  readonly order: ServiceOrder;
  /** By performance.now(); Infinity: never. */
  readonly endsAt: number;
}

/** Failures of calls that the server still carries out. */
const ENDED_HERE = new WeakSet<ServiceError>();

function endedHere(error: ServiceError): ServiceError {
  ENDED_HERE.add(error);
  return error;
}

function serverIsGone(name: string): ServiceError {
  return new ServiceError("UNAVAILABLE", `${name} cannot be called: the server is gone`);
}

function toldIn(batch: ToldBatch): Told[] {
  const told: Told[] = [];
  for (let at = 0; at < batch.length; at += TOLD_FIELDS)
    told.push({ ask: batch[at] as number, kind: batch[at + 1] as ToldKind, text: batch[at + 2] as string });
  return told;
}

/** @throws ServiceError */
function resultOf({ kind, text }: Told, name: string): Carried {
  if (kind === TOLD.value) return Carried.encoded(text);
  if (kind === TOLD.failure) throw errorOf(decodeValue(text) as ServiceFailure);
  throw endedHere(
    new ServiceError(
      "INVALID_OUTPUT",
      `${name} streams its result, and C takes one value: call a service that returns one`,
    ),
  );
}
