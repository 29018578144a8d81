/** The outcome of a task's run, for the client that asked for it. Plain data. */

export interface TaskOutcome {
  readonly module: string;
  readonly task: string;
  /** The version that ran. */
  readonly version: number;
  readonly durationMs: number;
  /** Why it failed; null: it did not. */
  readonly error: string | null;
}
