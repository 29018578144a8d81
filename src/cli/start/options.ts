/**
 * The configuration of `hrmr start`: defaults, overridden by the config file, then by the environment, then by the
 * flags.
 */
import { existsSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { ConfigDraft } from "../../config/resolve/draft";
import { type Environment, readEnvironment } from "../../config/resolve/environment";
import { CONFIG_KEYS, type ConfigKey } from "../../config/schema/key-list";
import { formatListen, type ListenAddress, LISTEN_FORMS, parseListen } from "../../config/listen";
import { readEnvFile } from "../../config/resolve/env-file";
import { readConfigFile } from "../../config/resolve/load";
import { violation } from "../../config/mistakes";
import { DEFAULT_HOST, DEFAULT_HTTP, DEFAULT_PORT, defaultOptions, type HttpOptions } from "../../config/options";
import { withAbsolutePaths } from "../../config/paths";
import { PORT_RANGE } from "../../config/schema/ranges";
import type { ResolvedConfig } from "../../config/resolve/resolved";
import { quoted } from "../../config/quoted";
import { fromText } from "../../config/resolve/text-values";
import type { UserError } from "../../config/user-error";
import { badValue, isInteger, usageError } from "../flags";
import { applySet } from "./set-flag";
import type { StartFlags } from "./flags";

/** Flags that set one key each. */
const KEY_FLAGS = {
  processes: "processes",
  threads: "threads",
  modules: "modulesDir",
  static: "staticDir",
  state: "stateDir",
  data: "dataDir",
  watch: "watch",
  resume: "resume",
  "pid-file": "pidFile",
  control: "control.socket",
  commands: "control.commands",
  "log-level": "log.level",
  "log-format": "log.format",
  "log-file": "log.file",
  "access-log": "log.access",
  "tls-cert": "tls.certFile",
  "tls-key": "tls.keyFile",
} as const satisfies { [Name in keyof StartFlags]?: string };

const ENDPOINT_FLAGS = {
  "health-endpoint": "health",
  "ready-endpoint": "ready",
  "stats-endpoint": "stats",
  "metrics-endpoint": "metrics",
} as const;

/**
 * The server's configuration. A reload calls it again, to read the file again.
 *
 * `.env` beside the config file, or in `cwd`, adds to the environment `given`.
 *
 * Relative paths of flags and variables start at `cwd`. Those of the file, and the default `modules`, start at the
 * file's folder.
 * @throws UserError for a bad file, environment or flag, with all of its mistakes
 */
export async function resolveConfig(flags: StartFlags, given: Environment, cwd: string): Promise<ResolvedConfig> {
  checkListenFlags(flags);
  checkTlsFlags(flags);
  const named = flags.config ?? (given["HRMR_CONFIG"] || undefined);
  const envFile = readEnvFile(named === undefined ? cwd : dirname(resolve(cwd, named)), given);
  const env = { ...envFile.values, ...given };
  const environment = readEnvironment(env, cwd, envFile.values);
  const mistakes = [...environment.mistakes, ...portMistakes(env)];
  if (mistakes.length > 0) throw environmentError(mistakes);
  const file = await readConfigFile(cwd, named, env);
  const draft = new ConfigDraft(file);
  for (const { origin, key, value } of environment.values) draft.set(key.path, value, origin);
  setAddress(draft, env["HRMR_HOST"] || undefined, env["HRMR_PORT"] || undefined, ["HRMR_HOST", "HRMR_PORT"]);
  applyFlags(draft, flags, cwd);
  draft.notes.push(...envFile.notes, ...environment.notes);
  setProjectModules(draft, file?.path ?? null, cwd);
  if (environment.ofModules.length > 0) {
    // Imported late: it looks at the modules folder, and few use it.
    const { applyModuleVariables } = await import("./module-variables");
    const wrong = await applyModuleVariables(draft, environment.ofModules, cwd);
    if (wrong.length > 0) throw environmentError(wrong);
  }
  return draft.finish(envFile.values);
}

function environmentError(mistakes: string[]): UserError {
  const hint = mistakes.length === 1 ? "Correct the variable, or unset it." : "Correct these variables, or unset them.";
  return usageError("BAD_ENVIRONMENT", mistakes.join("\n"), hint);
}

/** HRMR_PORT is not a key: it changes a listener. */
function portMistakes(env: Environment): string[] {
  const port = env["HRMR_PORT"];
  if (!port || isInteger(port, PORT_RANGE)) return [];
  const { min, max } = PORT_RANGE;
  return [`HRMR_PORT in the environment must be a whole number from ${min} to ${max}, not ${quoted(port)}.`];
}

/** Sets the `modules` folder of a project whose config file lies in another folder. */
function setProjectModules(draft: ConfigDraft, file: string | null, cwd: string): void {
  if (file === null) return;
  const folder = join(dirname(file), "modules");
  // The working directory's own is the default: it may be empty or missing.
  if ((draft.get("modulesDir") ?? null) !== null || folder === join(cwd, "modules") || !existsSync(folder)) return;
  draft.set(["modulesDir"], folder, `default, beside ${basename(file)}`);
}

function applyFlags(draft: ConfigDraft, flags: StartFlags, cwd: string): void {
  if (flags.listen.length > 0) draft.set(["listen"], flags.listen, "--listen");
  for (const [flag, name] of Object.entries(KEY_FLAGS) as [keyof typeof KEY_FLAGS, string][]) {
    const given = flags[flag];
    if (given !== undefined) setKey(draft, CONFIG_KEYS.get(name) as ConfigKey, flag, given, cwd);
  }
  for (const [flag, name] of Object.entries(ENDPOINT_FLAGS) as [keyof typeof ENDPOINT_FLAGS, keyof HttpOptions][]) {
    const policy = flags[flag] === false ? "off" : DEFAULT_HTTP[name];
    // A policy other than "off" in the file has already turned the endpoint on.
    const isOff = (draft.get(`http.${name}`) ?? DEFAULT_HTTP[name]) === "off";
    if (flags[flag] === false || (flags[flag] === true && isOff))
      draft.set(["http", name], policy, spelled(flag, flags[flag]));
  }
  applySet(draft, flags.set ?? [], cwd);
  setAddress(draft, flags.host, flags.port, ["--host", "--port"]);
}

function setKey(draft: ConfigDraft, key: ConfigKey, flag: string, given: string | boolean, cwd: string): void {
  const value = typeof given === "string" ? fromText(key.schema, given) : given;
  const wrong = violation(key.schema, value);
  if (wrong !== null) throw badValue(`--${flag} ${wrong}.`, "`hrmr help start` shows how it is used.");
  draft.set(key.path, withAbsolutePaths(value, key.schema, cwd), spelled(flag, given));
}

function spelled(flag: string, given: string | boolean): string {
  return given === false ? `--no-${flag}` : `--${flag}`;
}

function checkListenFlags(flags: StartFlags): void {
  for (const url of flags.listen) {
    if (parseListen(url) === null) throw badValue(`--listen cannot take ${quoted(url)}.`, `Write ${LISTEN_FORMS}.`);
  }
  const other = flags.port === undefined ? (flags.host === undefined ? null : "--host") : "--port";
  if (flags.listen.length > 0 && other !== null)
    throw badValue(`${other} and --listen say different things.`, `Put it into the URL: ${LISTEN_FORMS}.`);
}

/** Both or neither: the file's key belongs to another certificate. */
function checkTlsFlags({ "tls-cert": cert, "tls-key": key }: StartFlags): void {
  if ((cert === undefined) === (key === undefined)) return;
  const [given, missing] = cert === undefined ? ["--tls-key", "--tls-cert"] : ["--tls-cert", "--tls-key"];
  throw badValue(`${given} needs ${missing} beside it.`, "`hrmr cert` writes both files for development.");
}

/**
 * Changes host and port of the first tcp:// listener; adds one in front if there is none. `names` are the origins, for
 * people.
 */
function setAddress(
  draft: ConfigDraft,
  host: string | undefined,
  port: string | undefined,
  names: [host: string, port: string],
): void {
  if (host === undefined && port === undefined) return;
  const said = draft.get("listen");
  const listen = Array.isArray(said)
    ? (said as unknown[]).filter((url) => typeof url === "string")
    : defaultOptions().listen;
  const addresses = listen.map((url) => parseListen(url));
  const at = addresses.findIndex((address) => address?.transport === "tcp");
  const old = addresses[at] as Extract<ListenAddress, { host: string }> | undefined;
  const url = formatListen({
    transport: "tcp",
    // An IPv6 host may have brackets.
    host: host?.replace(/^\[(.*)\]$/, "$1") ?? old?.host ?? DEFAULT_HOST,
    port: port === undefined ? (old?.port ?? DEFAULT_PORT) : Number(port),
  });
  if (parseListen(url) === null)
    throw badValue(`${names[0]} cannot take ${quoted(host)}.`, "Pass a name or an IP address.");
  draft.set(["listen"], at === -1 ? [url, ...listen] : listen.with(at, url), port === undefined ? names[0] : names[1]);
}
