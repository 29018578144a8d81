/** The flags of `hrmr start`: the table that checks the command line, that citty parses by, and that `--help` shows. */
import { COMMAND_POLICIES, DEFAULT_HOST, DEFAULT_PORT, LOG_FORMATS, LOG_LEVELS } from "../../config/options";
import { PORT_RANGE, PROCESSES_RANGE, THREADS_RANGE } from "../../config/schema/ranges";
import { type Flags, repeated } from "../flags";

/** The flags of `hrmr start`, which `hrmr config` and `hrmr validate` take too. */
export const START_ARGS = {
  port: {
    type: "string",
    alias: "p",
    valueHint: "number",
    integer: PORT_RANGE,
    description: `TCP port; 0 takes any free one. Default HRMR_PORT or ${DEFAULT_PORT}. Also -port`,
  },
  host: {
    type: "string",
    alias: "H",
    valueHint: "address",
    description: `Address to listen on. Default HRMR_HOST or ${DEFAULT_HOST}`,
  },
  listen: {
    type: "string",
    valueHint: "url",
    canRepeat: true,
    description:
      "tcp://host:port, tls://host:port, unix:///path or udp://host:port, instead of --port and --host. May be repeated",
  },
  processes: {
    type: "string",
    alias: "w",
    valueHint: "number",
    integer: PROCESSES_RANGE,
    description: "Server processes; 0 is one per core. Default HRMR_PROCESSES or 1",
  },
  threads: {
    type: "string",
    valueHint: "number",
    integer: THREADS_RANGE,
    description: 'Threads for handlers with run: "pool". Default HRMR_THREADS or 4',
  },
  modules: { type: "string", valueHint: "dir", description: "Folder of the modules. Default modules" },
  static: {
    type: "string",
    valueHint: "dir",
    description: "Folder served over HTTP. Default static_html beside the modules folder",
  },
  state: {
    type: "string",
    valueHint: "dir",
    description: "Folder for files that hrmr can rebuild. Default .hrmr beside the modules folder",
  },
  data: {
    type: "string",
    valueHint: "dir",
    description: "Folder for modules' data. Default data beside the modules folder",
  },
  config: {
    type: "string",
    alias: "c",
    valueHint: "file",
    description:
      "Config file, JSON, TOML or YAML. Default HRMR_CONFIG, or hrmr.json, hrmr.toml or hrmr.yaml, if there is one",
  },
  set: {
    type: "string",
    valueHint: "key=value",
    canRepeat: true,
    description: "Any key of the config file: limits.maxBodyBytes=5000. May be repeated",
  },
  watch: {
    type: "boolean",
    description: "Reload modules when their files change",
    negativeDescription: "Do not, whatever the config file says",
  },
  resume: {
    type: "boolean",
    description: "Start with the versions that served last, even if the files have changed",
    negativeDescription: "Do not, whatever the config file says",
  },
  daemonize: { type: "boolean", alias: "d", description: "Go on in the background, once the server is ready" },
  "pid-file": { type: "string", alias: "P", valueHint: "file", description: "Write the process id there" },
  control: {
    type: "string",
    valueHint: "path",
    description: "Control socket. Default control.sock in the state folder",
  },
  commands: {
    type: "enum",
    options: [...COMMAND_POLICIES],
    description: "Who may send RELOAD, CLOSE, SHUTDOWN, HELP and STATUS. Default loopback",
  },
  "log-level": {
    type: "enum",
    alias: "l",
    options: [...LOG_LEVELS],
    description: "The lowest level that is logged. Default info",
  },
  "log-format": { type: "enum", options: [...LOG_FORMATS], description: "For people or for machines. Default text" },
  "log-file": { type: "string", valueHint: "file", description: "Log there and not to stderr" },
  "access-log": {
    type: "boolean",
    description: "Log each answer",
    negativeDescription: "Do not, whatever the config file says",
  },
  "health-endpoint": endpoint("/health"),
  "ready-endpoint": endpoint("/ready"),
  "stats-endpoint": endpoint("/stats"),
  "metrics-endpoint": endpoint("/metrics"),
  "tls-cert": {
    type: "string",
    valueHint: "file",
    description: "Certificate (PEM): also take TLS, on every TCP and unix listener",
  },
  "tls-key": { type: "string", valueHint: "file", description: "Its private key (PEM)" },
} as const satisfies Flags;

function endpoint<const Path extends string>(path: Path) {
  return {
    type: "boolean",
    description: `Answer GET ${path}. The default`,
    negativeDescription: `Leave GET ${path} to the modules`,
  } as const;
}

/** The flags of `hrmr start` as citty gives them: checked, undefined if not given. */
export interface StartFlags {
  port?: string;
  host?: string;
  /** Every --listen, in order. */
  listen: string[];
  /** Every --set, in order: `key.path=value`. Default: none. */
  set?: string[];
  processes?: string;
  threads?: string;
  modules?: string;
  static?: string;
  state?: string;
  data?: string;
  config?: string;
  watch?: boolean;
  resume?: boolean;
  /** Runs the server in the background. No key of the configuration. */
  daemonize?: boolean;
  "pid-file"?: string;
  control?: string;
  commands?: string;
  "log-level"?: string;
  "log-format"?: string;
  "log-file"?: string;
  "access-log"?: boolean;
  "health-endpoint"?: boolean;
  "ready-endpoint"?: boolean;
  "stats-endpoint"?: boolean;
  "metrics-endpoint"?: boolean;
  "tls-cert"?: string;
  "tls-key"?: string;
}

type GivenFlags = Omit<StartFlags, "listen" | "set"> & { listen?: string; set?: string };

/**
 * The flags, complete.
 *
 * @param given the result of citty, which has only the last value of a repeated flag
 * @param rawArgs  from `checkArgs`
 */
export function readStartFlags(given: GivenFlags, rawArgs: readonly string[]): StartFlags {
  return { ...given, listen: repeated(rawArgs, "listen"), set: repeated(rawArgs, "set") };
}
