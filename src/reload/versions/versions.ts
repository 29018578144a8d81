/**
 * The versions of a module that have served: what is kept of each, and which of them a rollback goes to. Pure.
 */
import { UserError } from "../../config/user-error";
import { identityOf } from "../../module/shape/settings";

/**
 * How a version came to serve: `rollback` is a stored one again, `resume` one that a start without its bundle had to
 * build anew.
 */
type VersionOrigin = "disk" | "push" | "rollback" | "resume";

/** `probation`: it serves on trial, or was replaced while it did and had failed too often. */
type VersionVerdict = "good" | "probation" | "rolled back" | "crashed";

/** What is kept of a version. Plain data. */
export interface VersionRecord {
  /** Counts up over all starts, and is never given to another version. */
  readonly number: number;
  /** Of the bundle. */
  readonly hash: string;
  /** ISO 8601: when it came to serve. */
  readonly at: string;
  readonly from: VersionOrigin;
  /** Of a rollback: the number of the version that it is again. null: it is the first of its kind. */
  readonly of: number | null;
  /** The author's file, absolute path. */
  readonly source: string;
  /** The settings that it was loaded with. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly verdict: VersionVerdict;
  /** Of a verdict that is not good: why. */
  readonly reason: string | null;
}

/** A version that is loaded in place of what is on the disk. Plain data: it crosses processes. */
export interface StoredVersion {
  readonly name: string;
  /** The number that it had when it served. */
  readonly of: number;
  readonly hash: string;
  readonly source: string;
  /** Its bundle, absolute path. */
  readonly file: string;
  readonly config: Readonly<Record<string, unknown>>;
  /** What is wrong with the version that serves; null: nothing, somebody asked for this one. */
  readonly condemned: Condemned | null;
}

/** A version that has to go. */
export interface Condemned {
  readonly name: string;
  readonly number: number;
  readonly verdict: "rolled back" | "crashed";
  readonly reason: string;
}

/** What tells two versions apart. */
export function identityOfRecord({ hash, config }: VersionRecord): string {
  return identityOf(hash, config);
}

/**
 * The version that comes back when none is named: the last good one before the one that serves. After a rollback that
 * is the one before the version it went to, so that one rollback after another goes on into the past. Where none before
 * was found good, the last that nothing was said against.
 *
 * @param records  oldest first
 * @param live     the number of what serves; null: nothing does
 */
export function versionBefore(records: readonly VersionRecord[], live: number | null): VersionRecord | null {
  const serving = records.find(({ number }) => number === live);
  const before = serving === undefined ? Infinity : (serving.of ?? serving.number);
  const earlier = records
    .filter(
      (record) =>
        record.number < before && (serving === undefined || identityOfRecord(record) !== identityOfRecord(serving)),
    )
    .filter((record) => !isCondemned(records, record))
    .reverse();
  return earlier.find(({ verdict }) => verdict === "good") ?? earlier[0] ?? null;
}

/** What was found bad stays bad when it is loaded under another number. */
function isCondemned(records: readonly VersionRecord[], record: VersionRecord): boolean {
  const isBad = ({ verdict, reason }: VersionRecord): boolean =>
    verdict === "crashed" || (verdict === "rolled back" && reason !== null);
  const identity = identityOfRecord(record);
  return records.some((other) => isBad(other) && identityOfRecord(other) === identity);
}

const NUMBER = /^v?(\d+)$/;
/** Of a hash: fewer digits could be a number as well as not be one. */
const MIN_HASH_DIGITS = 4;
/** Characters of what somebody asked for. */
const MAX_SHOWN = 32;

/**
 * The version that somebody means.
 *
 * @param wanted  "7", "v7", or a hash or its first digits; a number goes before a hash that looks like one
 * @throws UserError NO_VERSION
 */
export function findVersion(name: string, records: readonly VersionRecord[], wanted: string): VersionRecord {
  const number = Number(NUMBER.exec(wanted)?.[1] ?? Number.NaN);
  const byNumber = records.find((record) => record.number === number);
  if (byNumber !== undefined) return byNumber;
  const byHash =
    wanted.length < MIN_HASH_DIGITS ? [] : records.filter(({ hash }) => hash.startsWith(wanted.toLowerCase()));
  const hashes = new Set(byHash.map(({ hash }) => hash));
  const newest = byHash.at(-1);
  if (newest !== undefined && hashes.size === 1) return newest;
  const what =
    hashes.size > 1 ? `Several versions of module "${name}" begin with` : `Module "${name}" has no stored version`;
  throw new UserError(`${what} ${JSON.stringify(wanted.slice(0, MAX_SHOWN))}.`, {
    code: "NO_VERSION",
    hint: `\`hrmr versions ${name}\` lists them.`,
  });
}
