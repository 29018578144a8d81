/** The raw message that a handler gets. Its text and its abort signal are made only on demand. */
import type { Client, Message, Session } from "../../module/contract";
import { ANONYMOUS } from "../../module/session";
import { asBuffer } from "../wire";
import type { Talk, Talker } from "./talk";

/** The source of a message's Client, which is made only on demand. */
interface Sender {
  readonly client: Client;
  /** Default: none can be opened, as for a datagram's. */
  session?: Session;
  /** Default: none, as for a datagram. */
  talk?<T extends Talk>(talker: Talker<T>): T;
}

export class RawMessage implements Message {
  readonly #buffer: Buffer;
  readonly #from: number;
  readonly #end: number;
  readonly #sender: Sender;
  #bytes: Uint8Array | undefined;
  #text: string | undefined;
  #controller: AbortController | undefined;
  #abortReason: Error | undefined;

  /**
   * @param buffer holds the message from `from` to before `end`; taken over, not copied: cutting it costs as much as
   *   many handlers
   */
  constructor(buffer: Uint8Array, from: number, end: number, sender: Sender) {
    this.#buffer = asBuffer(buffer);
    this.#from = from;
    this.#end = end;
    this.#sender = sender;
  }

  get bytes(): Uint8Array {
    return (this.#bytes ??= this.#buffer.subarray(this.#from, this.#end));
  }

  get text(): string {
    return (this.#text ??= this.#buffer.utf8Slice(this.#from, this.#end));
  }

  get client(): Client {
    return this.#sender.client;
  }

  get session(): Session {
    return this.#sender.session ?? ANONYMOUS;
  }

  /** From now on, the messages of this one's connection have that session. */
  openSession(session: Session): void {
    this.#sender.session = session;
  }

  /** @returns the talk of this one's connection with `talker`, begun if there is none; null: it has no connection */
  talk<T extends Talk>(talker: Talker<T>): T | null {
    return this.#sender.talk?.(talker) ?? null;
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
