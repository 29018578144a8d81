/** One call of a procedure: from the request to its answer, with the parts of a streamed result. */
import type { ServiceAnswer } from "../../module/service/calls";
import { ServiceError, textOf } from "../../module/service/error";
import type { Carried } from "../../module/service/values";
import { failureOf, internalFailure, isHidden, type RpcFailure } from "./failure";
import type { OpenStream } from "./open-streams";
import { discover, DISCOVER } from "./openrpc";
import type { RpcCaller } from "./caller";
import type { Procedures } from "./procedures";
import { unwritablePart } from "./unwritable";

/** Where a call's answer goes. Exactly one of `result` and `failure` is called, once. They must not throw. */
export interface CallTarget {
  /** @param json the result */
  result(json: string): void;
  failure(failure: RpcFailure): void;
  /**
   * One part of a streamed result; after the last, `result` is called with "null".
   *
   * @returns false: wait for `drained` before the next
   */
  next(json: string): boolean;
  drained(): Promise<void>;
  /** Whether parts can be sent. Else, why not */
  refusesParts(): RpcFailure | null;
}

export class ProcedureCall implements ServiceAnswer {
  readonly #procedures: Procedures;
  readonly #name: string;
  readonly #target: CallTarget;
  #caller: RpcCaller | null = null;
  #end: (() => void) | null = null;
  isOver = false;

  constructor(procedures: Procedures, name: string, target: CallTarget) {
    this.#procedures = procedures;
    this.#name = name;
    this.#target = target;
  }

  /** @param params parsed, and not kept by the caller. */
  begin(params: unknown, caller: RpcCaller): void {
    if (this.#name === DISCOVER) return this.#describe(caller);
    const found = this.#procedures.find(caller, this.#name);
    if ("status" in found) return this.#fail(found);
    this.#caller = caller;
    this.#end = this.#procedures.call(found, params, caller, this);
  }

  #describe(caller: RpcCaller): void {
    const described = discover(this.#procedures, caller);
    if (typeof described !== "string") return this.#fail(described);
    this.isOver = true;
    this.#target.result(described);
  }

  /** Cancels the call: it fails with CANCELLED, unless it is over. */
  end(): void {
    this.#end?.();
  }

  // ---- ServiceAnswer ----

  resolve(value: Carried): void {
    if (this.isOver) return;
    let json: string;
    try {
      json = value.json;
    } catch (error) {
      return this.#fail(this.#unwritten(value, error as Error));
    }
    this.isOver = true;
    this.#target.result(json);
  }

  stream(parts: AsyncIterableIterator<Carried>): void {
    const refusal = this.#target.refusesParts();
    if (refusal === null) return void this.#pump(parts);
    leave(parts);
    this.#fail(refusal);
  }

  reject(error: ServiceError): void {
    if (this.isOver) return;
    if (isHidden(error) && error.code !== "FAILED") this.#procedures.noteHidden(this.#name, error);
    this.#fail(failureOf(this.#name, error));
  }

  /** Asks for the next part when the client has taken the last one. Never rejects. */
  async #pump(parts: AsyncIterableIterator<Carried>): Promise<void> {
    const open = this.#opened();
    try {
      for (;;) {
        const part = await parts.next();
        if (this.isOver) return leave(parts);
        if (part.done === true) break;
        let json: string;
        try {
          json = part.value.json;
        } catch (error) {
          leave(parts);
          return this.#fail(this.#unwritten(part.value, error as Error));
        }
        if (!this.#target.next(json)) await this.#target.drained();
      }
      this.isOver = true;
      this.#target.result("null");
    } catch (error) {
      this.reject(error instanceof ServiceError ? error : new ServiceError("FAILED", textOf(error)));
    } finally {
      this.#procedures.streams.delete(open);
    }
  }

  #opened(): OpenStream {
    const { client, session } = this.#caller as RpcCaller;
    const { streams } = this.#procedures;
    const refuse = (failure: RpcFailure): void => {
      streams.delete(open);
      this.#fail(failure);
      this.end();
    };
    const open: OpenStream = { caller: { client, session }, name: this.#name, refuse };
    streams.add(open);
    return open;
  }

  #unwritten(value: Carried, error: Error): RpcFailure {
    this.#procedures.noteHidden(this.#name, error);
    let part: string | null = null;
    try {
      part = unwritablePart(value.copy());
    } catch {
      // It cannot even be copied: a function, for example. The log has the reason.
    }
    return internalFailure(
      this.#name,
      part === null ? undefined : `its result has ${part}, which cannot be written as JSON`,
    );
  }

  #fail(failure: RpcFailure): void {
    if (this.isOver) return;
    this.isOver = true;
    this.#target.failure(failure);
  }
}

function leave(parts: AsyncIterableIterator<unknown>): void {
  // The result is ignored: the client does not get an error of the source's end.
  void Promise.resolve(parts.return?.()).catch(() => undefined);
}
