/** One version whose `start` was called in this process: where it is between its start and its stop. */
import type { Generation } from "../../module/generation";

/** failed: its start is tried again. */
type LifePhase = "starting" | "started" | "failed" | "stopping";

export class Running {
  readonly generation: Generation;
  phase: LifePhase = "starting";
  /** Failed starts, one after another. */
  tries = 0;
  /** Why the last start failed. */
  error: string | null = null;
  /** Milliseconds since 1970; null: no try is due. */
  nextTryAtMs: number | null = null;
  /** The last failure that was logged. */
  told: string | null = null;
  timer: Timer | null = null;
  /** Resolves when it has stopped acting. */
  readonly gone = Promise.withResolvers<void>();

  constructor(generation: Generation) {
    this.generation = generation;
  }

  /** Its start or its stop is under way. */
  get isMoving(): boolean {
    return this.phase === "starting" || this.phase === "stopping";
  }
}
