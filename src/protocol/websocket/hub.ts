/**
 * All WebSockets of a server. A socket belongs to a module and a key, not to a version: each event finds the present
 * handlers of its route, which follow the routing table. No socket keeps an old version in memory.
 */
import type { Client } from "../../module/contract";
import { SocketDrops } from "../../observe/socket-drops";
import { type Routing, socketRoute, type WebSocketBound } from "../routing";
import type { Dispatch } from "../wire";
import { type Outgoing, OutgoingBatch, prepare } from "./outgoing";
import type { FrameSender } from "./sender";

/** A WebSocket among those of its route. Gets changes of its handlers. */
interface Follower {
  /** The module has no such route any more. Calls its handlers a last time. */
  moduleGone(): void;
  /** The new version has another idleTimeoutMs. */
  restartIdle(): void;
  /** The module is being replaced: stops reading until `goOn`. */
  stopReading(): void;
  goOn(): void;
  /** The process of its handlers was lost, and what they knew of the socket with it. */
  processLost(): void;
}

/** One module's sockets, which its topics reach. */
class ModuleSockets {
  /** By key. */
  readonly routes = new Map<string, RouteSockets>();
  readonly #topics = new Map<string, Set<FrameSender>>();
  readonly #tellOthers: (topic: string, data: string | Uint8Array) => void;
  readonly #drops: (topic: string, client: Client, messages: number) => void;
  /** The topic of the message that is being published. "": none is. */
  #publishing = "";

  constructor(
    tellOthers: (topic: string, data: string | Uint8Array) => void,
    drops: (topic: string, client: Client, messages: number) => void,
  ) {
    this.#tellOthers = tellOthers;
    this.#drops = drops;
  }

  tellDropped(client: Client, messages: number): void {
    this.#drops(this.#publishing, client, messages);
  }

  subscribe(topic: string, sender: FrameSender): void {
    const subscribers = this.#topics.get(topic);
    if (subscribers === undefined) this.#topics.set(topic, new Set([sender]));
    else subscribers.add(sender);
  }

  unsubscribe(topic: string, sender: FrameSender): void {
    const subscribers = this.#topics.get(topic);
    if (subscribers?.delete(sender) && subscribers.size === 0) this.#topics.delete(topic);
  }

  /** @returns as ServerWebSocket.publish */
  publishFrom(sender: FrameSender, topic: string, message: Outgoing): number {
    this.#tellOthers(topic, message.data);
    return this.publish(topic, message, sender);
  }

  /** To those of this process. @returns as ServerWebSocket.publish */
  publish(topic: string, message: Outgoing | OutgoingBatch, except: FrameSender | null): number {
    const subscribers = this.#topics.get(topic);
    if (subscribers === undefined) return 0;
    let result = 0;
    this.#publishing = topic;
    for (const sender of subscribers) {
      if (sender === except) continue;
      const sent = sender.sendMessage(message);
      if (sent < 0 || result < 0) result = -1;
      else result = Math.max(result, sent);
    }
    this.#publishing = "";
    return result;
  }
}

/** The sockets of one module and key. It exists only while there are such sockets. */
export class RouteSockets {
  /** The serving version's route; null once the module has no such route. */
  route: WebSocketBound | null;
  /** Events wait meanwhile. */
  isUnavailable = false;
  readonly module: ModuleSockets;
  readonly #sockets = new Set<Follower>();
  readonly #remove: (sockets: RouteSockets) => void;
  #waiting: (() => void)[] = [];

  constructor(route: WebSocketBound, module: ModuleSockets, remove: (sockets: RouteSockets) => void) {
    this.route = route;
    this.module = module;
    this.#remove = remove;
  }

  add(socket: Follower): void {
    this.#sockets.add(socket);
  }

  delete(socket: Follower): void {
    this.#sockets.delete(socket);
    if (this.#sockets.size === 0 && this.#waiting.length === 0) this.#remove(this);
  }

  tellDropped(client: Client, messages: number): void {
    this.module.tellDropped(client, messages);
  }

  /** Runs `action` once the module is back; never, if it does not come back. */
  whenAvailable(action: () => void): void {
    this.#waiting.push(action);
  }

  follow(next: WebSocketBound | null): void {
    if (next === null) {
      // Now, while the old handlers can still be called. The handlers of a module that is being replaced cannot.
      if (this.isUnavailable) this.route = null;
      this.isUnavailable = false;
      for (const socket of Array.from(this.#sockets)) socket.moduleGone();
      this.route = null;
      this.#waiting = [];
      return this.#remove(this);
    }
    const hasOtherClock = this.route?.websocket.idleTimeoutMs !== next.websocket.idleTimeoutMs;
    this.route = next;
    if (hasOtherClock) for (const socket of this.#sockets) socket.restartIdle();
    const wasUnavailable = this.isUnavailable;
    this.isUnavailable = next.isUnavailable;
    if (this.isUnavailable) for (const socket of this.#sockets) socket.stopReading();
    // Not within the swap: handlers must not run before it is complete.
    else if (wasUnavailable) setImmediate(() => this.#goOn());
  }

  processLost(): void {
    for (const socket of Array.from(this.#sockets)) socket.processLost();
  }

  #goOn(): void {
    if (this.isUnavailable) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const action of waiting) action();
    for (const socket of Array.from(this.#sockets)) socket.goOn();
    if (this.#sockets.size === 0) this.#remove(this);
  }
}

const hubs = new WeakMap<Dispatch, SocketHub>();

export class SocketHub {
  /** Publishes the same in the server's other processes. Default: there are none. */
  tellOthers: (module: string, topic: string, data: string | Uint8Array) => void = () => {};
  readonly drops = new SocketDrops();
  readonly #modules = new Map<string, ModuleSockets>();

  /** The only hub of a server. */
  static of(dispatch: Dispatch): SocketHub {
    let hub = hubs.get(dispatch);
    if (hub === undefined) hubs.set(dispatch, (hub = new SocketHub()));
    return hub;
  }

  /** The sockets of a route in the present table. Add one, or the object stays for ever. */
  socketsOf(route: WebSocketBound): RouteSockets {
    const module = this.#moduleOf(route.module);
    const known = module.routes.get(route.key);
    if (known !== undefined) return known;
    const sockets = new RouteSockets(route, module, this.#remover(module, route.module, route.key));
    module.routes.set(route.key, sockets);
    return sockets;
  }

  #moduleOf(name: string): ModuleSockets {
    let module = this.#modules.get(name);
    if (module === undefined) {
      module = new ModuleSockets(
        (topic, data) => this.tellOthers(name, topic, data),
        (...drop) => this.drops.note(name, ...drop),
      );
      this.#modules.set(name, module);
    }
    return module;
  }

  /** Refers to names only: the sockets outlive the version that they began with, and must not keep it in memory. */
  #remover(module: ModuleSockets, name: string, key: string): (sockets: RouteSockets) => void {
    const { routes } = module;
    return (sockets) => {
      if (routes.get(key) === sockets) routes.delete(key);
      if (routes.size === 0 && this.#modules.get(name) === module) this.#modules.delete(name);
    };
  }

  /** The routing was replaced: gives the open sockets their new handlers. Call it in the same turn. */
  follow(routing: Routing): void {
    for (const [name, { routes }] of Array.from(this.#modules)) {
      for (const [key, sockets] of Array.from(routes)) sockets.follow(socketRoute(routing, name, key));
    }
  }

  /** The process of a generation was lost: closes the sockets whose handlers ran there. */
  processLost(id: number): void {
    for (const { routes } of Array.from(this.#modules.values()))
      for (const sockets of Array.from(routes.values()))
        if (sockets.route?.generation.id === id && sockets.route.run === "process") sockets.processLost();
  }

  /** @returns as ModuleContext.publish */
  publish(module: string, topic: string, data: unknown, options?: { readonly onlyHere?: boolean }): number {
    const messages = (Array.isArray(data) ? data : [data]).map((each: unknown) => prepare(each, undefined));
    if (options?.onlyHere !== true) for (const { data: each } of messages) this.tellOthers(module, topic, each);
    const [message] = messages;
    if (message === undefined) return 0;
    const all = messages.length === 1 ? message : new OutgoingBatch(messages);
    return this.#modules.get(module)?.publish(topic, all, null) ?? 0;
  }

  /** Sends another process's published message to the sockets of this one. */
  deliver(module: string, topic: string, data: unknown): void {
    this.#modules.get(module)?.publish(topic, prepare(data, undefined), null);
  }
}
