/**
 * The calls of one place: begins what the server has not taken back, and sends the replies, one message a
 * batch.
 */
import { isStream, isThenable, type StreamReply } from "../../module/graph/returned";
import { drainMicrotasks } from "bun:jsc";
import type { Handle, ModuleContext } from "../../module/contract";
import { asHost } from "../../system/leave-graph";
import type { LoadedModule } from "../../module/graph/load";
import {
  type BodyPart,
  CALL_FIELDS,
  type CallBatch,
  type CancelReason,
  failureOf,
  HEAD,
  labelOf,
  readTarget,
  REPLY,
  type ReplyBatch,
  ON_STACK,
  type SharedMemory,
  ToldClients,
  toLatin1,
} from "../remote/messages";
import { SavedReplies } from "../remote/saved-replies";
import { HostedMessage, type WantBody } from "./message";
import { StreamSource } from "./stream";

/** One generation in this place. */
export interface Resident {
  readonly module: LoadedModule;
  /** Handlers by route index. */
  readonly handlers: readonly (Handle | undefined)[];
  readonly context: ModuleContext;
}

interface CallUnderWay {
  readonly resident: Resident;
  readonly message: HostedMessage;
  stream: StreamSource | null;
}

// Replies wait for the end of their batch, but not behind a slow handler.
const MAX_REPLY_DELAY_MS = 1;

export class HostedCalls {
  readonly residents = new Map<number, Resident>();
  readonly #clients = new ToldClients();
  readonly #shared: SharedMemory;
  readonly #saved: SavedReplies;
  readonly #post: (batch: ReplyBatch) => void;
  readonly #wantBody: WantBody;
  readonly #maxLetters: number;
  /** Calls that answered with a promise or a stream. */
  readonly #underWay = new Map<number, CallUnderWay>();
  /** The message of the last call that began. */
  #last: HostedMessage | null = null;
  #replies: ReplyBatch = [0, 0];
  #isFlushScheduled = false;

  /** @param maxLetters  limit for one reply, or for one part of a streamed reply. Infinity: no limit */
  constructor(shared: SharedMemory, post: (batch: ReplyBatch) => void, wantBody: WantBody, maxLetters: number) {
    this.#maxLetters = maxLetters;
    this.#wantBody = wantBody;
    this.#shared = shared;
    this.#saved = new SavedReplies(shared);
    this.#post = post;
  }

  /** Runs a batch's calls one after another. Later results are sent later. */
  receive(batch: CallBatch): void {
    let seq = batch[0] as number;
    let flushedAt = performance.now();
    let began = 0;
    for (let at = 1; at < batch.length; at += CALL_FIELDS, seq = (seq + 1) | 0) {
      const client = this.#clients.textOf(batch[at + 1] as number | string);
      if (!this.#begin(seq, batch[at] as number, client, batch[at + 2] as string)) continue;
      began++;
      const now = performance.now();
      if (now - flushedAt < MAX_REPLY_DELAY_MS) continue;
      this.#countTime(now - flushedAt, began);
      this.#flush();
      flushedAt = now;
      began = 0;
    }
    this.#countTime(performance.now() - flushedAt, began);
    // An async function that never waited answers in the microtasks behind this one: one more turn, and it is in the
    // same message.
    if (this.#underWay.size > 0) this.#scheduleFlush();
    else this.#flush();
  }

  /** Nobody waits for the call any more: its signal aborts, its stream stops. */
  cancel(seq: number, reason: CancelReason): void {
    const call = this.#underWay.get(seq);
    if (call === undefined) return;
    if (reason === "ended") return call.resident.module.run(() => call.message.cancel(reason));
    if (reason === "timeout" || call.stream !== null) this.#underWay.delete(seq);
    call.stream?.cancel();
    call.resident.module.run(() => call.message.cancel(reason));
  }

  /** As `cancel`, from within a handler that is on the stack. */
  cancelWhileBlocked(seq: number, reason: CancelReason): void {
    // Only the code that waits for it listens, and it is not a module's.
    if (Atomics.load(this.#shared, ON_STACK) === seq) this.#last?.cancel(reason);
    else this.#underWay.get(seq)?.message.cancel(reason);
  }

  addCredit(seq: number): void {
    this.#underWay.get(seq)?.stream?.addCredit();
  }

  receiveBody(seq: number, part: BodyPart): void {
    this.#underWay.get(seq)?.message.receiveBody(part);
  }

  #begin(seq: number, target: number, client: string, latin1: string): boolean {
    if (Atomics.compareExchange(this.#shared, HEAD, seq, (seq + 1) | 0) !== seq) return false;
    Atomics.store(this.#shared, ON_STACK, seq);
    this.#run(seq, target, client, latin1);
    Atomics.store(this.#shared, ON_STACK, 0);
    return true;
  }

  #run(seq: number, target: number, client: string, latin1: string): void {
    const { loadId, routeIndex } = readTarget(target);
    const resident = this.residents.get(loadId);
    const handler = resident?.handlers[routeIndex];
    if (resident === undefined || handler === undefined) {
      return this.#fail(
        seq,
        new Error(`Route ${routeIndex} of its module is not here. This is a bug in hrmr; please report it.`),
      );
    }
    const message = new HostedMessage(client, latin1, seq, this.#wantBody);
    this.#last = message;
    try {
      const result = resident.module.run(handler, message, resident.context);
      if (typeof result === "string") this.#reply(seq, REPLY.text, result);
      else if (isThenable(result)) {
        this.#await(seq, result, { resident, message, stream: null });
        // An async function that does not really wait answers here and now, and not behind the batch's other calls.
        drainMicrotasks();
      } else this.#answer(seq, result, { resident, message, stream: null });
    } catch (error) {
      this.#fail(seq, error);
    }
  }

  #await(seq: number, result: PromiseLike<unknown>, call: CallUnderWay): void {
    this.#underWay.set(seq, call);
    result.then(
      (value) => {
        this.#answer(seq, value, call);
        this.#scheduleFlush();
      },
      (error) => {
        this.#underWay.delete(seq);
        this.#fail(seq, error);
        this.#scheduleFlush();
      },
    );
  }

  #answer(seq: number, value: unknown, call: CallUnderWay): void {
    if (isStream(value)) return this.#open(seq, value, call);
    this.#underWay.delete(seq);
    call.message.over();
    if (typeof value === "string") this.#reply(seq, REPLY.text, value);
    else if (value === undefined || value === null) this.#reply(seq, REPLY.nothing, null);
    else if (value instanceof Uint8Array) this.#reply(seq, REPLY.bytes, toLatin1(value));
    else
      this.#fail(
        seq,
        new TypeError(
          `The handler returned ${Bun.inspect(value, { depth: 0 })}. Return a string, a Uint8Array, a stream of either, or nothing.`,
        ),
      );
  }

  #open(seq: number, source: StreamReply, call: CallUnderWay): void {
    try {
      call.stream = new StreamSource(source, (fn) => call.resident.module.run(fn), {
        part: (value) => {
          if (typeof value === "string") this.#reply(seq, REPLY.streamText, value);
          else this.#reply(seq, REPLY.streamBytes, toLatin1(value));
          this.#scheduleFlush();
        },
        end: () => this.#closeStream(seq, REPLY.streamEnd, null),
        failed: (error) => this.#closeStream(seq, REPLY.streamFailed, failureOf(error)),
      });
    } catch (error) {
      this.#underWay.delete(seq);
      return this.#fail(seq, error);
    }
    this.#underWay.set(seq, call);
    this.#reply(seq, REPLY.streamOpen, null);
    void call.stream.pump();
  }

  #closeStream(seq: number, kind: number, value: ReplyBatch[number]): void {
    this.#underWay.get(seq)?.message.over();
    this.#underWay.delete(seq);
    this.#reply(seq, kind, value);
    this.#scheduleFlush();
  }

  #fail(seq: number, error: unknown): void {
    this.#reply(seq, REPLY.failed, failureOf(error));
  }

  #reply(seq: number, kind: number, value: ReplyBatch[number]): void {
    if (typeof value === "string" && value.length > this.#maxLetters)
      return this.#replyTooLarge(seq, kind, value.length);
    this.#replies.push(labelOf(seq, kind), value);
    if (!this.#saved.add(seq, kind, value)) this.#flush();
  }

  /** Fails this one call: the server would end the whole process for a message of this size. */
  #replyTooLarge(seq: number, kind: number, length: number): void {
    const isPart = kind === REPLY.streamText || kind === REPLY.streamBytes;
    const what = isPart ? "a part of the reply" : "the reply";
    const error = new RangeError(
      `${what} is ${Math.round(length / 1e6)} MB, and the limit is ${Math.round(this.#maxLetters / 1e6)} MB. Stream it in smaller parts`,
    );
    if (isPart) throw error;
    this.#fail(seq, error);
  }

  #countTime(ms: number, calls: number): void {
    this.#replies[0] = (this.#replies[0] as number) + ms * 1000;
    this.#replies[1] = (this.#replies[1] as number) + calls;
  }

  #scheduleFlush(): void {
    if (this.#isFlushScheduled) return;
    this.#isFlushScheduled = true;
    // A module's stream may be on the stack.
    asHost(() =>
      setImmediate(() => {
        this.#isFlushScheduled = false;
        this.#flush();
      }),
    );
  }

  #flush(): void {
    const replies = this.#replies;
    if (replies.length === 2 && replies[1] === 0) return;
    this.#replies = [0, 0];
    this.#post(replies);
    this.#saved.clear();
  }
}
