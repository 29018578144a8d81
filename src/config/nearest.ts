/**
 * The name that the user probably meant: the one with the fewest changed, missing, surplus or swapped letters.
 *
 * @returns null if more than a third of the letters (at least one; a swap counts as one) would have to change
 */
export function nearest(name: string, known: Iterable<string>): string | null {
  const wanted = name.toLowerCase();
  let best: string | null = null;
  let fewest = Infinity;
  for (const candidate of known) {
    const changes = countChanges(wanted, candidate.toLowerCase());
    const allowed = Math.max(1, Math.floor(Math.max(wanted.length, candidate.length) / 3));
    if (changes < fewest && changes <= allowed && changes < candidate.length) [best, fewest] = [candidate, changes];
  }
  return best;
}

/** `did you mean X?`, or nothing when no known name is near. */
export function suggest(name: string, known: Iterable<string>, prefix = ""): string {
  const found = nearest(name, known);
  return found === null ? "" : `Did you mean ${prefix}${found}?`;
}

/** Damerau-Levenshtein distance (adjacent swaps count once), row by row. */
function countChanges(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const isSame = a[row - 1] === b[column - 1];
      let changes = Math.min(
        (last[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (last[column - 1] ?? 0) + (isSame ? 0 : 1),
      );
      const isSwap = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      if (isSwap) changes = Math.min(changes, (beforeLast[column - 2] ?? 0) + 1);
      current.push(changes);
    }
    [beforeLast, last] = [last, current];
  }
  return last[b.length] ?? 0;
}
