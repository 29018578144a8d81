/**
 * One request with a handler that waits, or a streamed body. It counts on its generation until the engine has the
 * reply's last byte.
 */
import { Call, type CallOwner } from "../../host/call";
import { countError } from "../../host/inline";
import { discard, toBytes } from "../../module/graph/returned";
import type { BoundRoute } from "../../module/route";
import { answeredHttp } from "../access";
import { BODY_TOO_LARGE, HANDLER_FAILED, HANDLER_LATE, MODULE_REPLACED, TOO_MANY_FILES } from "../web/own-reply";
import { clientGone } from "../web/client-left";
import { decodedResponses, GraphResponse } from "../web/response";
import type { Wire } from "../wire";
import { abortRequest, askedOf, hasBeenReset, noteReset } from "./request";
import { bodyBytes, checkedResponse, isBodyTooLarge, isStreamed, ownResponse } from "./response";

/** The parts of its connection that an exchange needs. */
export interface ExchangeOwner {
  readonly wire: Wire;
  /** An open exchange: the connection is not idle. */
  exchangeBegan(exchange: Exchange): void;
  exchangeEnded(exchange: Exchange): void;
}

type Reader = ReadableStreamDefaultReader<unknown>;

export class Exchange implements CallOwner {
  private readonly call: Call;
  private isOver = false;
  private isCounted = false;
  private holdsFile = false;
  private waiting: ((response: Response) => void) | null = null;
  private reader: Reader | null = null;
  private controller: ReadableStreamDefaultController<Uint8Array> | null = null;
  private status = 0;
  private sentBytes = 0;

  /** @param startedAt  when the handler was called, by performance.now() */
  constructor(
    private readonly owner: ExchangeOwner,
    private readonly route: BoundRoute,
    private readonly request: Request,
    startedAt: number,
  ) {
    this.call = new Call(owner.wire.dispatch, route, owner.wire, startedAt, this);
  }

  /** @returns the reply, once the handler has answered or its time is over; never rejects */
  awaitHandler(result: Promise<unknown>): Promise<Response> {
    this.enter();
    this.call.awaitHandler();
    result.then(
      (value) => this.settle(value),
      (error: unknown) => this.fail(error),
    );
    return new Promise((resolve) => (this.waiting = resolve));
  }

  /** @returns the same reply, with a body that reports its end */
  stream(response: Response): Response {
    this.call.answered();
    if (!this.takeFile(response)) return this.refuseFile(response);
    const { body } = response;
    this.status = response.status;
    if (body === null) {
      this.tell();
      return response;
    }
    const headers = new Headers(response.headers);
    // The engine frames the body. With a wrong length it would cut it, or wait for more.
    headers.delete("content-length");
    if (decodedResponses.has(response)) headers.delete("content-encoding");
    const { status, statusText } = response;
    if (this.request.method === "HEAD") {
      body.cancel().catch(() => undefined);
      this.tell();
      this.leave();
      return new Response("", { status, statusText, headers });
    }
    this.call.streams(/^text\/event-stream\b/i.test(headers.get("content-type") ?? ""));
    this.reader = body.getReader() as Reader;
    this.enter();
    const counted = new ReadableStream<Uint8Array>(
      {
        start: (controller) => void (this.controller = controller),
        pull: () => this.pull(),
        cancel: (reason) => this.end(reason),
      },
      { highWaterMark: 0 },
    );
    return new Response(counted, { status, statusText, headers });
  }

  /** @returns false: the reply needs a file, and no descriptor is left */
  private takeFile(response: Response): boolean {
    const { files } = this.owner.wire.dispatch;
    if (files === undefined || this.request.method === "HEAD") return true;
    if (GraphResponse.fileOf(response) === undefined && GraphResponse.blobOf(response) === undefined) return true;
    this.holdsFile = files.takeFile();
    return this.holdsFile;
  }

  private refuseFile(response: Response): Response {
    response.body?.cancel().catch(() => undefined);
    const { dispatch } = this.owner.wire;
    const refusal = ownResponse(dispatch, TOO_MANY_FILES);
    this.status = 503;
    this.tell();
    this.leave();
    return refusal;
  }

  /** The handler's time is over. */
  late(): void {
    if (this.hasClientLeft) return this.leaveUnanswered();
    const { call, owner } = this;
    const error = new DOMException(`The handler did not answer within ${call.timeoutMs} ms.`, "TimeoutError");
    call.failed(error);
    this.abandon(error, ownResponse(owner.wire.dispatch, HANDLER_LATE));
  }

  /** The server shuts down: an event stream ends here, and its client comes back by itself. */
  draining(): void {
    if (this.isOver || !this.call.isEndless || this.reader === null) return;
    this.controller?.close();
    this.end(new DOMException("The server shuts down.", "AbortError"));
  }

  /** The generation is going. */
  cut(reason: string): void {
    if (this.hasClientLeft) return this.leaveUnanswered();
    countError(this.route);
    const error = new DOMException(`The module's version was ended: ${reason}.`, "AbortError");
    this.abandon(error, ownResponse(this.owner.wire.dispatch, MODULE_REPLACED));
  }

  /** The connection is gone. */
  dropped(): void {
    noteReset(this.request);
    this.leaveUnanswered();
  }

  /**
   * The client has reset the stream, or its connection is gone. The module is then not to blame if the handler fails.
   */
  private get hasClientLeft(): boolean {
    return hasBeenReset(this.request);
  }

  private leaveUnanswered(): void {
    // Before the reply, which nobody gets.
    this.tell();
    this.abandon(clientGone(), new Response(null, { status: 204 }));
  }

  private settle(value: unknown): void {
    if (this.isOver) return discard(value);
    this.call.answered();
    try {
      const response = checkedResponse(this.owner.wire.dispatch, this.route, this.request, value);
      if (isStreamed(response)) return this.reply(this.stream(response));
      this.leave();
      this.reply(response);
    } catch (error) {
      this.fail(error);
    }
  }

  private fail(error: unknown): void {
    if (this.isOver) return;
    const { dispatch } = this.owner.wire;
    if (this.hasClientLeft) {
      this.call.failed(error, true);
      return this.leaveUnanswered();
    }
    this.call.answered();
    this.leave();
    if (isBodyTooLarge(error)) return this.reply(ownResponse(dispatch, BODY_TOO_LARGE));
    this.call.failed(error);
    this.reply(ownResponse(dispatch, HANDLER_FAILED));
  }

  private reply(response: Response): void {
    const resolve = this.waiting;
    this.waiting = null;
    if (this.reader === null) {
      this.status = response.status;
      if (this.owner.wire.dispatch.access !== null) this.sentBytes = bodyBytes(response);
      this.tell();
    }
    resolve?.(response);
  }

  private async pull(): Promise<void> {
    const { reader, controller } = this;
    if (reader === null || controller === null) return;
    try {
      for (;;) {
        // Inside the graph: resources that the source opens are the module's.
        const part = await this.call.run(() => reader.read());
        if (this.isOver) return;
        if (part.done) {
          controller.close();
          this.tell();
          return this.leave();
        }
        const bytes = toBytes(part.value);
        this.sentBytes += bytes.length;
        if (bytes.length > 0) return controller.enqueue(bytes);
      }
    } catch (error) {
      if (this.isOver) return;
      const hasLeft = this.hasClientLeft;
      if (!hasLeft) this.owner.wire.dispatch.counters.errors++;
      this.call.failed(error, hasLeft);
      this.end(error);
      // Resets the stream: the client must not take a part for the whole.
      controller.error(error);
    }
  }

  /** The client has reset the stream, or it failed. */
  private end(reason: unknown): void {
    this.tell();
    this.leave();
    this.call.inGraph(() => void this.reader?.cancel(reason).catch(() => undefined));
  }

  /** Nobody waits for the handler, or the rest of its reply, any more. */
  private abandon(reason: unknown, response: Response): void {
    if (this.isOver) return;
    this.call.answered();
    if (this.waiting === null) this.tell();
    this.leave();
    this.call.inGraph(() => {
      abortRequest(this.request, reason);
      this.reader?.cancel(reason).catch(() => undefined);
    });
    if (this.waiting === null) this.controller?.error(reason);
    else this.reply(response);
  }

  /** The reply has ended, complete or not. */
  private tell(): void {
    if (this.owner.wire.dispatch.access === null) return;
    this.call.tell(answeredHttp("h2", askedOf(this.request), this.status, this.sentBytes));
  }

  private enter(): void {
    if (this.isCounted) return;
    this.isCounted = true;
    this.call.enter();
    this.owner.exchangeBegan(this);
  }

  private leave(): void {
    this.isOver = true;
    if (this.holdsFile) this.owner.wire.dispatch.files?.giveFile();
    this.holdsFile = false;
    if (!this.isCounted) return;
    this.isCounted = false;
    this.call.over();
    this.owner.exchangeEnded(this);
  }
}
