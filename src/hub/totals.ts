/** Counts calls of services by caller and callee, for the status and the metrics. */
import type { ServiceOrder } from "../module/service/calls";
import type { ServiceCallSnapshot } from "../observe/snapshot";

/** Names may come from clients. Calls of further pairs are counted together. */
const MAX_PAIRS = 1000;
const OTHERS = "(others)";

type Total = { -readonly [Field in keyof ServiceCallSnapshot]: ServiceCallSnapshot[Field] };

export class CallTotals {
  readonly #totals = new Map<string, Map<string, Total>>();
  #pairs = 0;

  add({ caller, module, service }: ServiceOrder, elapsedMs: number, isError: boolean): void {
    const total = this.#totalOf(caller.module, `${module}.${service}`);
    total.calls++;
    total.totalSeconds += elapsedMs / 1000;
    if (isError) total.errors++;
  }

  snapshot(): ServiceCallSnapshot[] {
    return [...this.#totals.values()].flatMap((callees) => [...callees.values()].map((total) => ({ ...total })));
  }

  #totalOf(caller: string, callee: string): Total {
    const callees = this.#totals.get(caller) ?? new Map<string, Total>();
    const known = callees.get(callee);
    if (known !== undefined) return known;
    if (this.#pairs >= MAX_PAIRS && caller !== OTHERS) return this.#totalOf(OTHERS, OTHERS);
    const total: Total = { caller, callee, calls: 0, errors: 0, totalSeconds: 0 };
    callees.set(callee, total);
    this.#totals.set(caller, callees);
    this.#pairs++;
    return total;
  }
}
