/** One `tools/call`: a call of a procedure, and its result as that of a tool. */
import type { CallTarget } from "../../hub/rpc/call";
import { ProcedureCall } from "../../hub/rpc/call";
import type { RpcFailure } from "../../hub/rpc/failure";
import type { RpcCaller } from "../../hub/rpc/caller";
import type { Procedure, Procedures } from "../../hub/rpc/procedures";
import { errorOf, partsOf, resultOf, type ToolResult } from "./tools";

/** The parts of a streamed result that are collected for the agent. In bytes of JSON. */
const MAX_COLLECTED = 1_048_576;

/** Where the parts of a streamed result go while it is made. */
export interface Progress {
  /** @param count of the parts so far. @returns false: wait for `drained` before the next */
  part(json: string, count: number): boolean;
  drained(): Promise<void>;
}

export class ToolCall implements CallTarget {
  readonly #procedure: Procedure;
  readonly #call: ProcedureCall;
  readonly #progress: Progress;
  readonly #answered = Promise.withResolvers<ToolResult>();
  /** null: it gives no parts. */
  #parts: string[] | null = null;
  #collected = 0;

  constructor(procedures: Procedures, procedure: Procedure, progress: Progress) {
    this.#procedure = procedure;
    this.#progress = progress;
    this.#call = new ProcedureCall(procedures, procedure.name, this);
  }

  begin(input: unknown, caller: RpcCaller): Promise<ToolResult> {
    this.#call.begin(input, caller);
    return this.#answered.promise;
  }

  end(): void {
    this.#call.end();
  }

  // ---- CallTarget ----

  result(json: string): void {
    this.#answered.resolve(
      this.#parts === null ? resultOf(this.#procedure.service.service, json) : partsOf(this.#parts),
    );
  }

  failure(failure: RpcFailure): void {
    this.#answered.resolve(errorOf(failure));
  }

  next(json: string): boolean {
    this.#parts ??= [];
    this.#parts.push(json);
    this.#collected += Buffer.byteLength(json);
    if (this.#collected <= MAX_COLLECTED) return this.#progress.part(json, this.#parts.length);
    const message = `the result of ${this.#procedure.name} is longer than ${MAX_COLLECTED} bytes`;
    this.#answered.resolve(errorOf({ code: 0, word: "TOO_LONG", message, status: 0 }));
    this.#call.end();
    return true;
  }

  drained(): Promise<void> {
    return this.#progress.drained();
  }

  refusesParts(): null {
    return null;
  }
}
