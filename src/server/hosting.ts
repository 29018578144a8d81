/** Makes the hosts of a server: its pool and its modules' processes, with its options, its log and its uplink. */
import { Hosts } from "../host/hosts";
import { openPool } from "../host/pool/pool";
import { Processes } from "../host/process/processes";
import type { RemoteSettings } from "../host/remote/remote-host";
import type { EventHub } from "../module/event/events";
import type { ServiceAsks } from "../module/service/calls";
import type { StorePort } from "../module/store/port";
import type { LoadSpec } from "../module/version";
import { ROLE_VARIABLE, selfCommand } from "../system/self";
import type { Options } from "../config/options";
import type { ServerLog } from "../observe/log/log";
import type { Uplink } from "./uplink";

interface HostsOwner {
  readonly options: Options;
  readonly log: ServerLog;
  readonly uplink: Pick<Uplink, "crashed">;
}

/** What the hosts tell and ask the rest of the server. */
interface HostsListener {
  /** As for `Processes`. */
  readonly onRestored: (id: number) => void;
  /** A generation has ended its host. */
  readonly onCrash: (id: number) => void;
  /** Takes the calls of services that modules make there. */
  readonly services: ServiceAsks;
  /** Carries the events of modules there. */
  readonly events: EventHub;
  /** The store of modules there. */
  readonly store: StorePort;
}

export function openHosts(owner: HostsOwner, { onRestored, onCrash, services, events, store }: HostsListener): Hosts {
  const { options, log } = owner;
  const settings: RemoteSettings = {
    loadTimeoutMs: options.timeouts.loadMs,
    get maxQueued() {
      return options.limits.maxQueued;
    },
    log,
    services,
    events,
    store,
    onCrash(spec, reason) {
      onCrash(spec.id);
      void crashed(owner, spec, reason, false);
    },
    onCrashLoop: (spec, reason) => crashed(owner, spec, reason, true),
  };
  const pool = openPool(settings, {
    threads: options.threads,
    onThreadLost: (reason, thread, culprit) =>
      log
        .withFields(culprit === null ? {} : { module: culprit.name, generation: culprit.generation })
        .bounded(
          "warn",
          `pool thread: ${reason}`,
        )?.(`pool thread ${thread}: ${reason}`),
  });
  const start = { command: selfCommand([]), env: { [ROLE_VARIABLE]: "module" } };
  const processes = new Processes(settings, start, onRestored);
  return new Hosts(pool, processes);
}

/** Another version may replace the module's, in all processes. @returns whether that was done. Never rejects. */
async function crashed(
  { uplink, log }: HostsOwner,
  { name, generation }: LoadSpec,
  reason: string,
  isLoop: boolean,
): Promise<boolean> {
  try {
    return await uplink.crashed(name, generation, reason, isLoop);
  } catch (error) {
    log.withFields({ module: name, generation, error }).warn(`no other version could be asked for: ${String(error)}`);
    return false;
  }
}
