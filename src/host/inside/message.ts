/** The message that a handler gets. All its properties are made at their first use, from one string of its bytes. */
import type { Client, Message, Session } from "../../module/contract";
import { sessionOf } from "../../module/session";
import { type BodyPart, type CancelReason, decodeClient, fromLatin1 } from "../remote/messages";
import { halfClosed } from "../../module/half-closed";
import { noTrailers } from "../../module/shape/trailers";
import { HostedBody } from "./body";

/** Asks the server for parts of a call's body; 0: it needs no more. */
export type WantBody = (seq: number, parts: number) => void;

export class HostedMessage implements Message {
  readonly #latin1: string;
  readonly #clientText: string;
  readonly #seq: number;
  readonly #wantBody: WantBody;
  #body: HostedBody | null = null;
  #bytes: Uint8Array | null = null;
  #text: string | null = null;
  #client: Client | null = null;
  #controller: AbortController | null = null;
  #cancelled: CancelReason | null = null;

  /** @param client  for `decodeClient` */
  constructor(client: string, latin1: string, seq: number, wantBody: WantBody) {
    this.#clientText = client;
    this.#latin1 = latin1;
    this.#seq = seq;
    this.#wantBody = wantBody;
  }

  /** The message, one character for each byte. */
  get latin1(): string {
    return this.#latin1;
  }

  get bytes(): Uint8Array {
    return (this.#bytes ??= fromLatin1(this.#latin1));
  }

  get text(): string {
    return (this.#text ??= decodeText(this.#latin1));
  }

  get client(): Client {
    return (this.#client ??= decodeClient(this.#clientText));
  }

  get session(): Session {
    return sessionOf(this.client);
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
    // A client sends its FIN after its body, so the body is complete.
    if (reason !== "ended") this.#body?.fail(abortReason(reason));
    this.#controller?.abort(abortReason(reason));
  }

  /** The body of an HTTP request that does not come with the call. Call it once. */
  openBody(): ReadableStream<Uint8Array> {
    this.#body = new HostedBody((parts) => this.#wantBody(this.#seq, parts));
    return this.#body.stream;
  }

  /** The request's trailers, once its body is over. */
  get trailers(): Promise<Headers> {
    return this.#body === null ? noTrailers() : this.#body.trailers;
  }

  receiveBody(part: BodyPart): void {
    this.#body?.receive(part);
  }

  /** The reply is complete, and so is the call: a body that is still being read breaks off. */
  over(): void {
    this.#body?.fail(new Error("The request is over: its reply was sent."));
  }
}

function decodeText(latin1: string): string {
  // ASCII is the same in both, and most text is ASCII.
  return /[\x80-\xff]/.test(latin1) ? Buffer.from(latin1, "latin1").utf8Slice() : latin1;
}

function abortReason(reason: CancelReason): DOMException {
  if (reason === "timeout") return new DOMException("The handler's time was up.", "TimeoutError");
  const left = new DOMException("The client went away.", "AbortError");
  return reason === "ended" ? halfClosed(left) : left;
}
