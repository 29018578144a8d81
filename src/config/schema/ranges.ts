/**
 * Whole numbers that flags and the schema check alike: smallest and largest. Apart from the schema, so that help needs
 * no zod.
 */
export interface Range {
  readonly min: number;
  readonly max: number;
}

export const PORT_RANGE: Range = { min: 0, max: 65_535 };
export const THREADS_RANGE: Range = { min: 1, max: 256 };
/** 0: one a core. */
export const PROCESSES_RANGE: Range = { min: 0, max: 256 };
/** In milliseconds. Timers of more than 2^31 - 1 would fire at once. */
export const TIMEOUT_RANGE: Range = { min: 0, max: 2_147_483_647 };
