/** Counts calls of services by caller and callee, for the status and the metrics. */
import type { ServiceOrder } from "../module/service/calls";
import type { ServiceCallSnapshot } from "../observe/snapshot";

/** Names may come from clients. Calls of further pairs are counted together. */
const MAX_PAIRS = 1000;
const OTHERS = "(others)";

type Total = { -readonly [Field in keyof ServiceCallSnapshot]: ServiceCallSnapshot[Field] };

export class CallTotals {
  /** By caller, then by the callee's module, then by its service: no name is put together for each call. */
  readonly #totals = new Map<string, Map<string, Map<string, Total>>>();
  #pairs = 0;

  add({ caller, module, service }: ServiceOrder, elapsedMs: number, isError: boolean): void {
    const total = this.#totalOf(caller.module, module, service);
    total.calls++;
    total.totalSeconds += elapsedMs / 1000;
    if (isError) total.errors++;
  }

  snapshot(): ServiceCallSnapshot[] {
    const modules = [...this.#totals.values()].flatMap((callees) => [...callees.values()]);
    return modules.flatMap((services) => [...services.values()].map((total) => ({ ...total })));
  }

  #totalOf(caller: string, module: string, service: string): Total {
    const known = this.#totals.get(caller)?.get(module)?.get(service);
    if (known !== undefined) return known;
    if (this.#pairs >= MAX_PAIRS && caller !== OTHERS) return this.#totalOf(OTHERS, OTHERS, "");
    const callee = service === "" ? module : `${module}.${service}`;
    const total: Total = { caller, callee, calls: 0, errors: 0, totalSeconds: 0 };
    const callees = this.#totals.get(caller) ?? new Map<string, Map<string, Total>>();
    const services = callees.get(module) ?? new Map<string, Total>();
    this.#totals.set(caller, callees.set(module, services.set(service, total)));
    this.#pairs++;
    return total;
  }
}
