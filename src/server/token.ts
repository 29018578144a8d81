/**
 * The secrets that let remote clients send the built-in commands (control.commands "token"), the file of one of them,
 * and the comparison. A token is in no message, log line or error; only its digest is kept.
 */
import type { ControlOptions } from "../config/options";
import type { AccessControl } from "../hub/access/access-control";
import type { Client, Session } from "../module/contract";
import { UserError } from "../config/user-error";
import { readSecretFile, SecretFileError } from "../system/private-files";

type TokenOptions = Pick<ControlOptions, "commands" | "tokenFile">;

const MIN_TOKEN_CHARS = 16;
/** The most bytes of a token's file: a longer one is not a token. */
const MAX_FILE_BYTES = 4096;
/** Printable, and without spaces: it ends a command's line. */
const TOKEN = /^[\x21-\x7e]+$/;
const GIVEN_TOKEN = /(?:^|\s)token:(\S*)$/;

const HOW_TO_MAKE = "Make one: (umask 077 && openssl rand -hex 24 > FILE).";

/** Clients whose connection is about to end for a wrong token: no further token from them is compared. */
export type Guessers = WeakSet<Client>;

/** The scope of tokens of `hrmr token` that may send commands. */
const SCOPE = "admin";

type AdminTokens = Pick<AccessControl, "isGood" | "isAllowed" | "hasTokenFor">;

/**
 * The tokens of a server's commands: that of `control.tokenFile` (none before `load`, or with another policy), and those
 * of `hrmr token` that have the scope "admin".
 */
export class CommandToken {
  readonly #access: AdminTokens;
  #digest: Buffer | null = null;

  constructor(access: AdminTokens) {
    this.#access = access;
  }

  get isSet(): boolean {
    return this.#digest !== null || this.#access.hasTokenFor(SCOPE);
  }

  /** Whether the client has shown such a token before, with AUTH. */
  isHeldBy(session: Session): boolean {
    return this.#access.isAllowed(session, SCOPE);
  }

  /**
   * Reads the file that `control` names, if its policy is "token".
   *
   * @returns whether it has changed
   * @throws UserError as `findToken`; the old token then stays
   */
  load(control: TokenOptions): boolean {
    const token = findToken(control, this.#access.hasTokenFor(SCOPE));
    const digest = token === null ? null : digestOf(token);
    const hasChanged =
      digest === null || this.#digest === null ? digest !== this.#digest : !digest.equals(this.#digest);
    this.#digest = digest;
    return hasChanged;
  }

  /** Takes the same time for every wrong token, since digests have one length. */
  isRight(given: string): boolean {
    if (this.#digest !== null && crypto.timingSafeEqual(digestOf(given), this.#digest)) return true;
    return this.#access.isGood(given, SCOPE);
  }
}

/**
 * @param hasOthers  there are tokens of `hrmr token` for commands
 * @returns the token; null unless the policy is "token", or if no file is named
 * @throws UserError TOKEN_MISSING if there is none at all; TOKEN_FILE as `readToken`
 */
export function findToken({ commands, tokenFile }: TokenOptions, hasOthers: boolean): string | null {
  if (commands !== "token") return null;
  if (tokenFile !== null) return readToken(tokenFile);
  if (hasOthers) return null;
  throw new UserError('control.commands is "token", and there is no token.', {
    code: "TOKEN_MISSING",
    hint: "Make one: hrmr token add NAME --scope admin. Or name the file of one in control.tokenFile.",
  });
}

/**
 * Reads a token's file: one line of at least 16 printable characters without spaces, which only its owner may read.
 *
 * @param howToMake a sentence for people who have none
 * @throws UserError TOKEN_FILE naming the file, but not its content
 */
export function readToken(file: string, howToMake = HOW_TO_MAKE): string {
  const token = readPrivateFile(file, howToMake).replace(/\r?\n$/, "");
  if (token.includes("\n")) throw tokenError(file, "holds more than one line", "Leave the token alone in its file.");
  if (!TOKEN.test(token) && token !== "")
    throw tokenError(
      file,
      "holds a space, or a character that cannot be printed",
      `Choose another token. ${howToMake}`,
    );
  if (token.length < MIN_TOKEN_CHARS)
    throw tokenError(file, `holds ${token.length} characters, and a token has at least ${MIN_TOKEN_CHARS}`, howToMake);
  return token;
}

/** Cuts `token:SECRET` off a command's end. @returns the text before it, trimmed; `token` is null if there is none */
export function splitToken(argument: string): { rest: string; token: string | null } {
  const given = GIVEN_TOKEN.exec(argument);
  return given === null
    ? { rest: argument, token: null }
    : { rest: argument.slice(0, given.index).trim(), token: given[1] ?? "" };
}

function readPrivateFile(file: string, howToMake: string): string {
  try {
    return readSecretFile(file, MAX_FILE_BYTES).toString("latin1");
  } catch (error) {
    if (!(error instanceof SecretFileError)) throw error;
    const { message, hint, code } = error;
    const ownHint = code === "ENOENT" ? `Check the path. ${howToMake}` : "Name the file that holds the token.";
    throw tokenError(file, message, hint ?? ownHint, error);
  }
}

function tokenError(file: string, what: string, hint: string, cause?: unknown): UserError {
  return new UserError(`The token file ${file} ${what}.`, { code: "TOKEN_FILE", hint, cause });
}

function digestOf(text: string): Buffer {
  return new Bun.CryptoHasher("sha256").update(text).digest();
}
