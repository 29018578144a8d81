import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { formatListen, type ListenAddress, LISTEN_FORMS, parseListen } from "../config/listen";
import { applyConfig, loadConfig } from "../config/load";
import { type CommandPolicy, DEFAULT_HOST, DEFAULT_PORT, defaultOptions, type Options } from "../config/options";
import { PORT_RANGE, THREADS_RANGE } from "../config/rules";
import type { ResolvedConfig } from "../config/resolved";
import { isInteger, usageError } from "./flags";
import type { StartFlags } from "./start-flags";

/**
 * The server's options: defaults, over them the config file, over it HRMR_PORT, HRMR_HOST and HRMR_THREADS of the environment
 * (an empty one is none), over them the flags.
 *
 * Relative paths of flags start at `cwd`, those of the file, and `modules` if nothing names another, at the file's folder.
 * @throws UserError for a bad file, environment or flag
 */
export async function resolveConfig(flags: StartFlags, env: Record<string, string | undefined>, cwd: string): Promise<ResolvedConfig> {
  const config = await loadConfig(cwd, flags.config);
  const options = applyConfig(defaultOptions(), config.options);
  options.modulesDir ??= modulesBeside(config.file);
  applyEnvironment(options, env);
  applyFlags(options, flags, cwd);
  return { options, file: config.file, origins: new Map(), notes: [] };
}

/** The `modules` folder of the project whose config file was named from elsewhere; null if it has none. */
function modulesBeside(configFile: string | null): string | null {
  const folder = configFile === null ? null : join(dirname(configFile), "modules");
  return folder !== null && existsSync(folder) ? folder : null;
}

function applyEnvironment(options: Options, env: Record<string, string | undefined>): void {
  const port = environmentInteger("HRMR_PORT", env, PORT_RANGE);
  options.listen = withAddress(options.listen, env.HRMR_HOST || undefined, port, "HRMR_HOST");
  options.threads = environmentInteger("HRMR_THREADS", env, THREADS_RANGE) ?? options.threads;
}

function environmentInteger(
  name: string,
  env: Record<string, string | undefined>,
  range: { min: number; max: number },
): number | undefined {
  const text = env[name];
  if (text === undefined || text === "") return undefined;
  if (isInteger(text, range)) return Number(text);
  throw usageError(
    "BAD_ENVIRONMENT",
    `${name} in the environment must be a whole number from ${range.min} to ${range.max}, not ${JSON.stringify(text)}.`,
    `Correct it, or unset ${name}.`,
  );
}

function applyFlags(options: Options, flags: StartFlags, cwd: string): void {
  for (const url of flags.listen) {
    if (parseListen(url) === null) throw usageError("BAD_VALUE", `--listen cannot take ${JSON.stringify(url)}.`, `Write ${LISTEN_FORMS}.`);
  }
  if (flags.listen.length > 0) {
    const other = flags.port === undefined ? (flags.host === undefined ? null : "--host") : "--port";
    if (other !== null)
      throw usageError("BAD_VALUE", `${other} and --listen say different things.`, `Put it into the URL: ${LISTEN_FORMS}.`);
    options.listen = flags.listen;
  }
  options.listen = withAddress(options.listen, flags.host, flags.port === undefined ? undefined : Number(flags.port), "--host");
  if (flags.threads !== undefined) options.threads = Number(flags.threads);
  if (flags.modules !== undefined) options.modulesDir = resolve(cwd, flags.modules);
  if (flags.static !== undefined) options.staticDir = resolve(cwd, flags.static);
  if (flags.state !== undefined) options.stateDir = resolve(cwd, flags.state);
  options.watch = flags.watch ?? options.watch;
  options.control.commands = (flags.commands as CommandPolicy | undefined) ?? options.control.commands;
  if (flags["health-endpoint"] !== undefined) options.http.health = flags["health-endpoint"] ? "anyone" : "off";
  applyTlsFlags(options, flags["tls-cert"], flags["tls-key"], cwd);
}

/** Both or neither: the file's key would fit a certificate from a flag by accident only. */
function applyTlsFlags(options: Options, cert: string | undefined, key: string | undefined, cwd: string): void {
  if (cert === undefined && key === undefined) return;
  if (cert === undefined || key === undefined) {
    const [given, missing] = cert === undefined ? ["--tls-key", "--tls-cert"] : ["--tls-cert", "--tls-key"];
    throw usageError("BAD_VALUE", `${given} needs ${missing} beside it.`, "`hrmr cert` writes both files for development.");
  }
  options.tls.certFile = resolve(cwd, cert);
  options.tls.keyFile = resolve(cwd, key);
}

/** Changes host and port of the first tcp:// listener; puts one in front if there is none. */
function withAddress(listen: string[], host: string | undefined, port: number | undefined, hostName: string): string[] {
  if (host === undefined && port === undefined) return listen;
  const addresses = listen.map((url) => parseListen(url));
  const at = addresses.findIndex((address) => address?.transport === "tcp");
  const old = addresses[at] as Extract<ListenAddress, { host: string }> | undefined;
  const url = formatListen({
    transport: "tcp",
    // An IPv6 host is taken with and without brackets.
    host: host?.replace(/^\[(.*)\]$/, "$1") ?? old?.host ?? DEFAULT_HOST,
    port: port ?? old?.port ?? DEFAULT_PORT,
  });
  if (parseListen(url) === null)
    throw usageError("BAD_VALUE", `${hostName} cannot take ${JSON.stringify(host)}.`, "Pass a name or an IP address.");
  return at === -1 ? [url, ...listen] : listen.with(at, url);
}
