/** Reads all documents of a store, and writes many into one. */
import { StoreError } from "../../module/store/error";
import type { Mutation, StoredEntry } from "../../module/store/port";
import type { Backend } from "../backend";

/** Documents in one commit. */
const BATCH = 500;
const PAGE = 1000;

/** A document with the name of its collection. */
interface Row {
  readonly collection: string;
  readonly entry: StoredEntry;
}

/** By collection, then by key. Documents that change meanwhile may be as before or as after it. */
export async function* allRows(backend: Backend, only: string | null = null): AsyncGenerator<Row, void> {
  for (const { name } of await backend.collections()) {
    if (only !== null && name !== only) continue;
    let after: string | null = null;
    for (;;) {
      const { entries } = await backend.list(name, { prefix: "", after, limit: PAGE, reverse: false });
      for (const entry of entries) yield { collection: name, entry };
      // A page may also end behind many bytes.
      const last = entries.at(-1);
      if (last === undefined) break;
      after = last.key;
    }
  }
}

/** Writes documents, so many in a commit. @returns how many. @throws StoreError; the commits before stay */
export async function writeAll(
  backend: Backend,
  mutations: AsyncIterable<Mutation> | Iterable<Mutation>,
  told: (documents: number) => void,
): Promise<number> {
  let waiting: Mutation[] = [];
  let written = 0;
  const flush = async (): Promise<void> => {
    if (waiting.length === 0) return;
    const [done] = await backend.commit([{ checks: [], mutations: waiting }]);
    if (done?.result.ok === false) throw new StoreError(done.result.code, done.result.message);
    written += waiting.length;
    waiting = [];
    told(written);
  };
  for await (const mutation of mutations) {
    waiting.push(mutation);
    if (waiting.length === BATCH) await flush();
  }
  await flush();
  return written;
}

/**
 * The same for the same documents, whatever database they are in and whichever versions they have.
 *
 * @param lasting only documents that are still there at this time count. In milliseconds since 1970
 */
export async function digestOf(backend: Backend, lasting: number): Promise<{ documents: number; hash: string }> {
  const hasher = new Bun.CryptoHasher("sha256");
  let documents = 0;
  for await (const { collection, entry } of allRows(backend)) {
    if (entry.expiresAt !== null && entry.expiresAt <= lasting) continue;
    documents++;
    // Databases may write JSON in ways of their own.
    const value = JSON.stringify(JSON.parse(entry.text));
    hasher.update(JSON.stringify([collection, entry.key, value, entry.expiresAt]));
  }
  return { documents, hash: hasher.digest("hex") };
}
