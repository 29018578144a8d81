/**
 * The tokens of a running server. The file is read again when it has changed, so that `hrmr token add` and
 * `hrmr token revoke` need no reload.
 */
import { statSync } from "node:fs";
import type { Session } from "../../module/contract";
import { NOT_VALID } from "../../module/session";
import { readTokens } from "./token-file";
import { hashOf, isExpired, isToken, type TokenRecord } from "./tokens";

/**
 * Shortest time between two looks at the file, while tokens are checked. A look is one stat(2). In milliseconds. It is
 * short so that a revoked token stops working soon.
 */
const LOOK_MS = 50;
/** Length of the hash prefix that finds a token, in hexadecimal digits. The rest is compared in constant time. */
const INDEX_DIGITS = 16;

interface KnownToken {
  readonly record: TokenRecord;
  readonly hash: Buffer;
  readonly session: Session;
}

export class KnownTokens {
  readonly #file: () => string;
  readonly #warn: (text: string) => void;
  /** By the first digits of the hash. */
  #tokens = new Map<string, KnownToken>();
  /** The token that a session was opened with, by the same digits. */
  readonly #sources = new WeakMap<Session, string>();
  #lookedAt = -Infinity;
  #seen = "";

  /**
   * @param file  asked at each look: a reload may change it
   * @param warn  gets a line when the file cannot be used; the tokens before then stay
   */
  constructor(file: () => string, warn: (text: string) => void) {
    this.#file = file;
    this.#warn = warn;
  }

  /** Reads the file. @throws UserError TOKENS_FILE; the tokens before then stay */
  load(): void {
    this.#seen = markOf(this.#file());
    this.#lookedAt = performance.now();
    this.#take(readTokens(this.#file()));
  }

  /** Whether there is a token that is not expired. @param scope  that it must have. Default: any */
  hasAny(scope: string | null = null): boolean {
    this.#look();
    const now = Date.now();
    return [...this.#tokens.values()].some(
      ({ record }) => !isExpired(record, now) && (scope === null || record.scopes.includes(scope)),
    );
  }

  /** @returns the session of a client that shows this token; null: there is no such token, or it is expired */
  find(token: string): Session | null {
    if (!isToken(token)) return null;
    this.#look();
    const hash = hashOf(token);
    let known = this.#knownBy(hash);
    if (known === null) {
      // It may have been added a moment ago.
      this.#lookedAt = -Infinity;
      this.#look();
      known = this.#knownBy(hash);
    }
    return known === null || isExpired(known.record, Date.now()) ? null : known.session;
  }

  #knownBy(hash: Buffer): KnownToken | null {
    // The time of this look-up may tell digits of a hash, and no hash leads to its token.
    const known = this.#tokens.get(hash.toString("hex", 0, INDEX_DIGITS / 2));
    return known !== undefined && crypto.timingSafeEqual(hash, known.hash) ? known : null;
  }

  /**
   * @param session  of `find`
   * @returns the session as the file has it now; NOT_VALID once its token is revoked or expired. A session without a
   *   token is returned unchanged
   */
  current(session: Session): Session {
    const source = this.#sources.get(session);
    if (source === undefined) return session;
    this.#look();
    const known = this.#tokens.get(source);
    return known === undefined || isExpired(known.record, Date.now()) ? NOT_VALID : known.session;
  }

  #look(): void {
    const now = performance.now();
    if (now - this.#lookedAt < LOOK_MS) return;
    this.#lookedAt = now;
    const file = this.#file();
    const mark = markOf(file);
    if (mark === this.#seen) return;
    this.#seen = mark;
    try {
      this.#take(readTokens(file));
    } catch (error) {
      this.#warn(`${(error as Error).message} The tokens that were read before stay valid.`);
    }
  }

  #take(records: readonly TokenRecord[]): void {
    const old = this.#tokens;
    this.#tokens = new Map();
    for (const record of records) {
      const digits = record.hash.slice(0, INDEX_DIGITS);
      const before = old.get(digits);
      // The same object for an unchanged token: hosts know its clients by it.
      const known = before !== undefined && Bun.deepEquals(before.record, record) ? before : knownOf(record);
      this.#tokens.set(digits, known);
      this.#sources.set(known.session, digits);
    }
  }
}

function knownOf(record: TokenRecord): KnownToken {
  const scopes = Object.freeze([...record.scopes]);
  return { record, hash: Buffer.from(record.hash, "hex"), session: Object.freeze({ identity: record.name, scopes }) };
}

/** Changes with the file, and never throws. A file that is replaced has another inode. */
function markOf(file: string): string {
  try {
    const stats = statSync(file, { throwIfNoEntry: false });
    return stats === undefined ? file : `${file} ${stats.ino} ${stats.size} ${stats.mtimeMs} ${stats.ctimeMs}`;
  } catch (error) {
    // Its folder may not be entered: reading the file says so.
    return `${file} ${(error as NodeJS.ErrnoException).code}`;
  }
}
