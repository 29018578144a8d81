/**
 * The text of a systemd unit that runs hrmr, and of the .socket unit that opens its listeners.
 */
import { type ListenAddress, parseListen } from "../../config/listen";
import type { Options } from "../../config/options";
import { badValue } from "../flags";

/** The version of systemd that introduced Type=notify-reload. */
export const NOTIFY_RELOAD_VERSION = 253;

export interface UnitSettings {
  /** The name of the unit, and of its folders in /var/lib, /var/log and /run. */
  readonly name: string;
  /** The words that start the program, without arguments. The first is an absolute path. */
  readonly command: readonly string[];
  /** The project's folder, absolute. */
  readonly dir: string;
  /** null: the folder's own, if there is one. */
  readonly configFile: string | null;
  /** null: systemd makes a user for as long as the service runs. */
  readonly user: string | null;
  readonly hasSocket: boolean;
  /** systemd's version: 252. */
  readonly systemdVersion: number;
  readonly options: Options;
}

const HOMES = ["/home/", "/root/", "/run/user/"];
/** Listeners on lower ports need CAP_NET_BIND_SERVICE. */
const FIRST_FREE_PORT = 1024;
/** How much longer than its drain the server may take to end. In seconds. */
const STOP_RESERVE_SECONDS = 15;

/** The .service unit. */
export function serviceUnit(settings: UnitSettings): string {
  const { name, dir, hasSocket } = settings;
  return sections({
    Unit: [
      `Description=hrmr, a hot-reloadable module router (${escapeSpecifiers(dir)})`,
      "Wants=network-online.target",
      "After=network-online.target",
      ...(hasSocket ? [`Requires=${name}.socket`, `After=${name}.socket`] : []),
      "# Give up after ten failed starts in a minute.",
      "StartLimitIntervalSec=60",
      "StartLimitBurst=10",
    ],
    Service: [...running(settings), ...folders(settings), ...limits(), ...hardening(settings)],
    Install: ["WantedBy=multi-user.target", ...(hasSocket ? [`Also=${name}.socket`] : [])],
  });
}

function running(settings: UnitSettings): string[] {
  const { command, dir, configFile, name } = settings;
  const start = [...command, "start", ...(configFile === null ? [] : ["--config", configFile])];
  return [
    ...reloading(settings),
    "# After an upgrade (hrmr upgrade, SIGUSR2) the new process is the main one: the old one says so before it leaves.",
    "NotifyAccess=main",
    `ExecStart=${start.map(quoteWord).join(" ")} --state %S/${name}`,
    `WorkingDirectory=${escapeSpecifiers(dir)}`,
    "# The server tells systemd twice in this time that it lives. If its event loop hangs, systemd starts it again.",
    "WatchdogSec=30",
    "Restart=on-failure",
    "RestartSec=1",
    "# Wrong usage is not tried again. A stop before the server is up is no failure.",
    "RestartPreventExitStatus=2",
    "SuccessExitStatus=130 143",
    "# The main process lets the others finish their work (timeouts.drainMs). Then systemd kills the rest.",
    "KillMode=mixed",
    `TimeoutStopSec=${stopSeconds(settings.options)}`,
    "# A server process that is killed for its memory is replaced; the others go on.",
    "OOMPolicy=continue",
  ];
}

function reloading({ systemdVersion, command, configFile, name }: UnitSettings): string[] {
  if (systemdVersion >= NOTIFY_RELOAD_VERSION) {
    return [
      "# `systemctl reload` sends SIGHUP and waits for the end of the reload; `systemctl status` shows the result.",
      "Type=notify-reload",
    ];
  }
  const reload = [...command, "reload", ...(configFile === null ? [] : ["--config", configFile])];
  return [
    `# This systemd (${systemdVersion}) does not know Type=notify-reload.`,
    "Type=notify",
    `ExecReload=${reload.map(quoteWord).join(" ")} --state %S/${name}`,
  ];
}

/** The drain and a reserve; "infinity" for a drain without a limit. */
function stopSeconds({ timeouts }: Options): string {
  return timeouts.drainMs === 0 ? "infinity" : String(Math.ceil(timeouts.drainMs / 1000) + STOP_RESERVE_SECONDS);
}

function folders({ name, user }: UnitSettings): string[] {
  return [
    ...(user === null ? ["DynamicUser=yes"] : [`User=${user}`]),
    `StateDirectory=${name}`,
    `RuntimeDirectory=${name}`,
    `LogsDirectory=${name}`,
    "StateDirectoryMode=0700",
    "RuntimeDirectoryMode=0750",
    "LogsDirectoryMode=0750",
    "UMask=0027",
  ];
}

function limits(): string[] {
  return ["# Three descriptors for a proxied connection, and limits.maxConnections is 10000.", "LimitNOFILE=65536"];
}

/**
 * The settings that `systemd-analyze security` asks for and that a program with a JIT tolerates. docs/systemd.md
 * explains each.
 */
function hardening(settings: UnitSettings): string[] {
  const needsLowPort =
    !settings.hasSocket && settings.options.listen.some((url) => portOf(parseListen(url)) < FIRST_FREE_PORT);
  return [
    "# Only the three folders above can be written to. More: ReadWritePaths= in a drop-in (systemctl edit).",
    "ProtectSystem=strict",
    ...homes(settings),
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "PrivateMounts=yes",
    "DevicePolicy=closed",
    "ProtectProc=invisible",
    "ProcSubset=pid",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "NoNewPrivileges=yes",
    ...(needsLowPort
      ? ["CapabilityBoundingSet=CAP_NET_BIND_SERVICE", "AmbientCapabilities=CAP_NET_BIND_SERVICE"]
      : ["CapabilityBoundingSet=", "AmbientCapabilities=", "PrivateUsers=yes"]),
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "RemoveIPC=yes",
    "KeyringMode=private",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged @resources",
    "SystemCallErrorNumber=EPERM",
    "# Not MemoryDenyWriteExecute=yes: JavaScript is compiled to machine code while it runs.",
  ];
}

/** Hides home folders, except those of the program and the project. */
function homes({ dir, command }: UnitSettings): string[] {
  const needed = [dir, ...command].filter((path) => HOMES.some((home) => `${path}/`.startsWith(home)));
  if (needed.length === 0) return ["ProtectHome=yes"];
  return ["ProtectHome=tmpfs", ...needed.map((path) => `BindReadOnlyPaths=${quoteWord(path)}`)];
}

/**
 * The .socket unit: systemd listens, even before the server runs and during its restart. @throws UserError BAD_VALUE
 * for a listener that it cannot open
 */
export function socketUnit({ name, options }: UnitSettings): string {
  return sections({
    Unit: [`Description=Listeners of ${name}.service`],
    Socket: [
      ...options.listen.map(socketLine),
      "Backlog=4096",
      "NoDelay=yes",
      "# For unix:// listeners, which anybody may connect to.",
      "SocketMode=0666",
      "RemoveOnStop=yes",
    ],
    Install: ["WantedBy=sockets.target"],
  });
}

function socketLine(url: string): string {
  const address = parseListen(url);
  if (address?.transport === "unix") return `ListenStream=${escapeSpecifiers(address.path)}`;
  const host = address === null ? "" : address.host === "localhost" ? "127.0.0.1" : address.host;
  const isLiteral = /^[\d.]+$/.test(host) || host.includes(":");
  if (address === null || !isLiteral || address.port === 0) {
    throw badValue(
      `A .socket unit cannot listen on ${url}: it needs an IP address and a port, or a path.`,
      "Change `listen`, or leave out --socket: then hrmr opens its listeners itself.",
    );
  }
  return `${address.transport === "udp" ? "ListenDatagram" : "ListenStream"}=${host.includes(":") ? `[${host}]` : host}:${address.port}`;
}

function portOf(address: ListenAddress | null): number {
  // 0 takes a free port, which is never a low one.
  return address === null || address.transport === "unix" || address.port === 0 ? FIRST_FREE_PORT : address.port;
}

function sections(all: Record<string, string[]>): string {
  return Object.entries(all)
    .map(([name, lines]) => `[${name}]\n${lines.join("\n")}\n`)
    .join("\n");
}

/** One word of a command line (systemd.service(5), COMMAND LINES). */
function quoteWord(word: string): string {
  const escaped = escapeSpecifiers(word).replaceAll("$", "$$$$");
  return /^[\w./:=@%+,-]+$/.test(word) ? escaped : `"${escaped.replaceAll(/[\\"]/g, "\\$&")}"`;
}

function escapeSpecifiers(text: string): string {
  return text.replaceAll("%", "%%");
}
