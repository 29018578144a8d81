/** The calls of services that modules in one place make, on the server's side: asked, answered, and given up with it. */
import type { ServiceAnswer, ServiceAsks } from "../../module/service/calls";
import { type ServiceError, uncopiedResult } from "../../module/service/error";
import type { CallFrame } from "../../module/service/frame";
import { Carried, encodeValue } from "../../module/service/values";
import { type AskedCall, type FromPlace, STREAM_WINDOW, type ToldResult } from "../remote/messages";

/** An open call. */
interface Open {
  giveUp: () => void;
  stream: SentStream | null;
}

export class PlaceAsks {
  readonly #services: ServiceAsks;
  readonly #post: (message: ToldResult) => void;
  readonly #open = new Map<number, Open>();

  constructor(services: ServiceAsks, post: (message: ToldResult) => void) {
    this.#services = services;
    this.#post = post;
  }

  /** @returns whether it was a message about such a call */
  receive<M extends Exclude<FromPlace, { type: "log" }>>(message: M): message is Extract<M, { type: `ask${string}` }> {
    if (message.type === "ask") this.#ask(message);
    else if (message.type === "askCancel") this.#cancel(message.ask);
    else if (message.type === "askCredit") this.#open.get(message.ask)?.stream?.addCredit();
    else return false;
    return true;
  }

  /** The place is gone: nobody waits for its calls. */
  drop(): void {
    const open = [...this.#open.keys()];
    for (const ask of open) this.#cancel(ask);
  }

  #ask({ ask, caller, module, service, input, frame, leftMs }: AskedCall): void {
    const open: Open = { giveUp: () => {}, stream: null };
    this.#open.set(ask, open);
    const order = {
      caller,
      module,
      service,
      input: Carried.encoded(input),
      frame: frame === null ? null : new AskedFrame(frame),
      timeoutMs: leftMs === 0 ? undefined : leftMs,
      signal: undefined,
    };
    const giveUp = this.#services.ask(order, this.#answerTo(ask, open));
    open.giveUp = giveUp;
  }

  #answerTo(ask: number, open: Open): ServiceAnswer {
    return {
      resolve: (value) => this.#over(ask, () => ({ kind: "value", text: value.text })),
      reject: ({ code, message, data }) =>
        this.#over(ask, () => ({ kind: "failure", text: encodeValue({ code, message, data }) })),
      stream: (parts) => {
        if (this.#open.get(ask) !== open) return void parts.return?.();
        open.stream = new SentStream(parts, (kind, text) => {
          if (kind !== "part") this.#open.delete(ask);
          this.#post({ type: "told", ask, kind, text });
        });
        this.#post({ type: "told", ask, kind: "stream", text: "" });
        void open.stream.pump();
      },
    };
  }

  #over(ask: number, result: () => Pick<ToldResult, "kind" | "text">): void {
    if (!this.#open.delete(ask)) return;
    this.#post({ type: "told", ask, ...encoded(result) });
  }

  #cancel(ask: number): void {
    const open = this.#open.get(ask);
    if (open === undefined) return;
    this.#open.delete(ask);
    open.stream?.cancel();
    open.giveUp();
  }
}

/** What the caller's own call hands down. Its end comes as a message. */
class AskedFrame implements CallFrame {
  readonly chain: CallFrame["chain"];
  readonly identity: CallFrame["identity"];
  readonly client: CallFrame["client"];
  readonly deadlineAt = Infinity;

  constructor({ chain, identity, client }: NonNullable<AskedCall["frame"]>) {
    this.chain = chain;
    this.identity = identity;
    this.client = client;
  }

  cancellation(): null {
    return null;
  }
}

/** @returns the failure instead, if the value cannot be cloned */
function encoded(result: () => Pick<ToldResult, "kind" | "text">): Pick<ToldResult, "kind" | "text"> {
  try {
    return result();
  } catch (error) {
    const { code, message } = uncopiedResult(error);
    return { kind: "failure", text: encodeValue({ code, message }) };
  }
}

/** A result in parts: sent as fast as its reader in the place takes them. */
class SentStream {
  readonly #parts: AsyncIterableIterator<Carried>;
  readonly #send: (kind: "part" | "end" | "failure", text: string) => void;
  #credit = STREAM_WINDOW;
  #onCredit: (() => void) | null = null;
  #isCancelled = false;

  constructor(parts: AsyncIterableIterator<Carried>, send: (kind: "part" | "end" | "failure", text: string) => void) {
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
        if (next.done === true) return this.#send("end", "");
        this.#credit--;
        this.#send("part", next.value.text);
      }
    } catch (error) {
      if (this.#isCancelled) return;
      void this.#parts.return?.();
      const { code = "FAILED", message, data } = error as Partial<ServiceError>;
      this.#send("failure", encodeValue({ code, message: String(message), data }));
    }
  }
}
