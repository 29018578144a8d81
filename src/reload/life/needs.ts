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

/** Why a module cannot serve. */
interface Unmet {
  readonly text: string;
  /** The module that it needs and that does not serve; null: it needs itself in a circle. */
  readonly missing: string | null;
}

/**
 * @param modules all that would serve
 * @returns modules that cannot serve, by name, each with the reason: a need that is not among them, or a circle
 */
export function unmetNeeds(modules: readonly Needing[]): Map<string, Unmet> {
  const needsOf = new Map(modules.map(({ name, needs }) => [name, needs]));
  const unmet = new Map<string, Unmet>();
  for (const { name, needs } of modules) {
    const missing = needs.find((need) => !needsOf.has(need)) ?? null;
    const circle = missing === null ? circleFrom(name, needsOf) : null;
    if (missing !== null) unmet.set(name, { text: `it needs the module "${missing}", which does not serve`, missing });
    else if (circle !== null)
      unmet.set(name, { text: `it needs itself in a circle: ${circle.join(" -> ")}`, missing: null });
  }
  return unmet;
}

/**
 * Adds modules that are left out because one of `names` did not serve, and those that wait for them in turn.
 *
 * @param lacking  for each module that is left out, the module that it lacks
 */
export function withWaiting(names: readonly string[], lacking: ReadonlyMap<string, string>): Set<string> {
  const all = new Set(names);
  for (let size = 0; size < all.size;) {
    size = all.size;
    for (const [name, missing] of lacking) if (all.has(missing)) all.add(name);
  }
  return all;
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
