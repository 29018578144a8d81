/**
 * What the master is asked to load, by whom, and how two that were asked for meanwhile become one.
 */
import { NO_ORDER, type ReloadOrder } from "./state";
import type { StoredVersion } from "./versions/versions";
import type { Condemned } from "./versions/history";

export interface ReloadWish {
  /** null: all. */
  readonly names: ReadonlySet<string> | null;
  /** Begins the log line; "": the verdict alone. */
  readonly source: string;
  /** Nobody asked: a file was saved. */
  readonly isWatched: boolean;
  /** The server's own try of modules that failed at the start. */
  readonly isRetry: boolean;
  readonly order: ReloadOrder;
  /** Modules whose files were sent to the server. */
  readonly pushed: readonly string[];
  /** For an automatic rollback: the version that failed. null: a user asked for it, or it is no rollback. */
  readonly condemned: Condemned | null;
}

const WISH: ReloadWish = {
  names: null,
  source: "",
  isWatched: false,
  isRetry: false,
  order: NO_ORDER,
  pushed: [],
  condemned: null,
};

/** Files of the modules folder were saved. */
export const WATCHED: ReloadWish = { ...WISH, isWatched: true };

/** The config file was saved. */
export const WATCHED_CONFIG: ReloadWish = { ...WISH, source: "--watch" };

/** Modules that failed at the start. */
export function retryWish(names: readonly string[]): ReloadWish {
  return { ...WISH, names: new Set(names), source: "tried again", isRetry: true };
}

/** @param names null: all */
export function wishFor(
  names: readonly string[] | null,
  source: string,
  { force = false, from = "disk" }: { force?: boolean; from?: string },
): ReloadWish {
  return {
    ...WISH,
    names: names === null ? null : new Set(names),
    source,
    order: force ? { ...NO_ORDER, forced: names } : NO_ORDER,
    pushed: from === "push" ? (names ?? []) : [],
  };
}

/** @param condemned what it comes in place of, if that failed */
export function rollbackWish(stored: StoredVersion, condemned: Condemned | null): ReloadWish {
  const order = { ...NO_ORDER, versions: { [stored.name]: stored } };
  return { ...WISH, names: new Set([stored.name]), source: condemned === null ? "rollback" : "", order, condemned };
}

/** What covers both. Rollbacks are not joined: they go by what serves at their turn. */
export function joinWishes(earlier: ReloadWish, later: ReloadWish): ReloadWish {
  const names = earlier.names === null || later.names === null ? null : new Set([...earlier.names, ...later.names]);
  const forced =
    earlier.order.forced === null || later.order.forced === null
      ? null
      : [...earlier.order.forced, ...later.order.forced];
  return {
    ...WISH,
    names,
    source: earlier.source || later.source,
    isWatched: earlier.isWatched && later.isWatched,
    isRetry: earlier.isRetry && later.isRetry,
    order: { ...NO_ORDER, forced },
    pushed: [...earlier.pushed, ...later.pushed],
  };
}
