/** Changes as a row of the database holds them: those of one COMMIT, as JSON. Pure. */
import type { StoredChange } from "../../module/store/port";

type Cell = number | string | null;
const CELLS = 5;

/** @param cells gets the change */
export function pushChange(cells: Cell[], { version, collection, key, kind, text }: StoredChange): void {
  cells.push(version, collection, key, kind, text);
}

export function readChanges(json: string): StoredChange[] {
  const cells = JSON.parse(json) as Cell[];
  const changes: StoredChange[] = [];
  for (let at = 0; at < cells.length; at += CELLS)
    changes.push({
      version: cells[at] as number,
      collection: cells[at + 1] as string,
      key: cells[at + 2] as string,
      kind: cells[at + 3] as StoredChange["kind"],
      text: cells[at + 4] as string | null,
    });
  return changes;
}
