/** Logs the failures of handlers: each with its author's lines, and a flood of equal ones as a number. */
import { authorStack } from "../module/graph/author-stack";
import type { BoundRoute } from "../module/route";
import type { ServerLog } from "../observe/log/log";
import { kindOfError } from "../observe/log/fields";
import { escapeBytes } from "../router/escape";

/** Errors that follow from an abort or a deadline after the client left. */
const LEFT_ALONE = /^(?:AbortError|TimeoutError|HandlerTimeoutError)$/;

/**
 * @param hasLeft  its client had left before, which may be the cause: logged as info, and only if the handler threw an
 * error of its own
 */
export function tellFailure(
  log: ServerLog,
  route: BoundRoute,
  connection: number,
  error: unknown,
  hasLeft: boolean,
): void {
  if (hasLeft && error instanceof Error && LEFT_ALONE.test(error.name)) return;
  const { module, generation } = route;
  const tell = log
    .withFields({ module, generation: generation.number, connection, error })
    .bounded(hasLeft ? "info" : "error", kindOfError(error));
  if (tell === null) return;
  const key = escapeBytes(Buffer.from(route.key), 32);
  tell(`"${key}": ${hasLeft ? "failed after its client had left: " : ""}${authorStack(error)}`);
}
