/**
 * Versions that were rolled back. Their files are still on the disk, but a reload must not bring them back by itself.
 */
import { identityOf } from "../../module/shape/settings";

/** The held-back versions of one module. Plain data: it crosses processes, and is kept as JSON. */
export interface Hold {
  /** The held-back versions, by `identityOf`. Edited files are another version. */
  readonly identities: readonly string[];
  /** The number of the last version that was rolled back. */
  readonly from: number;
  /** The reason; null: a user asked for it. */
  readonly reason: string | null;
}

interface Version {
  readonly number: number;
  readonly hash: string;
  readonly config: Readonly<Record<string, unknown>>;
}

/**
 * @param hold the earlier hold; null: none
 * @param from  the version that has to go
 * @param to its replacement, which is no longer held back
 */
export function holdBack(hold: Hold | null, from: Version, to: Omit<Version, "number">, reason: string | null): Hold {
  const identities = new Set(hold?.identities);
  identities.add(identityOf(from.hash, from.config));
  identities.delete(identityOf(to.hash, to.config));
  return { identities: [...identities], from: from.number, reason };
}

/** Whether a version with this bundle and these settings is held back. */
export function isHeldBack(hold: Hold | null, hash: string, config: Readonly<Record<string, unknown>>): boolean {
  return hold !== null && hold.identities.includes(identityOf(hash, config));
}

/** @returns its words for a verdict and `hrmr status`, with what to do */
export function holdText(name: string, { from, reason }: Hold): string {
  const why = reason === null ? "" : ` (${reason})`;
  return `held back: rolled back from v${from}${why}; edit the file or \`hrmr reload --force ${name}\``;
}
