/**
 * The one schema of the configuration: every key with its type, range, default, unit and meaning. The config file,
 * HRMR_ variables, `--set`, `hrmr config --schema` and docs/configuration.md follow it.
 */
import * as z from "zod/mini";
import { findContradictions } from "../resolve/contradictions";
import {
  CLIENT_CERT_POLICIES,
  COMMAND_POLICIES,
  DEFAULT_ACCESS,
  DEFAULT_SCHEDULE,
  DEFAULT_STORE,
  DEFAULT_CONTROL,
  DEFAULT_HTTP,
  DEFAULT_HTTP2,
  DEFAULT_LIMITS,
  DEFAULT_LOG,
  DEFAULT_TIMEOUTS,
  DEFAULT_TLS,
  DEFAULT_VERSIONS,
  defaultOptions,
  DURABILITIES,
  ENDPOINT_POLICIES,
  LOG_FORMATS,
  LOG_LEVELS,
  LOG_ROTATIONS,
  TLS_VERSIONS,
} from "../options";
import { PROCESSES_RANGE, THREADS_RANGE, TIMEOUT_RANGE } from "./ranges";
import * as part from "./parts";
import {
  choice,
  CIPHERS_OR_NULL,
  FLAG,
  group,
  integer,
  key,
  optional,
  PATH,
  PATH_OR_NULL,
  TIME_ZONE_OR_NULL,
  required,
  TEXTS,
} from "./parts";

const restart = { restart: true };
const ms = { unit: "ms" };
const bytes = { unit: "bytes" };
const TIMEOUT = integer(TIMEOUT_RANGE);
const COUNT = integer({ min: 1 });
const COUNT_OR_NONE = integer({ min: 0 });
const TLS_VERSION = choice(TLS_VERSIONS);
const ENDPOINT = choice(ENDPOINT_POLICIES);

const optionalKey = <S extends part.Schema>(schema: S, description: string, facts = {}) =>
  optional(key(schema, description, facts));
const timeout = (description: string) => key(TIMEOUT, description, ms);
const most = (unit: string, description: string) => key(COUNT, description, { unit });
/** 0 means "no limit" here; other limits must be at least 1. */
const mostOrNoLimit = (unit: string, description: string) =>
  key(COUNT_OR_NONE, `${description}. 0: no limit`, { unit });

const limits = group(DEFAULT_LIMITS, "Limits of everything that a client or a module can make grow", {
  maxConnections: most(
    "connections",
    "Open connections in all. The start lowers it if the limit of open files is too small. Further connections are closed at once",
  ),
  maxConnectionsPerAddress: mostOrNoLimit(
    "connections",
    "Open connections of one remote address; for IPv6, of one /64. Loopback clients are counted only if the number is not the default, unix clients never",
  ),
  maxNewConnectionsPerSecond: mostOrNoLimit(
    "connections",
    "New connections of one remote address in a second; for IPv6, of one /64. Loopback and unix clients do not count",
  ),
  maxMessagesPerSecond: mostOrNoLimit(
    "messages",
    "Raw messages, HTTP/1.1 requests and WebSocket messages of one connection within a second. Above it the connection is read again in the next second",
  ),
  maxPrefixBytes: most("bytes", "First bytes that are kept while they match no route yet"),
  maxWebSocketMessageBytes: most(
    "bytes",
    "One WebSocket message, after decompression. A route's `maxMessageBytes` wins over it",
  ),
  maxMessageBytes: most("bytes", "One raw message, or the bytes that one read of a `connect` handler waits for"),
  maxHeaderBytes: most("bytes", "An HTTP request line and its headers together"),
  maxHeaderFields: most("fields", "Header fields of one HTTP request"),
  maxBodyBytes: most("bytes", "An HTTP request's body, after de-chunking"),
  maxPipelined: most("messages", "Raw messages without a reply on one connection. Above it the connection is not read"),
  maxWriteBufferBytes: most(
    "bytes",
    "Bytes that wait to be sent on one connection. Above it the connection is not read, and streams wait",
  ),
  maxQueued: most("calls", "Calls on the pool without an answer. Above it a client gets `ERR busy`"),
  maxDatagramCalls: most(
    "calls",
    "Calls for UDP datagrams in one process at the same time. Further datagrams are dropped and counted",
  ),
  maxLiveGenerations: most("versions", "Versions of one module in memory at the same time. Above it the oldest is cut"),
});

const timeouts = group(DEFAULT_TIMEOUTS, "Timeouts. 0 waits for ever", {
  idleMs: timeout("A connection without a message, until it is closed"),
  prefixWaitMs: timeout(
    "A complete key while a longer one could still match. Also a command, or bytes without a key, without a line end",
  ),
  requestMs: timeout("From a raw message's first byte to its last"),
  headMs: timeout("From an HTTP request's first byte to the end of its header"),
  bodyMs: timeout(
    "For each KB of an HTTP request's body that the handler reads, and for its last part. Also for those of a WebSocket message",
  ),
  handlerMs: timeout("A handler's call, until it answers. A route's `timeoutMs` wins over it"),
  writeMs: timeout("A client that reads nothing of its reply, until it is cut"),
  drainMs: timeout("Calls and replies under way on a replaced version, or at a shutdown, until they are cut"),
  loadMs: timeout("Each of these: a module's import; its setup and check together; its handoff; its dispose"),
  blockedMs: timeout("Inline code that blocks the event loop, until the log names it. 0: it is never named"),
});

const log = group(DEFAULT_LOG, "The log: its level, format and files", {
  level: key(choice(LOG_LEVELS), "The lowest level that is logged. Flag `--log-level`"),
  format: key(
    choice(LOG_FORMATS),
    "`text`: one line an event for people. `json`: one object a line for machines. Flag `--log-format`",
  ),
  file: key(PATH_OR_NULL, "The log file. SIGHUP opens it anew. `null`: stderr. Flag `--log-file`"),
  maxFileBytes: key(COUNT_OR_NONE, "A log file of this size is put aside and a new one begun. 0: never", bytes),
  maxFiles: key(integer({ min: 0, max: 1000 }), "How many log files that were put aside are kept", { unit: "files" }),
  rotate: key(choice(LOG_ROTATIONS), "When a new log file is begun, in addition to `log.maxFileBytes`"),
  access: key(FLAG, "Log each answered message and request, with status, bytes and time. Flag `--access-log`"),
  accessSample: key(COUNT, "Log one of this many answers", { unit: "answers" }),
});

const control = group(DEFAULT_CONTROL, "Ways to control a running server", {
  commands: key(
    choice(COMMAND_POLICIES),
    "Clients that may send RELOAD, CLOSE, SHUTDOWN, HELP and STATUS. `loopback`: those of this machine. `token`: these, and clients that end the command with `token:` and the token, or have shown a token of `hrmr token` with the scope `admin`. `off`: none, and the words stay reserved. Flag `--commands`",
  ),
  tokenFile: key(
    PATH_OR_NULL,
    'File with the token: one line, at least 16 characters. For `commands: "token"`, and needed by `control.listen`',
  ),
  socket: key(
    PATH_OR_NULL,
    "The control socket. `null`: `control.sock` in $RUNTIME_DIRECTORY or else in the state folder. Flag `--control`",
    restart,
  ),
  listen: key(
    part.CONTROL_URL_OR_NULL,
    "The control socket's API on a port of its own, for clients that have the token (see [upload.md](upload.md)). `null`: on no port",
    restart,
  ),
  maxUploadBytes: most("bytes", "All files of one `hrmr push` to a module, in total"),
  maxUploadFiles: most("files", "Files of one `hrmr push` to a module"),
});

const access = group(
  DEFAULT_ACCESS,
  "Tokens for what the server guards: procedures, events, the store (see [access.md](access.md))",
  {
    required: key(
      part.FLAG_OR_AUTO,
      "Which clients need a token. `auto`: all except those of this machine. `true`: these too. `false`: none",
    ),
    tokensFile: key(
      PATH_OR_NULL,
      "The file of `hrmr token`, mode 0600. A running server sees its changes by itself. `null`: `tokens.json` in the data folder",
    ),
  },
);

const schedule = group(DEFAULT_SCHEDULE, "The schedules of the modules (see [modules.md](modules.md#schedules))", {
  timeZone: key(
    TIME_ZONE_OR_NULL,
    "For cron lines without a `timeZone` of their own: an IANA name, such as `Europe/Berlin`. `null`: the system's",
  ),
});

const store = group(DEFAULT_STORE, "The store of the modules, `context.store` (see [store.md](store.md))", {
  url: key(
    part.STORE_URL_OR_NULL,
    "The database. A relative path begins at the config file's folder. `null`: `hub.sqlite` in the data folder",
  ),
  durability: key(
    choice(DURABILITIES),
    "What an answered write survives. `full`: a power failure. `relaxed`: a crash of the server; a power failure may take the writes of the last moments",
  ),
  maxValueBytes: most("bytes", "One document's JSON"),
  keptChanges: most("changes", "Newest changes that are kept for watches that begin later (`after`)"),
});

const endpoint = (description: string) => key(ENDPOINT, description);

const http = group(
  DEFAULT_HTTP,
  "The server's own endpoints, which come before any module, and middleware for all modules",
  {
    health: endpoint(
      "Clients that see GET /health: the server lives. `local`: clients of this machine. `off`: modules get the path",
    ),
    ready: endpoint(
      "Clients that see GET /ready: every module is loaded, and the server does not drain. Only clients of this machine see module names",
    ),
    stats: endpoint("Clients that see GET /stats: figures as JSON"),
    metrics: endpoint("Clients that see GET /metrics: figures for Prometheus"),
    localNames: key(
      TEXTS,
      "More host names, without a port, that /stats and /metrics accept while they are `local`. Always accepted: localhost, names below it, 127.0.0.0/8 and [::1]",
    ),
    use: key(
      TEXTS,
      "Modules whose `middleware` stands before every HTTP route of every module, in this order. The server does not start if one is missing",
    ),
  },
);

const http2 = group(DEFAULT_HTTP2, "HTTP/2. Its streams share the limits and timeouts of HTTP/1.1", {
  enabled: key(FLAG, "Speak HTTP/2 with clients that begin with its preface, and offer it to TLS clients", restart),
  maxControlFramesPerSecond: key(
    COUNT_OR_NONE,
    "Frames of one connection that carry nothing (pings, window updates, priorities, empty DATA), without those that its requests need. 0: no limit",
    { unit: "frames", ...restart },
  ),
  maxResetsPerSecond: key(
    COUNT_OR_NONE,
    "Streams of one HTTP/2 connection that its client may reset, or make the server reset, within a second. Above it the connection is cut. 0: no limit",
    { unit: "streams", ...restart },
  ),
  maxConcurrentStreams: key(
    integer({ min: 1, max: 100_000 }),
    "Streams of one HTTP/2 connection at once. Further ones are refused, and the client may try them again",
    { unit: "streams", ...restart },
  ),
  initialWindowBytes: key(
    integer({ min: 1024, max: 1_073_741_824 }),
    "Bytes of a request's body that an HTTP/2 client may send ahead of the handler that reads it",
    { unit: "bytes", ...restart },
  ),
  maxFrameBytes: key(
    integer({ min: 16_384, max: 16_777_215 }),
    "Bytes of the largest HTTP/2 frame that a client may send",
    { unit: "bytes", ...restart },
  ),
  maxHeaderBytes: key(
    integer({ min: 1024, max: 1_048_576 }),
    "Bytes of an HTTP/2 request's header fields. Each counts with 32 bytes more",
    { unit: "bytes", ...restart },
  ),
});

const versions = group(
  DEFAULT_VERSIONS,
  "How many versions of a module are kept, and when a failing one is rolled back",
  {
    keep: key(integer({ min: 2, max: 100 }), "Versions of each module that are kept for `hrmr rollback`", {
      unit: "versions",
    }),
    probationMs: key(
      TIMEOUT,
      "Probation of a new version: if it fails within this time, the version before it comes back automatically. 0: no probation",
      ms,
    ),
    maxErrorShare: key(
      part.SHARE,
      "Share of calls that may fail during probation. More roll the version back, unless the version before it failed as often",
    ),
    minCalls: key(COUNT, "Fewest calls from which that share is computed", { unit: "calls" }),
    maxCrashes: key(
      COUNT,
      "A version is rolled back at this many crashes of its threads or its process during probation",
      { unit: "crashes" },
    ),
  },
);

const sniItem = part.object(
  z.strictObject({
    serverNames: required(
      key(part.SERVER_NAMES, '`"a.example"`, or `"*.b.example"` for one label in place of `*`. An exact name wins'),
    ),
    certFile: required(key(PATH, "The certificate for these names (PEM)")),
    keyFile: required(key(PATH, "Its private key (PEM, not encrypted)")),
    minVersion: optionalKey(TLS_VERSION, "Default: `tls.minVersion`"),
  }),
);

const tls = group(DEFAULT_TLS, "TLS. Its files are read anew at each reload", {
  certFile: key(
    PATH_OR_NULL,
    "The certificate (PEM), followed by its intermediate certificates. `null`: no TLS. Flag `--tls-cert`",
  ),
  keyFile: key(PATH_OR_NULL, "Its private key (PEM, not encrypted). Both or neither. Flag `--tls-key`"),
  minVersion: key(TLS_VERSION, "The oldest version that is accepted"),
  ciphers: key(
    CIPHERS_OR_NULL,
    "The ciphers of TLS 1.2, best first. Those of TLS 1.3 cannot be chosen. `null`: the engine's choice",
  ),
  sni: key(part.objects(sniItem), "More certificates, chosen by the name that the client asks for (see [TLS](#tls))"),
  clientCaFile: key(PATH_OR_NULL, "The authorities (PEM) that may issue clients' certificates"),
  clientCert: key(
    choice(CLIENT_CERT_POLICIES),
    "Whether clients are asked for a certificate. `request` also serves clients without one; modules see the difference in `client.tls`. `require` cuts clients without one, and plain text: every listener except `udp://` then takes TLS only",
  ),
  handshakeTimeoutMs: timeout(
    "From the first byte (on `tls://` from the connection) to the end of the handshake. Then the client is cut. 0 waits for ever",
  ),
});

const moduleTimeout = (name: string) => optional(timeout(`Instead of \`timeouts.${name}\`, for this module`));

const moduleTimeouts = part.object(
  z.strictObject({
    handlerMs: moduleTimeout("handlerMs"),
    loadMs: moduleTimeout("loadMs"),
    drainMs: moduleTimeout("drainMs"),
  }),
);

const moduleSettings = part.object(
  z.looseObject({
    enabled: optionalKey(
      FLAG,
      "Whether the module is served. Default `true`. To switch on a module that ships with hrmr, it is enough to name it here (see [modules.md](modules.md#what-ships-with-hrmr))",
    ),
    external: optionalKey(
      TEXTS,
      "Packages that are not bundled: native addons, packages that read files of their own folder",
    ),
    libs: optionalKey(
      TEXTS,
      "For a module in C: libraries to link, by name (`z`) or path. Default: those that its files name",
    ),
    include: optionalKey(TEXTS, "For a module in C: folders with headers. Default: those that its files name"),
    run: optionalKey(
      choice(["inline", "pool", "process"]),
      'Where routes run that have no `run` of their own. Default `"inline"`',
    ),
    reload: optionalKey(choice(["swap", "exclusive"]), "Instead of the module's own `reload`"),
    timeouts: optionalKey(moduleTimeouts, "Instead of the server's"),
    maxMemoryMb: optionalKey(
      COUNT_OR_NONE,
      "Memory of its process. Above it the process is ended and started again. Default 512. 0: no limit",
      { unit: "MB" },
    ),
    maxCrashes: optionalKey(
      COUNT_OR_NONE,
      "How often it may end its process, or a thread of the pool, within `crashWindowMs`. Then it is put in quarantine. Default 5. 0: no limit",
    ),
    crashWindowMs: optional(timeout("See `maxCrashes`. Default 60000")),
  }),
);

/** Without the rules between two keys: for one file or one layer of the configuration alone. */
export const KEY_SCHEMA = part.object(
  z.strictObject({
    $schema: optionalKey(
      part.TEXT,
      "For editors; the server ignores it. `hrmr init` writes the schema beside the file",
    ),
    ...part.withDefaults(defaultOptions(), {
      listen: key(
        part.LISTEN_URLS,
        "Where to listen; several are possible. `tls://` takes TLS only. The other streams take it too if there is a certificate (see [TLS](#tls)). `udp://` takes raw messages only. See [addresses](#addresses). Flags `--listen`, `--port`, `--host`",
        restart,
      ),
      modulesDir: key(
        PATH_OR_NULL,
        "Folder of the modules. `null`: `modules` beside the config file or in the working directory. That folder may be made later; a folder that is named here must exist. A named folder, or one beside the config file, must not be empty. Flag `--modules`",
        restart,
      ),
      staticDir: key(
        PATH_OR_NULL,
        "The folder that the http module serves. `null`: `static_html` beside the modules folder if there is one, else the pages in the binary. Flag `--static`",
        restart,
      ),
      stateDir: key(
        PATH_OR_NULL,
        "Folder (mode 0700) for files that hrmr can rebuild: bundles, versions, unpacked modules, the lock and the control socket. `null`: `.hrmr` beside the modules folder; if that cannot be written, a folder of this user in the temporary folder. Flag `--state`",
        restart,
      ),
      dataDir: key(
        PATH_OR_NULL,
        "Folder (mode 0700) for modules' data; keep it. Each module has a folder of its own in it, `context.dataDir`. `null`: in a systemd unit `$STATE_DIRECTORY/data`, else `data` beside the modules folder; if that cannot be written, `data` in the state folder. Flag `--data`",
        restart,
      ),
      threads: key(
        integer(THREADS_RANGE),
        "Threads of the pool. They start when the first module needs them. Flag `--threads`",
        { unit: "threads", ...restart },
      ),
      watch: key(FLAG, "Reload changed files, 50 ms after the last change. Flag `--watch`"),
      processes: key(
        integer(PROCESSES_RANGE),
        "Server processes on the same listeners. 0: one for each core. Flag `--processes`",
        { unit: "processes", ...restart },
      ),
      pidFile: key(
        PATH_OR_NULL,
        "File for the process id, locked while the server runs. `null`: none. Flag `--pid-file`",
        restart,
      ),
      resume: key(
        FLAG,
        "Start with the versions that served last, even if the files have changed or are broken. The next reload loads the files. Flag `--resume`",
        restart,
      ),
      modules: key(part.object(z.record(z.string(), moduleSettings)), "Settings of a module, by its name"),
    }),
    limits,
    timeouts,
    log,
    control,
    access,
    schedule,
    store,
    http,
    http2,
    versions,
    tls,
  }),
);

/** The whole configuration. Parsing {} gives the defaults; the output is an `Options`. */
export const CONFIG_SCHEMA = KEY_SCHEMA.check(
  z.superRefine((options, context) => {
    for (const { path: at, message } of findContradictions(options))
      context.addIssue({ code: "custom", path: [...at], message });
  }),
);
