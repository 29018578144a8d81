/** Shared by the checks of a module's shape: tests of values, and the words of errors. */

export type Fields = Record<string, unknown>;

/** @throws Error for a field that is not in `known`, with the most similar name */
export function refuseUnknown(name: string, where: string, fields: Fields, known: readonly string[]): void {
  const unknown = Object.keys(fields).find((field) => !known.includes(field));
  if (unknown === undefined) return;
  const similar = nearest(unknown, known);
  const hint = similar === undefined ? `Known are ${known.join(", ")}` : `Did you mean "${similar}"?`;
  throw shapeError(name, `${where} has the unknown option "${unknown}". ${hint}`);
}

/** The known name that is most similar, or undefined if none is near. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  const ranked = known.map((candidate) => ({
    candidate,
    distance: editDistance(name.toLowerCase(), candidate.toLowerCase()),
  }));
  ranked.sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  return best !== undefined && best.distance <= Math.max(1, Math.floor(best.candidate.length / 3))
    ? best.candidate
    : undefined;
}

// Levenshtein, one row at a time.
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

/** The error for a module of a wrong shape. @param problem  without a full stop at its end */
export function shapeError(name: string, problem: string): Error {
  return new Error(`Module "${name}": ${problem}.`.replace(/([?)])\.$/, "$1"));
}

export function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null;
}

/** Whether it is an object literal, and no instance of a class. */
export function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** The kind of a value in words: "a number", "missing". */
export function kindOf(value: unknown): string {
  if (value === undefined) return "missing";
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  return /^[aeiou]/.test(typeof value) ? `an ${typeof value}` : `a ${typeof value}`;
}

/** A value as messages show it. */
export function shown(value: unknown): string {
  return typeof value === "string" ? JSON.stringify(value) : Bun.inspect(value, { depth: 1 });
}
