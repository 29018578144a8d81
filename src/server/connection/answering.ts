/**
 * The answering part of a connection: has a message handled, here or elsewhere, and sends the replies in the order of
 * their messages.
 */
import { asBuffer } from "../../protocol/wire";
import { Call } from "../../host/call";
import { beginCall, endCall, NOT_TIMED, runInline, tellAccess } from "../../host/inline";
import type { Hosts } from "../../host/hosts";
import type { Client, Handle, ModuleContext } from "../../module/contract";
import type { BoundRoute } from "../../module/route";
import { parcelOf } from "../../host/remote/messages";
import { byteLength } from "../../protocol/access";
import { RawMessage } from "../../protocol/raw/message";
import { isThenable } from "../../module/graph/returned";
import { unavailableReply } from "../../protocol/web/unavailable";
import { CLOSE_CONNECTION, failRaw, ReplySlot, type ReplyOwner } from "../../protocol/raw/reply-queue";
import { SendingConnection, type SendingHome } from "./sending";

/** What answering needs of the server. */
interface AnsweringHome extends SendingHome {
  readonly hosts: Pick<Hosts, "call">;
}

export abstract class AnsweringConnection<Home extends AnsweringHome, Data>
  extends SendingConnection<Home, Data>
  implements ReplyOwner
{
  /** Replies that are owed, oldest first; null: none. */
  #slots: ReplySlot[] | null = null;

  abstract get client(): Client;

  /** Sends what is queued and ends the connection. */
  abstract finish(): void;

  /** Nothing is owed any more, and the server shuts down. */
  protected abstract finishSoon(): void;

  /** Replies have left: what waited for them may go on. */
  protected abstract answered(): void;

  protected get owesReplies(): boolean {
    return this.#slots !== null;
  }

  protected get owedReplies(): number {
    return this.#slots === null ? 0 : this.#slots.length;
  }

  /** Has the message from `from` to before `end` handled, and its reply sent or awaited. */
  protected answer(route: BoundRoute, bytes: Uint8Array, from: number, end: number): void {
    this.dispatch.counters.messages++;
    if (route.isUnavailable) return this.#send(route, unavailableReply(route), NOT_TIMED);
    if (route.run !== "inline") return this.#callElsewhere(route, asBuffer(bytes).latin1Slice(from, end));
    const message = new RawMessage(bytes, from, end, this);
    const startedAt = beginCall(route, this.dispatch.access !== null);
    let result: unknown;
    try {
      result = runInline(route, route.handler as unknown as Handle, message, route.generation.context as ModuleContext);
    } catch (error) {
      return this.#reply(route, failRaw(this.dispatch, route, this, error), startedAt);
    }
    if (isThenable(result)) this.#await(route, message, result, startedAt);
    else this.#reply(route, result, startedAt);
  }

  /** Says something of the server's own, behind the replies that are owed. */
  protected say(reply: string | Uint8Array): void {
    if (this.dispatch.access !== null) this.#tell(null, byteLength(reply), NOT_TIMED);
    if (this.#slots === null) this.write(reply);
    else this.#addSlot(null).resolve(reply);
  }

  /** Ends the connection behind the replies that are owed. */
  protected finishInTurn(): void {
    if (this.#slots === null) this.finish();
    else this.#addSlot(null).resolve(CLOSE_CONNECTION);
  }

  /** The client is gone: nobody waits for what is owed. */
  protected dropReplies(): void {
    const slots = this.#slots;
    this.#slots = null;
    if (slots !== null) for (const slot of slots) slot.drop();
  }

  /** Sends what is ready, in order, and goes on with what waited for it. */
  advance(): void {
    const slots = this.#slots;
    if (slots === null) return;
    let sent = 0;
    while (sent < slots.length && (slots[sent] as ReplySlot).send()) sent++;
    // Sending may have ended the connection, and dropped them all.
    if (this.#slots !== slots || sent === 0) return;
    if (sent === slots.length) this.#slots = null;
    else slots.splice(0, sent);
    if (this.#slots === null && this.dispatch.isDraining) this.finishSoon();
    this.answered();
  }

  #await(route: BoundRoute, message: RawMessage, result: PromiseLike<unknown>, startedAt: number): void {
    const slot = this.#addSlot(message);
    this.#callOf(slot, route, startedAt || performance.now()).awaitHandler();
    Promise.resolve(result).then(
      (value) => slot.resolve(value),
      (error: unknown) => slot.reject(error),
    );
  }

  #callElsewhere(route: BoundRoute, latin1: string): void {
    const slot = this.#addSlot(null);
    const call = this.#callOf(slot, route, performance.now());
    call.awaitHandler();
    const parcel = parcelOf(this.client, latin1);
    slot.remote = this.home.hosts.call({ route, parcel, body: null, timeoutMs: call.timeoutMs, sink: slot });
  }

  /** Sends a reply that is there already, or has it wait behind those that are still owed. */
  #reply(route: BoundRoute, value: unknown, startedAt: number): void {
    this.#send(route, value, startedAt);
    endCall(route, startedAt);
  }

  #send(route: BoundRoute, value: unknown, startedAt: number): void {
    if (this.#slots === null) {
      if (typeof value === "string") {
        if (value !== "") this.write(value);
        if (this.dispatch.access !== null) this.#tell(route, byteLength(value), startedAt);
        return;
      }
      if (value === CLOSE_CONNECTION) return this.finish();
    }
    const slot = this.#addSlot(null);
    this.#callOf(slot, route, startedAt).timed().enter();
    slot.resolve(value);
  }

  #tell(route: BoundRoute | null, bytes: number, startedAt: number): void {
    const { access } = this.dispatch;
    if (access !== null) tellAccess(access, this.client, route, startedAt, { protocol: "raw", bytes });
  }

  #callOf(slot: ReplySlot, route: BoundRoute, startedAt: number): Call {
    return (slot.call = new Call(this.dispatch, route, this, startedAt, slot));
  }

  #addSlot(message: RawMessage | null): ReplySlot {
    const slot = new ReplySlot(this, message);
    (this.#slots ??= []).push(slot);
    return slot;
  }
}
