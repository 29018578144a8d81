/** The server's side of the service calls from one place. Begins and answers them, and cancels them with the place. */
import type { ServiceAnswer, ServiceAsks } from "../../module/service/calls";
import { plainFailure, uncopiedResult } from "../../module/service/error";
import type { CallFrame } from "../../module/service/frame";
import { Carried, encodeValue } from "../../module/service/values";
import type { Client } from "../../module/contract";
import { asHost } from "../../system/leave-graph";
import { decodeClient, type FromPlace, STREAM_WINDOW } from "../remote/messages";
import {
  ASK_FIELDS,
  type AskBatch,
  decodeInherited,
  readAskTarget,
  TOLD,
  type ToldBatch,
  type ToldKind,
} from "./messages";

/** An open call. */
interface Open {
  giveUp: () => void;
  stream: SentStream | null;
}

const MAX_TARGETS = 1000;

export class PlaceAsks {
  readonly #services: ServiceAsks;
  readonly #post: (message: { readonly type: "told"; readonly told: ToldBatch }) => void;
  readonly #open = new Map<number, Open>();
  readonly #targets = new Map<string, ReturnType<typeof readAskTarget>>();
  /** Results of this turn: they leave in one message. */
  #told: ToldBatch = [];
  #isFlushScheduled = false;

  constructor(services: ServiceAsks, post: (message: { readonly type: "told"; readonly told: ToldBatch }) => void) {
    this.#services = services;
    this.#post = post;
  }

  /** @returns whether it was a message about such calls */
  receive<M extends Exclude<FromPlace, { type: "log" }>>(message: M): message is Extract<M, { type: `ask${string}` }> {
    if (message.type === "asks") this.#receiveAsks(message.asks);
    else if (message.type === "askCancel") this.#cancel(message.ask);
    else if (message.type === "askCredit") this.#open.get(message.ask)?.stream?.addCredit();
    else return false;
    return true;
  }

  /** The place is gone: cancels its calls. */
  drop(): void {
    const open = [...this.#open.keys()];
    for (const ask of open) this.#cancel(ask);
    this.#told = [];
  }

  #receiveAsks(asks: AskBatch): void {
    for (let at = 0; at < asks.length; at += ASK_FIELDS) this.#ask(asks, at);
    // The answers of this turn share one message.
    this.#flush();
  }

  #ask(asks: AskBatch, at: number): void {
    const [ask, target, input, leftMs, inherited, client] = asks.slice(at, at + ASK_FIELDS) as AskFields;
    const open: Open = { giveUp: () => {}, stream: null };
    this.#open.set(ask, open);
    const order = {
      ...this.#targetOf(target),
      input: Carried.encoded(input),
      frame: inherited === "" && client === "" ? null : new AskedFrame(inherited, client),
      timeoutMs: leftMs === 0 ? undefined : leftMs,
      signal: undefined,
    };
    open.giveUp = this.#services.ask(order, this.#answerTo(ask, open));
  }

  /** Read once each: a module asks for few services, again and again. */
  #targetOf(text: string): ReturnType<typeof readAskTarget> {
    const known = this.#targets.get(text);
    if (known !== undefined) return known;
    const target = readAskTarget(text);
    // A place may send any name.
    if (this.#targets.size >= MAX_TARGETS) this.#targets.clear();
    this.#targets.set(text, target);
    return target;
  }

  #answerTo(ask: number, open: Open): ServiceAnswer {
    return {
      resolve: (value) => {
        if (!this.#open.delete(ask)) return;
        try {
          this.#tell(ask, TOLD.value, value.text);
        } catch (error) {
          this.#tell(ask, TOLD.failure, encodeValue(plainFailure(uncopiedResult(error))));
        }
      },
      reject: (error) => {
        if (this.#open.delete(ask)) this.#tell(ask, TOLD.failure, encodeValue(plainFailure(error)));
      },
      stream: (parts) => {
        if (this.#open.get(ask) !== open) return void parts.return?.();
        open.stream = new SentStream(parts, (kind, text) => {
          if (kind !== TOLD.part) this.#open.delete(ask);
          this.#tell(ask, kind, text);
        });
        this.#tell(ask, TOLD.stream, "");
        void open.stream.pump();
      },
    };
  }

  #cancel(ask: number): void {
    const open = this.#open.get(ask);
    if (open === undefined) return;
    this.#open.delete(ask);
    open.stream?.cancel();
    open.giveUp();
  }

  #tell(ask: number, kind: ToldKind, text: string): void {
    this.#told.push(ask, kind, text);
    if (this.#isFlushScheduled) return;
    this.#isFlushScheduled = true;
    // A module's code may be on the stack.
    asHost(() => setImmediate(() => this.#flush()));
  }

  #flush(): void {
    this.#isFlushScheduled = false;
    if (this.#told.length === 0) return;
    const told = this.#told;
    this.#told = [];
    this.#post({ type: "told", told });
  }
}

type AskFields = [ask: number, target: string, input: string, leftMs: number, inherited: string, client: string];

/** The frame that a call inherits from its caller's own call. A message tells its end. */
class AskedFrame implements CallFrame {
  readonly chain: CallFrame["chain"];
  readonly identity: CallFrame["identity"];
  readonly deadlineAt = Infinity;
  readonly #client: string;

  constructor(inherited: string, client: string) {
    const { chain, identity } = decodeInherited(inherited);
    this.chain = chain;
    this.identity = identity;
    this.#client = client;
  }

  get client(): Client | null {
    return this.#client === "" ? null : decodeClient(this.#client);
  }

  cancellation(): null {
    return null;
  }
}

/** A streamed result. Its parts are sent as fast as the reader in the place takes them. */
class SentStream {
  readonly #parts: AsyncIterableIterator<Carried>;
  readonly #send: (kind: ToldKind, text: string) => void;
  #credit = STREAM_WINDOW;
  #onCredit: (() => void) | null = null;
  #isCancelled = false;

  constructor(parts: AsyncIterableIterator<Carried>, send: (kind: ToldKind, text: string) => void) {
    this.#parts = parts;
    this.#send = send;
  }

  addCredit(): void {
    this.#credit++;
    this.#onCredit?.();
  }

  cancel(): void {
    this.#isCancelled = true;
    this.#onCredit?.();
    void this.#parts.return?.();
  }

  /** Never rejects. */
  async pump(): Promise<void> {
    try {
      for (;;) {
        if (this.#credit === 0) await new Promise<void>((resolve) => (this.#onCredit = resolve));
        if (this.#isCancelled) return;
        const next = await this.#parts.next();
        if (this.#isCancelled) return;
        if (next.done === true) return this.#send(TOLD.end, "");
        this.#credit--;
        this.#send(TOLD.part, next.value.text);
      }
    } catch (error) {
      if (this.#isCancelled) return;
      void this.#parts.return?.();
      this.#send(TOLD.failure, encodeValue(plainFailure(error)));
    }
  }
}
