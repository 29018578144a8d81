/** A WebSocket as a module's handlers see it. */
import type { Client, ServerWebSocket } from "../../module/contract";
import type { HostSocket } from "./connection";
import { NORMAL, PING, PONG } from "./frames";
import { prepare, toBytes, toData, toText } from "./outgoing";

const EMPTY = Buffer.alloc(0);

export class AuthorSocket implements ServerWebSocket {
  data: unknown;
  readonly client: Client;
  readonly #host: HostSocket;

  constructor(host: HostSocket, client: Client, data: unknown) {
    this.#host = host;
    this.client = client;
    this.data = data;
  }

  get readyState(): 1 | 2 | 3 {
    return this.#host.readyState;
  }
  get remoteAddress(): string {
    return this.client.address;
  }
  get subscriptions(): string[] {
    return this.#host.topics;
  }

  send(data: string | ArrayBufferLike | ArrayBufferView, compress?: boolean): number {
    return this.#host.isPlain ? this.#host.sendPlain(toData(data)) : this.#host.sendMessage(prepare(data, compress));
  }

  sendText(data: string, compress?: boolean): number {
    return this.send(toText(data), compress);
  }

  sendBinary(data: ArrayBufferLike | ArrayBufferView, compress?: boolean): number {
    return this.send(toBytes(data), compress);
  }

  ping(data: string | ArrayBufferLike | ArrayBufferView = EMPTY): number {
    return this.#host.sendControl(PING, controlBytes(data));
  }

  pong(data: string | ArrayBufferLike | ArrayBufferView = EMPTY): number {
    return this.#host.sendControl(PONG, controlBytes(data));
  }

  close(code: number = NORMAL, reason = ""): void {
    this.#host.beginClose(code, reason);
  }

  terminate(): void {
    this.#host.terminate();
  }

  subscribe(topic: string): boolean {
    return this.#host.subscribe(topic);
  }

  unsubscribe(topic: string): boolean {
    return this.#host.unsubscribe(topic);
  }

  isSubscribed(topic: string): boolean {
    return this.#host.isSubscribed(topic);
  }

  publish(topic: string, data: string | ArrayBufferLike | ArrayBufferView, compress?: boolean): number {
    return this.#host.publish(topic, prepare(data, compress));
  }

  publishText(topic: string, data: string, compress?: boolean): number {
    return this.publish(topic, toText(data), compress);
  }

  publishBinary(topic: string, data: ArrayBufferLike | ArrayBufferView, compress?: boolean): number {
    return this.publish(topic, toBytes(data), compress);
  }

  getBufferedAmount(): number {
    return this.#host.queuedBytes;
  }

  cork<R>(fn: (socket: this) => R): R {
    return this.#host.cork(() => fn(this));
  }
}

function controlBytes(data: unknown): Uint8Array {
  const read = toData(data);
  return typeof read === "string" ? Buffer.from(read) : read;
}
