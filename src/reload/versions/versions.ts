/** The records of versions that have served, and the choice of the one that a rollback goes to. Pure. */
import { UserError } from "../../config/user-error";
import { identityOf } from "../../module/shape/settings";

/**
 * How a version came to serve: `rollback` is a stored version again, `resume` one that a start without its bundle had
 * to build again.
 */
type VersionOrigin = "disk" | "push" | "rollback" | "resume";

/**
 * `probation`: it is on probation, or was replaced during it after too many failures. The key in the records and in the
 * JSON of `hrmr versions` is `verdict`.
 */
type Standing = "good" | "probation" | "rolled back" | "crashed";

/** The record of a version. Plain data. */
export interface VersionRecord {
  /** Counts up over all starts. No two versions share one. */
  readonly number: number;
  /** Of the bundle. */
  readonly hash: string;
  /** ISO 8601: the time when it began to serve. */
  readonly at: string;
  readonly from: VersionOrigin;
  /** For a rollback: the number of the version that it repeats. null: it is new. */
  readonly of: number | null;
  /** The author's file, absolute path. */
  readonly source: string;
  /** The settings that it was loaded with. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly verdict: Standing;
  /** The reason of a standing other than good. */
  readonly reason: string | null;
}

/** A version that is loaded in place of the files on disk. Plain data: it crosses processes. */
export interface StoredVersion {
  readonly name: string;
  /** The number that it had when it served. */
  readonly of: number;
  readonly hash: string;
  readonly source: string;
  /** Its bundle, absolute path. */
  readonly file: string;
  readonly config: Readonly<Record<string, unknown>>;
  /** The failure of the serving version; null: a user asked for this one. */
  readonly condemned: Condemned | null;
}

/** A version that has to go. */
export interface Condemned {
  readonly name: string;
  readonly number: number;
  readonly standing: "rolled back" | "crashed";
  readonly reason: string;
}

/** The identity of a version. */
export function identityOfRecord({ hash, config }: VersionRecord): string {
  return identityOf(hash, config);
}

/**
 * The version that comes back by default: the last good one before the serving one. After a rollback it is the one
 * before that rollback's target, so that repeated rollbacks go further into the past. If no earlier one was found good,
 * the last one without a bad standing.
 *
 * @param records  oldest first
 * @param live the number of the serving version; null: none
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

/** A bad version stays bad under another number. */
function isCondemned(records: readonly VersionRecord[], record: VersionRecord): boolean {
  const isBad = ({ verdict, reason }: VersionRecord): boolean =>
    verdict === "crashed" || (verdict === "rolled back" && reason !== null);
  const identity = identityOfRecord(record);
  return records.some((other) => isBad(other) && identityOfRecord(other) === identity);
}

const NUMBER = /^v?(\d+)$/;
/** The fewest digits of a hash: fewer could be a number. */
const MIN_HASH_DIGITS = 4;
/** The most characters of the requested version in a message. */
const MAX_SHOWN = 32;

/**
 * Finds the requested version.
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
