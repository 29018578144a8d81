/** Sums over processes, modules and versions. */

export function sumOf<T>(all: readonly T[], of: (each: T) => number): number {
  return all.reduce((sum, each) => sum + of(each), 0);
}

/** Adds up records, field by field. A field that a record lacks is 0 there. */
export function sumEach<Counts extends Readonly<Record<string, number>>>(records: readonly Counts[]): Counts {
  const total: Record<string, number> = {};
  for (const record of records)
    for (const [name, count] of Object.entries(record)) total[name] = (total[name] ?? 0) + count;
  return total as Counts;
}
