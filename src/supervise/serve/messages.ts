/**
 * Messages between the master and its server processes: plain data, structured-cloned over Bun's IPC. Questions are
 * numbered, and answered by number.
 */
import type { TaskOutcome } from "../../hub/schedule/outcome";
import type { ApprovedModule } from "../../reload/versions/approved";
import type { EventRecord } from "../../module/event/record";
import type { ReloadReport } from "../../reload/operations";
import type { Agreement, Proposal } from "../../reload/vote/agree";
import type { ReloadOrder } from "../../reload/order";
import type { ProcessSnapshot, ServerInfo } from "../../observe/snapshot";
import type { Leaving, ServerStart } from "../../server/server";
import type { ReloadOutcome } from "../../reload/verdict/report";
import type { StartSummary } from "./group";
import { messageOf, UserError } from "../../config/user-error";

/** The first message to a process that will serve, in answer to its `begun`. The descriptors are those it inherits. */
export type ChildStart = Omit<ServerStart, "log" | "uplink" | "agree">;

/** The modules that a process serves, and the files that they were built from (`RunningServer`). */
interface Served {
  readonly approved: ApprovedModule[];
  readonly inputs: Record<string, string[]>;
}

/** Questions to a process, by number; `answer` has the answers. */
export interface ChildCalls {
  reload(order: ReloadOrder): { outcome: ReloadOutcome } & Served;
  snapshot(): ProcessSnapshot;
  runTask(module: string, task: string): TaskOutcome;
}

/** Questions to the master. */
export interface MasterCalls {
  reload(order: ReloadOrder): ReloadReport;
  crashed(name: string, number: number, reason: string, isLoop: boolean): boolean;
  snapshots(): { info: ServerInfo; processes: ProcessSnapshot[] };
  /** The vote of a reload: sends this process's proposal, and returns the decision. */
  agree(proposal: Proposal): Agreement;
}

type Answer =
  { readonly value: unknown } | { readonly error: { readonly message: string; readonly hint: string | null } };

export type ToChild =
  | { readonly type: "start"; readonly start: ChildStart }
  | { readonly type: "ask"; readonly id: number; readonly what: keyof ChildCalls; readonly args: readonly unknown[] }
  | { readonly type: "answer"; readonly id: number; readonly answer: Answer }
  /** It is the background process from now on. */
  | { readonly type: "background" }
  /** `why`: for the modules. */
  | { readonly type: "drain"; readonly reason: string; readonly why: Leaving["why"] }
  | { readonly type: "cut"; readonly reason: string }
  | { readonly type: "reopenLogs" }
  | Published
  | SentEvents;

export type ToMaster =
  | { readonly type: "begun" }
  | ({ readonly type: "ready"; readonly summary: StartSummary } & Served)
  | {
      readonly type: "failed";
      readonly message: string;
      readonly hint: string | null;
      readonly code: string | null;
      readonly exitCode: number;
    }
  | { readonly type: "ask"; readonly id: number; readonly what: keyof MasterCalls; readonly args: readonly unknown[] }
  | { readonly type: "answer"; readonly id: number; readonly answer: Answer }
  | { readonly type: "stop"; readonly reason: string }
  /** Another process may be the background process. This one leaves. */
  | { readonly type: "released" }
  /** It has read events of so many bytes (`bytesOf` in event-window.ts). */
  | { readonly type: "eventsTaken"; readonly bytes: number }
  | Published
  | SentEvents;

/** A message that a module published to its WebSockets, on its way to other processes. */
export interface Published {
  readonly type: "published";
  readonly module: string;
  readonly topic: string;
  readonly data: unknown;
}

/** Events of one process's modules, on their way to the other processes. */
export interface SentEvents {
  readonly type: "events";
  readonly events: readonly EventRecord[];
  /** Of the master: how many the process has missed since the last message. Default 0. */
  readonly missed?: number;
}

type Calls<T> = { [K in keyof T]: (...args: never[]) => unknown };
type Args<F> = F extends (...args: infer A) => unknown ? A : never;
type Result<F> = F extends (...args: never[]) => infer R ? R : never;

/** The asking end. */
export class Asking<T extends Calls<T>> {
  readonly #send: (id: number, what: keyof T, args: readonly unknown[]) => void;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #lastId = 0;
  #ended: Error | null = null;

  constructor(send: (id: number, what: keyof T, args: readonly unknown[]) => void) {
    this.#send = send;
  }

  /** @throws UserError if the other end answered with one; Error if it is gone, or could not answer */
  ask<K extends keyof T>(what: K, ...args: Args<T[K]>): Promise<Result<T[K]>> {
    if (this.#ended !== null) return Promise.reject(this.#ended);
    const waiting = Promise.withResolvers<unknown>();
    const id = ++this.#lastId;
    this.#waiting.set(id, waiting);
    this.#send(id, what, args);
    return waiting.promise as Promise<Result<T[K]>>;
  }

  /** The other end has answered. */
  answered(id: number, answer: Answer): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if ("value" in answer) waiting?.resolve(answer.value);
    else waiting?.reject(toError(answer.error));
  }

  /** The other end is gone: open questions get no answer. */
  end(error: Error): void {
    this.#ended = error;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}

/** The answering end: calls `fn`. A failure is an answer too. */
export async function answerOf(fn: () => unknown): Promise<Answer> {
  try {
    return { value: await fn() };
  } catch (error) {
    const message = messageOf(error);
    return { error: { message, hint: error instanceof UserError ? (error.hint ?? "") : null } };
  }
}

/** `hint` is null unless it was a UserError. */
function toError({ message, hint }: Extract<Answer, { error: unknown }>["error"]): Error {
  return hint === null ? new Error(message) : new UserError(message, { code: "REMOTE", hint });
}
