/** Figures of the store in this process: how many commits, how they ended, how long the database took. */
import { maskUrls } from "../config/quoted";
import type { StoreError } from "../module/store/error";
import { CallFigures } from "../observe/figures";
import type { StoreSnapshot } from "../observe/snapshot";
import type { Backend } from "./backend";
import type { CommitFigures, Writer } from "./writer";

/** The store as it is now. */
interface StoreNow {
  readonly url: string;
  readonly durability: string;
  readonly isOpening: boolean;
  readonly open: {
    readonly backend: Pick<Backend, "size" | "isLeading">;
    readonly writer: Pick<Writer, "waiting">;
    readonly feed: { readonly size: number; readonly lost: number };
  } | null;
}

export class StoreFigures {
  /** Of databases that are closed. */
  watchesLost = 0;
  readonly #groups = new CallFigures();
  readonly #counts = { commits: 0, conflicts: 0, transactions: 0, retries: 0 };
  #largestGroup = 0;
  #lastError: StoreSnapshot["lastError"] = null;
  /** Nothing has succeeded since the last error. */
  #isFailing = false;

  /** A commit of the database is durable. */
  committed({ results, transactions, durationMs }: CommitFigures): void {
    this.#isFailing = false;
    const counts = this.#counts;
    counts.commits += results.length;
    counts.transactions += transactions;
    this.#largestGroup = Math.max(this.#largestGroup, results.length);
    for (const result of results) {
      if (result.ok || result.code !== "CONFLICT") continue;
      counts.conflicts++;
      // A check has failed, and no `ifVersion`.
      if (result.at === -1) counts.retries++;
    }
    if (results.length > 0) this.#groups.record(durationMs);
  }

  /** A commit of the database has failed. */
  notCommitted(error: StoreError): void {
    this.#groups.fail();
    this.notOpened(error);
  }

  opened(): void {
    this.#isFailing = false;
  }

  notOpened({ code, message }: StoreError): void {
    this.#isFailing = true;
    this.#lastError = { at: new Date().toISOString(), code, message: maskUrls(message) };
  }

  snapshot({ url, durability, isOpening, open }: StoreNow): StoreSnapshot {
    const isOpen = open !== null;
    return {
      state: this.#isFailing ? "failing" : isOpen ? "open" : isOpening ? "opening" : "unused",
      backend: url.slice(0, url.indexOf(":")),
      url: maskUrls(url),
      durability,
      isLeading: open?.backend.isLeading ?? false,
      size: sizeOf(open?.backend),
      counts: { ...this.#counts, watchesLost: this.watchesLost + (open?.feed.lost ?? 0) },
      groups: this.#groups.snapshot(),
      largestGroup: this.#largestGroup,
      waiting: open?.writer.waiting ?? 0,
      watches: open?.feed.size ?? 0,
      lastError: this.#lastError,
    };
  }
}

function sizeOf(backend: Pick<Backend, "size"> | undefined): StoreSnapshot["size"] {
  try {
    return backend?.size?.() ?? null;
  } catch {
    // The next use tells the error.
    return null;
  }
}
