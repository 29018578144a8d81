/** Ranges of keys, as the checks of a commit name them. Pure. */
import { compareKeys } from "../../module/store/names";
import type { Check, StoredChange } from "../../module/store/port";

/** Whether a change is in the range of a check. */
export function isInRange(change: StoredChange, { collection, from, to }: Extract<Check, { kind: "range" }>): boolean {
  if (change.collection !== collection) return false;
  if (from !== null && compareKeys(change.key, from) < 0) return false;
  return to === null || compareKeys(change.key, to) <= 0;
}
