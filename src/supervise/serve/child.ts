/** A server process of many. The master directs its whole life. */
import { systemError, UserError } from "../../config/user-error";
import { createLog, type ProcessLog, tellStray } from "../../observe/log/log";
import { isForConfig } from "../../reload/order";
import type { Proposal } from "../../reload/vote/agree";
import { type Leaving, type RunningServer, startServer } from "../../server/server";
import { bytesOf } from "./event-window";
import type { Uplink } from "../../server/uplink";
import {
  answerOf,
  Asking,
  type ChildCalls,
  type ChildStart,
  type MasterCalls,
  type ToChild,
  type ToMaster,
} from "./messages";
import { tellBug } from "../../observe/tell-bug";
import type { Options } from "../../config/options";
import { openLibc } from "../../system/libc";

/** Serves until it is told to end. @returns the exit code */
export async function runChild(onStray: (handler: (error: unknown) => void) => void): Promise<number> {
  const child = new Child(onStray);
  return await child.ended;
}

class Child {
  readonly ended: Promise<number>;
  readonly #ended = Promise.withResolvers<number>();
  readonly #onStray: (handler: (error: unknown) => void) => void;
  readonly #master: Asking<MasterCalls>;
  #server: RunningServer | null = null;
  #log: ProcessLog | null = null;
  #isDraining = false;

  constructor(onStray: (handler: (error: unknown) => void) => void) {
    this.#onStray = onStray;
    this.ended = this.#ended.promise;
    this.#master = new Asking((id, what, args) => send({ type: "ask", id, what, args }));
    process.on("message", (message: ToChild) => void this.#receive(message));
    // A master that was killed must not leave its port in use.
    process.on("disconnect", () => {
      if (!this.#isDraining)
        this.#log?.critical("the master is gone: this process finishes what is under way, and ends");
      void this.#drain("the master is gone");
    });
    process.on("SIGTERM", () => void this.#drain("SIGTERM"));
    // A terminal sends signals to all its processes. The master handles them.
    for (const signal of ["SIGINT", "SIGHUP", "SIGUSR2"] as const) process.on(signal, () => {});
    send({ type: "begun" });
  }

  async #receive(message: ToChild): Promise<void> {
    switch (message.type) {
      case "start":
        return await this.#start(message.start);
      case "ask": {
        const call = this.#calls[message.what] as (...args: unknown[]) => unknown;
        const answer = await answerOf(() => call(...message.args));
        return send({ type: "answer", id: message.id, answer });
      }
      case "answer":
        return this.#master.answered(message.id, message.answer);
      case "drain":
        return await this.#drain(message.reason, message.why);
      case "background":
        return this.#server?.takeBackground();
      case "cut":
        return this.#server?.cutAll(message.reason);
      case "reopenLogs":
        return this.#log?.reopen();
      case "published":
        return this.#server?.publish(message.module, message.topic, message.data);
      case "events":
        this.#server?.deliver(message.events, message.missed ?? 0);
        send({ type: "eventsTaken", bytes: bytesOf(message.events) });
    }
  }

  readonly #calls: { [K in keyof ChildCalls]: (...args: Parameters<ChildCalls[K]>) => unknown } = {
    reload: async (order) => {
      const outcome = await this.#running.reload(order);
      if (order.next !== null) this.#log?.reconfigure({ ...order.next.log, role: "shared" });
      if (isForConfig(order)) this.#log?.reopen();
      return { outcome, approved: this.#running.approved(), inputs: this.#running.inputs() };
    },
    snapshot: () => this.#running.snapshot(),
    runTask: (module, task) => this.#running.runTask(module, task),
  };

  async #start(start: ChildStart): Promise<void> {
    const { options, slot } = start;
    const log = createLog({ ...options.log, role: "shared", fields: { slot } });
    this.#log = log;
    try {
      const agree = (proposal: Proposal) => this.#master.ask("agree", proposal);
      const server = await startServer({ ...start, log, uplink: this.#uplink, agree });
      this.#server = server;
      this.#onStray((error) => tellStray(log, error));
      armDeadman(options);
      send({ type: "ready", summary: server.summary, approved: server.approved(), inputs: server.inputs() });
    } catch (error) {
      send(failure(error));
      // Sends the message before the process ends.
      setImmediate(() => this.#ended.resolve(1));
    }
  }

  readonly #uplink: Uplink = {
    reload: (order) => this.#master.ask("reload", order),
    crashed: (...crash) => this.#master.ask("crashed", ...crash),
    stop: (reason) => send({ type: "stop", reason }),
    snapshots: () => this.#master.ask("snapshots"),
    events: (events) => send({ type: "events", events }),
    // For a view, IPC would send the whole buffer behind it.
    publish: (module, topic, data) =>
      send({ type: "published", module, topic, data: data instanceof Uint8Array ? new Uint8Array(data) : data }),
  };

  async #drain(reason: string, why: Leaving["why"] = "shutdown"): Promise<void> {
    this.#isDraining = true;
    await this.#server?.shutdown(reason, { why, released: () => send({ type: "released" }) }).catch(tellBug);
    this.#ended.resolve(0);
  }

  get #running(): RunningServer {
    if (this.#server === null) throw new Error("The server has not been started yet.");
    return this.#server;
  }
}

function failure(thrown: unknown): ToMaster {
  const error = systemError(thrown) ?? thrown;
  if (error instanceof UserError) {
    const { message, code, exitCode, hint } = error;
    return { type: "failed", message, code, exitCode, hint: hint ?? null };
  }
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { type: "failed", message, code: null, exitCode: 70, hint: null };
}

/** Without a channel the master is gone: the handler of "disconnect" acts. */
function send(message: ToMaster): void {
  if (process.connected) process.send?.(message);
}

/** A process that hangs for so long has lost all its clients. */
const LEAST_SECONDS = 60;
const REARM_MS = 5000;

/**
 * Lets the kernel end this process by SIGALRM unless the event loop keeps postponing it (alarm(2)). Without
 * its master nobody else would, and its port would stay in use. Does nothing without that call.
 */
function armDeadman({ timeouts }: Options): void {
  const libc = openLibc({ alarm: { args: ["u32"], returns: "u32" } });
  if (libc === null) return;
  // A handler may block for as long as handlerMs.
  const seconds = Math.max(LEAST_SECONDS, Math.ceil((2 * timeouts.handlerMs) / 1000));
  libc.alarm(seconds);
  setInterval(() => libc.alarm(seconds), REARM_MS).unref();
}
