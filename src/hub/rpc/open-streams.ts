/** Streamed results that clients get now. A stream ends soon after the token of its client is revoked or expires. */
import type { RpcCaller } from "./caller";
import type { RpcFailure } from "./failure";

/** How often the server looks whether a client has lost its rights. In milliseconds. */
const LOOK_MS = 500;

/** A streamed result under way. */
export interface OpenStream {
  /** Its client, with the session that it had at the call. */
  readonly caller: RpcCaller;
  /** "kv.watch". */
  readonly name: string;
  /** Ends it. The client gets the failure. */
  refuse(failure: RpcFailure): void;
}

export class OpenStreams {
  readonly #open = new Set<OpenStream>();
  readonly #refusalOf: (caller: RpcCaller, name: string) => RpcFailure | null;
  #timer: Timer | null = null;

  /** @param refusalOf  see `Procedures.refusalOf` */
  constructor(refusalOf: (caller: RpcCaller, name: string) => RpcFailure | null) {
    this.#refusalOf = refusalOf;
  }

  add(stream: OpenStream): void {
    this.#open.add(stream);
    this.#timer ??= setInterval(() => this.#look(), LOOK_MS).unref();
  }

  delete(stream: OpenStream): void {
    if (!this.#open.delete(stream) || this.#open.size > 0 || this.#timer === null) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }

  #look(): void {
    for (const stream of Array.from(this.#open)) {
      const failure = this.#refusalOf(stream.caller, stream.name);
      if (failure !== null) stream.refuse(failure);
    }
  }
}
