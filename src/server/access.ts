/** The access control of a server: its tokens, and its count of wrong ones. */
import { join } from "node:path";
import type { Options } from "../config/options";
import { AccessControl } from "../hub/access/access-control";
import { Guesses } from "../hub/access/guesses";
import { KnownTokens } from "../hub/access/known-tokens";
import { TOKENS_FILE } from "../hub/access/token-file";
import type { ServerLog } from "../observe/log/log";

export interface Access {
  readonly control: AccessControl;
  readonly tokens: KnownTokens;
  /** Close it at the end. */
  readonly guesses: Guesses;
}

/** @param options  a reload may change them in place */
export function openAccess(options: Pick<Options, "access">, dataDir: string, log: ServerLog): Access {
  const tokens = new KnownTokens(
    () => options.access.tokensFile ?? join(dataDir, TOKENS_FILE),
    (text) => log.warn(text),
  );
  const guesses = new Guesses("access: a client", log);
  return { control: new AccessControl(() => options.access, tokens, guesses), tokens, guesses };
}
