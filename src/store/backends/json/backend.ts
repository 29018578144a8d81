/**
 * The store in one file that people can read: documents in memory, each batch appended as lines of JSON. For stores that
 * fit into memory well.
 */
import { StoreError } from "../../../module/store/error";
import type {
  Commit,
  IndexRange,
  KeyRange,
  Page,
  StoredChange,
  StoredDocument,
  StoredEntry,
} from "../../../module/store/port";
import type { StoreSize } from "../../../observe/snapshot";
import { sumOf } from "../../../observe/sums";
import type { Backend, BackendOptions, Batch, Committed } from "../../backend";
import { liveAt, planCommit, type Found } from "../../plan";
import { Documents } from "./documents";
import { StoreFile } from "./file";
import { batchBytes, changeLine, documentLine, headLine, readLines, UnreadableFile, type Read } from "./lines";

/** The file is written anew when its changes are longer than its documents, and than this. */
const MIN_COMPACT_BYTES = 1 << 20;

export class JsonBackend implements Backend {
  readonly kind = "json";
  readonly #path: string;
  readonly #options: BackendOptions;
  #open: { readonly file: StoreFile; readonly documents: Documents } | null = null;
  /** Of the file, ahead of its changes. */
  #documentBytes = 0;
  /** The file's length at which it is written anew. */
  #compactAt = 0;

  constructor(path: string, options: BackendOptions) {
    this.#path = path;
    this.#options = options;
  }

  open(): number {
    const file = new StoreFile(this.#path, headLine(0, this.#options.now()), this.#options.durability === "relaxed");
    try {
      const read = readFile(file);
      if (!file.isReadOnly) file.cut(read.wholeBytes);
      this.#options.raiseClock(read.clock);
      const documents = new Documents(read);
      this.#open = { file, documents };
      this.#documentBytes = read.documentBytes;
      this.#compactAt = read.documentBytes * 2 + MIN_COMPACT_BYTES;
      if (read.isEdited && !file.isReadOnly) this.#compact();
      return documents.version;
    } catch (error) {
      this.#open = null;
      file.close();
      throw error;
    }
  }

  get(collection: string, keys: readonly string[]): (StoredDocument | null)[] {
    const { documents } = this.#opened();
    const now = this.#options.now();
    return keys.map((key) => liveAt(documents.read(collection, key), now));
  }

  list(collection: string, range: KeyRange): Page {
    return this.#opened().documents.list(collection, range, this.#options.now());
  }

  find(collection: string, range: IndexRange): Page {
    return this.#opened().documents.find(collection, range, this.#options.now());
  }

  commit(commits: readonly Commit[]): Committed[] {
    const batch = this.begin();
    try {
      const committed = commits.map((commit) => batch.apply(commit));
      batch.commit();
      return committed;
    } catch (error) {
      batch.rollback();
      throw error;
    }
  }

  begin(): Batch {
    const { documents } = this.#opened();
    const undo: (() => void)[] = [];
    const found = this.#found(documents);
    let lines = "";
    return {
      apply: (commit) => {
        const plan = planCommit(commit, found);
        if (!("changes" in plan)) return { result: plan.result, changes: [] };
        undo.push(documents.apply(plan.writes, plan.changes, plan.lastVersion));
        for (const change of plan.changes)
          lines += changeLine(change, change.kind === "set" ? documents.read(change.collection, change.key) : null);
        return { result: plan.result, changes: plan.changes };
      },
      commit: () => {
        if (lines !== "") this.#write(lines);
        undo.length = 0;
        lines = "";
        documents.forget(this.#options.keptChanges);
        this.#compactIfLong();
      },
      rollback: () => {
        for (const step of undo.reverse()) step();
        undo.length = 0;
        lines = "";
      },
    };
  }

  changesAfter(version: number, limit: number): readonly StoredChange[] | null {
    return this.#opened().documents.changesAfter(version, limit);
  }

  expired(limit: number): (StoredEntry & { readonly collection: string })[] {
    return this.#opened().documents.expired(limit, this.#options.now());
  }

  buildIndex(collection: string, index: string): boolean {
    return this.#opened().documents.buildIndex(collection, index);
  }

  dropIndex(collection: string, index: string): boolean {
    this.#opened().documents.dropIndex(collection, index);
    return true;
  }

  indexes(): { collection: string; index: string }[] {
    return this.#opened().documents.indexes();
  }

  collections(): { name: string; documents: number }[] {
    return this.#opened().documents.collections();
  }

  size(): StoreSize {
    const { file, documents } = this.#opened();
    const all = documents.collections();
    return { documents: sumOf(all, (each) => each.documents), bytes: file.bytes, changes: documents.keptChanges };
  }

  sql(): never {
    throw new StoreError(
      "UNSUPPORTED",
      "the store is a JSON file, which knows no SQL. Use sqlite://, postgres:// or mysql://",
    );
  }

  /** The opening has read and checked the whole file. */
  check(): readonly string[] {
    this.#opened();
    return [];
  }

  compact(): void {
    this.#compact();
  }

  backup(path: string): void {
    const { file, documents } = this.#opened();
    file.copyTo(path, linesOf(documents, this.#options.now()));
  }

  /** Writes the file anew, so that it has a line for each document and nothing else. */
  close(): void {
    if (this.#open === null) return;
    const { file } = this.#open;
    try {
      if (!file.isReadOnly && file.bytes > this.#documentBytes) this.#compact();
    } catch {
      // All is in the file as it stands, only longer.
    } finally {
      this.#open = null;
      file.close();
    }
  }

  #write(lines: string): void {
    const { file, documents } = this.#opened();
    // The batch is in memory already, so the new file has it.
    if (file.isDoubtful) this.#compact();
    else
      file.append(
        batchBytes(lines, {
          version: documents.version,
          clock: this.#options.now(),
          isRelaxed: this.#options.durability === "relaxed",
        }),
      );
  }

  #compact(): void {
    const { file, documents } = this.#opened();
    this.#documentBytes = file.replace(linesOf(documents, this.#options.now()));
    this.#compactAt = this.#documentBytes * 2 + MIN_COMPACT_BYTES;
  }

  #compactIfLong(): void {
    const { file } = this.#opened();
    if (file.bytes < this.#compactAt) return;
    try {
      this.#compact();
    } catch {
      // The batch is on the disk. Try again when the file has grown once more.
      this.#compactAt = file.bytes + MIN_COMPACT_BYTES;
    }
  }

  #found(documents: Documents): Found {
    return {
      read: (collection, key) => documents.read(collection, key),
      isUnchanged: (check) => documents.isUnchanged(check),
      indexesOf: (collection) => documents.indexesOf(collection),
      now: this.#options.now(),
      get lastVersion() {
        return documents.version;
      },
      limits: this.#options.limits,
    };
  }

  #opened(): { readonly file: StoreFile; readonly documents: Documents } {
    if (this.#open !== null) return this.#open;
    throw new StoreError("UNAVAILABLE", `the store ${this.#path} is not open`);
  }
}

/** @throws StoreError NOT_A_STORE, NEWER_SCHEMA, FAILED */
function readFile(file: StoreFile): Read {
  try {
    return readLines(file.read());
  } catch (error) {
    if (error instanceof UnreadableFile) throw new StoreError(error.code, `the store ${file.path} ${error.message}`);
    throw error;
  }
}

function* linesOf(documents: Documents, clock: number): Generator<string, void, undefined> {
  yield headLine(documents.version, clock);
  for (const document of documents.all()) yield documentLine(document);
}
