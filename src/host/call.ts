/**
 * A call: one handler's work for one message or request. Only the functions here touch what is kept about it: the
 * generation's count of calls under way, its figures, the access log and the handler's deadline.
 *
 * A handler that answers at once needs no object, only `beginCall`, `runInline` and `endCall`. A `Call` is made where
 * something has to be waited for.
 */
import type { Timeouts } from "../config/options";
import type { Client } from "../module/contract";
import { OWN_ID } from "../module/own-routes";
import type { BoundRoute, InFlight, InFlightKind } from "../module/route";
import type { AccessLog } from "../observe/log/access";
import type { AccessEntry } from "../observe/log/access-entry";
import type { Deadline, DeadlineWheel } from "./deadlines";
import { runInline } from "./inline";

/** What all calls of a server share. `Dispatch` is one. */
export interface CallHome {
  readonly timeouts: Timeouts;
  /** Keeps the deadlines of handlers that run inline. */
  readonly wheel: DeadlineWheel;
  /** Told of each reply when it has ended. null: nobody wants to know. */
  access: AccessLog | null;
  /**
   * A handler failed: one log line with module, generation and connection.
   *
   * @param hasLeft  its client had left before: it counts as no error, and an error from the abort of `request.signal`
   *   gets no line
   */
  handlerFailed(route: BoundRoute, client: Client, error: unknown, hasLeft?: boolean): void;
}

/** Whose message it is. A connection makes its Client only when somebody asks. */
export interface Caller {
  readonly client: Client;
}

/**
 * What the access log is told of a reply. `method` and `path` are missing if the request could not be read that far;
 * `status` is missing if there is no reply: the client had left.
 */
export type Answered = Pick<AccessEntry, "protocol" | "bytes" | "method" | "path" | "status">;

/** The protocol's side of a call: what happens to it from outside. Must not throw. */
export interface CallOwner {
  /** The generation is going: abort the signal, end the reply. `reason` is for the log. */
  cut(reason: string): void;
  /** The handler's time is up. Only of a call by `awaitHandler`. */
  late?(): void;
  /** See `InFlight`. */
  replaced?(): void;
}

/** `startedAt` of what is no call for the figures: a `connect` handler, a middleware, an event of a WebSocket. */
export const NOT_TIMED = 0;

/** One handler that is waited for, or whose reply is still being sent. */
export class Call implements InFlight, Deadline {
  /** The wheel's. */
  deadlineAt = 0;
  kind: InFlightKind = "call";
  isEndless = false;
  readonly route: BoundRoute;
  /** When the handler was called, by performance.now(); or NOT_TIMED. */
  readonly startedAt: number;
  readonly #home: CallHome;
  readonly #caller: Caller;
  readonly #owner: CallOwner;
  #isTimed = false;
  #isTold = false;

  /** @param startedAt  see the field */
  constructor(home: CallHome, route: BoundRoute, caller: Caller, startedAt: number, owner: CallOwner) {
    this.#home = home;
    this.route = route;
    this.#caller = caller;
    this.startedAt = startedAt;
    this.#owner = owner;
  }

  /** How long the handler may take. In milliseconds. 0: for ever. */
  get timeoutMs(): number {
    return handlerMs(this.#home, this.route);
  }

  /** Counts it as under way, until `over`. */
  enter(): void {
    this.route.generation.enter(this);
  }

  /** The handler has to be waited for. A host other than this thread keeps the deadline itself. */
  awaitHandler(): void {
    this.enter();
    if (this.route.run === "inline") this.#home.wheel.arm(this, this.timeoutMs);
  }

  /** The handler has answered: its time is taken, and its deadline is off. */
  answered(): void {
    this.#home.wheel.disarm(this);
    this.left();
  }

  /** Nobody waits for the handler any more: its time is taken. The deadline goes on, if it has one. */
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
    failCall(this.#home, this.route, this.#caller, error, hasLeft);
  }

  /** The reply has ended, whole or not: the access log is told, once. */
  tell(answered: Answered): void {
    const { access } = this.#home;
    if (access === null || this.#isTold) return;
    this.#isTold = true;
    tellAccess(access, this.#caller.client, this.route, this.startedAt, answered);
  }

  /** Nothing of it is under way any more. Idempotent. */
  over(): void {
    this.#home.wheel.disarm(this);
    this.route.generation.leave(this);
  }

  /** Runs what pulls the module's stream: what that opens and throws is the module's. */
  run<R>(work: () => R): R {
    return runInline(this.route, work);
  }

  /** The same for what calls the module's listeners: what they throw is logged, and nobody else hears of it. */
  inGraph(work: () => void): void {
    try {
      runInline(this.route, work);
    } catch (error) {
      this.#home.handlerFailed(this.route, this.#caller.client, error);
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

// ---- a handler that answers at once ----

/**
 * @param isTold  the access log will be told of it, and wants the time
 * @returns when it began, by performance.now(); 0: not timed, unless it has to be waited for
 */
export function beginCall(route: BoundRoute, isTold: boolean): number {
  return route.generation.figures.begins(isTold);
}

/** It is over, well or not. @param startedAt  of `beginCall` */
export function endCall(route: BoundRoute, startedAt: number): void {
  route.generation.figures.ended(startedAt);
}

/** The handler failed. @param hasLeft  its client had left before: it is no error */
export function failCall(home: CallHome, route: BoundRoute, caller: Caller, error: unknown, hasLeft = false): void {
  if (!hasLeft) route.generation.figures.fail();
  home.handlerFailed(route, caller.client, error, hasLeft);
}

/** Counts an error of the module that is none of the handler's own: no line is logged. */
export function countError(route: BoundRoute): void {
  route.generation.figures.fail();
}

/** How long a route's handler may take. In milliseconds. 0: for ever. */
export function handlerMs({ timeouts }: CallHome, { timeoutMs }: BoundRoute): number {
  return timeoutMs ?? timeouts.handlerMs;
}

/**
 * Tells the access log of a reply that has ended. Ask before whether `home.access` is there.
 *
 * @param route      null: none took the message
 * @param startedAt  by performance.now(); 0: nothing was called
 */
export function tellAccess(
  log: AccessLog,
  client: Client,
  route: BoundRoute | null,
  startedAt: number,
  answered: Answered,
): void {
  const owner = route === null || route.generation.id === OWN_ID ? null : route.generation;
  log({
    address: client.transport === "unix" ? "unix" : client.address,
    connection: client.connection,
    module: owner?.name ?? null,
    generation: owner?.number ?? null,
    key: route?.key || null,
    ms: startedAt === 0 ? 0 : performance.now() - startedAt,
    ...answered,
  });
}
