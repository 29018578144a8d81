/**
 * An order for a reload: one object on its way from the command, the signal or the saved file to every process of the
 * server and into the history.
 */
import type { Options } from "../config/options";
import type { StoredVersion } from "./versions/versions";

/**
 * The source of a reload, in the words that begin its log line. If two are joined, the later one in this list holds.
 * "tried again": modules that failed at the start. "saved": a file in the modules folder; "--watch": the config file.
 */
const SOURCES = [
  "tried again",
  "saved",
  "client",
  "--watch",
  "SIGHUP",
  "push",
  "push undone",
  "remove",
  "remove undone",
  "rollback",
  "probation",
] as const;
export type Source = (typeof SOURCES)[number];

/** Plain data: it crosses processes. */
export interface ReloadOrder {
  /** Only these modules; null: all, and the certificates too. */
  readonly names: readonly string[] | null;
  /**
   * The new configuration, which makes the reload look at all modules; null: unchanged. Keys that need a restart must
   * be the same in it.
   */
  readonly next: Options | null;
  /** By module: the version to load in place of the files on disk, which are then held back. */
  readonly versions: Readonly<Record<string, StoredVersion>>;
  /** Modules whose files are loaded even if their version is held back; null: all. */
  readonly forced: readonly string[] | null;
  readonly source: Source;
  /** The sender, for the audit log; null: it is noted already, or there is none. */
  readonly by: string | null;
}

/** All modules, from the disk, without held-back versions. */
export const EVERYTHING: ReloadOrder = {
  names: null,
  next: null,
  versions: {},
  forced: [],
  source: "client",
  by: null,
};

/** @param names null: all */
export function orderFor(names: readonly string[] | null, rest: Partial<ReloadOrder> = {}): ReloadOrder {
  return { ...EVERYTHING, names, ...rest };
}

/** Brings a version back, by request or because its successor failed. */
export function rollbackTo(stored: StoredVersion): ReloadOrder {
  const who = stored.condemned === null ? ({ source: "rollback" } as const) : PROBATION;
  return orderFor([stored.name], { versions: { [stored.name]: stored }, ...who });
}

const PROBATION = { source: "probation", by: "probation" } as const;

/** The one order that covers both. */
export function join(earlier: ReloadOrder, later: ReloadOrder): ReloadOrder {
  return {
    names: joinNames(earlier.names, later.names),
    next: later.next ?? earlier.next,
    versions: { ...earlier.versions, ...later.versions },
    forced: joinNames(earlier.forced, later.forced),
    source: SOURCES[Math.max(SOURCES.indexOf(earlier.source), SOURCES.indexOf(later.source))] ?? later.source,
    by: earlier.by ?? later.by,
  };
}

/** null stands for all. */
function joinNames(earlier: ReloadOrder["names"], later: ReloadOrder["names"]): ReloadOrder["names"] {
  return earlier === null || later === null ? null : [...new Set([...earlier, ...later])];
}

/** Whether the module's files are loaded even if their version is held back. */
export function isForced({ forced }: ReloadOrder, name: string): boolean {
  return forced === null || forced.includes(name);
}

/** Whether it reads the config file, and opens the log files again. A saved module concerns modules only. */
export function isForConfig({ names, source }: ReloadOrder): boolean {
  return names === null && source !== "saved";
}

/**
 * Whether its result must survive a power cut before it is answered: it changed files, or loads stored versions. Any
 * other reload could be sent again, since it goes by the files on the disk.
 */
export function mustLast({ source }: ReloadOrder): boolean {
  return SOURCES.indexOf(source) >= SOURCES.indexOf("push");
}

/** @returns the start of the log line, before the verdict; "" for none */
export function logPrefix({ source }: ReloadOrder): string {
  return source === "client" || source === "saved" || source === "probation" ? "" : `${source}: `;
}
