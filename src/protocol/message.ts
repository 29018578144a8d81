/**
 * A raw message as a handler sees it. Decoding and the abort signal are made only when they are asked for.
 */
import type { Client, Message } from "../module/contract";

/** Who can say whose message it is; a connection makes its Client only when somebody asks. */
export interface Sender {
  readonly client: Client;
}

export class RawMessage implements Message {
  readonly bytes: Uint8Array;
  readonly #sender: Sender;
  #text: string | undefined;
  #controller: AbortController | undefined;
  #abortReason: Error | undefined;

  /** @param bytes the whole message; handed over, not copied */
  constructor(bytes: Uint8Array, sender: Sender) {
    this.bytes = bytes;
    this.#sender = sender;
  }

  get text(): string {
    return (this.#text ??= decodeUtf8(this.bytes));
  }

  get client(): Client {
    return this.#sender.client;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#abortReason !== undefined) this.#controller.abort(this.#abortReason);
    }
    return this.#controller.signal;
  }

  /** Nobody waits for the reply any more. */
  abort(reason: Error): void {
    this.#abortReason ??= reason;
    this.#controller?.abort(reason);
  }
}

function decodeUtf8(bytes: Uint8Array): string {
  return Buffer.isBuffer(bytes) ? bytes.utf8Slice(0, bytes.length) : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString();
}
