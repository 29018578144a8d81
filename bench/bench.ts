/** The input and the output of a row. */
import type { Generator } from "./generator";
import type { Program } from "./server";

export interface Bench {
  readonly generator: Generator;
  /** hrmr: the binary or the source. */
  readonly program: Program;
  /** Rounds of a comparison. */
  readonly rounds: number;
  /** Whether to run rows that take minutes. */
  readonly isFull: boolean;
}

/** One line of the table. */
export interface Line {
  readonly title: string;
  /** The figures of hrmr, and of its bound ("" if there is none). */
  readonly hrmr: string;
  readonly bound: string;
  /** The figure that has a target, its spread, and the target. */
  readonly result: string;
  readonly spread: string;
  readonly target: string;
  /** null: there is no target. */
  readonly isMet: boolean | null;
}

export interface Row {
  /** For --only. */
  readonly name: string;
  /** Only with --full, or when --only names it. Default false. */
  readonly isExtra?: boolean;
  /** @throws Error on a wrong reply: the whole run fails then */
  run(bench: Bench): Promise<Line[]>;
}
