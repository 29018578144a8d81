/** The flags of `hrmr start`: the table that checks the command line, that citty parses by, and that `--help` shows. */
import { COMMAND_POLICIES, DEFAULT_HOST, DEFAULT_PORT, LOG_FORMATS, LOG_LEVELS } from "../../config/options";
import { PORT_RANGE, PROCESSES_RANGE, THREADS_RANGE } from "../../config/schema/ranges";
import { type Flags, type Given, repeated, switchFlag, valueFlag } from "../flags";

/** The flags of `hrmr start`, which `hrmr config` and `hrmr validate` take too. */
export const START_ARGS = {
  port: valueFlag("number", `TCP port; 0 takes any free one. Default HRMR_PORT or ${DEFAULT_PORT}. Also -port`, {
    alias: "p",
    integer: PORT_RANGE,
  }),
  host: valueFlag("address", `Address to listen on. Default HRMR_HOST or ${DEFAULT_HOST}`, { alias: "H" }),
  listen: valueFlag(
    "url",
    "tcp://host:port, tls://host:port, unix:///path or udp://host:port, instead of --port and --host. May be repeated",
    { canRepeat: true },
  ),
  processes: valueFlag("number", "Server processes; 0 is one per core. Default HRMR_PROCESSES or 1", {
    alias: "w",
    integer: PROCESSES_RANGE,
  }),
  threads: valueFlag("number", 'Threads for handlers with run: "pool". Default HRMR_THREADS or 4', {
    integer: THREADS_RANGE,
  }),
  modules: valueFlag("dir", "Folder of the modules. Default modules"),
  static: valueFlag("dir", "Folder served over HTTP. Default static_html beside the modules folder"),
  state: valueFlag("dir", "Folder for files that hrmr can rebuild. Default .hrmr beside the modules folder"),
  data: valueFlag("dir", "Folder for modules' data. Default data beside the modules folder"),
  config: valueFlag(
    "file",
    "Config file, JSON, TOML or YAML; .env beside it has variables. Default HRMR_CONFIG, or hrmr.json, hrmr.toml or hrmr.yaml, if there is one",
    { alias: "c" },
  ),
  set: valueFlag(
    "key=value",
    "Any key of the config file: limits.maxBodyBytes=5000, modules.mail.port=25. May be repeated",
    {
      canRepeat: true,
    },
  ),
  watch: switchFlag("Reload modules when their files change", {
    negativeDescription: "Do not, even if the config file says so",
  }),
  resume: switchFlag("Start with the versions that served last, even if the files have changed", {
    negativeDescription: "Do not, even if the config file says so",
  }),
  daemonize: switchFlag("Go on in the background, once the server is ready", { alias: "d" }),
  "pid-file": valueFlag("file", "Write the process id to this file", { alias: "P" }),
  control: valueFlag("path", "Control socket. Default control.sock in the state folder"),
  commands: {
    type: "enum",
    options: [...COMMAND_POLICIES],
    description: "Clients that may send RELOAD, CLOSE, SHUTDOWN, HELP and STATUS. Default loopback",
  },
  "log-level": {
    type: "enum",
    alias: "l",
    options: [...LOG_LEVELS],
    description: "The lowest level that is logged. Default info",
  },
  "log-format": { type: "enum", options: [...LOG_FORMATS], description: "For people or for machines. Default text" },
  "log-file": valueFlag("file", "Log to this file, not to stderr"),
  "access-log": switchFlag("Log each answer", { negativeDescription: "Do not, even if the config file says so" }),
  "health-endpoint": endpoint("/health"),
  "ready-endpoint": endpoint("/ready"),
  "stats-endpoint": endpoint("/stats"),
  "metrics-endpoint": endpoint("/metrics"),
  "tls-cert": valueFlag("file", "Certificate (PEM): also take TLS, on every TCP and unix listener"),
  "tls-key": valueFlag("file", "Its private key (PEM)"),
} as const satisfies Flags;

function endpoint(path: string) {
  return switchFlag(`Answer GET ${path}. The default`, { negativeDescription: `Leave GET ${path} to the modules` });
}

/** The flags of `hrmr start` as citty gives them: checked, undefined if not given. */
export type StartFlags = Omit<Given<typeof START_ARGS>, "listen" | "set"> & {
  /** Every --listen, in order. */
  listen: string[];
  /** Every --set, in order: `key.path=value`. Default: none. */
  set?: string[];
};

/**
 * The flags, complete.
 *
 * @param given the result of citty, which has only the last value of a repeated flag
 * @param rawArgs  from `checkArgs`
 */
export function readStartFlags(given: Given<typeof START_ARGS>, rawArgs: readonly string[]): StartFlags {
  return { ...given, listen: repeated(rawArgs, "listen"), set: repeated(rawArgs, "set") };
}
