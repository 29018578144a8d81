/**
 * One thread of the pool, or one module's process, as the main thread sees it: what was sent to it, what of that has
 * begun, whether it is alive, and its replacement when it is not.
 */
import type { Log } from "../../module/contract";
import { asHost } from "../../module/graph/leave-graph";
import { boundedWith, logWith } from "../../observe/log/fields";
import { HandlerError, HandlerTimeoutError, HostLostError } from "../errors";
import {
  CALL_FIELDS,
  type CallBatch,
  type CancelReason,
  type FailureData,
  fromLatin1,
  HEAD,
  isBefore,
  REPLY,
  REPLY_FIELDS,
  REPLY_HEADER,
  type ReplyBatch,
  kindOf,
  RUNNING,
  seqOf,
  SHARED_WORDS,
  type SharedMemory,
  targetOf,
  type ToMain,
  type ToWorker,
} from "./messages";
import type { CallHolder, RemoteCall } from "./call";
import type { Place, PlaceState, PlaceStatus } from "./place";
import type { HostPolicy, KeptPlace } from "./policy";
import { RemoteStream } from "./stream";
import { KeeperTasks } from "./keeper-tasks";
import { readSaved } from "./saved-replies";
import type { LoadSpec } from "../../module/version";

/** Where a keeper gets its calls from. */
export interface CallSource {
  /** Takes calls back that had not begun, oldest first: for other places. */
  takeBack(calls: RemoteCall[]): void;
  /** The place may have room for calls. */
  noteRoom(): void;
  /** Handlers took `us` microseconds for `calls` calls. */
  noteCost(us: number, calls: number): void;
}

/** What keepers need of their host. */
export interface KeeperOwner {
  readonly policy: HostPolicy;
  readonly loadTimeoutMs: number;
  readonly killGraceMs: number;
  readonly log: Log;
  readonly queue: CallSource;
  /**
   * Writes the bundles that are gone from the state folder again.
   *
   * @returns the generations that a place must load when it starts (again), oldest first
   */
  restoreBundles(): LoadSpec[];
  /**
   * @param culprit the generation whose code the place was lost to, as far as that can be told; null: it cannot
   * @param hadBegun whether any module's code can have run there
   * @returns whether the place is to start anew; else it waits for `resume`
   */
  lost(reason: string, index: number, culprit: number | null, hadBegun: boolean): boolean;
  /** A generation was loaded again into a place that had started anew. */
  restored(id: number): void;
}

const NO_MEMORY: SharedMemory = new Int32Array(SHARED_WORDS);
/** Calls sent ahead of the running one. More would make larger batches, and more to take back from a slow handler. */
const MAX_AHEAD = 64;
/** More than ever wait in a thread. */
const MOST_AHEAD = 65_536;
/** A thread with calls waiting in it that begins none for this long is blocked by a slow handler: others get them. */
const QUIET_MS = 50;
/** How long a thread may be silent that has begun no call. */
const STARVED_MS = 5000;
const PROMPT_MS = 1;
const MAX_BACKOFF_MS = 5000;
/** A thread that lived this long before it died starts its backoff anew. */
const STABLE_MS = 10_000;

export class Keeper implements CallHolder, KeptPlace {
  readonly index: number;
  readonly calls = new Map<number, RemoteCall>();
  readonly tasks: KeeperTasks;
  state: PlaceState = "idle";
  restarts = 0;
  callCount = 0;
  readonly #owner: KeeperOwner;
  #place: Place | null = null;
  #shared: SharedMemory = NO_MEMORY;
  /** Sent calls whose time ran out while the thread showed no life: one of them may hold it. Load ids by call. */
  readonly #overdue = new Map<number, number>();
  #nextSeq = 1;
  #outgoing: CallBatch = [];
  /** How many calls may wait in the thread; 1 after it was found blocked, doubled by each sign of life. */
  #maxAhead = MAX_AHEAD;
  /** The last answer, or the first call since there was nothing to answer. */
  #promptSince = 0;
  #lastHead = 0;
  #quietSince = 0;
  #lastPing = 0;
  #suspectUntil: number | null = null;
  #failures = 0;
  #startedAt = 0;
  #restartTimer: Timer | null = null;
  /** The place has started and reads its messages. */
  #isReady = false;

  constructor(index: number, owner: KeeperOwner) {
    this.index = index;
    this.#owner = owner;
    this.tasks = new KeeperTasks(
      {
        loadTimeoutMs: owner.loadTimeoutMs,
        killGraceMs: owner.killGraceMs,
        notRestored: (spec, error) => owner.policy.notRestored(spec, error, this),
        restored: (id) => owner.restored(id),
      },
      (message) => this.#post(message),
    );
  }

  get status(): PlaceStatus {
    const { index, state, inFlight, callCount: calls, restarts } = this;
    return { index, state, inFlight, calls, restarts, facts: this.#place?.facts() ?? null };
  }

  get inFlight(): number {
    return this.calls.size;
  }

  /** Starts the thread and has it load all generations there are. Does nothing to one that has started. */
  start(): void {
    if (this.state === "idle") this.#spawn();
  }

  resume(): void {
    if (this.state === "stopped") this.#spawn();
  }

  giveUp(id: number, reason: string): void {
    this.tasks.forgive(id);
    if (this.#place !== null) this.#lose(reason, "itself");
  }

  /** How many more calls of this generation can be sent now. */
  room(generation: number): number {
    if (this.state !== "running" || !this.tasks.loaded.has(generation)) return 0;
    return this.#maxAhead - this.#waiting();
  }

  /** Takes the call over; `flush` sends it. */
  add(call: RemoteCall): void {
    const seq = this.#nextSeq;
    if (this.#waiting() === 0) this.#quietSince = call.beganAt;
    if (this.#outgoing.length === 0) this.#outgoing.push(seq);
    this.#outgoing.push(targetOf(call.loadId, call.route.index), call.parcel);
    call.holder = this;
    call.seq = seq;
    this.calls.set(seq, call);
    this.#nextSeq = (seq + 1) | 0;
    this.callCount++;
  }

  /** Nothing waits in the thread, or it has answered within the last millisecond. */
  isPrompt(now: number): boolean {
    return this.calls.size === 0 || now - this.#promptSince < PROMPT_MS;
  }

  flush(): void {
    if (this.#outgoing.length === 0) return;
    if ((this.#outgoing.length - 1) / CALL_FIELDS === this.calls.size) this.#promptSince = performance.now();
    const first = this.#outgoing[0] as number;
    const count = (this.#outgoing.length - 1) / CALL_FIELDS;
    this.#place?.post(this.#outgoing);
    this.#outgoing = [];
    for (let nth = 0; nth < count; nth++) {
      const call = this.calls.get((first + nth) | 0);
      if (call?.hasClientEnded === true) this.clientEnded(call);
    }
  }

  cancel(call: RemoteCall): void {
    this.#postCancel(call.seq, "gone");
    // A handler that runs on is watched until its time is up. A stream ends at once.
    if (call.stream !== null) this.calls.delete(call.seq);
  }

  clientEnded(call: RemoteCall): void {
    if (this.calls.has(call.seq)) this.#postCancel(call.seq, "ended");
  }

  /** Nothing is under way, and no sign of life is awaited: `scan` would find nothing. */
  get isIdle(): boolean {
    const isStarting = this.state === "restarting" || (this.#place !== null && !this.#isReady);
    return this.calls.size === 0 && this.#suspectUntil === null && this.tasks.isIdle && !isStarting;
  }

  /** Looks at every deadline. To be called every few dozen milliseconds while there is something under way. */
  scan(now: number): void {
    if (this.#place === null) return;
    if (this.#isLateToStart(now))
      return this.#lose(`it did not begin within ${Math.round(now - this.#startedAt)} ms`, "itself");
    const head = this.#head();
    const running = Atomics.load(this.#shared, RUNNING);
    if (head !== this.#lastHead) this.#quietSince = now;
    this.#lastHead = head;
    for (const call of this.calls.values()) {
      if (!isBefore(call.seq, head)) call.beganAt = now;
      else if (call.stream === null && call.timeoutMs > 0 && now - call.beganAt >= call.timeoutMs)
        this.#expire(call, now);
    }
    if (now - this.#quietSince >= QUIET_MS && (running !== 0 || head !== this.#nextSeq)) this.#block(now);
    if (this.#isStuck(now, running)) return this.#lose("a handler did not give the thread back", "call");
    if (this.tasks.isOverdue(now, running !== 0))
      this.#lose("a module's load or dispose did not give the thread back", "task");
  }

  /** Ends the thread. Resolves when it is gone, or after `timeoutMs`: native code can't be interrupted. */
  async close(timeoutMs: number, reason: HostLostError): Promise<void> {
    const place = this.#place;
    this.state = "closed";
    this.#place = null;
    if (this.#restartTimer !== null) clearTimeout(this.#restartTimer);
    this.tasks.close(reason);
    const calls = [...this.calls.values()];
    this.calls.clear();
    for (const call of calls) call.fail(reason);
    if (place === null) return;
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(late.resolve, timeoutMs);
    await Promise.race([place.end(), late.promise]);
    clearTimeout(timer);
  }

  #waiting(): number {
    return (this.#nextSeq - this.#head()) | 0;
  }

  /** A process that went astray may write anything there: what no head can be means that everything has begun. */
  #head(): number {
    const head = Atomics.load(this.#shared, HEAD);
    const ahead = (this.#nextSeq - head) | 0;
    return ahead >= 0 && ahead <= MOST_AHEAD ? head : this.#nextSeq;
  }

  #spawn(): void {
    this.#startedAt = this.#quietSince = performance.now();
    this.#isReady = false;
    const place = this.#open();
    this.#place = place;
    if (place === null) return;
    this.state = "running";
    this.#shared = place.shared;
    // Numbers go on from the thread before, so that a late cancel of one of its calls means none of this one's.
    this.#lastHead = this.#nextSeq;
    Atomics.store(this.#shared, HEAD, this.#nextSeq);
    this.#outgoing = [];
    this.#maxAhead = MAX_AHEAD;
    this.#suspectUntil = null;
    place.whenReady(() => {
      if (this.#place !== place) return;
      this.#isReady = true;
      this.tasks.restore(this.#owner.restoreBundles());
    });
  }

  /**
   * @returns null when the system cannot start one: no program, memory, process or descriptor. The thread then counts
   * as lost.
   */
  #open(): Place | null {
    const { policy, loadTimeoutMs } = this.#owner;
    try {
      const place: Place = policy.open(this.index, loadTimeoutMs, {
        received: (data) => {
          if (this.#place === place) this.#receiveFrom(data);
        },
        ended: (reason) => {
          if (this.#place === place) this.#lose(reason, "itself");
        },
      });
      return place;
    } catch (error) {
      const reason = `it cannot be started: ${error instanceof Error ? error.message : String(error)}`;
      this.state = "restarting";
      // Later, not now: the caller has yet to queue its task, and the loss must fail that task too.
      asHost(() =>
        setImmediate(() => {
          if (this.#place === null && this.state === "restarting") this.#lose(reason, "itself");
        }),
      );
      return null;
    }
  }

  /** The limit for the start of a place is the limit for one step of a module's load. */
  #isLateToStart(now: number): boolean {
    const { loadTimeoutMs, killGraceMs } = this.#owner;
    return !this.#isReady && loadTimeoutMs > 0 && now - this.#startedAt >= loadTimeoutMs + 2 * killGraceMs;
  }

  #post(message: ToWorker): void {
    this.#place?.post(message);
  }

  /** A thread's messages are well formed. A process may send anything, and must not harm this one by that. */
  #receiveFrom(data: ReplyBatch | ToMain): void {
    try {
      this.#receive(data);
    } catch (error) {
      if (this.#owner.policy.isTrusted) throw error;
      this.#lose(
        `it said what cannot be understood (${error instanceof Error ? error.message : String(error)})`,
        "itself",
      );
    }
  }

  #tell({ level, text, fields, kind }: Extract<ToMain, { type: "log" }>): void {
    if (kind === undefined || level === "debug") logWith(this.#owner.log, fields)[level](text);
    else boundedWith(this.#owner.log, fields, level, kind)?.(text);
  }

  #receive(data: ReplyBatch | ToMain): void {
    this.#quietSince = performance.now();
    this.#maxAhead = Math.min(MAX_AHEAD, this.#maxAhead * 2);
    if (this.state === "blocked") this.state = "running";
    this.#promptSince = this.#quietSince;
    if (Array.isArray(data)) this.#receiveReplies(data);
    else if (data.type === "log") this.#tell(data);
    else if (data.type === "want") {
      const { seq, parts } = data;
      this.calls.get(seq)?.body?.want(parts, (part) => this.#post({ type: "part", seq, part }));
    } else if (data.type === "pong") this.#clear(data.ping);
    else this.tasks.receive(data);
    this.#owner.queue.noteRoom();
  }

  #receiveReplies(batch: ReplyBatch): void {
    this.#owner.queue.noteCost(batch[0] as number, batch[1] as number);
    for (let at = REPLY_HEADER; at < batch.length; at += REPLY_FIELDS) {
      const label = batch[at] as number;
      const seq = seqOf(label);
      const kind = kindOf(label);
      const call = this.calls.get(seq);
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
    this.calls.delete(call.seq);
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
    if (call.sink === null) {
      this.calls.delete(call.seq);
      call.over();
      return this.#postCancel(call.seq, "gone");
    }
    call.stream = new RemoteStream(
      () => this.#post({ type: "credit", seq: call.seq }),
      () => this.cancel(call),
    );
    call.resolve(call.stream);
  }

  /** A sign of life, if it answers the last question. */
  #clear(ping: number): void {
    if (ping !== this.#lastPing) return;
    this.#suspectUntil = null;
    this.#overdue.clear();
  }

  #postCancel(seq: number, reason: CancelReason): void {
    this.#post({ type: "cancel", seq, reason });
  }

  #expire(call: RemoteCall, now: number): void {
    this.calls.delete(call.seq);
    this.#overdue.set(call.seq, call.loadId);
    this.#postCancel(call.seq, "timeout");
    this.#suspect(now + this.#owner.killGraceMs);
    call.fail(new HandlerTimeoutError(`The handler did not answer within ${call.timeoutMs} ms.`));
  }

  /** Asks for a sign of life: until then the thread has time to give it. The nearest deadline counts. */
  #suspect(until: number): void {
    if (this.#suspectUntil === null) this.#post({ type: "ping", ping: ++this.#lastPing });
    this.#suspectUntil = Math.min(this.#suspectUntil ?? Infinity, until);
  }

  #isStuck(now: number, running: number): boolean {
    if (this.#suspectUntil === null || now < this.#suspectUntil) return false;
    // A load may take the thread for longer than a handler that is over its time is given; it has a deadline of its
    // own.
    if (running === 0 && this.tasks.isUnderWay) return false;
    // A handler that has its time still and keeps the thread for itself may do so; it is not the one that was
    // suspected.
    return running === 0 || !this.calls.has(running);
  }

  /**
   * Something holds the thread. What waits behind it goes to other threads, and it gets nothing new until it shows
   * life.
   */
  #block(now: number): void {
    if (this.state !== "running") return;
    this.state = "blocked";
    this.#maxAhead = 1;
    const calls = this.#takeBack();
    if (calls.length > 0) this.#owner.queue.takeBack(calls);
    // What holds it may be a stream, which has no deadline of its own: then the time of a call is the measure.
    // With no call begun it may just be starved, on a machine that is too busy; it harms nobody meanwhile.
    let longestMs = this.calls.size === 0 ? STARVED_MS : 0;
    for (const call of this.calls.values())
      longestMs = Math.max(longestMs, call.timeoutMs === 0 ? Infinity : call.timeoutMs);
    this.#suspect(now + longestMs + this.#owner.killGraceMs);
  }

  /** @returns the calls that had not begun, which can't begin here any more */
  #takeBack(): RemoteCall[] {
    let head = this.#head();
    // What is no head has no calls behind it that could be taken back.
    while (head !== this.#nextSeq) {
      const seen = Atomics.compareExchange(this.#shared, HEAD, head, this.#nextSeq);
      if (seen === head) break;
      head = this.#head();
    }
    const calls: RemoteCall[] = [];
    for (let seq = head; seq !== this.#nextSeq; seq = (seq + 1) | 0) {
      const call = this.calls.get(seq);
      this.calls.delete(seq);
      if (call === undefined) continue;
      call.holder = null;
      if (call.sink === null) call.over();
      else calls.push(call);
    }
    this.callCount -= calls.length;
    this.#lastHead = this.#nextSeq;
    return calls;
  }

  /**
   * @param blame what the thread was lost to: a call (the thread was killed, and starts anew at once), the task under
   *   way (which fails), or the thread itself (which also fails the task under way, and waits before it starts anew)
   */
  #lose(reason: string, blame: "call" | "task" | "itself"): void {
    const culprit = this.#culprit();
    const waiting = this.#takeBack();
    this.#receiveSaved();
    const begun = [...this.calls.values()];
    this.calls.clear();
    this.#overdue.clear();
    const place = this.#place;
    this.#place = null;
    void place?.end();
    this.#suspectUntil = null;
    this.state = "restarting";
    this.restarts++;
    const name = capitalised(this.#owner.policy.nameOf(this.index));
    this.tasks.interrupt(blame === "call" ? null : new HostLostError(`${name} was lost: ${reason}.`, reason));
    this.#owner.queue.takeBack(waiting);
    if (!this.#owner.lost(reason, this.index, culprit, this.#isReady)) this.state = "stopped";
    else this.#restartTimer = asHost(() => setTimeout(() => this.#spawn(), blame === "call" ? 0 : this.#backoffMs()));
    const error = new HostLostError(`${name} was lost while this call ran on it: ${reason}.`, reason);
    for (const call of begun) call.fail(error);
  }

  #receiveSaved(): void {
    try {
      this.#receiveReplies(readSaved(this.#shared));
    } catch (error) {
      if (this.#owner.policy.isTrusted) throw error;
    }
  }

  /** The generation whose handler is on the stack; with none there, the only one that has anything under way. */
  #culprit(): number | null {
    const running = Atomics.load(this.#shared, RUNNING);
    const called = this.calls.get(running)?.loadId ?? this.#overdue.get(running);
    if (running !== 0 && called !== undefined) return called;
    const head = this.#head();
    const begun = [...this.calls.values()].filter(({ seq }) => isBefore(seq, head)).map(({ loadId }) => loadId);
    const suspects = new Set([...begun, ...this.#overdue.values()]);
    const [only] = suspects;
    return suspects.size === 1 ? (only ?? null) : null;
  }

  #backoffMs(): number {
    if (performance.now() - this.#startedAt >= STABLE_MS) this.#failures = 0;
    const failures = this.#failures++;
    return failures === 0 ? 0 : Math.min(MAX_BACKOFF_MS, 100 * 2 ** (failures - 1));
  }
}

function capitalised(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
