/**
 * The places of calls that wait for their result (`limits.maxQueued`). Clients and modules have as many each: a client's
 * call must not be refused half-way, when its service calls another one. Clients share theirs, so that none takes all.
 */
import type { ServiceOrder } from "../module/service/calls";

/** The part of the places that every client may have, if there is room: one of so many. */
const ASSURED_PART = 32;

export class Places {
  readonly #limits: { readonly maxQueued: number };
  #ofModules = 0;
  #ofClients = 0;
  /** Calls of each client that wait. Only those above 0. */
  readonly #byClient = new Map<string, number>();

  constructor(limits: { readonly maxQueued: number }) {
    this.#limits = limits;
  }

  /** A call begins. */
  enter(order: ServiceOrder): void {
    if (isOfClient(order)) this.#ofClients++;
    else this.#ofModules++;
  }

  leave(order: ServiceOrder): void {
    if (isOfClient(order)) this.#ofClients--;
    else this.#ofModules--;
  }

  /** Its result is not there at once. */
  wait(order: ServiceOrder): void {
    if (!isOfClient(order)) return;
    const client = clientName(order);
    this.#byClient.set(client, (this.#byClient.get(client) ?? 0) + 1);
  }

  /** Its result came later. */
  settle(order: ServiceOrder): void {
    if (!isOfClient(order)) return;
    const client = clientName(order);
    const left = (this.#byClient.get(client) ?? 0) - 1;
    if (left > 0) this.#byClient.set(client, left);
    else this.#byClient.delete(client);
  }

  /**
   * Why a call that has entered must not begin. null: it may. A client with more than its assured part may have as many
   * places as are free: alone it gets half of them.
   */
  refusal(order: ServiceOrder): string | null {
    const { maxQueued } = this.#limits;
    if (!isOfClient(order)) return this.#ofModules > maxQueued ? underWay(maxQueued) : null;
    if (this.#ofClients > maxQueued) return underWay(maxQueued);
    const assured = Math.max(1, Math.floor(maxQueued / ASSURED_PART));
    if (this.#ofClients <= assured) return null;
    const own = this.#byClient.get(clientName(order)) ?? 0;
    // With this call.
    return own < assured || own < maxQueued - this.#ofClients + 1
      ? null
      : `${own} calls of this client are under way, and other clients need places, too (limits.maxQueued is ${maxQueued})`;
  }
}

function underWay(maxQueued: number): string {
  return `${maxQueued} calls are under way (limits.maxQueued)`;
}

/** No module may be named "rpc". */
function isOfClient({ caller }: ServiceOrder): boolean {
  return caller.module === "rpc";
}

/**
 * Its token's name. A client without a token is known by its address; on this machine, where all programs have the same
 * one, by its connection.
 */
function clientName({ frame }: ServiceOrder): string {
  if (frame === null || frame.client === null) return "";
  const { client, identity } = frame;
  if (identity !== null) return `token ${identity}`;
  return client.isLocal ? `connection ${client.connection}` : client.address;
}
