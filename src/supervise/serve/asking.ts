/**
 * Questions over a one-way channel: numbered, and answered by number.
 */
import { UserError } from "../../config/user-error";
import type { Answer } from "./messages";

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
    const message = error instanceof Error ? error.message : String(error);
    return { error: { message, hint: error instanceof UserError ? (error.hint ?? "") : null } };
  }
}

/** `hint` is null unless it was a UserError. */
function toError({ message, hint }: Extract<Answer, { error: unknown }>["error"]): Error {
  return hint === null ? new Error(message) : new UserError(message, { code: "REMOTE", hint });
}
