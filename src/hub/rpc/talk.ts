/**
 * JSON-RPC 2.0 with one client: messages in, answers out, in any order. The same for a connection of raw lines, for a
 * WebSocket, and for one POST. Start reading at `receive`.
 */
import { ProcedureCall, type CallTarget } from "./call";
import { busy, invalidRequest, type RpcFailure } from "./failure";
import type { RpcCaller } from "./caller";
import type { Procedures } from "./procedures";
import {
  idOf,
  MAX_BATCH,
  parseJson,
  requestMistake,
  type RpcId,
  type RpcRequest,
  type Source,
  Unreadable,
} from "./request";
import { failureText, nextText, resultText } from "./texts";

/** The client's side. Its functions must not throw. */
export interface RpcPeer extends RpcCaller {
  /** Sends an answer that could not be returned by `receive`. */
  answer(text: string): void;
  /** Sends a part of a result. @returns false: wait for `drained` before the next */
  notify(text: string): boolean;
  drained(): Promise<void>;
  /** Why parts cannot be sent. null: they can */
  refusesParts(): RpcFailure | null;
  /** The last open call is over. */
  settled(): void;
}

/** At most this many calls of one client may be under way; further ones are refused. */
const MAX_OPEN = 1000;
/** Calls of one batch that may run at a time. */
const MAX_AT_ONCE = 100;
const CANCEL = "$/cancelRequest";

/** Where the answers of a message go. */
interface Sink {
  answered(text: string): void;
}

export class RpcTalk implements Sink {
  readonly procedures: Procedures;
  readonly peer: RpcPeer;
  /** Calls that a client waits for, by their ids. */
  readonly #open = new Map<RpcId | symbol, Answering>();
  /** Batches that are not answered yet. */
  #batches = 0;
  #notifications = 0;
  /** The answer to the message that is being received; null: none is being received. */
  #now: string | null = null;

  constructor(procedures: Procedures, peer: RpcPeer) {
    this.procedures = procedures;
    this.peer = peer;
  }

  /** Whether the client waits for an answer. */
  get isBusy(): boolean {
    return this.#open.size > 0 || this.#batches > 0;
  }

  /** @param source as for `parseJson`. @returns the answer, if it is there at once; "": it comes later, or none does */
  receive(text: string, source?: Source): string {
    this.#now = "";
    const message = parseJson(text, source);
    if (message instanceof Unreadable) this.answered(failureText(null, message.failure));
    else if (Array.isArray(message)) this.#receiveBatch(message);
    else this.begin(message, this);
    const answer = this.#now;
    this.#now = null;
    return answer;
  }

  answered(text: string): void {
    if (this.#now === "") this.#now = text;
    else this.peer.answer(text);
  }

  /** @returns whether the sink gets an answer, now or later. A notification gets none */
  begin(message: unknown, sink: Sink): boolean {
    const mistake = requestMistake(message);
    if (mistake !== null) sink.answered(failureText(idOf(message), mistake));
    else if ((message as RpcRequest).id === undefined) {
      this.#notified(message as RpcRequest);
      return false;
    } else this.#asked(message as RpcRequest & { readonly id: RpcId }, sink);
    return true;
  }

  /** The client is gone: cancels its calls. Its notifications go on. */
  left(): void {
    for (const call of Array.from(this.#open.values())) call.end();
  }

  #asked(request: RpcRequest & { readonly id: RpcId }, sink: Sink): void {
    const { id, method, params } = request;
    // The client would take its answer for the answer to the first request.
    if (this.#open.size > 0 && this.#open.has(id)) {
      const why = `a request with the id ${JSON.stringify(id)} is still under way`;
      return refuse(sink, null, invalidRequest(why));
    }
    if (this.#count >= MAX_OPEN) return refuse(sink, id, busy(`${MAX_OPEN} calls of this client are under way`));
    const answering = new Answering(this, id, method, sink);
    answering.begin(params);
    if (!answering.isOver) this.#open.set(id === null ? Symbol("null") : id, answering);
  }

  get #count(): number {
    return this.#open.size + this.#notifications;
  }

  #notified({ method, params }: RpcRequest): void {
    if (method === CANCEL) {
      const id = idOf(params);
      if (id !== null) this.#open.get(id)?.end();
    } else if (!method.startsWith("$/") && this.#count < MAX_OPEN) {
      this.#notifications++;
      const call = new ProcedureCall(this.procedures, method, new Unanswered(() => this.#notifications--));
      call.begin(params, this.peer);
    }
  }

  #receiveBatch(entries: unknown[]): void {
    if (entries.length === 0) return this.answered(failureText(null, invalidRequest("the batch is empty")));
    if (entries.length > MAX_BATCH) {
      const why = `a batch has at most ${MAX_BATCH} entries, and this one has ${entries.length}`;
      return this.answered(failureText(null, invalidRequest(why)));
    }
    this.#batches++;
    new Batch(this, entries, (text) => {
      this.#batches--;
      if (text !== "") this.answered(text);
      this.#tellSettled();
    }).run();
  }

  /** @internal by Answering only */
  over(answering: Answering, id: RpcId): void {
    if (id !== null) this.#open.delete(id);
    else for (const [key, each] of this.#open) if (each === answering) this.#open.delete(key);
    this.#tellSettled();
  }

  #tellSettled(): void {
    if (!this.isBusy && this.#now === null) this.peer.settled();
  }
}

function refuse(sink: Sink, id: RpcId, failure: RpcFailure): void {
  sink.answered(failureText(id, failure));
}

/** A call whose client waits for the answer. */
class Answering implements CallTarget {
  readonly #talk: RpcTalk;
  readonly #id: RpcId;
  readonly #sink: Sink;
  readonly #call: ProcedureCall;
  #hasBegun = false;

  constructor(talk: RpcTalk, id: RpcId, method: string, sink: Sink) {
    this.#talk = talk;
    this.#id = id;
    this.#sink = sink;
    this.#call = new ProcedureCall(talk.procedures, method, this);
  }

  get isOver(): boolean {
    return this.#call.isOver;
  }

  begin(params: unknown): void {
    this.#call.begin(params, this.#talk.peer);
    this.#hasBegun = true;
  }

  end(): void {
    this.#call.end();
  }

  result(json: string): void {
    this.#answer(resultText(this.#id, json));
  }

  failure(failure: RpcFailure): void {
    this.#answer(failureText(this.#id, failure));
  }

  next(json: string): boolean {
    return this.#talk.peer.notify(nextText(this.#id, json));
  }

  drained(): Promise<void> {
    return this.#talk.peer.drained();
  }

  refusesParts(): RpcFailure | null {
    return this.#talk.peer.refusesParts();
  }

  #answer(text: string): void {
    this.#sink.answered(text);
    if (this.#hasBegun) this.#talk.over(this, this.#id);
  }
}

/** A call that gets no answer. */
class Unanswered implements CallTarget {
  readonly #over: () => void;

  constructor(over: () => void) {
    this.#over = over;
  }

  result(): void {
    this.#over();
  }

  failure(): void {
    this.#over();
  }

  next(): boolean {
    return true;
  }

  async drained(): Promise<void> {}

  refusesParts(): RpcFailure | null {
    return invalidRequest("a notification gets no parts");
  }
}

/** Several requests in one message, and their answers in one. */
class Batch implements Sink {
  readonly #talk: RpcTalk;
  readonly #entries: readonly unknown[];
  readonly #done: (text: string) => void;
  readonly #answers: string[] = [];
  readonly #ids = new Set<RpcId>();
  #at = 0;
  #running = 0;
  #isStarting = false;

  /** @param done gets the answers; "": there are none */
  constructor(talk: RpcTalk, entries: readonly unknown[], done: (text: string) => void) {
    this.#talk = talk;
    this.#entries = entries;
    this.#done = done;
  }

  run(): void {
    if (this.#isStarting) return;
    this.#isStarting = true;
    while (this.#at < this.#entries.length && this.#running < MAX_AT_ONCE) this.#begin(this.#entries[this.#at++]);
    this.#isStarting = false;
    if (this.#at === this.#entries.length && this.#running === 0)
      this.#done(this.#answers.length === 0 ? "" : `[${this.#answers.join(",")}]`);
  }

  #begin(entry: unknown): void {
    const id = idOf(entry);
    if (id !== null && this.#ids.has(id)) {
      const why = `the id ${JSON.stringify(id)} is in the batch twice`;
      return void this.#answers.push(failureText(null, invalidRequest(why)));
    }
    if (id !== null) this.#ids.add(id);
    this.#running++;
    // A notification is not waited for. Answers that come meanwhile are of other entries: it may cancel them.
    if (!this.#talk.begin(entry, this)) this.#running--;
  }

  answered(text: string): void {
    this.#answers.push(text);
    this.#running--;
    this.run();
  }
}
