/**
 * One request whose reply is not at hand: a handler that waits, or a body that streams. Counted on its generation until
 * the reply's last byte is with the engine.
 */
import { handlerMs, runInline, tellAccess } from "../../host/inline";
import { discard, toBytes } from "../../module/graph/returned";
import type { BoundRoute, InFlight, InFlightKind } from "../../module/route";
import { answeredHttp } from "../access";
import { BODY_TOO_LARGE, HANDLER_FAILED, HANDLER_LATE, MODULE_REPLACED, TOO_MANY_FILES } from "../web/own-reply";
import { clientGone } from "../web/client-left";
import { decodedResponses, GraphResponse } from "../web/response";
import type { Wire } from "../wire";
import { abortRequest, askedOf, hasBeenReset, noteReset } from "./request";
import { bodyBytes, checkedResponse, isBodyTooLarge, isStreamed, ownResponse } from "./response";

/** The parts of its connection that a call needs. */
export interface CallOwner {
  readonly wire: Wire;
  /** A call is under way: it keeps the connection from being idle, and its deadline is watched. */
  callBegan(call: Call): void;
  callEnded(call: Call): void;
}

type Reader = ReadableStreamDefaultReader<unknown>;

export class Call implements InFlight {
  /** An event stream: the drain deadline does not apply to it. */
  isEndless = false;
  /** By performance.now(). 0: none. */
  deadlineAt = 0;
  private isOver = false;
  private isCounted = false;
  private holdsFile = false;
  private waiting: ((response: Response) => void) | null = null;
  private reader: Reader | null = null;
  private controller: ReadableStreamDefaultController<Uint8Array> | null = null;
  private isTimed = false;
  private isTold = false;
  private status = 0;
  private sentBytes = 0;

  /** @param startedAt  when the handler was called, by performance.now() */
  constructor(
    private readonly owner: CallOwner,
    private readonly route: BoundRoute,
    private readonly request: Request,
    private readonly startedAt: number,
  ) {}

  get kind(): InFlightKind {
    return this.reader === null ? "call" : "stream";
  }

  /** @returns the reply, once the handler has one or its time is up; never rejects */
  awaitHandler(result: Promise<unknown>): Promise<Response> {
    const ms = handlerMs(this.owner.wire.dispatch, this.route);
    // Another host keeps the deadline itself.
    if (ms > 0 && this.route.run === "inline") this.deadlineAt = this.startedAt + ms;
    this.enter();
    result.then(
      (value) => this.settle(value),
      (error: unknown) => this.fail(error),
    );
    return new Promise((resolve) => (this.waiting = resolve));
  }

  /** @returns the same reply, with a body that tells when it has ended */
  stream(response: Response): Response {
    this.time();
    if (!this.takeFile(response)) return this.refuseFile(response);
    const { body } = response;
    this.status = response.status;
    if (body === null) {
      this.tell();
      return response;
    }
    const headers = new Headers(response.headers);
    // The engine frames the body, and would cut or miss what is not as long as was said.
    headers.delete("content-length");
    if (decodedResponses.has(response)) headers.delete("content-encoding");
    const { status, statusText } = response;
    if (this.request.method === "HEAD") {
      body.cancel().catch(() => undefined);
      this.tell();
      this.leave();
      return new Response("", { status, statusText, headers });
    }
    this.isEndless = /^text\/event-stream\b/i.test(headers.get("content-type") ?? "");
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

  /** The handler's time is up. */
  expired(): void {
    if (this.hasClientLeft) return this.leaveUnanswered();
    const { route, owner } = this;
    route.generation.figures.fail();
    const ms = handlerMs(owner.wire.dispatch, route);
    const error = new DOMException(`The handler did not answer within ${ms} ms.`, "TimeoutError");
    owner.wire.dispatch.handlerFailed(route, owner.wire.client, error);
    this.abandon(error, ownResponse(owner.wire.dispatch, HANDLER_LATE));
  }

  /** The server shuts down: an event stream ends where it is, and its client comes back by itself. */
  draining(): void {
    if (this.isOver || !this.isEndless || this.reader === null) return;
    this.controller?.close();
    this.end(new DOMException("The server shuts down.", "AbortError"));
  }

  /** The generation is going. */
  cut(reason: string): void {
    if (this.hasClientLeft) return this.leaveUnanswered();
    this.route.generation.figures.fail();
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
    // Before the reply that nobody gets.
    this.tell();
    this.abandon(clientGone(), new Response(null, { status: 204 }));
  }

  private settle(value: unknown): void {
    if (this.isOver) return discard(value);
    this.deadlineAt = 0;
    this.time();
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
    const { dispatch, client } = this.owner.wire;
    if (this.hasClientLeft) {
      dispatch.handlerFailed(this.route, client, error, true);
      return this.leaveUnanswered();
    }
    this.time();
    this.leave();
    if (isBodyTooLarge(error)) return this.reply(ownResponse(dispatch, BODY_TOO_LARGE));
    this.route.generation.figures.fail();
    dispatch.handlerFailed(this.route, client, error);
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
        // Inside the graph: what the source opens while it is pulled is the module's.
        const part = await runInline(this.route, () => reader.read());
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
      const { dispatch, client } = this.owner.wire;
      const hasLeft = this.hasClientLeft;
      if (!hasLeft) {
        dispatch.counters.errors++;
        this.route.generation.figures.fail();
      }
      dispatch.handlerFailed(this.route, client, error, hasLeft);
      this.end(error);
      // Resets the stream: the client must not take what it has for the whole.
      controller.error(error);
    }
  }

  /** The client has reset the stream, or it failed. */
  private end(reason: unknown): void {
    this.tell();
    this.leave();
    this.inGraph(() => void this.reader?.cancel(reason).catch(() => undefined));
  }

  /** Nobody waits for the handler, or the rest of its reply, any more. */
  private abandon(reason: unknown, response: Response): void {
    if (this.isOver) return;
    this.time();
    if (this.waiting === null) this.tell();
    this.leave();
    this.inGraph(() => {
      abortRequest(this.request, reason);
      this.reader?.cancel(reason).catch(() => undefined);
    });
    if (this.waiting === null) this.controller?.error(reason);
    else this.reply(response);
  }

  /** The handler has answered, or nobody waits for it any more. */
  private time(): void {
    if (this.isTimed) return;
    this.isTimed = true;
    this.route.generation.figures.record(performance.now() - this.startedAt);
  }

  /** The reply has ended, whole or not. */
  private tell(): void {
    const { wire } = this.owner;
    const { access } = wire.dispatch;
    if (access === null || this.isTold) return;
    this.isTold = true;
    const answered = answeredHttp("h2", askedOf(this.request), this.status, this.sentBytes);
    tellAccess(access, wire.client, this.route, this.startedAt, answered);
  }

  private enter(): void {
    if (this.isCounted) return;
    this.isCounted = true;
    this.route.generation.enter(this);
    this.owner.callBegan(this);
  }

  private leave(): void {
    this.isOver = true;
    if (this.holdsFile) this.owner.wire.dispatch.files?.giveFile();
    this.holdsFile = false;
    if (!this.isCounted) return;
    this.isCounted = false;
    this.route.generation.leave(this);
    this.owner.callEnded(this);
  }

  /** Runs what calls the module's listeners, so that what they throw is the module's. */
  private inGraph(action: () => void): void {
    try {
      runInline(this.route, action);
    } catch (error) {
      this.owner.wire.dispatch.handlerFailed(this.route, this.owner.wire.client, error);
    }
  }
}
