/** Looks at the rights of all watches twice a second: a silent one must end, too, when its client's token is revoked. */

const EVERY_MS = 500;

export class WatchGuards {
  readonly #checks = new Set<() => void>();
  #timer: Timer | null = null;

  /** @returns ends it */
  add(check: () => void): { end(): void } {
    this.#checks.add(check);
    this.#timer ??= setInterval(() => {
      for (const each of this.#checks) each();
    }, EVERY_MS);
    return {
      end: () => {
        this.#checks.delete(check);
        if (this.#checks.size === 0) this.close();
      },
    };
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }
}
