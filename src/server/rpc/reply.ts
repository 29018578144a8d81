/** The reply of an HTTP request for procedures: one JSON text, or events (text/event-stream) as they come. */
import type { RpcFailure } from "../../hub/rpc/failure";
import { httpRefused } from "../../hub/rpc/failure";
import { nextTurn, WriteTurns } from "../../protocol/turns";
import { mayStillRead } from "../../protocol/web/client-left";
import { GraphResponse } from "../../protocol/web/response";

const JSON_HEADERS = { "Content-Type": "application/json;charset=utf-8", "Cache-Control": "no-store" };
const EVENT_HEADERS = { "Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no" };
/** RFC 6750 section 3. */
const UNAUTHORIZED_HEADERS = { ...JSON_HEADERS, "WWW-Authenticate": "Bearer" };

const COMMENT = Buffer.from(":\n\n");

/** @param json the body, without its line end. @param more  further header fields */
export function jsonReply(status: number, json: string, more?: Readonly<Record<string, string>>): Response {
  const headers = status === 401 ? UNAUTHORIZED_HEADERS : JSON_HEADERS;
  return new GraphResponse(`${json}\n`, { status, headers: more === undefined ? headers : { ...headers, ...more } });
}

export class HttpReply {
  readonly #answered = Promise.withResolvers<Response>();
  readonly #accept: string;
  readonly #onLeft: () => void;
  readonly #turns = new WriteTurns();
  #controller: ReadableStreamDefaultController<Uint8Array> | null = null;
  #wake: (() => void) | null = null;
  #isOver = false;

  /** @param onLeft called when the client disconnects */
  constructor(request: Request, onLeft: () => void) {
    this.#accept = request.headers.get("accept") ?? "";
    this.#onLeft = onLeft;
  }

  /** Calls `onLeft` when the client disconnects. Only for a reply that is not ready at once. */
  watch(request: Request): Promise<Response> {
    if (this.#isOver) return this.#answered.promise;
    const { signal } = request;
    const look = (): void => {
      if (!mayStillRead(signal.reason)) this.#leave();
    };
    if (signal.aborted) look();
    else signal.addEventListener("abort", look, { once: true });
    return this.#answered.promise;
  }

  get areEvents(): boolean {
    return this.#controller !== null;
  }

  get takesEventsOnly(): boolean {
    return /text\/event-stream/i.test(this.#accept) && !/json|\*\/\*/i.test(this.#accept);
  }

  /** Ends the reply. @param event of the last event, if the reply is events. @param json without its line end */
  end(status: number, json: string, event: string | null = null): void {
    if (this.#isOver) return;
    if (this.#controller === null) {
      if (this.takesEventsOnly) this.event(json, event);
      else this.#answered.resolve(jsonReply(status, json));
    } else this.event(json, event);
    this.#isOver = true;
    this.#controller?.close();
    this.#wake?.();
  }

  /** Sends one event. @returns false: wait for `drained` before the next */
  event(json: string, event: string | null = null): boolean {
    if (this.#isOver) return true;
    this.#controller ??= this.#open();
    const text = event === null ? `data: ${json}\n\n` : `event: ${event}\ndata: ${json}\n\n`;
    this.#controller.enqueue(Buffer.from(text));
    return !this.#turns.count(text.length) && (this.#controller.desiredSize ?? 0) > 0;
  }

  /** Begins the events, or shows that they go on. */
  comment(): void {
    if (this.#isOver) return;
    this.#controller ??= this.#open();
    this.#controller.enqueue(COMMENT);
  }

  /** Ends the reply without an answer. */
  close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    if (this.#controller === null) this.#answered.resolve(new GraphResponse(null, { status: 202 }));
    this.#controller?.close();
    this.#wake?.();
  }

  /** Why events cannot be sent. null: they can */
  refusesEvents(): RpcFailure | null {
    if (this.#accept === "" || /text\/event-stream|\*\/\*|text\/\*/i.test(this.#accept)) return null;
    return httpRefused(406, "the result comes piece by piece: send Accept: text/event-stream");
  }

  async drained(): Promise<void> {
    if (!this.#isOver && (this.#controller?.desiredSize ?? 1) <= 0)
      await new Promise<void>((resolve) => (this.#wake = resolve));
    await nextTurn();
  }

  #open(): ReadableStreamDefaultController<Uint8Array> {
    let opened: ReadableStreamDefaultController<Uint8Array> | null = null;
    const stream = new ReadableStream<Uint8Array>(
      {
        start: (controller) => void (opened = controller),
        pull: () => this.#wake?.(),
        cancel: () => this.#leave(),
      },
      new ByteLengthQueuingStrategy({ highWaterMark: 65_536 }),
    );
    this.#answered.resolve(new GraphResponse(stream, { headers: EVENT_HEADERS }));
    return opened as unknown as ReadableStreamDefaultController<Uint8Array>;
  }

  #leave(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#wake?.();
    this.#onLeft();
  }
}
