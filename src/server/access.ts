/** The access control of a server: its tokens, and its count of wrong ones. */
import { join } from "node:path";
import type { Options } from "../config/options";
import { AccessControl } from "../hub/access/access-control";
import { Guesses } from "../hub/access/guesses";
import { KnownTokens } from "../hub/access/known-tokens";
import { TOKENS_FILE } from "../hub/access/token-file";
import type { AccessRefusal, ModuleAccess } from "../module/contract";
import { isForeignOrigin, isLocalHost } from "../protocol/web/origin";
import type { ServerLog } from "../observe/log/log";

export interface Access {
  readonly control: AccessControl;
  readonly tokens: KnownTokens;
  /** Close it at the end. */
  readonly guesses: Guesses;
}

/** For modules that offer clients what the server guards. @param http  a reload may change it in place */
export function openModuleAccess(control: AccessControl, http: Pick<Options["http"], "localNames">): ModuleAccess {
  return {
    refusal({ client, session }, action, request) {
      if (request !== undefined) {
        const host = request.headers.get("host") ?? new URL(request.url).host;
        if (isForeignOrigin(request.headers.get("origin"), host)) return FOREIGN;
        // A page under a name that leads here (DNS rebinding) must not pass for a program of this machine.
        const isKnown = control.current(session).identity !== null;
        if (client.isLocal && !isKnown && !isLocalHost(host, http.localNames)) return FOREIGN;
      }
      return control.refusalOf(session, client, action);
    },
    authenticate: async (client, token) => await control.authenticate(token, client),
  };
}

const FOREIGN: AccessRefusal = {
  code: "FORBIDDEN",
  status: 403,
  message: "the request comes from a page of another site",
};

/** @param options  a reload may change them in place */
export function openAccess(options: Pick<Options, "access">, dataDir: string, log: ServerLog): Access {
  const tokens = new KnownTokens(
    () => options.access.tokensFile ?? join(dataDir, TOKENS_FILE),
    (text) => log.warn(text),
  );
  const guesses = new Guesses("access: a client", log);
  return { control: new AccessControl(() => options.access, tokens, guesses), tokens, guesses };
}
