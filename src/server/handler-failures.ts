/**
 * What handlers threw, in the log: each failure with its author's lines, and a flood of equal ones as a number.
 */
import { authorStack } from "../module/author-stack";
import type { BoundRoute } from "../module/route";
import { LogThrottle, suppressedText } from "../observe/log-throttle";
import type { ServerLog } from "../observe/log";
import { escapeBytes } from "../router/escape";

export class HandlerFailures {
  readonly #log: ServerLog;
  readonly #throttle = new LogThrottle();

  constructor(log: ServerLog) {
    this.#log = log;
  }

  tell(route: BoundRoute, connection: number, error: unknown): void {
    const { module } = route;
    const generation = route.generation.number;
    if (!this.#throttle.admit({ module, generation, text: summaryOf(error) }, performance.now())) return;
    const key = escapeBytes(Buffer.from(route.key), 32);
    this.#log.withFields({ module, generation, connection, error }).error(`"${key}": ${authorStack(error)}`);
  }

  /** Each second, and at the end: tells how many were left out. */
  flush(isEnd = false): void {
    for (const suppressed of this.#throttle.flush(performance.now(), isEnd)) {
      const { failure } = suppressed;
      const log = failure === null ? this.#log : this.#log.withFields({ module: failure.module, generation: failure.generation });
      log.error(suppressedText(suppressed));
    }
  }
}

/** The stack is not looked at: at thousands a second it would cost more than the handler. */
function summaryOf(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : `threw ${typeof error}`;
}
