/** Makes the schedule of a server: the tasks of its modules, its hub that runs them, its file. */
import { join } from "node:path";
import { type CallServer, handlerMs } from "../host/inline";
import { RECORDS_FILE } from "../hub/schedule/records";
import { Schedule } from "../hub/schedule/schedule";
import type { Hub } from "../hub/services";
import type { Background } from "../module/background";
import type { ServerLog } from "../observe/log/log";
import type { Registry } from "../reload/registry";

interface ScheduleOwner {
  /** null: the modules are not loaded yet. */
  readonly registry: () => Registry | null;
  readonly hub: Hub;
  readonly server: CallServer;
  readonly background: Background;
  readonly dataDir: string;
  readonly timeZone: () => string | null;
  readonly log: ServerLog;
}

/** States of a module's life in which its tasks may run: a failed start is tried again, and the version serves. */
const READY: ReadonlySet<string | undefined> = new Set([undefined, "started", "failed"]);

export function openSchedule({ registry, hub, server, background, dataDir, timeZone, log }: ScheduleOwner): Schedule {
  return new Schedule({
    modules: () => registry()?.entries ?? new Map(),
    isReady: (module) => READY.has(registry()?.lives.facts(module)?.state),
    run: (task, run) => hub.runTask(task, run),
    limitMs: (task) => handlerMs(server, task),
    background,
    file: join(dataDir, RECORDS_FILE),
    timeZone,
    log,
  });
}
