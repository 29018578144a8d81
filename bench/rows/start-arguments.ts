/** How the rows start hrmr. */
import type { Bench } from "../bench";

/** Any free port; the pool as large as the targets say. */
export function startArguments({ program }: Pick<Bench, "program">): string[] {
  return [...program.argv, "start", "--port", "0", "--threads", "4"];
}
