/** A call that has to wait: it keeps its generation, and has a deadline. For calls that end at once, see inline.ts. */
import type { BoundRoute, InFlight, InFlightKind } from "../module/route";
import type { Deadline } from "./deadlines";
import { type Answered, type CallServer, type Caller, failCall, handlerMs, runInline, tellAccess } from "./inline";

/** The protocol's side of a call: gets events from outside. Must not throw. */
export interface CallOwner {
  /** The generation is going: abort the signal, end the reply. `reason` is for the log. */
  cut(reason: string): void;
  /** The handler's time is over. Only after `awaitHandler`. */
  late?(): void;
  /** See `InFlight`. */
  replaced?(): void;
}

/** One handler that has not answered, or whose reply is still being sent. */
export class Call implements InFlight, Deadline {
  /** The wheel's. */
  deadlineAt = 0;
  kind: InFlightKind = "call";
  /** The generation's. */
  inFlightAt = -1;
  isEndless = false;
  readonly route: BoundRoute;
  /** When the handler was called, by performance.now(); or NOT_TIMED. */
  readonly startedAt: number;
  readonly #server: CallServer;
  readonly #caller: Caller;
  readonly #owner: CallOwner;
  #isTimed = false;
  #isTold = false;

  /** @param startedAt  see the field */
  constructor(server: CallServer, route: BoundRoute, caller: Caller, startedAt: number, owner: CallOwner) {
    this.#server = server;
    this.route = route;
    this.#caller = caller;
    this.startedAt = startedAt;
    this.#owner = owner;
  }

  /** How long the handler may take. In milliseconds. 0: for ever. */
  get timeoutMs(): number {
    return handlerMs(this.#server, this.route);
  }

  /** Counts it as open, until `over`. */
  enter(): void {
    this.route.generation.enter(this);
  }

  /** The handler has not answered yet. A host other than this thread keeps the deadline itself. */
  awaitHandler(): void {
    this.enter();
    if (this.route.run === "inline") this.#server.wheel.arm(this, this.timeoutMs);
  }

  /** The handler has answered: its time is taken, and its deadline is off. */
  answered(): void {
    this.#server.wheel.disarm(this);
    this.left();
  }

  /** Nobody waits for the handler any more: its time is taken. A deadline still counts. */
  left(): void {
    if (this.#isTimed || this.startedAt === 0) return;
    this.#isTimed = true;
    this.route.generation.figures.record(performance.now() - this.startedAt);
  }

  /** The handler had answered at once, and its time is taken already. */
  timed(): this {
    this.#isTimed = true;
    return this;
  }

  /** The reply is sent piece by piece. @param isEndless  true: it may go on for ever, and no drain waits for it */
  streams(isEndless: boolean): void {
    this.kind = "stream";
    this.isEndless = isEndless;
  }

  /** The handler, or the rest of its reply, failed. @param hasLeft  its client had left before: it is no error */
  failed(error: unknown, hasLeft = false): void {
    failCall(this.#server, this.route, this.#caller, error, hasLeft);
  }

  /** The reply has ended, complete or not. Writes to the access log, once. */
  tell(answered: Answered): void {
    const { access } = this.#server;
    if (access === null || this.#isTold) return;
    this.#isTold = true;
    tellAccess(access, this.#caller.client, this.route, this.startedAt, answered);
  }

  /** The call is over. Idempotent. */
  over(): void {
    this.#server.wheel.disarm(this);
    this.route.generation.leave(this);
  }

  /** Runs work that reads the module's stream: its resources and errors are the module's. */
  run<R>(work: () => R): R {
    return runInline(this.route, work);
  }

  /** The same for work that calls the module's listeners: their errors are only logged. */
  inGraph(work: () => void): void {
    try {
      runInline(this.route, work);
    } catch (error) {
      this.#server.handlerFailed(this.route, this.#caller.client, error);
    }
  }

  // ---- from outside ----

  cut(reason: string): void {
    this.#owner.cut(reason);
  }

  expired(): void {
    this.#owner.late?.();
  }

  replaced(): void {
    this.#owner.replaced?.();
  }
}
