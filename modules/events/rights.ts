/** Clients that receive events now. One that loses its rights, since its token is revoked or expires, gets no more. */
import type { Asker, Gate, Refusal } from "./gate";

/** How often the rights are checked again. In milliseconds. */
const LOOK_MS = 500;

interface Watched {
  readonly asker: Asker;
  readonly topics: readonly string[];
  /** Ends its events. */
  readonly end: (refusal: Refusal) => void;
}

export class Rights {
  readonly #gate: Gate;
  readonly #watched = new Set<Watched>();
  #timer: ReturnType<typeof setInterval> | null = null;

  constructor(gate: Gate) {
    this.#gate = gate;
  }

  /** @param end  called at most once. @returns a function that ends the watch, idempotent */
  watch(asker: Asker, topics: readonly string[], end: Watched["end"]): () => void {
    const watched = { asker, topics, end };
    this.#watched.add(watched);
    this.#timer ??= setInterval(() => this.#look(), LOOK_MS);
    return () => this.#left(watched);
  }

  close(): void {
    this.#watched.clear();
    this.#stop();
  }

  #look(): void {
    for (const watched of this.#watched) {
      const refusal = this.#gate.refusal(watched.asker, watched.topics);
      if (refusal === null) continue;
      this.#left(watched);
      watched.end(refusal);
    }
  }

  #left(watched: Watched): void {
    if (this.#watched.delete(watched) && this.#watched.size === 0) this.#stop();
  }

  #stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }
}
