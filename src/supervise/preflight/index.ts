/**
 * Checks what `hrmr start` would do with a configuration, without starting, and finds every mistake at once. Makes,
 * locks and leaves open nothing.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { availableParallelism } from "node:os";
import { isReachable, parseListen } from "../../config/listen";
import type { Options } from "../../config/options";
import type { ResolvedConfig } from "../../config/resolve/resolved";
import { controlRequest } from "../../control/client";
import { controlPath } from "../../control/paths";
import type { ServerStatus } from "../../observe/snapshot";
import { Admission } from "../../server/connection/admission";
import { guardsOf, mustHaveToken } from "../../hub/access/start";
import { readTokens, TOKENS_FILE } from "../../hub/access/token-file";
import { isExpired, type TokenRecord } from "../../hub/access/tokens";
import { canBind, noPrefork } from "../../system/bind";
import { couldMakeFolder, findData, findModules, findState, findStatic, type Folders } from "../../server/folders";
import { TlsContexts, tlsNotes } from "../../server/tls/contexts";
import { findToken, readToken } from "../../server/token";
import { Findings } from "./findings";
import { wantedLocks } from "../takeover/holdings";
import { lookAtControl, lookAtLock, lookAtLogFile } from "./files";
import { checkListeners, type PresentServer } from "./listeners";
import { checkModules, type FoundModule } from "./modules";

type Environment = Readonly<Record<string, string | undefined>>;

/** A server that does not answer in this time is busy, and its listeners stay unknown. */
const STATUS_TIMEOUT_MS = 2000;

/** @param env the server's environment: RUNTIME_DIRECTORY */
export async function preflight({ options, file, notes }: ResolvedConfig, env: Environment): Promise<Findings> {
  const findings = new Findings();
  findings.ok("configuration", file ?? "there is no config file: defaults, environment and flags");
  for (const note of notes) findings.warn("configuration", note);
  const folders = await checkFolders(findings, options, env);
  const tokens = await readAll(findings, options, folders.dataDir ?? "");
  await checkSecrets(findings, options, tokens);
  const present = folders.stateDir === undefined ? null : await checkHoldings(findings, options, folders.stateDir, env);
  await checkListeners(findings, options, present);
  checkSizes(findings, options);
  let modules: FoundModule[] = [];
  if (folders.modulesDir !== undefined) {
    const { modulesDir, hasModulesDir = false, staticDir = null } = folders;
    const places = { modulesDir, hasModulesDir, staticDir, stateDir: "", dataDir: "", notes: [] };
    modules = await checkModules(findings, options, places);
  }
  await checkAccess(findings, options, { modules, hasToken: tokens.length > 0 });
  return findings;
}

/** @returns those that are in order */
async function checkFolders(findings: Findings, options: Options, env: Environment): Promise<Partial<Folders>> {
  const found: Partial<Folders> = {};
  const notes: string[] = [];
  await findings.look("modules folder", () => {
    Object.assign(found, findModules(options, []));
    return found.hasModulesDir === true
      ? (found.modulesDir ?? "")
      : "there is none: the page that comes with hrmr is served";
  });
  await findings.look("static folder", () => {
    found.staticDir = findStatic(options);
    return found.staticDir ?? "there is none: the pages that come with hrmr are served";
  });
  await findings.look("state folder", () => {
    const dir = findState(options, notes, couldMakeFolder);
    found.stateDir = dir;
    return existsSync(dir) ? dir : `${dir}, which a start makes`;
  });
  await findings.look("data folder", () => (found.dataDir = findData(options, found.stateDir ?? "", [], env)));
  for (const note of notes) findings.warn("state folder", note);
  return found;
}

/** @returns the tokens of clients that are not expired */
async function readAll(findings: Findings, { access }: Options, dataDir: string): Promise<TokenRecord[]> {
  let tokens: TokenRecord[] = [];
  await findings.look("tokens", () => {
    const file = access.tokensFile ?? join(dataDir, TOKENS_FILE);
    const now = Date.now();
    tokens = readTokens(file).filter((token) => !isExpired(token, now));
    return tokens.length === 0 ? "" : `${tokens.length} in ${file}`;
  });
  return tokens;
}

interface Guarded {
  readonly modules: readonly FoundModule[];
  readonly hasToken: boolean;
}

/** Finds a server that other machines reach, and that none of their clients could use. */
async function checkAccess(findings: Findings, options: Options, { modules, hasToken }: Guarded): Promise<void> {
  await findings.look("access", () => {
    const listen = options.listen.flatMap((url) => parseListen(url) ?? []);
    const guards = guardsOf(modules);
    mustHaveToken({ required: options.access.required, listen, guards, hasToken });
    return guards.length === 0 ? "" : `tokens guard ${guards.join(" and ")}`;
  });
}

async function checkSecrets(findings: Findings, options: Options, tokens: readonly TokenRecord[]): Promise<void> {
  const { control, listen, tls } = options;
  await findings.look("certificates", async () => {
    const contexts = await TlsContexts.load(tls);
    if (contexts !== null) for (const note of tlsNotes(contexts, listen)) findings.warn("certificates", note);
    return contexts === null ? "there are none: TLS is off" : (tls.certFile ?? "");
  });
  await findings.look("commands", () => {
    const hasAdmin = tokens.some(({ scopes }) => scopes.includes("admin"));
    return findToken(control, hasAdmin) === null ? "" : `a token is in ${control.tokenFile}`;
  });
  const { listen: controlListen, tokenFile } = control;
  if (controlListen !== null && tokenFile !== null) {
    await findings.look("control port", () => (readToken(tokenFile), `a token is in ${tokenFile}`));
    if (controlListen.startsWith("tcp:") && isOpen(controlListen)) {
      findings.warn("control port", "others on the network can read the token", "Make control.listen a tls:// URL.");
    }
  }
  if (control.commands === "anyone" && listen.some(isOpen)) {
    findings.warn(
      "commands",
      "every client that reaches a listener can stop the server",
      'Set control.commands to "loopback" or "token".',
    );
  }
}

/** Whether clients of other machines can connect to it. */
function isOpen(url: string): boolean {
  const address = parseListen(url);
  return address !== null && isReachable(address);
}

/** @returns the server that has this state folder already */
async function checkHoldings(
  findings: Findings,
  options: Options,
  stateDir: string,
  env: Environment,
): Promise<PresentServer | null> {
  const { control, log, pidFile } = options;
  const logFile = log.file;
  if (logFile !== null) await findings.look("log file", () => (lookAtLogFile(logFile), logFile));
  await findings.look("control socket", () => lookAtControl(stateDir, env["RUNTIME_DIRECTORY"], control.socket));
  const [state, pid] = wantedLocks(options, { stateDir });
  let present: number | null = null;
  await findings.look("state folder", () => {
    present = existsSync(stateDir) ? lookAtLock(state.path) : null;
    return present === null
      ? ""
      : `a server (pid ${present}) runs with it: reload that one; a second one cannot be started`;
  });
  if (pidFile !== null) {
    await findings.look("pid file", () => {
      const holder = lookAtLock(pidFile);
      if (holder !== null && holder !== present) throw pid?.refused({ holder: `pid ${holder}` });
      return pidFile;
    });
  }
  if (present === null) return null;
  return {
    pid: present,
    listening: await listeningOf(controlPath(stateDir, env["RUNTIME_DIRECTORY"], control.socket)),
  };
}

async function listeningOf(path: string): Promise<readonly string[] | null> {
  try {
    return (await controlRequest<ServerStatus>(path, "GET", "/v1/status", undefined, { timeoutMs: STATUS_TIMEOUT_MS }))
      .body.listening;
  } catch {
    // It is starting or ending, or another user's: busy addresses count as its own.
    return null;
  }
}

function checkSizes(findings: Findings, { limits, processes }: Options): void {
  const { note } = new Admission(limits);
  if (note !== null) findings.warn("descriptors", note);
  else findings.ok("descriptors", `enough for ${limits.maxConnections} connections`);
  const count = processes === 0 ? availableParallelism() : processes;
  if (count > 1 && !canBind()) findings.error("processes", noPrefork(count));
}
