/** The server's options with their defaults. `config/resolve/load.ts` loads them from a file and from flags. */

/** Limits on everything that a client or a module can make grow. */
export interface Limits {
  /** Open connections in all. Default 10000, or fewer if the descriptor limit is lower. */
  maxConnections: number;
  /**
   * Open connections of one remote address; for IPv6, of one /64. Default 1000. 0: no limit. Unix clients do not count.
   * Loopback clients count only if the number differs from the default.
   */
  maxConnectionsPerAddress: number;
  /**
   * New connections of one remote address (of one /64 for IPv6) in a second; loopback and unix clients excepted.
   * Default 0: no limit.
   */
  maxNewConnectionsPerSecond: number;
  /**
   * Raw messages, HTTP/1.1 requests and WebSocket messages of one connection within a second. Above it, the server
   * reads the connection again in the next second. Default 0: no limit.
   */
  maxMessagesPerSecond: number;
  /** First bytes that match no key yet, kept until more bytes come. Default 8192. */
  maxPrefixBytes: number;
  /** Bytes of one WebSocket message, after decompression, unless its route has a limit. Default 16777216. */
  maxWebSocketMessageBytes: number;
  /** Bytes of one raw message. Default 1048576. */
  maxMessageBytes: number;
  /** Bytes of an HTTP/1.1 request line and its headers together. Default 8192. */
  maxHeaderBytes: number;
  /** Header fields of one HTTP request. Default 100. */
  maxHeaderFields: number;
  /** Bytes of an HTTP request's body, after de-chunking. Default 1048576. */
  maxBodyBytes: number;
  /** Raw messages of one connection that wait for a reply. At this number the server stops reading it. Default 64. */
  maxPipelined: number;
  /**
   * Bytes waiting to be sent on a connection. Above it, the server stops reading it and streams wait. Default 262144.
   */
  maxWriteBufferBytes: number;
  /** Calls waiting for a pool thread. Further callers get "busy". Default 1024. */
  maxQueued: number;
  /** Calls for UDP datagrams at once. Further datagrams are dropped. Default 1024. */
  maxDatagramCalls: number;
  /** Versions of one module that may be in memory at once. Default 3. */
  maxLiveGenerations: number;
}

/** In milliseconds each. 0 waits for ever. */
export interface Timeouts {
  /** How long a connection may be idle between messages. A line end alone is no message. Default 300000. */
  idleMs: number;
  /**
   * How long a complete route waits while a longer one could still match; also an unfinished line that matches nothing.
   * Default 100.
   */
  prefixWaitMs: number;
  /** From a raw message's first byte to its last. Default 30000. */
  requestMs: number;
  /** From an HTTP request's first byte to the end of its header. Default 30000. */
  headMs: number;
  /**
   * For each KB, or the last part, of an HTTP request's body that the handler reads, and of a WebSocket message.
   * Default 30000.
   */
  bodyMs: number;
  /** A handler's call. Default 30000. */
  handlerMs: number;
  /** How long a client may leave a reply unread. Default 30000. */
  writeMs: number;
  /** How long an old version's calls, or a shutdown, may still take. Default 30000. */
  drainMs: number;
  /** A module's load, setup and check together. Default 5000. */
  loadMs: number;
  /**
   * How long inline code may block the event loop before the log says so, while it lasts. Default 1000. 0: not watched.
   */
  blockedMs: number;
}

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
export interface TlsOptions {
  /** PEM: the certificate, then the intermediate ones. null: no TLS. */
  certFile: string | null;
  /** PEM, not encrypted. */
  keyFile: string | null;
  /** The oldest version that is accepted. Default "1.2". */
  minVersion: TlsVersion;
  /**
   * Ciphers of TLS 1.2, as OpenSSL writes them: "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256". null: the
   * engine's choice.
   */
  ciphers: string | null;
  sni: SniOptions[];
  /** PEM: the authorities that clients' certificates must come from. */
  clientCaFile: string | null;
  /** Whether clients are asked for a certificate. Default "none". */
  clientCert: ClientCertPolicy;
  /**
   * From the first byte (on tls:// from the start of the connection) to the end of the handshake. In milliseconds.
   * Default 10000. 0 waits for ever.
   */
  handshakeTimeoutMs: number;
}

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
export type EndpointPolicy = (typeof ENDPOINT_POLICIES)[number];

export interface HttpOptions {
  /** GET /health: the server is alive. Default "anyone". */
  health: EndpointPolicy;
  /**
   * GET /ready: every module is loaded, and the server is not draining. Default "anyone"; only this machine gets names.
   */
  ready: EndpointPolicy;
  /** GET /stats: figures as JSON. Default "local". */
  stats: EndpointPolicy;
  /** GET /metrics: figures for Prometheus. Default "local". */
  metrics: EndpointPolicy;
  /**
   * More host names, without a port, that /stats and /metrics accept while they are "local". Always accepted:
   * localhost, *.localhost, 127.0.0.0/8 and [::1]. Default: none.
   */
  localNames: string[];
  /**
   * Modules whose `middleware` runs before every HTTP route of every module, in this order. Each must exist. Default:
   * none.
   */
  use: string[];
}

/** HTTP/2, with prior knowledge and, under TLS, by ALPN. Its streams share the limits and timeouts of HTTP/1.1. */
export interface Http2Options {
  /** Default true. */
  enabled: boolean;
  /**
   * Frames of one connection within a second that carry nothing: window updates, priorities, pings, settings, empty
   * DATA. Above it the client is cut. Frames that its requests and replies need do not count. Default 10000. 0: no
   * limit.
   */
  maxControlFramesPerSecond: number;
  /** Streams that one connection may reset within a second. Default 1000. 0: no limit. */
  maxResetsPerSecond: number;
}

export const LOG_LEVELS = ["critical", "error", "warn", "info", "debug", "trace"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** "text" is one line an event for people, "json" one object a line for machines. */
export const LOG_FORMATS = ["text", "json"] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

/** When a new log file is begun, besides at `maxFileBytes`. */
export const LOG_ROTATIONS = ["never", "hourly", "daily"] as const;
export type LogRotation = (typeof LOG_ROTATIONS)[number];

export interface LogOptions {
  /** The lowest level that is logged. Default "info". */
  level: LogLevel;
  /** Default "text". */
  format: LogFormat;
  /** null: stderr. */
  file: string | null;
  /** A log file of this size is put aside and a new one begun. Default 10485760. 0: never. */
  maxFileBytes: number;
  /** How many old log files are kept. Default 3. */
  maxFiles: number;
  /** Default "never". */
  rotate: LogRotation;
  /** Whether each answered message and request is logged, with status, bytes and time. Default false. */
  access: boolean;
  /** One of this many is logged. Default 1: each. */
  accessSample: number;
}

/** How a running server gets its orders. */
export interface ControlOptions {
  /** The commands on the server's own listeners. Default "loopback". */
  commands: CommandPolicy;
  /** The file with the token of the policy "token": one line, at least 16 characters. */
  tokenFile: string | null;
  /**
   * The control socket. null: control.sock in the runtime directory ($RUNTIME_DIRECTORY), or in the state folder if
   * there is none.
   */
  socket: string | null;
  /**
   * A separate port for the same API, for clients that have the token: tcp://host:port or tls://host:port. null: none.
   */
  listen: string | null;
  /** All files of one upload together. Default 8388608. */
  maxUploadBytes: number;
  /** Files of one upload. Default 500. */
  maxUploadFiles: number;
}

/** How many versions of modules are kept, and when a failing version is rolled back. */
export interface VersionOptions {
  /** How many versions of each module are kept for a rollback. Default 10. */
  keep: number;
  /**
   * How long a version is on probation after its swap. In milliseconds. Default 30000. 0: no probation, no automatic
   * rollback.
   */
  probationMs: number;
  /** Share of a version's calls that may fail during probation, from 0 to 1. Default 0.5. */
  maxErrorShare: number;
  /** The share is judged from this many calls on. Default 20. */
  minCalls: number;
  /** Crashes of its host during probation that roll it back. Default 3. */
  maxCrashes: number;
}

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

export interface Options {
  /** URLs: tcp://host:port, tls://host:port, unix:///path, udp://host:port. */
  listen: string[];
  /** null: `modules` in the working directory, which may be missing. A folder that is set must exist. */
  modulesDir: string | null;
  /**
   * The folder that the http module serves. null: `static_html` beside the modules folder if there is one, else the
   * embedded pages.
   */
  staticDir: string | null;
  /**
   * Folder for files that hrmr can rebuild: bundles, versions, the lock, the control socket. null: `.hrmr` beside the
   * modules folder.
   */
  stateDir: string | null;
  /**
   * Folder for the modules' data. Keep it. null: $STATE_DIRECTORY/data in a systemd unit, else `data` beside the
   * modules folder.
   */
  dataDir: string | null;
  /** Threads of the pool. Default 4. They start when the first module needs them. */
  threads: number;
  /** Reload what changed on disk. Default false. */
  watch: boolean;
  /** Server processes on the same listeners. Default 1; 0: one per core. */
  processes: number;
  /** The file for the process id, which is locked while the server runs. null: none. */
  pidFile: string | null;
  /** Start with the versions that served last, whatever is in the modules folder. Default false. */
  resume: boolean;
  log: LogOptions;
  control: ControlOptions;
  limits: Limits;
  timeouts: Timeouts;
  /**
   * With a certificate, tls:// listeners can be opened, and tcp:// and unix:// ones accept clients that begin with TLS.
   */
  tls: TlsOptions;
  http: HttpOptions;
  http2: Http2Options;
  versions: VersionOptions;
  modules: Record<string, ModuleSettings>;
}

export const DEFAULT_PORT = 8080;
export const DEFAULT_HOST = "127.0.0.1";

export const DEFAULT_LIMITS: Limits = {
  maxConnections: 10_000,
  maxConnectionsPerAddress: 1000,
  maxNewConnectionsPerSecond: 0,
  maxMessagesPerSecond: 0,
  maxPrefixBytes: 8192,
  maxWebSocketMessageBytes: 16_777_216,
  maxMessageBytes: 1_048_576,
  maxHeaderBytes: 8192,
  maxHeaderFields: 100,
  maxBodyBytes: 1_048_576,
  maxPipelined: 64,
  maxWriteBufferBytes: 262_144,
  maxQueued: 1024,
  maxDatagramCalls: 1024,
  maxLiveGenerations: 3,
};

export const DEFAULT_TIMEOUTS: Timeouts = {
  idleMs: 300_000,
  prefixWaitMs: 100,
  requestMs: 30_000,
  headMs: 30_000,
  bodyMs: 30_000,
  handlerMs: 30_000,
  writeMs: 30_000,
  drainMs: 30_000,
  loadMs: 5000,
  blockedMs: 1000,
};

export const DEFAULT_TLS: TlsOptions = {
  certFile: null,
  keyFile: null,
  minVersion: "1.2",
  ciphers: null,
  sni: [],
  clientCaFile: null,
  clientCert: "none",
  handshakeTimeoutMs: 10_000,
};

export const DEFAULT_HTTP2: Http2Options = {
  enabled: true,
  maxControlFramesPerSecond: 10_000,
  maxResetsPerSecond: 1000,
};

export const DEFAULT_HTTP: HttpOptions = {
  health: "anyone",
  ready: "anyone",
  stats: "local",
  metrics: "local",
  localNames: [],
  use: [],
};

export const DEFAULT_LOG: LogOptions = {
  level: "info",
  format: "text",
  file: null,
  maxFileBytes: 10_485_760,
  maxFiles: 3,
  rotate: "never",
  access: false,
  accessSample: 1,
};

export const DEFAULT_CONTROL: ControlOptions = {
  commands: "loopback",
  tokenFile: null,
  socket: null,
  listen: null,
  maxUploadBytes: 8_388_608,
  maxUploadFiles: 500,
};

export const DEFAULT_VERSIONS: VersionOptions = {
  keep: 10,
  probationMs: 30_000,
  maxErrorShare: 0.5,
  minCalls: 20,
  maxCrashes: 3,
};

/** @returns a fresh copy of all defaults; the caller may change it */
export function defaultOptions(): Options {
  return {
    listen: [`tcp://${DEFAULT_HOST}:${DEFAULT_PORT}`],
    modulesDir: null,
    staticDir: null,
    stateDir: null,
    dataDir: null,
    threads: 4,
    watch: false,
    processes: 1,
    pidFile: null,
    resume: false,
    log: { ...DEFAULT_LOG },
    control: { ...DEFAULT_CONTROL },
    limits: { ...DEFAULT_LIMITS },
    timeouts: { ...DEFAULT_TIMEOUTS },
    tls: { ...DEFAULT_TLS, sni: [] },
    http: { ...DEFAULT_HTTP, localNames: [], use: [] },
    http2: { ...DEFAULT_HTTP2 },
    versions: { ...DEFAULT_VERSIONS },
    modules: {},
  };
}
