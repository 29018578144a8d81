/** The WebSocket that a module's handlers get. */
import type { Client, ServerWebSocket, Session } from "../../module/contract";
import { CLOSED, NORMAL, PING, PONG } from "./frames";
import { prepare, toBytes, toData, toText } from "./outgoing";
import type { FrameSender } from "./sender";
import type { SocketTopics } from "./topics";

const EMPTY = Buffer.alloc(0);

/** The server's side of it. */
interface SocketOwner {
  readonly readyState: 1 | 2 | 3;
  readonly sender: FrameSender;
  readonly topics: SocketTopics;
  /** Sends a close frame and waits for the peer's. @throws RangeError for a code or a reason that cannot be sent */
  beginClose(code: number, reason: string): void;
  terminate(): void;
  /** As it is now: its token may have been revoked. */
  readonly session: Session;
}

export class AuthorSocket implements ServerWebSocket {
  data: unknown;
  readonly client: Client;
  readonly #owner: SocketOwner;
  readonly #sender: FrameSender;

  constructor(owner: SocketOwner, client: Client, data: unknown) {
    this.#owner = owner;
    this.#sender = owner.sender;
    this.client = client;
    this.data = data;
  }

  get readyState(): 1 | 2 | 3 {
    return this.#owner.readyState;
  }
  get session(): Session {
    return this.#owner.session;
  }
  get remoteAddress(): string {
    return this.client.address;
  }
  get subscriptions(): string[] {
    return this.#owner.topics.names;
  }

  send(data: string | ArrayBufferLike | ArrayBufferView, compress?: boolean): number {
    return this.#sender.isPlain
      ? this.#sender.sendPlain(toData(data))
      : this.#sender.sendMessage(prepare(data, compress));
  }

  sendText(data: string, compress?: boolean): number {
    return this.send(toText(data), compress);
  }

  sendBinary(data: ArrayBufferLike | ArrayBufferView, compress?: boolean): number {
    return this.send(toBytes(data), compress);
  }

  ping(data: string | ArrayBufferLike | ArrayBufferView = EMPTY): number {
    return this.#sender.sendControl(PING, controlBytes(data));
  }

  pong(data: string | ArrayBufferLike | ArrayBufferView = EMPTY): number {
    return this.#sender.sendControl(PONG, controlBytes(data));
  }

  close(code: number = NORMAL, reason = ""): void {
    this.#owner.beginClose(code, reason);
  }

  terminate(): void {
    this.#owner.terminate();
  }

  subscribe(topic: string): boolean {
    return this.#owner.topics.subscribe(topic);
  }

  unsubscribe(topic: string): boolean {
    return this.#owner.topics.unsubscribe(topic);
  }

  isSubscribed(topic: string): boolean {
    return this.#owner.topics.has(topic);
  }

  publish(topic: string, data: string | ArrayBufferLike | ArrayBufferView, compress?: boolean): number {
    const message = prepare(data, compress);
    return this.readyState === CLOSED ? 0 : this.#owner.topics.publish(topic, message);
  }

  publishText(topic: string, data: string, compress?: boolean): number {
    return this.publish(topic, toText(data), compress);
  }

  publishBinary(topic: string, data: ArrayBufferLike | ArrayBufferView, compress?: boolean): number {
    return this.publish(topic, toBytes(data), compress);
  }

  getBufferedAmount(): number {
    return this.#sender.queuedBytes;
  }

  cork<R>(fn: (socket: this) => R): R {
    return this.#sender.cork(() => fn(this));
  }
}

function controlBytes(data: unknown): Uint8Array {
  const read = toData(data);
  return typeof read === "string" ? Buffer.from(read) : read;
}
