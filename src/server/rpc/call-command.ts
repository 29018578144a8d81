/** The command CALL, for people: `CALL kv.get {"key":"a"}` is answered by the result as one line of JSON. */
import { ProcedureCall, type CallTarget } from "../../hub/rpc/call";
import type { RpcFailure } from "../../hub/rpc/failure";
import type { Procedures } from "../../hub/rpc/procedures";
import { parseJson, Unreadable } from "../../hub/rpc/request";
import { OWN_ROUTES } from "../../module/own-routes";
import type { BoundRoute } from "../../module/route";
import type { RawMessage } from "../../protocol/raw/message";

const WORD = "CALL";

export function callRoute(procedures: Procedures): BoundRoute {
  return {
    key: WORD,
    index: 0,
    kind: "command",
    run: "inline",
    timeoutMs: 0,
    description: "CALL NAME {json}: call a procedure",
    module: OWN_ROUTES.name,
    keyBytes: WORD.length,
    framing: "line",
    handler: ((message: RawMessage) => call(procedures, message)) as unknown as BoundRoute["handler"],
    generation: OWN_ROUTES,
    isUnavailable: false,
  };
}

type Lines = AsyncGenerator<string, void>;

function call(procedures: Procedures, message: RawMessage): string | Promise<string | Lines> {
  const { client, session, signal } = message;
  if (client.transport === "udp") return "ERR CALL is not accepted over UDP\n";
  const [, name = "", json = ""] = /^(\S*)\s*(.*)$/s.exec(message.text.slice(WORD.length).trim()) ?? [];
  if (name === "") return "ERR CALL takes the name of a procedure and its input: CALL MODULE.SERVICE {}\n";
  const input = json === "" ? undefined : parseJson(json, message);
  if (input instanceof Unreadable) return errorLine(input.failure);
  const target = new LineTarget();
  const made = new ProcedureCall(procedures, name, target);
  target.call = made;
  signal.addEventListener("abort", () => made.end(), { once: true });
  made.begin(input, { client, session });
  return target.reply;
}

function errorLine({ word, message }: RpcFailure): string {
  return `ERR ${word} ${message.replaceAll(/\s+/g, " ")}\n`;
}

/** A line for the result; for a streamed result, a line for each part, and `OK`. */
class LineTarget implements CallTarget {
  call: ProcedureCall | null = null;
  readonly #answered = Promise.withResolvers<string | Lines>();
  #isStream = false;
  #part: string | null = null;
  #last: string | null = null;
  #onPart: (() => void) | null = null;
  #onTaken: (() => void) | null = null;

  get reply(): Promise<string | Lines> {
    return this.#answered.promise;
  }

  result(json: string): void {
    this.#end(this.#isStream ? "OK\n" : `${json}\n`);
  }

  failure(failure: RpcFailure): void {
    this.#end(errorLine(failure));
  }

  #end(line: string): void {
    if (!this.#isStream) return this.#answered.resolve(line);
    this.#last = line;
    this.#onPart?.();
  }

  next(json: string): boolean {
    this.#part = `${json}\n`;
    if (!this.#isStream) this.#answered.resolve(this.#lines());
    this.#isStream = true;
    this.#onPart?.();
    return false;
  }

  /** The part has been taken. */
  async drained(): Promise<void> {
    if (this.#part !== null) await new Promise<void>((resolve) => (this.#onTaken = resolve));
  }

  refusesParts(): null {
    return null;
  }

  async *#lines(): Lines {
    try {
      for (;;) {
        const part = this.#part;
        if (part !== null) {
          this.#part = null;
          yield part;
          this.#onTaken?.();
        } else if (this.#last === null) await new Promise<void>((resolve) => (this.#onPart = resolve));
        else return yield this.#last;
      }
    } finally {
      this.#part = null;
      this.#onTaken?.();
      this.call?.end();
    }
  }
}
