/** Finds the server that a command talks to: the one in the flags, or the folder's own. */
import { existsSync, lstatSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { UserError } from "../../config/user-error";
import { CONFIG_FILES, ENV_FILE } from "../../config/working-folder";
import { controlRequest, type ControlTarget, noServer } from "../../control/client";
import { controlPath } from "../../control/paths";
import { fallbackStateDir } from "../../server/folders";
import { readHolder } from "../../supervise/takeover/lock";
import { badValue, type Flags, type Given, switchFlag, valueFlag } from "../flags";
import { parseHostPort } from "../../config/listen";
import { maskUrls, quoted } from "../../config/quoted";
import { readToken } from "../../server/token";
import { projectFolder } from "./project-folder";
import { readAuthorities, readTlsFile } from "./send-tls";

const REMOTE_ARGS = {
  server: valueFlag(
    "host:port",
    "A server elsewhere, by its control.listen: HOST:PORT, tcp:// or tls://. unix:PATH is a control socket",
  ),
  "token-file": valueFlag("file", "For --server: file with the token that control.tokenFile has there"),
  "tls-ca": valueFlag("file", "For --server: trust certificates of this authority (PEM), or this certificate itself"),
  "client-cert": valueFlag("file", "For --server: the client certificate (PEM), if the server asks for one"),
  "client-key": valueFlag("file", "For --server: the private key of --client-cert (PEM)"),
} as const satisfies Flags;

/** The flags of every command that talks to a running server. */
export const CONTROL_ARGS = {
  control: valueFlag("path", "The server's control socket. Default HRMR_CONTROL, else that of this project's server"),
  config: valueFlag("file", "Config file of the server. Default hrmr.json, if there is one", { alias: "c" }),
  modules: valueFlag("dir", "Folder of the server's modules. Default modules"),
  state: valueFlag("dir", "Folder of the server's state. Default .hrmr beside the modules folder"),
  ...REMOTE_ARGS,
  json: switchFlag("Print the control socket's JSON"),
} as const satisfies Flags;

export type ControlFlags = Omit<Given<typeof CONTROL_ARGS>, "json">;

type Environment = Record<string, string | undefined>;

/** The socket of the systemd unit that `hrmr service` writes. */
const SYSTEM_SOCKET = "/run/hrmr/control.sock";

interface SocketPaths {
  /** Possible paths of the socket, the likeliest first. */
  readonly sockets: readonly string[];
  /** State folders whose lock shows that a server runs. */
  readonly stateDirs: readonly string[];
  /** Whether this folder, or the one in the flags, is a server's: then the system's server is not meant. */
  readonly isProject: boolean;
}

/**
 * Finds the server: --server, or the control socket: --control, HRMR_CONTROL, then as `hrmr start` places it with the
 * same config file and flags here; if nothing looks like a server's folder, the system's server.
 *
 * A mistake in the config file must not prevent a stop. It is an error only if there is no socket at the default path.
 * @throws UserError NO_SERVER naming the searched paths, SERVER_UNREACHABLE, or the mistakes of the config file; as
 *   `readServer`; BAD_VALUE for flags that name two servers
 */
export async function findServer(
  flags: ControlFlags,
  env: Environment = process.env,
  cwd: string = process.cwd(),
): Promise<ControlTarget> {
  const remote = readServer(flags, cwd);
  if (remote !== null && flags.control !== undefined) {
    throw badValue("--server and --control name two servers.", "Pass one of them.");
  }
  if (remote !== null) return remote;
  const named = flags.control ?? (env.HRMR_CONTROL || undefined);
  if (named !== undefined) return resolve(cwd, named);
  let mistake: UserError | null = null;
  const folder = folderOf(flags, env, cwd);
  const paths = await findSocketPaths(flags, env, folder).catch((error: unknown) => {
    if (!(error instanceof UserError) || error.code === "NO_CONFIG") throw error;
    mistake = error;
    return defaultSocketPaths(flags, env, folder);
  });
  const sockets = paths.isProject ? paths.sockets : [...paths.sockets, SYSTEM_SOCKET];
  const found = sockets.find(isThere);
  if (found !== undefined) return found;
  throw mistake ?? notFound(paths, sockets);
}

/** The process that holds the lock of this folder's server, even if it does not answer. */
/**
 * Asks the server that `flags` name. @returns the body of its reply. @throws UserError if it refuses or is not there
 */
export async function askServer<Body>(
  flags: ControlFlags,
  ...[method, route, body]: [method: "GET" | "POST" | "DELETE", route: string, body?: object]
): Promise<Body> {
  return (await controlRequest<Body>(await findServer(flags), method, route, body)).body;
}

interface Holder {
  readonly pid: number;
  readonly stateDir: string;
}

/**
 * @returns null: no process holds the lock, or --server names a remote server. With --control, the lock beside the
 * socket. Never throws
 */
export async function findHolder(
  flags: ControlFlags,
  env: Environment = process.env,
  cwd: string = process.cwd(),
): Promise<Holder | null> {
  const named = flags.control ?? (env.HRMR_CONTROL || undefined);
  const folder = folderOf(flags, env, cwd);
  const find = (): Promise<SocketPaths> =>
    findSocketPaths(flags, env, folder).catch(() => defaultSocketPaths(flags, env, folder));
  const stateDirs =
    flags.server !== undefined ? [] : named === undefined ? (await find()).stateDirs : [dirname(resolve(cwd, named))];
  for (const stateDir of stateDirs) {
    const pid = readHolder(join(stateDir, "lock"));
    if (pid !== null) return { pid, stateDir };
  }
  return null;
}

/** The project's folder, unless a flag or variable says where the server is: its path starts at `cwd`. */
function folderOf({ config, modules, state }: ControlFlags, env: Environment, cwd: string): string {
  const isNamed = [config, modules, state, env.HRMR_CONFIG, env.HRMR_MODULES_DIR, env.HRMR_STATE_DIR].some(Boolean);
  return isNamed ? cwd : projectFolder(cwd);
}

async function findSocketPaths(flags: ControlFlags, env: Environment, cwd: string): Promise<SocketPaths> {
  const { config, modules, state } = flags;
  if (isPlain(flags, env, cwd)) {
    const paths = defaultSocketPaths(flags, env, cwd);
    const base = modules === undefined ? cwd : dirname(resolve(cwd, modules));
    return { ...paths, isProject: modules !== undefined || state !== undefined || looksLikeProject(base) };
  }
  const { resolveConfig } = await import("../start/options");
  const { options, file } = await resolveConfig({ config, modules, state, listen: [] }, env, cwd);
  const base = options.modulesDir === null ? cwd : dirname(options.modulesDir);
  const isProject = file !== null || modules !== undefined || state !== undefined || looksLikeProject(base);
  return socketPathsOf(options.stateDir, base, env, options.control.socket, isProject);
}

/** Whether only flags with paths say where the server is. No configuration has to be read then. */
function isPlain({ config, modules, state }: ControlFlags, env: Environment, cwd: string): boolean {
  const isPath = (given: string | undefined): boolean => given !== "" && given !== "null";
  const isSet = (name: string): boolean => name.startsWith("HRMR_") && env[name] !== "";
  if (config !== undefined || !isPath(modules) || !isPath(state) || Object.keys(env).some(isSet)) return false;
  return ![...CONFIG_FILES, ENV_FILE].some((name) => existsSync(join(cwd, name)));
}

/** The paths for a server whose config file cannot be read. */
function defaultSocketPaths({ config, modules, state }: ControlFlags, env: Environment, cwd: string): SocketPaths {
  const base =
    modules !== undefined ? dirname(resolve(cwd, modules)) : config === undefined ? cwd : dirname(resolve(cwd, config));
  return socketPathsOf(state === undefined ? null : resolve(cwd, state), base, env, null, true);
}

function socketPathsOf(
  stateDir: string | null,
  base: string,
  env: Environment,
  configured: string | null,
  isProject: boolean,
): SocketPaths {
  // If the project's folder is read-only, the server uses another one.
  const fallback = fallbackStateDir(base);
  const stateDirs = stateDir !== null ? [stateDir] : [join(base, ".hrmr"), ...(existsSync(fallback) ? [fallback] : [])];
  const first = stateDirs[0] as string;
  const sockets =
    configured === null ? stateDirs.flatMap((dir) => socketsIn(dir)) : [controlPath(first, undefined, configured)];
  const runtime = configured === null && env.RUNTIME_DIRECTORY ? [controlPath(first, env.RUNTIME_DIRECTORY)] : [];
  return { sockets: [...runtime, ...sockets], stateDirs, isProject };
}

/** If the path is too long, the path depends on the server's user: this one, or the owner of the folder. */
function socketsIn(stateDir: string): string[] {
  const owner = lstatSync(stateDir, { throwIfNoEntry: false })?.uid;
  return [
    ...new Set([
      controlPath(stateDir),
      ...(owner === undefined ? [] : [controlPath(stateDir, undefined, null, owner)]),
    ]),
  ];
}

function looksLikeProject(base: string): boolean {
  return existsSync(join(base, "modules")) || existsSync(join(base, ".hrmr"));
}

/** A path that cannot be checked counts as present: using it gives the error. */
function isThere(path: string): boolean {
  try {
    return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ENOTDIR";
  }
}

function notFound({ stateDirs }: SocketPaths, sockets: readonly string[]): UserError {
  const pid = stateDirs.map((dir) => readHolder(join(dir, "lock"))).find((holder) => holder !== null);
  if (pid !== undefined) {
    return new UserError(`The server of this folder, pid ${pid}, has no control socket at ${sockets[0]}.`, {
      code: "SERVER_UNREACHABLE",
      hint: "It is starting or ending; or its configuration names another path: pass that as --control PATH.",
    });
  }
  if (!sockets.includes(SYSTEM_SOCKET) && isThere(SYSTEM_SOCKET)) {
    return new UserError(noServer(sockets).message, {
      code: "NO_SERVER",
      hint: `The system's server is another one: --control ${SYSTEM_SOCKET} is it. \`hrmr start\` starts one here.`,
    });
  }
  return noServer(sockets);
}

type RemoteFlags = Given<typeof REMOTE_ARGS>;

const FORMS = "HOST:PORT, tcp://HOST:PORT, tls://HOST:PORT or unix:PATH";

/**
 * @returns null: the flags name no server
 * @throws UserError BAD_VALUE for flags that don't go together, exit code 2; TOKEN_FILE; TLS_FILE
 */
function readServer(flags: RemoteFlags, cwd: string): ControlTarget | null {
  const { server, "token-file": tokenFile, "tls-ca": caFile, "client-cert": certFile, "client-key": keyFile } = flags;
  const files = { "--token-file": tokenFile, "--tls-ca": caFile, "--client-cert": certFile, "--client-key": keyFile };
  const [extra] = Object.entries(files).flatMap(([name, file]) => (file === undefined ? [] : [name]));
  if (server === undefined || server.startsWith("unix:")) {
    if (extra !== undefined)
      throw badValue(`${extra} goes with --server HOST:PORT.`, "A control socket needs neither.");
    return server === undefined ? null : resolve(cwd, server.replace(/^unix:(?:\/\/(?=\/))?/, ""));
  }
  const [, scheme = "tcp", rest = ""] = /^(?:(tcp|tls|https?):\/\/)?(.*?)\/?$/.exec(server) ?? [];
  const address = parseHostPort(rest);
  if (address === null || address.port === 0) {
    throw badValue(`--server takes ${FORMS}, not ${quoted(server)}.`, "Pass the server's control.listen.");
  }
  if (tokenFile === undefined)
    throw badValue(
      `--server ${maskUrls(server)} needs --token-file FILE.`,
      "The file holds the token that control.tokenFile has there.",
    );
  if ((certFile === undefined) !== (keyFile === undefined))
    throw badValue("--client-cert and --client-key go together.", "Name both files, or neither.");
  const isTls = scheme === "tls" || scheme === "https" || caFile !== undefined || certFile !== undefined;
  if (isTls && (scheme === "http" || (scheme === "tcp" && server.includes("://")))) {
    throw badValue(
      `${caFile === undefined ? "--client-cert" : "--tls-ca"} and --server ${maskUrls(server)} say different things.`,
      "Write tls:// for a server that speaks TLS.",
    );
  }
  const host = address.host.includes(":") ? `[${address.host}]` : address.host;
  const url = `${isTls ? "https" : "http"}://${host}:${address.port}`;
  const token = readToken(resolve(cwd, tokenFile));
  return {
    url,
    token,
    ...(caFile === undefined ? {} : { ca: readAuthorities(resolve(cwd, caFile)) }),
    ...(certFile === undefined || keyFile === undefined
      ? {}
      : { cert: readTlsFile(resolve(cwd, certFile)), key: readTlsFile(resolve(cwd, keyFile)) }),
  };
}
