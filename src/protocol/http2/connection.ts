/**
 * One HTTP/2 connection, the server's side (RFC 9113): frames to requests, replies to frames, and the rules that hold
 * for all of its streams. Start reading at `receive` and `headers`.
 */
import type { Http2Options } from "../../config/options";
import type { Deadline } from "../../host/deadlines";
import { tellAccess } from "../../host/inline";
import { answeredHttp } from "../access";
import { BODY_TOO_LARGE, OwnReply } from "../web/own-reply";
import { asBuffer, type Protocol, type Wire } from "../wire";
import { answer, type AnswerOwner } from "./answer";
import { DEFAULT_WINDOW_BYTES, ErrorCode, MAX_31_BITS } from "./frames/codes";
import { ConnectionClock } from "./clock";
import { ClosedStreams } from "./closed-streams";
import { Exchange, type ExchangeOwner } from "./exchange";
import { FloodCounter } from "./floods";
import { type Http2Head, MALFORMED } from "./head";
import { BOMB, HeadReader } from "./head-reader";
import { HpackDecoder, HpackError } from "./hpack/decoder";
import { PREFACE } from "./frames/preface";
import { FrameReader, type FrameOwner } from "./frames/reader";
import { ownReply, type WholeReply } from "./reply";
import { Http2Sender, type SenderOwner } from "./sender";
import { Http2Stream, type StreamOwner } from "./stream";

/** The part of the server that connections need. */
export interface Http2Owner {
  readonly settings: Http2Options;
  /**
   * One line for the log.
   *
   * @param kind       events of one kind share a limit, and not all are logged
   * @param connection number of the connection that the event is about
   */
  warn(kind: string, text: string, connection: number): void;
}

/** How long a client that is cut for a flood has to read our GOAWAY. It is not read meanwhile. */
const GOODBYE_MS = 200;
/** How long a client has to answer the PING of a shutdown. */
const LAST_CALL_MS = 500;
const LAST_CALL = Buffer.from("shutdown", "latin1");
/** As many streams whose client takes nothing end the connection. */
const MAX_STALLED = 3;
/** Encoded blocks may be longer than the list that they are allowed to make: the list gets its 431. */
const BLOCK_FACTOR = 4;

/** "serving", "warned" of a shutdown, "closing": no stream begins any more. "over": later events are ignored. */
type State = "serving" | "warned" | "closing" | "over";

export class Http2Connection implements Protocol, FrameOwner, StreamOwner, SenderOwner, ExchangeOwner, AnswerOwner {
  readonly speaks = "http2";
  readonly wire: Wire;
  readonly settings: Http2Options;
  readonly floods: FloodCounter;
  readonly #owner: Http2Owner;
  readonly #reader: FrameReader;
  readonly #sender: Http2Sender;
  readonly #heads: HeadReader;
  readonly #clock: ConnectionClock;
  readonly #streams = new Map<number, Http2Stream>();
  readonly #closed = new ClosedStreams();
  /** Requests that wait until the client has taken replies. */
  #deferred: [Http2Stream, Http2Head, Exchange | null][] = [];
  #state: State = "serving";
  /** The highest stream that was begun. */
  #lastStream = 0;
  /** The stream of the DATA frame that is being read. null: nobody needs it. */
  #dataStream: Http2Stream | null = null;
  #dataBytes = 0;
  #stalled = 0;
  /** A request, or a part of one, has come with this read. */
  #isActive = false;

  private constructor(owner: Http2Owner, wire: Wire) {
    const { settings } = owner;
    this.#owner = owner;
    this.wire = wire;
    this.settings = settings;
    this.#reader = new FrameReader(this, settings.maxFrameBytes, settings.maxHeaderBytes * BLOCK_FACTOR);
    this.#sender = new Http2Sender(this);
    this.#heads = new HeadReader(new HpackDecoder(), wire.dispatch.limits, settings.maxHeaderBytes);
    this.floods = new FloodCounter(settings);
    this.#clock = new ConnectionClock(wire);
  }

  /** Takes a connection over. @param bytes  what has arrived, beginning with the whole preface */
  static begin(owner: Http2Owner, wire: Wire, bytes: Uint8Array): void {
    const connection = new Http2Connection(owner, wire);
    wire.take(connection);
    wire.resume();
    connection.#open();
    connection.receive(bytes.subarray(PREFACE.length));
  }

  #open(): void {
    this.#sender.open();
    this.#clock.awaitRequest();
    if (this.wire.dispatch.isDraining) this.draining();
  }

  // ---- Protocol ----

  receive(bytes: Uint8Array): void {
    if (this.#state === "over") return;
    const now = performance.now();
    this.floods.at(now);
    this.#gather(() => this.#reader.read(asBuffer(bytes)));
    if (this.#isActive) this.#clock.active(now);
    this.#isActive = false;
    if (!this.#isOver) this.#clock.noteBlock(this.#reader.isInsideBlock, now);
  }

  /** A client that has gone looks the same as one that has only sent its FIN. It cannot update windows any more. */
  ended(): void {
    if (this.#state === "over") return;
    this.#leave();
    this.wire.finish();
  }

  drained(): void {
    if (this.#state === "over") return;
    this.#gather(() => this.#sender.unblock());
  }

  closed(): void {
    this.#leave();
  }

  expired(): void {
    if (this.#state !== "over") this.#gather(() => this.#onDeadline());
  }

  draining(): void {
    if (this.#state !== "serving") return;
    this.#state = "warned";
    this.#gather(() => {
      // Requests that are on their way are still answered; the answer to the PING comes behind them (RFC 9113 section 6.8).
      this.#sender.goaway(MAX_31_BITS, ErrorCode.none);
      this.#sender.ping(LAST_CALL, false);
      for (const { user } of this.#streams.values()) user?.draining();
    });
    this.#clock.awaitAnswer(LAST_CALL_MS);
  }

  /** Asked behind calls that may have ended it. */
  get #isOver(): boolean {
    return this.#state === "over";
  }

  /** Gathers all that `work` writes into one write. */
  #gather(work: () => void): void {
    if (!this.#sender.gather()) return work();
    try {
      work();
    } finally {
      this.#sender.sendGathered();
    }
  }

  // ---- FrameOwner: requests ----

  headers(id: number, bytes: Buffer, from: number, to: number, endsStream: boolean, isWrong: boolean): void {
    try {
      const known = this.#streams.size === 0 ? undefined : this.#streams.get(id);
      if (known !== undefined) return this.#readTrailers(known, bytes, from, to, endsStream, isWrong);
      const head = this.#heads.read(bytes, from, to);
      if (head === BOMB) return this.fails(ErrorCode.calm, "a header block that grows without bounds");
      if (id % 2 === 0) return this.fails(ErrorCode.protocol, "a client's stream has an even number");
      if (id <= this.#lastStream) return this.#headersOfClosed(id);
      if (this.#state === "closing") return this.#resetUnopened(id, ErrorCode.refusedStream);
      this.#closed.skip(this.#lastStream, id);
      this.#lastStream = id;
      this.#isActive = true;
      this.floods.request();
      if (isWrong || head === MALFORMED) return this.#resetUnopened(id, ErrorCode.protocol);
      if (this.#streams.size >= this.settings.maxConcurrentStreams)
        return this.#resetUnopened(id, ErrorCode.refusedStream);
      this.#begin(id, head, endsStream);
    } catch (error) {
      if (!(error instanceof HpackError)) throw error;
      this.fails(ErrorCode.compression, error.message);
    }
  }

  /** A request's head has come. */
  #begin(id: number, head: Http2Head | OwnReply, endsStream: boolean): void {
    if (head instanceof OwnReply) return this.#refuse(id, head, this.#heads.isHead, endsStream);
    if (endsStream) {
      // A length without a body (RFC 9113 section 8.1.1).
      if (head.bodyBytes > 0) return this.#resetUnopened(id, ErrorCode.protocol);
      if (this.#sender.isFull) return void this.#deferred.push([this.#openStream(id, false), head, null]);
      const waiting = answer(this, id, head, null);
      if (waiting !== null) new Exchange(this, this.#openStream(id, false), head).awaitReply(waiting);
      return;
    }
    if (head.bodyBytes > this.wire.dispatch.limits.maxBodyBytes)
      return this.#refuse(id, BODY_TOO_LARGE, head.method === "HEAD", false);
    const stream = this.#openStream(id, true);
    const exchange = new Exchange(this, stream, head);
    if (this.#sender.isFull) this.#deferred.push([stream, head, exchange]);
    else this.#call(exchange, head);
  }

  #call(exchange: Exchange, head: Http2Head): void {
    const waiting = answer(this, exchange.stream.id, head, exchange.body);
    if (waiting === null) exchange.answered();
    else exchange.awaitReply(waiting);
  }

  #beginDeferred(): void {
    while (this.#deferred.length > 0 && !this.#sender.isFull) {
      const [stream, head, exchange] = this.#deferred.shift() as [Http2Stream, Http2Head, Exchange | null];
      // One whose body was refused meanwhile is answered.
      if (!stream.isGone && stream.user === exchange) this.#call(exchange ?? new Exchange(this, stream, head), head);
    }
  }

  #openStream(id: number, isReceiving: boolean): Http2Stream {
    const { initialWindowBytes } = this.#owner.settings;
    // Until it knows our settings, a client goes by the default.
    const receiveWindow = Math.max(initialWindowBytes, DEFAULT_WINDOW_BYTES);
    const stream = new Http2Stream(this, id, this.#sender.peer.initialWindowBytes, receiveWindow, isReceiving);
    this.#streams.set(id, stream);
    return stream;
  }

  #readTrailers(
    stream: Http2Stream,
    bytes: Buffer,
    from: number,
    to: number,
    endsStream: boolean,
    isWrong: boolean,
  ): void {
    const fields = this.#heads.readTrailers(bytes, from, to);
    if (fields === BOMB) return this.fails(ErrorCode.calm, "a header block that grows without bounds");
    if (!stream.isReceiving) return this.streamFails(stream.id, ErrorCode.streamClosed);
    if (!endsStream || isWrong || fields === null) return this.streamFails(stream.id, ErrorCode.protocol);
    this.#isActive = true;
    stream.isReceiving = false;
    stream.user?.trailers(fields);
    if (!stream.isSending && !stream.isGone) this.streamEnded(stream);
  }

  #headersOfClosed(id: number): void {
    const how = this.#closed.howClosed(id);
    if (how === "reset") return this.ignored();
    if (how === "skipped") return this.fails(ErrorCode.protocol, "a stream's number is lower than the last one's");
    if (how === "left") return this.#resetUnopened(id, ErrorCode.streamClosed);
    this.fails(ErrorCode.streamClosed, "HEADERS of a closed stream");
  }

  /** Resets a stream that is not open. */
  #resetUnopened(id: number, code: number): void {
    this.#closed.reset(id);
    this.#sender.reset(id, code);
    this.floods.reset();
    this.#checkFlood();
  }

  /** Answers a request that no handler gets. */
  #refuse(id: number, reply: OwnReply, isHead: boolean, endsStream: boolean): void {
    const { dispatch, client } = this.wire;
    dispatch.counters.httpRequests++;
    if (reply.status >= 500) dispatch.counters.errors++;
    const whole = ownReply(reply, isHead);
    const stream = endsStream ? undefined : this.#openStream(id, true);
    this.#sender.send(id, stream, whole);
    if (stream !== undefined) this.replied(stream);
    if (dispatch.access === null) return;
    tellAccess(dispatch.access, client, null, 0, answeredHttp("h2", null, reply.status, whole.body.length));
  }

  // ---- FrameOwner: DATA ----

  dataBegins(id: number, payloadBytes: number): void {
    this.#isActive = true;
    this.#dataBytes = 0;
    this.#dataStream = null;
    if (!this.#sender.take(payloadBytes))
      return this.fails(ErrorCode.flowControl, "more DATA than the connection's window");
    const stream = this.#streams.get(id);
    if (stream === undefined) return this.#dataOfClosed(id);
    if (!stream.isReceiving) return this.streamFails(id, ErrorCode.streamClosed);
    stream.receiveWindow -= payloadBytes;
    if (stream.receiveWindow < 0) return this.streamFails(id, ErrorCode.flowControl);
    this.#dataStream = stream;
  }

  #dataOfClosed(id: number): void {
    if (id > this.#lastStream || id % 2 === 0) return this.fails(ErrorCode.protocol, "DATA of an idle stream");
    const how = this.#closed.howClosed(id);
    if (how === "left") return this.#resetUnopened(id, ErrorCode.streamClosed);
    if (how !== "reset") this.fails(ErrorCode.streamClosed, "DATA of a closed stream");
  }

  data(_id: number, content: Buffer, paddingBytes: number, isLast: boolean, endsStream: boolean): void {
    const stream = this.#dataStream;
    this.#dataBytes += content.length;
    if (isLast) {
      if (stream === null || !stream.isTunnel) this.floods.data(this.#dataBytes, endsStream);
      this.#checkFlood();
      if (this.#state === "over") return;
    }
    if (stream === null || stream.isGone) return this.#sender.giveBack(content.length + paddingBytes);
    if (endsStream) stream.isReceiving = false;
    if (stream.user === null) this.#discard(stream, content.length + paddingBytes);
    else stream.user.received(content, paddingBytes, endsStream);
    if (endsStream && !stream.isSending && !stream.isGone) this.streamEnded(stream);
  }

  /** The reply is sent, and nobody reads the body. Its client gets no more room for it. */
  #discard(stream: Http2Stream, bytes: number): void {
    this.#sender.giveBack(bytes);
    if (!stream.isReceiving || stream.isSending) return;
    if (stream.receiveWindow < this.settings.initialWindowBytes / 2) this.timedOut(stream);
  }

  giveBack(stream: Http2Stream, bytes: number): void {
    this.#sender.giveBackTo(stream, bytes);
  }

  get isWindowClosed(): boolean {
    return this.#sender.isWindowClosed;
  }

  // ---- FrameOwner: the rest ----

  resets(id: number, _code: number): void {
    if (id > this.#lastStream || id % 2 === 0) return this.fails(ErrorCode.protocol, "a RST_STREAM of an idle stream");
    this.floods.reset();
    this.#checkFlood();
    const stream = this.#streams.get(id);
    if (stream === undefined || this.#state === "over") return;
    this.#closed.left(id);
    this.#drop(stream);
  }

  configures(bytes: Buffer, from: number, to: number): void {
    this.floods.settings(to - from);
    this.#checkFlood();
    const before = this.#sender.peer.initialWindowBytes;
    const code = this.#sender.peer.read(bytes, from, to);
    if (code !== 0) return this.fails(code, "a setting has a value that it cannot have");
    const more = this.#sender.peer.initialWindowBytes - before;
    for (const stream of this.#streams.values()) {
      stream.window += more;
      if (stream.window > MAX_31_BITS) return this.fails(ErrorCode.flowControl, "a window is too large");
    }
    if (this.#state === "over") return;
    this.#sender.acknowledgeSettings();
    if (more > 0) this.#sender.pumpAll();
  }

  pings(bytes: Buffer, from: number, isAck: boolean): void {
    const payload = bytes.subarray(from, from + LAST_CALL.length);
    if (isAck && this.#state === "warned" && LAST_CALL.equals(payload)) return this.#close();
    this.ignored();
    if (!isAck && this.#state !== "over") this.#sender.ping(payload, true);
  }

  goesAway(): void {
    this.ignored();
  }

  windowGrows(id: number, bytes: number): void {
    this.ignored();
    if (this.#state === "over") return;
    if (id === 0) {
      if (bytes === 0) return this.fails(ErrorCode.protocol, "a WINDOW_UPDATE of 0");
      if (this.#sender.grow(bytes)) return;
      return this.fails(ErrorCode.flowControl, "the connection's window is too large");
    }
    if (id > this.#lastStream || id % 2 === 0)
      return this.fails(ErrorCode.protocol, "a WINDOW_UPDATE of an idle stream");
    if (bytes === 0) return this.streamFails(id, ErrorCode.protocol);
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    stream.window += bytes;
    if (stream.window > MAX_31_BITS) return this.streamFails(id, ErrorCode.flowControl);
    if (stream.isPending) this.#sender.pumpAll();
  }

  ignored(): void {
    this.floods.idle();
    this.#checkFlood();
  }

  streamFails(id: number, code: number): void {
    const stream = this.#streams.get(id);
    if (stream !== undefined) {
      stream.user?.gone();
      return this.resetStream(stream, code, true);
    }
    if (id > this.#lastStream) return this.fails(code, "a frame of an idle stream is wrong");
    this.floods.reset();
    this.#checkFlood();
  }

  fails(code: number, why: string): void {
    if (this.#state === "over") return;
    this.#reader.stop();
    this.#sender.goaway(this.#lastStream, code);
    if (code === ErrorCode.calm) this.#tellFlood(why);
    this.#end();
    if (code !== ErrorCode.calm) return;
    const { wire } = this;
    // A client that sends without end is not read any more, and gets little time.
    queueMicrotask(() => wire.pause());
    setTimeout(() => wire.abort(), GOODBYE_MS);
  }

  #checkFlood(): void {
    const { excess } = this.floods;
    if (excess !== null) this.fails(ErrorCode.calm, excess);
  }

  #tellFlood(why: string): void {
    const { address, connection } = this.wire.client;
    this.#owner.warn(
      `HTTP/2 clients were cut: ${why.replace(/\d+ /, "")}`,
      `${address}: this HTTP/2 client was cut: ${why}`,
      connection,
    );
  }

  // ---- StreamOwner ----

  get writeMs(): number {
    return this.wire.dispatch.timeouts.writeMs;
  }

  get hasRoom(): boolean {
    return this.#sender.hasRoom;
  }

  armDeadline(deadline: Deadline, ms: number): void {
    this.wire.dispatch.wheel.arm(deadline, ms);
  }

  pump(stream: Http2Stream): void {
    this.#sender.pump(stream);
  }

  hasSent(): void {
    if (this.#deferred.length > 0) this.#beginDeferred();
  }

  openToSend(id: number): Http2Stream {
    return this.#openStream(id, false);
  }

  stalled(stream: Http2Stream): void {
    stream.user?.gone();
    this.resetStream(stream, ErrorCode.cancel, false);
    if (++this.#stalled >= MAX_STALLED) this.fails(ErrorCode.calm, `${this.#stalled} replies were not taken in time`);
  }

  timedOut(stream: Http2Stream): void {
    this.resetStream(stream, ErrorCode.none, false);
  }

  streamEnded(stream: Http2Stream): void {
    this.#streams.delete(stream.id);
    stream.drop();
    this.exchangeEnded();
  }

  // ---- ExchangeOwner and AnswerOwner ----

  reply(id: number, whole: WholeReply): void {
    this.#sender.send(id, this.#streams.size === 0 ? undefined : this.#streams.get(id), whole);
  }

  sendWhole(stream: Http2Stream, whole: WholeReply): void {
    if (!stream.isGone) this.#sender.send(stream.id, stream, whole);
  }

  sendHead(stream: Http2Stream, status: number, lines: string, length: number | null, ends: boolean): void {
    this.#sender.sendHead(stream, status, lines, length, ends);
  }

  sendContinue(stream: Http2Stream): void {
    this.#sender.sendContinue(stream);
  }

  resetStream(stream: Http2Stream, code: number, isFault: boolean): void {
    if (stream.isGone || this.#state === "over") return;
    this.#closed.reset(stream.id);
    this.#sender.reset(stream.id, code);
    this.#drop(stream);
    if (!isFault) return;
    this.floods.reset();
    this.#checkFlood();
  }

  replied(stream: Http2Stream): void {
    stream.user = null;
    if (stream.isReceiving && !stream.isGone && !stream.isPending)
      this.armDeadline(stream, this.wire.dispatch.timeouts.bodyMs);
  }

  exchangeEnded(): void {
    this.#clock.active(performance.now());
    if (this.#state === "closing" && this.#streams.size === 0) this.#end();
  }

  #drop(stream: Http2Stream): void {
    const { user } = stream;
    stream.user = null;
    this.#streams.delete(stream.id);
    this.#sender.drop(stream);
    stream.drop();
    user?.gone();
    this.exchangeEnded();
  }

  // ---- deadlines and the end ----

  #onDeadline(): void {
    if (this.#state === "warned") return this.#close();
    const late = this.#clock.expired(this.#streams.size > 0);
    if (late === "block") return this.fails(ErrorCode.calm, "a header block did not arrive in time");
    if (late === null) return;
    this.#sender.goaway(this.#lastStream, ErrorCode.none);
    this.#end();
  }

  /** The second GOAWAY of a shutdown: streams above the last one are not served. */
  #close(): void {
    this.#state = "closing";
    this.#sender.goaway(this.#lastStream, ErrorCode.none);
    // Nobody waits for the rest of a request that is answered.
    for (const stream of this.#streams.values()) if (!stream.isSending) this.timedOut(stream);
    if (this.#streams.size === 0) this.#end();
  }

  #end(): void {
    this.#leave();
    this.#sender.flush();
    this.wire.finish();
  }

  #leave(): void {
    if (this.#state === "over") return;
    this.#state = "over";
    this.#reader.stop();
    this.#deferred = [];
    this.#sender.stop();
    const streams = [...this.#streams.values()];
    this.#streams.clear();
    for (const stream of streams) {
      const { user } = stream;
      stream.user = null;
      stream.drop();
      user?.gone();
    }
  }
}
