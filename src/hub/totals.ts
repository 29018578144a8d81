/** Counts calls of services by caller and callee, for the status and the metrics. */
import type { ServiceOrder } from "../module/service/calls";
import type { ServiceCallSnapshot } from "../observe/snapshot";

/** Names may come from clients. Calls of further pairs are counted together. */
const MAX_PAIRS = 1000;
const OTHERS = "(others)";

type Total = { -readonly [Field in keyof ServiceCallSnapshot]: ServiceCallSnapshot[Field] } & {
  /** Calls that the next timed call also counts for. */
  untimed: number;
};

export class CallTotals {
  /** By caller, then by the callee's module, then by its service: no name is put together for each call. */
  readonly #totals = new Map<string, Map<string, Map<string, Total>>>();
  #pairs = 0;

  /** @param elapsedMs null: it was one of many fast ones, and nobody looked at the clock */
  add({ caller, module, service }: ServiceOrder, elapsedMs: number | null, isError: boolean): void {
    const total = this.#totalOf(caller.module, module, service);
    total.calls++;
    if (isError) total.errors++;
    if (elapsedMs === null) {
      total.untimed++;
      return;
    }
    total.totalSeconds += (elapsedMs * (total.untimed + 1)) / 1000;
    total.untimed = 0;
  }

  snapshot(): ServiceCallSnapshot[] {
    const modules = [...this.#totals.values()].flatMap((callees) => [...callees.values()]);
    return modules.flatMap((services) =>
      [...services.values()].map(({ caller, callee, calls, errors, totalSeconds }) => ({
        caller,
        callee,
        calls,
        errors,
        totalSeconds,
      })),
    );
  }

  #totalOf(caller: string, module: string, service: string): Total {
    const known = this.#totals.get(caller)?.get(module)?.get(service);
    if (known !== undefined) return known;
    if (this.#pairs >= MAX_PAIRS && caller !== OTHERS) return this.#totalOf(OTHERS, OTHERS, "");
    const callee = service === "" ? module : `${module}.${service}`;
    const total: Total = { caller, callee, calls: 0, errors: 0, totalSeconds: 0, untimed: 0 };
    const callees = this.#totals.get(caller) ?? new Map<string, Map<string, Total>>();
    const services = callees.get(module) ?? new Map<string, Total>();
    this.#totals.set(caller, callees.set(module, services.set(service, total)));
    this.#pairs++;
    return total;
  }
}
