/**
 * The flags of `hrmr start`: what the command line is checked by, what citty parses by, and what `--help` shows.
 */
import { COMMAND_POLICIES, DEFAULT_HOST, DEFAULT_PORT } from "../config/options";
import { PORT_RANGE, THREADS_RANGE } from "../config/rules";
import { type Flags, repeated } from "./flags";

/** The flags of `hrmr start`, which `hrmr config` and `hrmr validate` take too. */
export const START_ARGS = {
  port: {
    type: "string",
    alias: "p",
    valueHint: "number",
    integer: PORT_RANGE,
    description: `TCP port; 0 takes any free one. Default HRMR_PORT or ${DEFAULT_PORT}. Also -port`,
  },
  host: { type: "string", alias: "H", valueHint: "address", description: `Address to listen on. Default HRMR_HOST or ${DEFAULT_HOST}` },
  listen: {
    type: "string",
    valueHint: "url",
    canRepeat: true,
    description: "tcp://host:port, tls://host:port, unix:///path or udp://host:port, instead of --port and --host. May be repeated",
  },
  threads: {
    type: "string",
    valueHint: "number",
    integer: THREADS_RANGE,
    description: 'Threads for handlers with run: "pool". Default HRMR_THREADS or 4',
  },
  modules: { type: "string", valueHint: "dir", description: "Folder of the modules. Default modules" },
  static: { type: "string", valueHint: "dir", description: "Folder served over HTTP. Default static_html beside the modules folder" },
  state: { type: "string", valueHint: "dir", description: "Folder for bundles and module data. Default .hrmr beside the modules folder" },
  config: { type: "string", alias: "c", valueHint: "file", description: "Config file. Default hrmr.json, if there is one" },
  watch: {
    type: "boolean",
    description: "Reload modules when their files change",
    negativeDescription: "Do not, whatever the config file says",
  },
  commands: {
    type: "enum",
    options: [...COMMAND_POLICIES],
    description: "Who may send RELOAD, CLOSE, SHUTDOWN, HELP and STATUS. Default loopback",
  },
  "health-endpoint": {
    type: "boolean",
    description: "Answer GET /health. The default",
    negativeDescription: "Leave GET /health to the modules",
  },
  "tls-cert": { type: "string", valueHint: "file", description: "Certificate (PEM): also take TLS, on every TCP and unix listener" },
  "tls-key": { type: "string", valueHint: "file", description: "Its private key (PEM)" },
} as const satisfies Flags;

/** The flags of `hrmr start` as citty gives them: checked, undefined where not given. */
export interface StartFlags {
  port?: string;
  host?: string;
  /** Every --listen, in order. */
  listen: string[];
  threads?: string;
  modules?: string;
  static?: string;
  state?: string;
  config?: string;
  watch?: boolean;
  commands?: string;
  "health-endpoint"?: boolean;
  "tls-cert"?: string;
  "tls-key"?: string;
}

/** @param given  what citty parsed, of which a repeated flag has only the last value @param rawArgs  from `checkArgs` */
export function readStartFlags(given: Omit<StartFlags, "listen"> & { listen?: string }, rawArgs: readonly string[]): StartFlags {
  return { ...given, listen: repeated(rawArgs, "listen") };
}
