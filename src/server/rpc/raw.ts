/** JSON-RPC 2.0 as raw messages: a line that begins with `{`, or with `[` for a batch, and a line for each answer. */
import { invalidRequest } from "../../hub/rpc/failure";
import type { Procedures } from "../../hub/rpc/procedures";
import { RpcTalk, type RpcPeer } from "../../hub/rpc/talk";
import { failureText } from "../../hub/rpc/texts";
import type { Client, Session } from "../../module/contract";
import { OWN_ROUTES } from "../../module/own-routes";
import type { BoundRoute } from "../../module/route";
import type { RawMessage } from "../../protocol/raw/message";
import type { Talk, Talker, TalkLine } from "../../protocol/raw/talk";
import { afterMicrotasks, nextTurn, WriteTurns } from "../../protocol/turns";

const refusal = (why: string): string => `${failureText(null, invalidRequest(why))}\n`;
const OVER_UDP = refusal("procedures are not called over UDP");

export function rawRoutes(procedures: Procedures): BoundRoute[] {
  const talker: Talker<RawTalk> = { begin: (line) => new RawTalk(procedures, line) };
  const handler = (message: RawMessage): string =>
    message.client.transport === "udp" ? OVER_UDP : (message.talk(talker)?.receive(message) ?? "");
  return [
    { key: "{", description: "A request of JSON-RPC 2.0, on one line" },
    { key: "[", description: "A batch of requests of JSON-RPC 2.0, on one line" },
  ].map(({ key, description }) => ({
    key,
    index: 0,
    kind: "handle",
    run: "inline",
    timeoutMs: 0,
    description,
    module: OWN_ROUTES.name,
    keyBytes: key.length,
    framing: "line",
    handler: handler as unknown as BoundRoute["handler"],
    generation: OWN_ROUTES,
    isUnavailable: false,
    refusal,
  }));
}

/** Answers beyond this are sent without waiting for more. In letters. */
const MAX_LATE = 65_536;

/** Talks with answers that wait. Many calls settle together, as when a COMMIT of the store ends: one write for all. */
let waiting: RawTalk[] = [];

function sendWaiting(): void {
  const talks = waiting;
  waiting = [];
  for (const talk of talks) talk.sendLate();
}

class RawTalk implements Talk, RpcPeer {
  readonly #line: TalkLine;
  readonly #rpc: RpcTalk;
  readonly #turns = new WriteTurns();
  #isFull = false;
  /** Answers that wait until all that have settled with them are here. */
  #late = "";
  #hasSettled = false;

  constructor(procedures: Procedures, line: TalkLine) {
    this.#line = line;
    this.#rpc = new RpcTalk(procedures, this);
  }

  receive(message: RawMessage): string {
    const answer = this.#rpc.receive(message.text, message);
    return answer === "" ? "" : `${answer}\n`;
  }

  // ---- Talk ----

  get isBusy(): boolean {
    return this.#late !== "" || this.#rpc.isBusy;
  }

  left(): void {
    this.#late = "";
    this.#rpc.left();
  }

  // ---- RpcPeer ----

  get client(): Client {
    return this.#line.client;
  }

  get session(): Session {
    return this.#line.session;
  }

  answer(text: string): void {
    if (this.#late === "") {
      if (waiting.length === 0) afterMicrotasks(sendWaiting);
      waiting.push(this);
    }
    this.#late += `${text}\n`;
    if (this.#late.length > MAX_LATE) this.sendLate();
  }

  /** Idempotent. */
  sendLate(): void {
    if (this.#late === "") return;
    const text = this.#late;
    this.#late = "";
    this.#line.say(text);
    if (!this.#hasSettled) return;
    this.#hasSettled = false;
    this.#line.settled();
  }

  notify(text: string): boolean {
    this.sendLate();
    this.#isFull = !this.#line.say(`${text}\n`);
    return !(this.#turns.count(text.length) || this.#isFull);
  }

  async drained(): Promise<void> {
    if (this.#isFull) await this.#line.drained();
    // A source that never waits must not keep other clients waiting.
    await nextTurn();
  }

  refusesParts(): null {
    return null;
  }

  settled(): void {
    if (this.#late === "") this.#line.settled();
    else this.#hasSettled = true;
  }
}
