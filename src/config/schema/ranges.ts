/**
 * The smallest and largest whole numbers that flags and the schema both check. Apart from the schema, so that help
 * needs no zod.
 */
export interface Range {
  readonly min: number;
  readonly max: number;
}

export const PORT_RANGE: Range = { min: 0, max: 65_535 };
export const THREADS_RANGE: Range = { min: 1, max: 256 };
/** 0: one per core. */
export const PROCESSES_RANGE: Range = { min: 0, max: 256 };
/** In milliseconds. Timers above 2^31 - 1 would fire at once. */
export const TIMEOUT_RANGE: Range = { min: 0, max: 2_147_483_647 };
