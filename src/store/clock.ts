/** The store's clock: it never goes back, also when the system's does. */

export class StoreClock {
  /** A moment of this clock, in milliseconds since 1970. */
  #base = 0;
  /** By `performance.now()`: when it was `#base`. */
  #baseAt = 0;

  readonly now = (): number => {
    const passed = Math.floor(this.#base + (performance.now() - this.#baseAt));
    const system = Date.now();
    if (system < passed) return passed;
    this.#set(system);
    return system;
  };

  /** It is not before this moment. */
  readonly raise = (moment: number): void => {
    if (moment > this.now()) this.#set(moment);
  };

  #set(moment: number): void {
    this.#base = moment;
    this.#baseAt = performance.now();
  }
}
