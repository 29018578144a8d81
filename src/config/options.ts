/** The server's options with their defaults. `config/resolve/load.ts` loads them from a file and from flags. */
import type { Places } from "./places";

export const DEFAULT_PORT = 8080;
export const DEFAULT_HOST = "127.0.0.1";

/** Limits on everything that a client or a module can make grow. */
export const DEFAULT_LIMITS = {
  /** Open connections in all; fewer if the descriptor limit is lower. */
  maxConnections: 10_000,
  /**
   * Open connections of one remote address; for IPv6, of one /64. 0: no limit. Unix clients do not count. Loopback
   * clients count only if the number differs from the default.
   */
  maxConnectionsPerAddress: 1000,
  /**
   * New connections of one remote address (of one /64 for IPv6) in a second; loopback and unix clients excepted. 0: no
   * limit.
   */
  maxNewConnectionsPerSecond: 0,
  /**
   * Raw messages, HTTP/1.1 requests and WebSocket messages of one connection within a second. Above it, the server
   * reads the connection again in the next second. 0: no limit.
   */
  maxMessagesPerSecond: 0,
  /** First bytes that match no key yet, kept until more bytes come. */
  maxPrefixBytes: 8192,
  /** Bytes of one WebSocket message, after decompression, unless its route has a limit. */
  maxWebSocketMessageBytes: 16_777_216,
  /** Bytes of one raw message. */
  maxMessageBytes: 1_048_576,
  /** Bytes of an HTTP/1.1 request line and its headers together. */
  maxHeaderBytes: 8192,
  /** Header fields of one HTTP request. */
  maxHeaderFields: 100,
  /** Bytes of an HTTP request's body, after de-chunking. */
  maxBodyBytes: 1_048_576,
  /** Raw messages of one connection that wait for a reply. At this number the server stops reading it. */
  maxPipelined: 64,
  /** Bytes waiting to be sent on a connection. Above it, the server stops reading it and streams wait. */
  maxWriteBufferBytes: 262_144,
  /** Calls waiting for a pool thread. Further callers get "busy". */
  maxQueued: 1024,
  /** Calls for UDP datagrams at once. Further datagrams are dropped. */
  maxDatagramCalls: 1024,
  /** Versions of one module that may be in memory at once. */
  maxLiveGenerations: 3,
};
export type Limits = typeof DEFAULT_LIMITS;

/** In milliseconds each. 0 waits for ever. */
export const DEFAULT_TIMEOUTS = {
  /** How long a connection may be idle between messages. A line end alone is no message. */
  idleMs: 300_000,
  /**
   * How long a complete route waits while a longer one could still match; also an unfinished line that matches nothing.
   */
  prefixWaitMs: 100,
  /** From a raw message's first byte to its last. */
  requestMs: 30_000,
  /** From an HTTP request's first byte to the end of its header. */
  headMs: 30_000,
  /** For each KB, or the last part, of an HTTP request's body that the handler reads, and of a WebSocket message. */
  bodyMs: 30_000,
  /** A handler's call. */
  handlerMs: 30_000,
  /** How long a client may leave a reply unread. */
  writeMs: 30_000,
  /** How long an old version's calls, or a shutdown, may still take. */
  drainMs: 30_000,
  /** A module's load, setup and check together. */
  loadMs: 5000,
  /** How long inline code may block the event loop before the log says so, while it lasts. 0: not watched. */
  blockedMs: 1000,
};
export type Timeouts = typeof DEFAULT_TIMEOUTS;

export const TLS_VERSIONS = ["1.2", "1.3"] as const;
export type TlsVersion = (typeof TLS_VERSIONS)[number];

/**
 * "request": clients without a certificate, or with one of another authority, are served too; `client.tls` tells them
 * apart.
 */
export const CLIENT_CERT_POLICIES = ["none", "request", "require"] as const;
type ClientCertPolicy = (typeof CLIENT_CERT_POLICIES)[number];

/** A certificate for clients that ask for one of its names (SNI, RFC 6066 section 3). */
interface SniOptions {
  /** "a.example" or "*.b.example", which matches one label. An exact name wins. */
  serverNames: string[];
  certFile: string;
  keyFile: string;
  /** Default: that of `tls`. */
  minVersion?: TlsVersion;
}

/** Paths are absolute. Each reload reads the files again. The settings are read only at the start. */
export const DEFAULT_TLS = {
  /** PEM: the certificate, then the intermediate ones. null: no TLS. */
  certFile: null as string | null,
  /** PEM, not encrypted. */
  keyFile: null as string | null,
  /** The oldest version that is accepted. */
  minVersion: "1.2" as TlsVersion,
  /**
   * Ciphers of TLS 1.2, as OpenSSL writes them: "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256". null: the
   * engine's choice.
   */
  ciphers: null as string | null,
  sni: [] as SniOptions[],
  /** PEM: the authorities that clients' certificates must come from. */
  clientCaFile: null as string | null,
  /** Whether clients are asked for a certificate. */
  clientCert: "none" as ClientCertPolicy,
  /**
   * From the first byte (on tls:// from the start of the connection) to the end of the handshake. In milliseconds. 0
   * waits for ever.
   */
  handshakeTimeoutMs: 10_000,
};
export type TlsOptions = typeof DEFAULT_TLS;

/**
 * Clients that may send RELOAD, CLOSE, SHUTDOWN, HELP and STATUS. "token": clients of this machine, and those that send
 * the token.
 */
export const COMMAND_POLICIES = ["anyone", "loopback", "token", "off"] as const;
type CommandPolicy = (typeof COMMAND_POLICIES)[number];

/**
 * Which clients may see an endpoint. "local": loopback and unix clients; /stats and /metrics then need a local Host,
 * too.
 */
export const ENDPOINT_POLICIES = ["anyone", "local", "off"] as const;
type EndpointPolicy = (typeof ENDPOINT_POLICIES)[number];

export const DEFAULT_HTTP = {
  /** GET /health: the server is alive. */
  health: "anyone" as EndpointPolicy,
  /** GET /ready: every module is loaded, and the server is not draining. Only this machine gets names. */
  ready: "anyone" as EndpointPolicy,
  /** GET /stats: figures as JSON. */
  stats: "local" as EndpointPolicy,
  /** GET /metrics: figures for Prometheus. */
  metrics: "local" as EndpointPolicy,
  /**
   * More host names, without a port, that /stats and /metrics accept while they are "local". Always accepted:
   * localhost, *.localhost, 127.0.0.0/8 and [::1].
   */
  localNames: [] as string[],
  /** Modules whose `middleware` runs before every HTTP route of every module, in this order. Each must exist. */
  use: [] as string[],
};
export type HttpOptions = typeof DEFAULT_HTTP;

/** HTTP/2, with prior knowledge and, under TLS, by ALPN. Its streams share the limits and timeouts of HTTP/1.1. */
export const DEFAULT_HTTP2 = {
  enabled: true,
  /**
   * Frames of one connection within a second that carry nothing: window updates, priorities, pings, settings, empty
   * DATA. Above it the client is cut. Frames that its requests and replies need do not count. 0: no limit.
   */
  maxControlFramesPerSecond: 10_000,
  /** Streams that one connection may reset within a second, or make the server reset. 0: no limit. */
  maxResetsPerSecond: 1000,
  /** Streams of one connection at once. Further ones are refused, and may be tried again. */
  maxConcurrentStreams: 256,
  /** Bytes of a request's body that a client may send ahead of the handler that reads it. At least 1024. */
  initialWindowBytes: 262_144,
  /** Bytes of the largest frame that a client may send: 16384 to 16777215. */
  maxFrameBytes: 16_384,
  /** Bytes of a request's header fields, each counted with 32 more. */
  maxHeaderBytes: 16_384,
};
export type Http2Options = typeof DEFAULT_HTTP2;

export const LOG_LEVELS = ["critical", "error", "warn", "info", "debug", "trace"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** "text" is one line an event for people, "json" one object a line for machines. */
export const LOG_FORMATS = ["text", "json"] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

/** What an answered write of the store survives. */
export const DURABILITIES = ["full", "relaxed"] as const;

/** When a new log file is begun, besides at `maxFileBytes`. */
export const LOG_ROTATIONS = ["never", "hourly", "daily"] as const;
export type LogRotation = (typeof LOG_ROTATIONS)[number];

export const DEFAULT_LOG = {
  /** The lowest level that is logged. */
  level: "info" as LogLevel,
  format: "text" as LogFormat,
  /** null: stderr. */
  file: null as string | null,
  /** A log file of this size is put aside and a new one begun. 0: never. */
  maxFileBytes: 10_485_760,
  /** How many old log files are kept. */
  maxFiles: 3,
  rotate: "never" as LogRotation,
  /** Whether each answered message and request is logged, with status, bytes and time. */
  access: false,
  /** One of this many is logged. 1: each. */
  accessSample: 1,
};
export type LogOptions = typeof DEFAULT_LOG;

/** How a running server gets its orders. */
export const DEFAULT_CONTROL = {
  /** The commands on the server's own listeners. */
  commands: "loopback" as CommandPolicy,
  /** The file with the token of the policy "token": one line, at least 16 characters. */
  tokenFile: null as string | null,
  /**
   * The control socket. null: control.sock in the runtime directory ($RUNTIME_DIRECTORY), or in the state folder if
   * there is none.
   */
  socket: null as string | null,
  /**
   * A separate port for the same API, for clients that have the token: tcp://host:port or tls://host:port. null: none.
   */
  listen: null as string | null,
  /** All files of one upload together. */
  maxUploadBytes: 8_388_608,
  /** Files of one upload. */
  maxUploadFiles: 500,
};
export type ControlOptions = typeof DEFAULT_CONTROL;

/** Which clients need a token for what the server guards: procedures, events, the store. */
export const DEFAULT_ACCESS = {
  /** "auto": all except those of this machine. true: these too. false: none. */
  required: "auto" as "auto" | boolean,
  /** The file of `hrmr token`. null: tokens.json in the data folder. */
  tokensFile: null as string | null,
};
export type AccessOptions = typeof DEFAULT_ACCESS;

/** The schedules of the modules. */
export const DEFAULT_SCHEDULE = {
  /** For cron lines without a time zone of their own: an IANA name. null: the system's. */
  timeZone: null as string | null,
};

/** The store that all modules share (`context.store`). */
export const DEFAULT_STORE = {
  /** The database: sqlite://PATH, json://PATH, postgres://…, mysql://… null: hub.sqlite in the data folder. */
  url: null as string | null,
  /** "full": an answered write survives a power failure. "relaxed": it survives a crash of the server. */
  durability: "full" as (typeof DURABILITIES)[number],
  /** Of one document's JSON. In bytes. */
  maxValueBytes: 1_048_576,
  /** Changes that are kept for watches. */
  keptChanges: 100_000,
};
export type StoreOptions = typeof DEFAULT_STORE;

/** How many versions of modules are kept, and when a failing version is rolled back. */
export const DEFAULT_VERSIONS = {
  /** How many versions of each module are kept for a rollback. */
  keep: 10,
  /** How long a version is on probation after its swap. In milliseconds. 0: no probation, no automatic rollback. */
  probationMs: 30_000,
  /** Share of a version's calls that may fail during probation, from 0 to 1. */
  maxErrorShare: 0.5,
  /** The share is judged from this many calls on. */
  minCalls: 20,
  /** Crashes of its host during probation that roll it back. */
  maxCrashes: 3,
};
export type VersionOptions = typeof DEFAULT_VERSIONS;

export interface ModuleSettings {
  /**
   * Whether the module is served. Default: true for a file in the modules folder; see docs/modules.md for modules that
   * ship with hrmr.
   */
  enabled?: boolean;
  /** Packages that must not be bundled: native addons, packages that read their own folder. */
  external?: string[];
  /** For a module in C: libraries to link, by name ("z") or path. Default: the ones that its files name. */
  libs?: string[];
  /** For a module in C: folders with headers. Default: the ones that its files name. */
  include?: string[];
  /** Where routes without a `run` of their own run. Default "inline". */
  run?: "inline" | "pool" | "process";
  /** Overrides the module's own `reload`. */
  reload?: "swap" | "exclusive";
  /** Override the server's, for this module. */
  timeouts?: { handlerMs?: number; loadMs?: number; drainMs?: number };
  /** Memory of its process. Above it, the process is ended. In MB. Default 512. 0: no limit. */
  maxMemoryMb?: number;
  /**
   * This many ends of its process, or of a pool thread, within `crashWindowMs` put it in quarantine. Default 5. 0:
   * never.
   */
  maxCrashes?: number;
  /** In milliseconds. Default 60000. */
  crashWindowMs?: number;
  /** Anything else reaches the module as `context.config`. */
  [key: string]: unknown;
}

const DEFAULT_OPTIONS = {
  /** URLs: tcp://host:port, tls://host:port, unix:///path, udp://host:port. */
  listen: [`tcp://${DEFAULT_HOST}:${DEFAULT_PORT}`],
  /** null: `modules` in the working directory, which may be missing. A folder that is set must exist. */
  modulesDir: null as string | null,
  /**
   * The folder that the http module serves. null: `static_html` beside the modules folder if there is one, else the
   * embedded pages.
   */
  staticDir: null as string | null,
  /**
   * Folder for files that hrmr can rebuild: bundles, versions, the lock, the control socket. null: `.hrmr` beside the
   * modules folder.
   */
  stateDir: null as string | null,
  /**
   * Folder for the modules' data. Keep it. null: $STATE_DIRECTORY/data in a systemd unit, else `data` beside the
   * modules folder.
   */
  dataDir: null as string | null,
  /** Threads of the pool. They start when the first module needs them. */
  threads: 4,
  /** Reload what changed on disk. */
  watch: false,
  /** Server processes on the same listeners. 0: one per core. */
  processes: 1,
  /** The file for the process id, which is locked while the server runs. null: none. */
  pidFile: null as string | null,
  /** Start with the versions that served last, whatever is in the modules folder. */
  resume: false,
  log: DEFAULT_LOG,
  control: DEFAULT_CONTROL,
  limits: DEFAULT_LIMITS,
  timeouts: DEFAULT_TIMEOUTS,
  /**
   * With a certificate, tls:// listeners can be opened, and tcp:// and unix:// ones accept clients that begin with TLS.
   */
  tls: DEFAULT_TLS,
  access: DEFAULT_ACCESS,
  schedule: DEFAULT_SCHEDULE,
  store: DEFAULT_STORE,
  http: DEFAULT_HTTP,
  http2: DEFAULT_HTTP2,
  versions: DEFAULT_VERSIONS,
  modules: {} as Record<string, ModuleSettings>,
};
export type Options = typeof DEFAULT_OPTIONS & {
  /** The variables of .env that the environment does not have: for the modules. No key of the config file. */
  environment?: Readonly<Record<string, string>>;
  /** Where the modules' settings come from, for messages. No key of the config file. */
  places?: Places;
};

/** @returns a fresh copy of all defaults; the caller may change it */
export function defaultOptions(): Options {
  return structuredClone(DEFAULT_OPTIONS);
}
