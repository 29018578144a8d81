/** The topics of one WebSocket: its subscriptions, and publishing. */
import type { RouteSockets } from "./hub";
import type { Outgoing } from "./outgoing";
import type { FrameSender } from "./sender";

export class SocketTopics {
  readonly #sockets: RouteSockets;
  readonly #sender: FrameSender;
  /** null: none. */
  #names: Set<string> | null = null;

  constructor(sockets: RouteSockets, sender: FrameSender) {
    this.#sockets = sockets;
    this.#sender = sender;
  }

  get names(): string[] {
    return this.#names === null ? [] : [...this.#names];
  }

  has(topic: string): boolean {
    return this.#names?.has(topic) ?? false;
  }

  subscribe(topic: string): boolean {
    if (!this.#sender.isOpen || this.has(topic)) return false;
    (this.#names ??= new Set()).add(topic);
    this.#sockets.module.subscribe(topic, this.#sender);
    return true;
  }

  unsubscribe(topic: string): boolean {
    if (this.#names === null || !this.#names.delete(topic)) return false;
    this.#sockets.module.unsubscribe(topic, this.#sender);
    return true;
  }

  /** Sends to all other subscribers. @returns as ServerWebSocket.publish */
  publish(topic: string, message: Outgoing): number {
    return this.#sockets.module.publishFrom(this.#sender, topic, message);
  }

  leave(): void {
    if (this.#names === null) return;
    for (const topic of this.#names) this.#sockets.module.unsubscribe(topic, this.#sender);
    this.#names = null;
  }
}
