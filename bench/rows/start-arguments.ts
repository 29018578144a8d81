/** How the rows start hrmr. */
import type { Bench } from "../bench";

/** Any free port, and the pool size that the targets are for. */
export function startArguments({ program }: Pick<Bench, "program">): string[] {
  return [...program.argv, "start", "--port", "0", "--threads", "4"];
}
