/** `hrmr store watch`: the changes of documents as lines of JSON, beside the running server. */
import { UserError } from "../../../config/user-error";
import type { StoredChange } from "../../../module/store/port";
import type { Backend } from "../../../store/backend";

/** How often the database is asked for changes. In milliseconds. */
const LOOK_MS = 100;
/** Changes that are read at a time. */
const STEP = 1000;

interface StoreWatchWish {
  /** null: all. */
  readonly collection: string | null;
  /** null: all. */
  readonly key: string | null;
  readonly prefix: string;
  /** A version: changes behind it first. null: from now on. */
  readonly after: number | null;
  /** It ends behind so many changes. */
  readonly limit: number;
}

/** Runs until `limit` changes are written. @throws UserError CHANGES_MISSED if some are not kept any more */
export async function watchStore(backend: Backend, wish: StoreWatchWish): Promise<void> {
  let at = wish.after ?? (await versionOf(backend));
  let left = wish.limit;
  for (;;) {
    await backend.look?.();
    const changes = await backend.changesAfter(at, STEP);
    if (changes === null)
      throw new UserError(`Changes behind version ${at} are not kept any more.`, {
        code: "CHANGES_MISSED",
        hint: "Read the documents again, then watch without --after. store.keptChanges says how many are kept.",
      });
    for (const change of changes) {
      at = change.version;
      if (!isWished(change, wish)) continue;
      console.log(lineOf(change));
      if (--left === 0) return;
    }
    if (changes.length < STEP) await Bun.sleep(LOOK_MS);
  }
}

/** Of the newest change. */
async function versionOf(backend: Backend): Promise<number> {
  const nothing = { prefix: "", after: null, limit: 1, reverse: false };
  return (await backend.list("any", nothing)).at;
}

function isWished({ collection, key }: StoredChange, wish: StoreWatchWish): boolean {
  if (wish.collection !== null && collection !== wish.collection) return false;
  return wish.key === null ? key.startsWith(wish.prefix) : key === wish.key;
}

/** The value is JSON as it is. */
function lineOf({ collection, kind, key, text, version }: StoredChange): string {
  const place = `"collection":"${collection}","kind":"${kind}","key":${JSON.stringify(key)}`;
  return `{${place},"value":${text},"version":${version}}`;
}
