/** The master's side of one server process. */
import type { Subprocess } from "bun";
import type { ApprovedModule } from "../../reload/versions/approved";
import { UserError } from "../../config/user-error";
import { withoutSystemd } from "../takeover/notify";
import {
  answerOf,
  Asking,
  type ChildCalls,
  type ChildStart,
  type MasterCalls,
  type Published,
  type SentEvents,
  type ToChild,
  type ToMaster,
} from "./messages";
import { EventWindow } from "./event-window";
import type { StartSummary } from "./group";
import type { Leaving } from "../../server/server";
import { ROLE_VARIABLE, selfCommand } from "../../system/self";

/** The master's services for its processes. */
export interface ChildOwner {
  readonly calls: { [K in keyof MasterCalls]: (child: ServerProcess, ...args: Parameters<MasterCalls[K]>) => unknown };
  /** SHUTDOWN. */
  stop(reason: string): void;
  /** It leaves, and another process may be the background process. */
  released(child: ServerProcess): void;
  published(child: ServerProcess, message: Published | SentEvents): void;
  /** It has ended, expected or not. `how`: "exit code 1", "SIGKILL". */
  gone(child: ServerProcess, how: string): void;
}

export interface Begun {
  readonly summary: StartSummary;
  readonly approved: readonly ApprovedModule[];
  readonly inputs: Readonly<Record<string, readonly string[]>>;
}

/**
 * Limit for its first message. Before it, only hrmr's code runs, and reloads and restarts wait for it. In milliseconds.
 */
const HELLO_MS = 20_000;
const SELF = { command: selfCommand([]), helloMs: HELLO_MS };

export class ServerProcess {
  readonly slot: number;
  readonly startedAt = performance.now();
  /** Resolves once it serves. Rejects with a UserError if it cannot, or with an Error if it ends before. */
  readonly ready: Promise<Begun>;
  readonly exited: Promise<void>;
  isReady = false;
  #readyAt = 0;
  /** The master has told it to end. */
  isLeaving = false;
  /** It ends, by itself or because it was told to, and cannot be the background process any more. */
  hasReleased = false;
  readonly #owner: ChildOwner;
  readonly #ready = Promise.withResolvers<Begun>();
  readonly #asking: Asking<ChildCalls>;
  readonly #process: Subprocess;
  readonly #events = new EventWindow();
  /** Runs until its first message. */
  #helloTimer: Timer | null;

  /** @param program  what to start, and how long it has for its first word. Default: this program */
  constructor(
    start: ChildStart,
    fds: readonly number[],
    owner: ChildOwner,
    program: { command: string[]; helloMs: number } = SELF,
  ) {
    this.slot = start.slot;
    this.#owner = owner;
    this.ready = this.#ready.promise;
    this.ready.catch(() => {});
    this.#asking = new Asking((id, what, args) => this.#send({ type: "ask", id, what, args }));
    this.#process = Bun.spawn(program.command, {
      env: { ...withoutSystemd(process.env), [ROLE_VARIABLE]: "server" },
      stdio: ["ignore", "inherit", "inherit", ...fds],
      serialization: "advanced",
      ipc: (message: ToMaster) => void this.#receive(message, start),
    });
    this.exited = this.#process.exited.then(() => this.#ended());
    this.#helloTimer = setTimeout(() => {
      this.#ready.reject(
        new Error(`process ${this.slot} (pid ${this.pid}) did not begin within ${program.helloMs} ms`),
      );
      this.kill();
    }, program.helloMs);
  }

  /** How long it has served. 0: not yet. In milliseconds. */
  get servedMs(): number {
    return this.isReady ? performance.now() - this.#readyAt : 0;
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Rejects if the process ends before it has answered. */
  ask<K extends keyof ChildCalls>(what: K, ...args: Parameters<ChildCalls[K]>): Promise<ReturnType<ChildCalls[K]>> {
    return this.#asking.ask(what, ...(args as never)) as Promise<ReturnType<ChildCalls[K]>>;
  }

  /** Lets it finish its open work and end. */
  drain(reason: string, why: Leaving["why"]): void {
    this.isLeaving = true;
    if (this.isReady) this.#send({ type: "drain", reason, why });
    else this.kill();
  }

  /** After `drain`: ends it at once. */
  cut(reason: string): void {
    this.#send({ type: "cut", reason });
  }

  kill(): void {
    this.#process.kill("SIGKILL");
  }

  tell(message: Extract<ToChild, { type: "background" | "reopenLogs" | "published" | "events" }>): void {
    if (message.type !== "events") return this.#send(message);
    const missed = this.#events.send(message.events);
    if (missed !== null) this.#send({ ...message, missed });
  }

  async #receive(message: ToMaster, start: ChildStart): Promise<void> {
    switch (message.type) {
      case "begun":
        this.#heard();
        return this.#send({ type: "start", start });
      case "ready":
        this.isReady = true;
        this.#readyAt = performance.now();
        return this.#ready.resolve(message);
      case "failed": {
        const { message: text, hint, code, exitCode } = message;
        return this.#ready.reject(
          code === null
            ? new Error(text)
            : new UserError(text, { code, exitCode, ...(hint === null ? null : { hint }) }),
        );
      }
      case "ask": {
        const call = this.#owner.calls[message.what] as (child: ServerProcess, ...args: unknown[]) => unknown;
        const answer = await answerOf(() => call(this, ...message.args));
        return this.#send({ type: "answer", id: message.id, answer });
      }
      case "answer":
        return this.#asking.answered(message.id, message.answer);
      case "stop":
        return this.#owner.stop(message.reason);
      case "released":
        this.hasReleased = true;
        return this.#owner.released(this);
      case "eventsTaken":
        return this.#events.taken(message.bytes);
      case "published":
      case "events":
        return this.#owner.published(this, message);
    }
  }

  #send(message: ToChild): void {
    try {
      this.#process.send(message);
    } catch {
      // It has just ended: `exited` tells callers who wait for an answer.
    }
  }

  #heard(): void {
    if (this.#helloTimer !== null) clearTimeout(this.#helloTimer);
    this.#helloTimer = null;
  }

  #ended(): void {
    this.#heard();
    const { exitCode, signalCode } = this.#process;
    const how = signalCode === null ? `exit code ${exitCode}` : String(signalCode);
    const error = new Error(`process ${this.slot} (pid ${this.pid}) ended: ${how}`);
    this.#ready.reject(error);
    this.#asking.end(error);
    this.#owner.gone(this, how);
  }
}
