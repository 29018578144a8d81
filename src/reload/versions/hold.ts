/**
 * What was rolled back from: a reload finds it on the disk still, and must not bring it back by itself.
 */
import { identityOf } from "../../module/shape/settings";

/** Of one module. Plain data: it crosses processes, and is kept as JSON. */
export interface Hold {
  /** Versions that stay out, each as `identityOf` has it. Edited files are another version. */
  readonly identities: readonly string[];
  /** The number of the one that was rolled back from last. */
  readonly from: number;
  /** Why; null: somebody asked for it. */
  readonly reason: string | null;
}

interface Version {
  readonly number: number;
  readonly hash: string;
  readonly config: Readonly<Record<string, unknown>>;
}

/**
 * @param hold  what was held back before; null: nothing
 * @param from  the version that has to go
 * @param to    the one that comes in its place, which is not held back any more
 */
export function holdBack(hold: Hold | null, from: Version, to: Omit<Version, "number">, reason: string | null): Hold {
  const identities = new Set(hold?.identities);
  identities.add(identityOf(from.hash, from.config));
  identities.delete(identityOf(to.hash, to.config));
  return { identities: [...identities], from: from.number, reason };
}

/** Whether a version with this bundle and these settings stays out. */
export function isHeldBack(hold: Hold | null, hash: string, config: Readonly<Record<string, unknown>>): boolean {
  return hold !== null && hold.identities.includes(identityOf(hash, config));
}

/** @returns what a verdict and `hrmr status` say of it, and what to do */
export function holdText(name: string, { from, reason }: Hold): string {
  const why = reason === null ? "" : ` (${reason})`;
  return `held back: rolled back from v${from}${why}; edit the file or \`hrmr reload --force ${name}\``;
}
