/** The clients' knowledge of the server: its address, and the answers that are right at the moment. */
import type { Edited, Project } from "./project";
import type { Fates, Tally } from "./tally";

export interface World {
  readonly port: number;
  readonly udpPort: number;
  readonly project: Project;
  readonly tally: Tally;
  readonly fates: Fates;
  /** The oldest versions that may answer a question from now on: all processes serve these or newer ones. */
  readonly least: Record<Edited, number>;
  /** The newest that was ever written: nothing newer can answer. */
  readonly newest: Record<Edited, number>;
  isStopped: boolean;
}

/** An answer of the form "text vVERSION PID". */
export interface Answer {
  readonly problem: string | null;
  readonly pid: number | null;
}

/** @param least as `world.least` was when the question was sent */
export function checkAnswer(
  world: World,
  module: Edited | null,
  text: string,
  expected: string,
  least: number,
): Answer {
  const match = /^(.*) v(\d+) (\d+)$/.exec(text);
  if (match === null || match[1] !== expected)
    return { problem: `${JSON.stringify(text.slice(0, 80))} is not ${expected}`, pid: null };
  const version = Number(match[2]);
  const pid = Number(match[3]);
  if (module === null) return { problem: null, pid };
  if (version < least) return { problem: `an old version, ${least - version} behind the RELOAD that was over`, pid };
  return { problem: version > world.newest[module] ? `version ${version}, which was never written` : null, pid };
}
