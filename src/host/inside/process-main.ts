/** This program in its role "module", a module's process: the same as a pool thread, with its server behind a pipe. */
import { writeFileSync } from "node:fs";
import { HandoffFile } from "../process/handoff-file";
import { HostedModules } from "./hosted-modules";
import { limitOwnMemory } from "../../system/memory-limit";
import type { CallBatch, ReplyBatch, FromPlace, ToPlace } from "../remote/messages";
import { HANDOFF_FD, READY, SHARED_FD } from "../process/place";
import { mapAndClose } from "../process/shared-file";

/** Variables that a module and the processes that it starts must not take for their own. */
const OWN_VARIABLES = [
  "BUN_FEATURE_FLAG_NO_ORPHANS",
  "NODE_CHANNEL_FD",
  "NODE_CHANNEL_SERIALIZATION_MODE",
  "NODE_UNIQUE_ID",
];
/** Signals that all processes of a service or a terminal get. The server decides, and ends this process. */
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"] as const;
/** If the machine has no memory left, the kernel kills a module's process before the server. 0 to 1000. */
const KILLED_FIRST = 500;

/** Runs until the server ends it, or is gone. */
export function runModuleProcess(): Promise<never> {
  const shared = mapAndClose(SHARED_FD);
  const post = takeChannel();
  for (const name of OWN_VARIABLES) delete process.env[name];
  for (const signal of SIGNALS) process.on(signal, () => {});
  process.on("disconnect", () => process.exit(0));
  offerToKernel();
  let modules: HostedModules | null = null;
  process.on("message", (data: CallBatch | ToPlace) => {
    if (modules !== null) return modules.receive(data);
    if (Array.isArray(data) || data.type !== "init") throw new Error("The first message to a process is no init.");
    const { host, loadTimeoutMs, maxMemoryMb = 0 } = data;
    if (maxMemoryMb > 0) limitOwnMemory(maxMemoryMb);
    modules = new HostedModules({ shared, host, loadTimeoutMs, post, handoffs: new HandoffFile(HANDOFF_FD) });
  });
  post(READY);
  return new Promise(() => {});
}

/** Takes the IPC channel away: a module that calls `process.send` has no parent of its own. */
function takeChannel(): (data: ReplyBatch | FromPlace | typeof READY) => void {
  const send = process.send?.bind(process);
  if (send === undefined) throw new Error("A module's process is started by its server: this is not a command.");
  Object.assign(process, { send: undefined, disconnect: undefined });
  return (data) => void send(data);
}

function offerToKernel(): void {
  try {
    writeFileSync("/proc/self/oom_score_adj", String(KILLED_FIRST));
  } catch {
    // No Linux, or no /proc: the kernel chooses by itself.
  }
}
