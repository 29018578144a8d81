/** Commands on the server: what it is, and what it can. */
import { type Call, type CommandSpec, NO_KEYS, type Run } from "../call";
import { fail } from "../errors";
import { globMatcher } from "../glob";
import { subcommands } from "./subcommands";

/** The version of Redis whose answers these are. */
export const VERSION = "7.0.0";

/** What tools ask for before they begin. */
const CONFIG: Readonly<Record<string, string>> = {
  appendonly: "yes",
  appendfsync: "always",
  databases: "16",
  maxclients: "10000",
  maxmemory: "0",
  "maxmemory-policy": "noeviction",
  // All of them, always: they cost only where a client hears them.
  "notify-keyspace-events": "AKE",
  "proto-max-bulk-len": "16777216",
  save: "",
  timeout: "0",
};

function getConfig({ args, out }: Call): void {
  const found = new Set<string>();
  for (let at = 2; at < args.length; at++) {
    const matches = globMatcher(args.utf8(at).toLowerCase());
    for (const name of Object.keys(CONFIG)) if (matches(name)) found.add(name);
  }
  out.map(found.size);
  for (const name of found) {
    out.bulk(name);
    out.bulk(CONFIG[name] as string);
  }
}

/** Letters of Redis, of which K or E turn notifications on. */
const NOTIFICATIONS = /^(?=.*[KE])[KEg$lshzxetdmnA]+$/;

/** Clients turn keyspace notifications on before they hear them. */
function setConfig({ args, out }: Call): void {
  for (let at = 2; at < args.length; at += 2) {
    const name = args.utf8(at).toLowerCase();
    const isOn = name === "notify-keyspace-events" && at + 1 < args.length && NOTIFICATIONS.test(args.latin1(at + 1));
    if (!isOn)
      fail(
        `ERR CONFIG SET failed (possibly related to argument '${args.utf8(at).slice(0, 128)}') - nothing can be set ` +
          "here, and keyspace notifications are always on",
      );
  }
  out.ok();
}

/** By name, fields as INFO writes them. */
function sections({ peer: { face } }: Call): Record<string, Record<string, string | number>> {
  const uptime = Math.floor((Date.now() - face.startedAt) / 1000);
  return {
    Server: {
      redis_version: VERSION,
      redis_mode: "standalone",
      os: `${process.platform} ${process.arch}`,
      process_id: process.pid,
      uptime_in_seconds: uptime,
      uptime_in_days: Math.floor(uptime / 86_400),
    },
    Clients: { connected_clients: face.peers.size, blocked_clients: 0 },
    Memory: { used_memory: process.memoryUsage.rss(), maxmemory: 0, maxmemory_policy: "noeviction" },
    Persistence: { loading: 0, aof_enabled: 1, rdb_changes_since_last_save: 0 },
    Replication: { role: "master", connected_slaves: 0 },
    Cluster: { cluster_enabled: 0 },
    // A count would read the whole collection.
    Keyspace: {},
  };
}

function info(call: Call): void {
  const asked = new Set<string>();
  for (let at = 1; at < call.args.length; at++) asked.add(call.args.latin1(at).toLowerCase());
  const isAll = asked.size === 0 || ["all", "default", "everything"].some((name) => asked.has(name));
  const texts = Object.entries(sections(call))
    .filter(([name]) => isAll || asked.has(name.toLowerCase()))
    .map(([name, fields]) => {
      const lines = Object.entries(fields).map(([key, value]) => `${key}:${value}\r\n`);
      return `# ${name}\r\n${lines.join("")}`;
    });
  call.out.verbatim(texts.join("\r\n"));
}

function time({ out }: Call): void {
  const now = Date.now();
  out.array(2);
  out.bulk(String(Math.floor(now / 1000)));
  out.bulk(String((now % 1000) * 1000));
}

const command = (name: string, arity: number, since: string, summary: string, run: Run): CommandSpec => ({
  name,
  arity,
  use: "nothing",
  keys: NO_KEYS,
  group: "server",
  since,
  summary,
  run,
});

export const SERVER: readonly CommandSpec[] = [
  command("info", -1, "1.0.0", "Returns facts on the server, as text.", info),
  command("time", 1, "2.6.0", "Returns the server's time: seconds and microseconds.", time),
  command(
    "config",
    -2,
    "2.0.0",
    "Returns settings that tools ask for. None can be changed.",
    subcommands("config", { get: [-3, getConfig], set: [-4, setConfig] }),
  ),
];
