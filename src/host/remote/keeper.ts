/**
 * Looks after one place, a thread of the pool or the process of a module: starts it, sends it calls and tasks, watches
 * whether it is alive, and replaces it if not.
 */
import type { Log } from "../../module/contract";
import { asHost } from "../../system/leave-graph";
import type { EventHub } from "../../module/event/events";
import type { ServiceAsks } from "../../module/service/calls";
import type { StorePort } from "../../module/store/port";
import type { LoadSpec } from "../../module/version";
import { boundedWith, logWith } from "../../observe/log/fields";
import { Backoff } from "../../system/backoff";
import { HostLostError } from "../errors";
import type { RemoteCall } from "./call";
import { PlaceEvents } from "../events/feeds";
import { PlaceAsks } from "../services/asks";
import { PlaceStore } from "../store/place-store";
import { KeeperTasks, type TasksOwner } from "./keeper-tasks";
import type { CallBatch, EventMessage, ReplyBatch, FromPlace, ToPlace } from "./messages";
import type { Place, PlaceState, PlaceStatus } from "./place";
import type { HostPolicy, KeptPlace } from "./policy";
import { SentCalls } from "./sent-calls";
import { Suspicion } from "./suspicion";

/** The source of a keeper's calls. */
export interface CallSource {
  /** Takes calls back that had not begun, oldest first, for other places. */
  takeBack(calls: RemoteCall[]): void;
  /** The place may have room for calls. */
  noteRoom(): void;
  /** Handlers took `us` microseconds for `calls` calls. */
  noteCost(us: number, calls: number): void;
}

/** The keepers' view of their host. */
export interface KeeperOwner extends TasksOwner {
  readonly policy: HostPolicy;
  readonly log: Log;
  readonly queue: CallSource;
  /** Takes the calls of services that modules in a place make. */
  readonly services: ServiceAsks;
  /** Takes the events of modules in a place, and has those that they subscribe to. */
  readonly events: EventHub;
  /** The store that modules in a place use. */
  readonly store: StorePort;
  /**
   * Writes missing bundles of the state folder again.
   *
   * @returns the generations that a place must load when it starts (again), oldest first
   */
  restoreBundles(): LoadSpec[];
  /**
   * @param culprit the generation whose code ended the place, if known; null: not known
   * @param hadBegun whether any module's code may have run there
   * @returns whether the place starts again; otherwise it waits for `resume`
   */
  lost(reason: string, index: number, culprit: number | null, hadBegun: boolean): boolean;
}

/**
 * The longest wait before a place that ends again and again starts again. A place that lived for `STABLE_MS` did not
 * fail to start.
 */
const MAX_BACKOFF_MS = 5000;
const STABLE_MS = 10_000;

export class Keeper implements KeptPlace {
  readonly index: number;
  readonly tasks: KeeperTasks;
  readonly sent: SentCalls;
  readonly #asks: PlaceAsks;
  readonly #events: PlaceEvents;
  readonly #store: PlaceStore;
  readonly #owner: KeeperOwner;
  /** The call whose handler was on the stack at the last look. 0: none. */
  #lastRunning = 0;
  readonly #suspicion: Suspicion;
  readonly #backoff = new Backoff(MAX_BACKOFF_MS, STABLE_MS);
  #state: PlaceState = "idle";
  #restarts = 0;
  #place: Place | null = null;
  #startedAt = 0;
  #restartTimer: Timer | null = null;
  /** The place has started and reads its messages. */
  #isReady = false;

  constructor(index: number, owner: KeeperOwner) {
    const post = (message: CallBatch | ToPlace): void => this.#place?.post(message);
    this.index = index;
    this.#owner = owner;
    this.sent = new SentCalls(post);
    this.#asks = new PlaceAsks(owner.services, post);
    this.#events = new PlaceEvents(owner.events, post);
    this.#store = new PlaceStore(owner.store, post, owner.policy);
    this.#suspicion = new Suspicion((ping) => post({ type: "ping", ping }));
    this.tasks = new KeeperTasks(owner, this, post);
  }

  get status(): PlaceStatus {
    const { open, count: calls } = this.sent;
    const facts = this.#place?.facts() ?? null;
    return { index: this.index, state: this.#state, inFlight: open.size, calls, restarts: this.#restarts, facts };
  }

  /** Starts the place, which loads all generations. Does nothing if it has started. */
  start(): void {
    if (this.#state === "idle") this.#spawn();
  }

  resume(): void {
    if (this.#state === "stopped") this.#spawn();
  }

  giveUp(id: number, reason: string): void {
    this.tasks.forgive(id);
    if (this.#place !== null) this.#lose(reason, "itself");
  }

  /** How many more calls of this generation can be sent now. */
  room(loadId: number): number {
    return this.#state === "running" && this.tasks.loaded.has(loadId) ? this.sent.room : 0;
  }

  /** Whether `scan` would find nothing: no open work, and no question about life. */
  get isIdle(): boolean {
    const isStarting = this.#state === "restarting" || (this.#place !== null && !this.#isReady);
    return this.sent.open.size === 0 && !this.#suspicion.isOpen && this.tasks.isIdle && !isStarting;
  }

  /** Checks every deadline. Call it every few dozen milliseconds while there is open work. */
  scan(now: number): void {
    if (this.#place === null) return;
    if (this.#isLateToStart(now))
      return this.#lose(`it did not begin within ${Math.round(now - this.#startedAt)} ms`, "itself");
    if (this.sent.expire(now)) this.#suspicion.raise(now + this.#owner.killGraceMs);
    if (this.sent.isBlocked(now)) this.#block(now);
    const { running } = this.sent;
    if (this.#isStuck(now, running)) return this.#lose("a handler did not give the thread back", "call");
    if (this.tasks.isOverdue(now, running !== 0))
      this.#lose("a module's load or dispose did not give the thread back", "task");
  }

  /** Ends the place. Resolves when it is gone, or after `timeoutMs`: native code cannot be interrupted. */
  async close(timeoutMs: number, reason: HostLostError): Promise<void> {
    const place = this.#place;
    this.#state = "closed";
    this.#place = null;
    this.#asks.drop();
    this.#events.drop();
    this.#store.drop();
    if (this.#restartTimer !== null) clearTimeout(this.#restartTimer);
    this.tasks.close(reason);
    for (const call of this.sent.drop()) call.fail(reason);
    if (place === null) return;
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(late.resolve, timeoutMs);
    await Promise.race([place.end(), late.promise]);
    clearTimeout(timer);
  }

  // ---- starting ----

  #spawn(): void {
    this.#startedAt = performance.now();
    this.#isReady = false;
    const place = this.#open();
    this.#place = place;
    if (place === null) return;
    this.#state = "running";
    this.sent.begin(place.shared, this.#startedAt);
    this.#suspicion.drop();
    place.whenReady(() => {
      if (this.#place !== place) return;
      this.#isReady = true;
      this.tasks.restore(this.#owner.restoreBundles());
    });
  }

  /**
   * @returns null if the system cannot start one: no program, memory, process or descriptor. The place then counts as
   *   lost.
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
      this.#state = "restarting";
      // Later, not now: the caller will still queue its task, and the loss must fail that task too.
      asHost(() =>
        setImmediate(() => {
          if (this.#place === null && this.#state === "restarting") this.#lose(reason, "itself");
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

  // ---- what the place says ----

  /** A thread's messages are well formed. A process may send anything, which must not harm this one. */
  #receiveFrom(data: ReplyBatch | FromPlace): void {
    try {
      this.#receive(data);
    } catch (error) {
      if (this.#owner.policy.isTrusted) throw error;
      this.#lose(
        `it sent a message that cannot be read (${error instanceof Error ? error.message : String(error)})`,
        "itself",
      );
    }
  }

  #receive(data: ReplyBatch | FromPlace): void {
    const { queue } = this.#owner;
    this.sent.noteLife(performance.now());
    if (this.#state === "blocked") this.#state = "running";
    if (Array.isArray(data)) {
      queue.noteCost(data[0] as number, data[1] as number);
      this.sent.receive(data);
    } else if (data.type === "log") this.#tell(data);
    else if (data.type === "want") {
      const { seq, parts } = data;
      this.sent.open.get(seq)?.body?.want(parts, (part) => this.#place?.post({ type: "part", seq, part }));
    } else if (data.type === "pong") {
      if (this.#suspicion.answered(data.ping)) this.sent.clearOverdue();
    } else if (isAboutEvents(data)) this.#events.receive(data);
    else if (data.type === "storeAsks") this.#store.receive(data.asks);
    else if (!this.#asks.receive(data)) this.tasks.receive(data);
    queue.noteRoom();
  }

  #tell({ level, text, fields, kind }: Extract<FromPlace, { type: "log" }>): void {
    if (kind === undefined || level === "debug") logWith(this.#owner.log, fields)[level](text);
    else boundedWith(this.#owner.log, fields, level, kind)?.(text);
  }

  // ---- when it is stuck or lost ----

  #isStuck(now: number, running: number): boolean {
    const goesOn = running !== this.#lastRunning;
    this.#lastRunning = running;
    if (!this.#suspicion.isOverdue(now)) return false;
    // A load may hold the place longer than a late handler may. It has its own deadline.
    if (running === 0 && this.tasks.isUnderWay) return false;
    const isInTime = running !== 0 && this.sent.open.has(running);
    if (!goesOn && !isInTime) return true;
    // A handler that has its time still may keep the place for itself: another one was suspected. If it has ended since
    // the last look, its reply and the answer to the question are on their way. This thread may have slept meanwhile,
    // so no time that has passed shows that they do not come.
    this.#suspicion.postpone(now + this.#owner.killGraceMs);
    return false;
  }

  /**
   * Something holds the place. Calls that wait in it go to other places, and it gets no new ones until it shows life.
   */
  #block(now: number): void {
    if (this.#state !== "running") return;
    this.#state = "blocked";
    const calls = this.sent.hold();
    if (calls.length > 0) this.#owner.queue.takeBack(calls);
    this.#suspicion.raise(now + this.sent.longestMs() + this.#owner.killGraceMs);
  }

  /**
   * @param blame the cause: a call (the place was killed, and starts again at once), the running task (which fails), or
   *   the place itself (which also fails the running task, and waits before it starts again)
   */
  #lose(reason: string, blame: "call" | "task" | "itself"): void {
    const { policy, queue } = this.#owner;
    const culprit = this.sent.culprit();
    const waiting = this.sent.takeBack();
    this.#receiveSaved();
    const begun = this.sent.drop();
    const place = this.#place;
    this.#place = null;
    this.#asks.drop();
    this.#events.drop();
    this.#store.drop();
    void place?.end();
    this.#suspicion.drop();
    this.#state = "restarting";
    this.#restarts++;
    const name = policy.nameOf(this.index);
    this.tasks.interrupt(blame === "call" ? null : new HostLostError(`${name} was lost: ${reason}.`, reason));
    queue.takeBack(waiting);
    if (!this.#owner.lost(reason, this.index, culprit, this.#isReady)) this.#state = "stopped";
    else this.#spawnIn(blame === "call" ? 0 : this.#backoff.next(performance.now() - this.#startedAt));
    const error = new HostLostError(`${name} was lost while this call ran on it: ${reason}.`, reason);
    for (const call of begun) call.fail(error);
  }

  #spawnIn(delayMs: number): void {
    this.#restartTimer = asHost(() => setTimeout(() => this.#spawn(), delayMs));
  }

  #receiveSaved(): void {
    try {
      this.sent.receiveSaved();
    } catch (error) {
      if (this.#owner.policy.isTrusted) throw error;
    }
  }
}

function isAboutEvents(data: FromPlace): data is EventMessage {
  return data.type.startsWith("event");
}
