/** A message as a handler on a pool thread sees it: everything but the bytes' string is made at its first use. */
import type { Client, Message } from "../module/contract";
import { type CancelReason, decodeClient, fromLatin1, parcelMark } from "./messages";

export class PoolMessage implements Message {
  readonly #parcel: string;
  #bytes: Uint8Array | null = null;
  #text: string | null = null;
  #client: Client | null = null;
  #controller: AbortController | null = null;
  #cancelled: CancelReason | null = null;

  /** @param parcel see `parcelOf` */
  constructor(parcel: string) {
    this.#parcel = parcel;
  }

  get #latin1(): string {
    return this.#parcel.slice(parcelMark(this.#parcel) + 1);
  }

  get bytes(): Uint8Array {
    return (this.#bytes ??= fromLatin1(this.#latin1));
  }

  get text(): string {
    return (this.#text ??= decodeText(this.#latin1));
  }

  get client(): Client {
    return (this.#client ??= decodeClient(this.#parcel.slice(0, parcelMark(this.#parcel))));
  }

  get signal(): AbortSignal {
    if (this.#controller === null) {
      this.#controller = new AbortController();
      if (this.#cancelled !== null) this.#controller.abort(abortReason(this.#cancelled));
    }
    return this.#controller.signal;
  }

  /** Nobody waits for the reply any more. Runs the module's abort listeners: call it inside the module's graph. */
  cancel(reason: CancelReason): void {
    this.#cancelled ??= reason;
    this.#controller?.abort(abortReason(reason));
  }
}

function decodeText(latin1: string): string {
  // ASCII is the same in both, and most text is ASCII.
  return /[\x80-\xff]/.test(latin1) ? Buffer.from(latin1, "latin1").utf8Slice() : latin1;
}

function abortReason(reason: CancelReason): DOMException {
  return reason === "gone"
    ? new DOMException("The client went away.", "AbortError")
    : new DOMException("The handler's time was up.", "TimeoutError");
}
