/** The order of modules by `needs`, and modules whose needs are not met. Pure. */

/** A module that serves, or would serve. */
interface Needing {
  readonly name: string;
  readonly needs: readonly string[];
}

/**
 * Orders modules so that each comes behind those that it needs; otherwise the order stays. A circle is cut anywhere:
 * `unmetNeeds` names it.
 */
export function inOrderOfNeeds<T extends Needing>(modules: readonly T[]): T[] {
  const byName = new Map(modules.map((module) => [module.name, module]));
  const ordered = new Set<T>();
  const entered = new Set<T>();
  const visit = (module: T): void => {
    if (entered.has(module)) return;
    entered.add(module);
    for (const need of module.needs) {
      const needed = byName.get(need);
      if (needed !== undefined) visit(needed);
    }
    ordered.add(module);
  };
  for (const module of modules) visit(module);
  return [...ordered];
}

/**
 * @param modules all that would serve
 * @returns modules that cannot serve, by name, each with the reason: a need that is not among them, or a circle
 */
export function unmetNeeds(modules: readonly Needing[]): Map<string, string> {
  const needsOf = new Map(modules.map(({ name, needs }) => [name, needs]));
  const unmet = new Map<string, string>();
  for (const { name, needs } of modules) {
    const missing = needs.find((need) => !needsOf.has(need));
    const circle = missing === undefined ? circleFrom(name, needsOf) : null;
    if (missing !== undefined) unmet.set(name, `it needs the module "${missing}", which does not serve`);
    else if (circle !== null) unmet.set(name, `it needs itself in a circle: ${circle.join(" -> ")}`);
  }
  return unmet;
}

/** @returns "a", "b", "a": the shortest way from a module over its needs to itself. null: there is none */
function circleFrom(start: string, needsOf: ReadonlyMap<string, readonly string[]>): string[] | null {
  const cameFrom = new Map<string, string>();
  const queue = [start];
  for (const name of queue) {
    for (const need of needsOf.get(name) ?? []) {
      if (need === start) return [...wayTo(name, start, cameFrom), start];
      if (cameFrom.has(need)) continue;
      cameFrom.set(need, name);
      queue.push(need);
    }
  }
  return null;
}

function wayTo(name: string, start: string, cameFrom: ReadonlyMap<string, string>): string[] {
  const way = [name];
  for (let at = name; at !== start;) {
    at = cameFrom.get(at) ?? start;
    way.unshift(at);
  }
  return way;
}
