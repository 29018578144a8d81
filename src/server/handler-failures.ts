/**
 * What handlers threw, in the log: each failure with its author's lines, and a flood of equal ones as a number.
 */
import { authorStack } from "../module/author-stack";
import type { BoundRoute } from "../module/route";
import { LogThrottle, suppressedText, type SuppressedFailures } from "../observe/log-throttle";
import type { ServerLog } from "../observe/log";
import { escapeBytes } from "../router/escape";

/** What the abort of a signal throws, and what time ends when nobody waits. */
const LEFT_ALONE = /^(?:AbortError|TimeoutError|HandlerTimeoutError)$/;

export class HandlerFailures {
  readonly #log: ServerLog;
  readonly #throttle = new LogThrottle();
  /** Clients leave as often as they like: one line a second and kind. */
  readonly #leftThrottle = new LogThrottle({ perSecond: 1 });

  constructor(log: ServerLog) {
    this.#log = log;
  }

  /** @param hasLeft its client had left before, and may be the cause: no error, and told only where the handler threw something of its own */
  tell(route: BoundRoute, connection: number, error: unknown, hasLeft: boolean): void {
    const { module } = route;
    const generation = route.generation.number;
    if (hasLeft && error instanceof Error && LEFT_ALONE.test(error.name)) return;
    const throttle = hasLeft ? this.#leftThrottle : this.#throttle;
    if (!throttle.admit({ module, generation, text: summaryOf(error) }, performance.now())) return;
    const key = escapeBytes(Buffer.from(route.key), 32);
    const log = this.#log.withFields({ module, generation, connection, error });
    if (hasLeft) log.info(`"${key}": failed after its client had left: ${authorStack(error)}`);
    else log.error(`"${key}": ${authorStack(error)}`);
  }

  /** Each second, and at the end: tells how many were left out. */
  flush(isEnd = false): void {
    const now = performance.now();
    for (const suppressed of this.#throttle.flush(now, isEnd)) this.#logFor(suppressed).error(suppressedText(suppressed));
    for (const suppressed of this.#leftThrottle.flush(now, isEnd)) this.#logFor(suppressed).info(suppressedText(suppressed));
  }

  #logFor({ failure }: SuppressedFailures): ServerLog {
    return failure === null ? this.#log : this.#log.withFields({ module: failure.module, generation: failure.generation });
  }
}

/** The stack is not looked at: at thousands a second it would cost more than the handler. */
function summaryOf(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : `threw ${typeof error}`;
}
