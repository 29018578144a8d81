/** The open connections of a server or of a port, and their end. */
import type { ServerConnection } from "./connection";

export class OpenConnections {
  readonly #open = new Set<ServerConnection>();
  #onLastClosed: (() => void) | null = null;

  get count(): number {
    return this.#open.size;
  }

  add(connection: ServerConnection): void {
    this.#open.add(connection);
  }

  delete(connection: ServerConnection): void {
    this.#open.delete(connection);
    if (this.#open.size === 0) this.#onLastClosed?.();
  }

  /**
   * Lets each connection finish its open work and begin nothing new. Set `isDraining` first.
   *
   * @param ms 0: no limit
   * @returns whether all are closed; false if the time is over
   */
  async drain(ms: number): Promise<boolean> {
    for (const connection of this.#open) connection.draining();
    if (this.#open.size === 0) return true;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.#onLastClosed = () => resolve(true);
    const timer = ms === 0 ? undefined : setTimeout(() => resolve(false), ms);
    const isClosed = await promise;
    clearTimeout(timer);
    return isClosed;
  }

  all(): ServerConnection[] {
    return [...this.#open];
  }

  /** Resets all. */
  cut(): void {
    for (const connection of this.all()) connection.abort();
  }
}
