/**
 * The replies of a connection: calls a message's handler, here or on another host, and sends the replies in the order
 * of their messages.
 */
import { asBuffer, type Dispatch } from "../../protocol/wire";
import { Call } from "../../host/call";
import { beginCall, endCall, NOT_TIMED, runInline, tellAccess } from "../../host/inline";
import type { Hosts } from "../../host/hosts";
import type { Client, Handle, ModuleContext, Session } from "../../module/contract";
import type { BoundRoute } from "../../module/route";
import { byteLength } from "../../protocol/access";
import { RawMessage } from "../../protocol/raw/message";
import type { Talk, TalkLine } from "../../protocol/raw/talk";
import { isThenable } from "../../module/graph/returned";
import { unavailableReply } from "../../protocol/web/unavailable";
import { CLOSE_CONNECTION, failRaw, ReplySlot, type ReplyOwner } from "../../protocol/raw/reply-queue";
import type { Sender } from "./sender";

/** The connection, as its replies see it. */
interface TalkOwner extends ReplyOwner {
  /** More is queued than the client may leave unread. */
  readonly isOverfull: boolean;
  /** Its talk owes nothing any more. */
  settled(): void;
}

const BEHIND_LF = /(?<=\n)/;

export class Replies {
  readonly #connection: TalkOwner;
  readonly #sender: Sender;
  readonly #dispatch: Dispatch;
  readonly #hosts: Pick<Hosts, "call">;
  /** Replies that are owed, oldest first; null: none. */
  #slots: ReplySlot[] | null = null;
  #talk: Talk | null = null;
  /** Of the talk. */
  #waiting: (() => void)[] = [];

  constructor(connection: TalkOwner, sender: Sender, hosts: Pick<Hosts, "call">) {
    this.#connection = connection;
    this.#sender = sender;
    this.#dispatch = connection.dispatch;
    this.#hosts = hosts;
  }

  get areOwed(): boolean {
    return this.#slots !== null || (this.#talk !== null && this.#talk.isBusy);
  }

  /** @returns the connection's talk, begun by `begin` if there is none */
  talk<T extends Talk>(begin: (line: TalkLine) => T): T {
    return (this.#talk ??= begin(new Line(this.#connection, this))) as T;
  }

  /** How many are owed. */
  get count(): number {
    return this.#slots === null ? 0 : this.#slots.length;
  }

  /** Handles the message from `from` to before `end`, and sends its reply or waits for it. */
  answer(route: BoundRoute, bytes: Uint8Array, from: number, end: number): void {
    this.#dispatch.counters.messages++;
    if (route.isUnavailable) return this.#send(route, unavailableReply(route), NOT_TIMED);
    if (route.run !== "inline") return this.#callElsewhere(route, asBuffer(bytes).latin1Slice(from, end));
    const message = new RawMessage(bytes, from, end, this.#connection);
    const startedAt = beginCall(route, this.#dispatch.access !== null);
    let result: unknown;
    try {
      result = runInline(route, route.handler as unknown as Handle, message, route.generation.context as ModuleContext);
    } catch (error) {
      return this.#reply(route, failRaw(this.#dispatch, route, this.#connection, error), startedAt);
    }
    if (isThenable(result)) this.#await(route, message, result, startedAt);
    else this.#reply(route, result, startedAt);
  }

  /** Sends a reply of the server's own, after the replies that are owed. */
  say(reply: string | Uint8Array): void {
    if (this.#dispatch.access !== null) this.#tell(null, byteLength(reply), NOT_TIMED);
    this.#put(reply);
  }

  /** The same for several replies at once, each with its LF. */
  sayLines(lines: string): void {
    if (this.#dispatch.access !== null)
      for (const line of lines.split(BEHIND_LF)) this.#tell(null, byteLength(line), NOT_TIMED);
    this.#put(lines);
  }

  #put(reply: string | Uint8Array): void {
    if (this.#slots === null) this.#sender.write(reply);
    else this.#addSlot(null).resolve(reply);
  }

  /** Ends the connection after the replies that are owed. */
  finish(): void {
    if (this.#slots === null) this.#connection.finish();
    else this.#addSlot(null).resolve(CLOSE_CONNECTION);
  }

  /** The client is gone: nobody waits for the owed replies. */
  drop(): void {
    const slots = this.#slots;
    this.#slots = null;
    if (slots !== null) for (const slot of slots) slot.drop();
    const talk = this.#talk;
    this.#talk = null;
    talk?.left();
    this.#wake();
  }

  /** Sends finished replies, in order. @returns whether any was sent without ending the connection */
  sendReady(): boolean {
    const slots = this.#slots;
    if (slots === null) return false;
    let sent = 0;
    while (sent < slots.length && (slots[sent] as ReplySlot).send()) sent++;
    // Sending may have ended the connection, and dropped them all.
    if (this.#slots !== slots || sent === 0) return false;
    if (sent === slots.length) {
      this.#slots = null;
      this.#wake();
    } else slots.splice(0, sent);
    return true;
  }

  /** Resolves when no reply is owed that would have to leave first. */
  waitForTurn(): Promise<void> {
    if (this.#slots === null) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #wake(): void {
    const waiting = this.#waiting;
    if (waiting.length === 0) return;
    this.#waiting = [];
    for (const goOn of waiting) goOn();
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
    const { client } = this.#connection;
    slot.remote = this.#hosts.call({ route, client, latin1, body: null, timeoutMs: call.timeoutMs, owner: slot });
  }

  /** Sends a finished reply, or queues it behind those that are still owed. */
  #reply(route: BoundRoute, value: unknown, startedAt: number): void {
    this.#send(route, value, startedAt);
    endCall(route, startedAt);
  }

  #send(route: BoundRoute, value: unknown, startedAt: number): void {
    if (this.#slots === null) {
      if (typeof value === "string") {
        if (value !== "") this.#sender.write(value);
        if (this.#dispatch.access !== null) this.#tell(route, byteLength(value), startedAt);
        return;
      }
      if (value === CLOSE_CONNECTION) return this.#connection.finish();
    }
    const slot = this.#addSlot(null);
    this.#callOf(slot, route, startedAt).timed().enter();
    slot.resolve(value);
  }

  #tell(route: BoundRoute | null, bytes: number, startedAt: number): void {
    const { access } = this.#dispatch;
    if (access !== null) tellAccess(access, this.#connection.client, route, startedAt, { protocol: "raw", bytes });
  }

  #callOf(slot: ReplySlot, route: BoundRoute, startedAt: number): Call {
    return (slot.call = new Call(this.#dispatch, route, this.#connection, startedAt, slot));
  }

  #addSlot(message: RawMessage | null): ReplySlot {
    const slot = new ReplySlot(this.#connection, message);
    (this.#slots ??= []).push(slot);
    return slot;
  }
}

/** A connection, as its talk sees it. */
class Line implements TalkLine {
  readonly #connection: TalkOwner;
  readonly #replies: Replies;

  constructor(connection: TalkOwner, replies: Replies) {
    this.#connection = connection;
    this.#replies = replies;
  }

  get client(): Client {
    return this.#connection.client;
  }

  get session(): Session {
    return this.#connection.session;
  }

  say(lines: string): boolean {
    if (this.#connection.isClosed) return true;
    this.#replies.sayLines(lines);
    return !this.#connection.isOverfull && this.#replies.count === 0;
  }

  async drained(): Promise<void> {
    await this.#replies.waitForTurn();
    await this.#connection.waitForDrain();
  }

  settled(): void {
    this.#connection.settled();
  }
}
