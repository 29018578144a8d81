/**
 * The calls that one place was sent: which of them have begun, which can still be taken back, which are late, and their
 * replies.
 */
import { HandlerError, HandlerTimeoutError } from "../errors";
import type { CallKeeper, RemoteCall } from "./call";
import {
  CALL_FIELDS,
  type CallBatch,
  type CancelReason,
  type FailureData,
  fromLatin1,
  isBefore,
  kindOf,
  REPLY,
  REPLY_FIELDS,
  REPLY_HEADER,
  type ReplyBatch,
  SentClients,
  seqOf,
  type SharedMemory,
  targetOf,
  type ToPlace,
} from "./messages";
import { OpenCalls, Sequence } from "./sequence";
import { RemoteStream } from "./stream";

/**
 * How many calls are sent ahead of the running one. More would make larger batches, but more to take back from a slow
 * handler.
 */
const MAX_AHEAD = 64;
/** If a place with waiting calls begins none for this long, a slow handler blocks it: other places get the calls. */
const QUIET_MS = 50;
/** How long a place without a begun call may be silent. */
const STARVED_MS = 5000;
const PROMPT_MS = 1;

export class SentCalls implements CallKeeper {
  /** Sent calls that are not over, by number. */
  readonly open = new OpenCalls();
  /** The number of calls sent since the start and not taken back. */
  count = 0;
  readonly #post: (message: CallBatch | ToPlace) => void;
  readonly #sequence = new Sequence();
  readonly #clients = new SentClients();
  /** Calls that became late while the place showed no life: one of them may hold it. Load ids by call. */
  readonly #overdue = new Map<number, number>();
  #outgoing: CallBatch = [];
  /** How many calls may wait in the place: 1 after a block, doubled by each sign of life. */
  #maxAhead = MAX_AHEAD;
  /** The time of the last answer, or of the first call after an idle time. */
  #promptSince = 0;
  #lastHead = 0;
  #quietSince = 0;

  /** @param post to the place; lost if there is none */
  constructor(post: (message: CallBatch | ToPlace) => void) {
    this.#post = post;
  }

  /** A place has started. */
  begin(shared: SharedMemory, now: number): void {
    this.#sequence.begin(shared);
    this.#clients.clear();
    this.#lastHead = this.#sequence.next;
    this.#quietSince = now;
    this.#outgoing = [];
    this.#maxAhead = MAX_AHEAD;
  }

  /** How many more calls can be sent now. */
  get room(): number {
    return this.#maxAhead - this.#sequence.waiting;
  }

  /** The call whose handler is on the stack. 0: none. */
  get running(): number {
    return this.#sequence.running;
  }

  /** Whether nothing waits in the place, or it has answered within the last millisecond. */
  isPrompt(now: number): boolean {
    return this.open.size === 0 || now - this.#promptSince < PROMPT_MS;
  }

  /** Whether something holds the place, so that it begins none of its waiting calls. */
  isBlocked(now: number): boolean {
    return now - this.#quietSince >= QUIET_MS && (this.running !== 0 || this.#sequence.waiting !== 0);
  }

  /** Takes the call over; `flush` sends it. */
  add(call: RemoteCall): void {
    if (this.#sequence.waiting === 0) this.#quietSince = call.beganAt;
    const seq = this.#sequence.take();
    if (this.#outgoing.length === 0) this.#outgoing.push(seq);
    this.#outgoing.push(targetOf(call.loadId, call.route.index), this.#clients.fieldOf(call.client), call.latin1);
    call.keeper = this;
    call.seq = seq;
    this.open.add(call);
    this.count++;
  }

  flush(): void {
    if (this.#outgoing.length === 0) return;
    const first = this.#outgoing[0] as number;
    const count = (this.#outgoing.length - 1) / CALL_FIELDS;
    if (count === this.open.size) this.#promptSince = performance.now();
    this.#post(this.#outgoing);
    this.#outgoing = [];
    for (let nth = 0; nth < count; nth++) {
      const call = this.open.get((first + nth) | 0);
      if (call?.hasClientEnded === true) this.clientEnded(call);
    }
  }

  cancel(call: RemoteCall): void {
    this.#postCancel(call.seq, "gone");
    // A handler that still runs is watched until its time is over. A stream ends at once.
    if (call.stream !== null) this.open.delete(call.seq);
  }

  clientEnded(call: RemoteCall): void {
    if (this.open.has(call.seq)) this.#postCancel(call.seq, "ended");
  }

  /** The place has sent a message. */
  noteLife(now: number): void {
    this.#quietSince = this.#promptSince = now;
    this.#maxAhead = Math.min(MAX_AHEAD, this.#maxAhead * 2);
  }

  /** It has answered the question about life: no call holds it. */
  clearOverdue(): void {
    this.#overdue.clear();
  }

  /** Fails late calls. @returns whether there were any */
  expire(now: number): boolean {
    const { head } = this.#sequence;
    if (head !== this.#lastHead) this.#quietSince = now;
    this.#lastHead = head;
    let hasExpired = false;
    for (const call of this.open.list()) {
      if (!isBefore(call.seq, head)) call.beganAt = now;
      else if (call.stream === null && call.timeoutMs > 0 && now - call.beganAt >= call.timeoutMs) {
        hasExpired = true;
        this.open.delete(call.seq);
        this.#overdue.set(call.seq, call.loadId);
        this.#postCancel(call.seq, "timeout");
        call.fail(new HandlerTimeoutError(`The handler did not answer within ${call.timeoutMs} ms.`));
      }
    }
    return hasExpired;
  }

  /** How long work without its own deadline, such as a stream, may hold the place. In milliseconds. */
  longestMs(): number {
    // Without a begun call it may only be starved, on a busy machine. It harms nobody meanwhile.
    let longestMs = this.open.size === 0 ? STARVED_MS : 0;
    for (const { timeoutMs } of this.open.list()) longestMs = Math.max(longestMs, timeoutMs || Infinity);
    return longestMs;
  }

  /** Limits the place to one call at a time until it shows life. @returns the calls that had not begun */
  hold(): RemoteCall[] {
    this.#maxAhead = 1;
    return this.takeBack();
  }

  /** @returns the calls that had not begun, and now cannot begin here */
  takeBack(): RemoteCall[] {
    const calls: RemoteCall[] = [];
    for (const seq of this.#sequence.takeBack()) {
      const call = this.open.get(seq);
      this.open.delete(seq);
      if (call === undefined) continue;
      call.keeper = null;
      if (call.owner === null) call.over();
      else calls.push(call);
    }
    this.count -= calls.length;
    this.#lastHead = this.#sequence.next;
    return calls;
  }

  /** The generation whose handler is on the stack; if none is, the only one with open calls. */
  culprit(): number | null {
    const { running } = this;
    const called = this.open.get(running)?.loadId ?? this.#overdue.get(running);
    if (running !== 0 && called !== undefined) return called;
    const suspects = new Set(this.#overdue.values());
    for (const { seq, loadId } of this.open.list()) if (this.#sequence.hasBegun(seq)) suspects.add(loadId);
    const [only] = suspects;
    return suspects.size === 1 ? (only ?? null) : null;
  }

  /** The place is gone, or will be. @returns the lost calls */
  drop(): RemoteCall[] {
    const calls = this.open.list();
    this.open.clear();
    this.#overdue.clear();
    return calls;
  }

  /** @throws Error as `Sequence.saved` */
  receiveSaved(): void {
    this.receive(this.#sequence.saved());
  }

  receive(batch: ReplyBatch): void {
    for (let at = REPLY_HEADER; at < batch.length; at += REPLY_FIELDS) {
      const label = batch[at] as number;
      const seq = seqOf(label);
      const kind = kindOf(label);
      const call = this.open.get(seq);
      if (call !== undefined) this.#receiveReply(call, kind, batch[at + 1]);
      else if (kind === REPLY.streamOpen) this.#postCancel(seq, "gone");
    }
  }

  #receiveReply(call: RemoteCall, kind: number, value: ReplyBatch[number] | undefined): void {
    switch (kind) {
      case REPLY.streamOpen:
        return this.#openStream(call);
      case REPLY.streamText:
        return call.stream?.push(value as string);
      case REPLY.streamBytes:
        return call.stream?.push(fromLatin1(value as string));
    }
    this.open.delete(call.seq);
    switch (kind) {
      case REPLY.text:
        return call.resolve(value as string);
      case REPLY.bytes:
        return call.resolve(fromLatin1(value as string));
      case REPLY.nothing:
        return call.resolve(null);
      case REPLY.streamEnd:
        return call.streamEnded();
      default: {
        const { name, message, stack } = value as FailureData;
        return call.fail(new HandlerError(name, message, stack));
      }
    }
  }

  #openStream(call: RemoteCall): void {
    if (call.owner === null) {
      this.open.delete(call.seq);
      call.over();
      return this.#postCancel(call.seq, "gone");
    }
    call.stream = new RemoteStream(
      () => this.#post({ type: "credit", seq: call.seq }),
      () => this.cancel(call),
    );
    call.resolve(call.stream);
  }

  #postCancel(seq: number, reason: CancelReason): void {
    this.#post({ type: "cancel", seq, reason });
  }
}
