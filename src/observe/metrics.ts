/** GET /metrics: the figures of all processes for Prometheus. Pure. docs/metrics.md says what each one means. */
import { writeBlocked } from "./conduct";
import { Exposition } from "./exposition";
import { addCalls, LATENCY_BOUNDS } from "./figures";
import {
  addConnections,
  addCounters,
  addPools,
  mergeModules,
  mergeReloads,
  type MergedModule,
  readinessOf,
} from "./report";
import type { CallSnapshot, ProcessSnapshot, ServerInfo } from "./snapshot";

/** How many modules have series of their own. The rest share the module "other". */
const MAX_MODULES = 200;
const OTHER = "other";
/** The `generation` label of all retired versions together, so that a module's total never goes back. */
const GONE = "old";
const PROTOCOLS = ["new", "tls", "raw", "http1", "http2", "websocket", "connect"];

/** The figures of one module and one generation. */
interface Series {
  readonly labels: { readonly module: string; readonly generation: string };
  readonly figures: CallSnapshot;
}

/** @returns the text, format 0.0.4 */
export function metricsText(info: ServerInfo, processes: readonly ProcessSnapshot[]): string {
  const out = new Exposition();
  const modules = mergeModules(processes, info.departed);
  writeServer(out, info, processes);
  writeCalls(out, modules);
  writeGenerations(out, modules);
  writeModuleProcesses(out, modules);
  writeReloads(out, processes);
  writeRollbacks(out, info);
  writeConnections(out, info, processes);
  writePool(out, processes);
  writeProcesses(out, processes);
  return out.text;
}

function writeServer(out: Exposition, info: ServerInfo, processes: readonly ProcessSnapshot[]): void {
  out.single("hrmr_build_info", "gauge", "Always 1; the version is in the label.", 1, { version: info.version });
  out.single("hrmr_up", "gauge", "Always 1: the server answers.", 1);
  out.single("hrmr_ready", "gauge", "1 when /ready says so, else 0.", readinessOf(processes).isReady ? 1 : 0);
  out.single(
    "hrmr_start_time_seconds",
    "gauge",
    "When the server was started, in seconds since 1970.",
    info.startedAtMs / 1000,
  );
  out.single("hrmr_processes", "gauge", "Server processes that answer.", processes.length);
  out.single("hrmr_processes_wanted", "gauge", "Server processes that there should be.", info.wantedProcesses);
  out.single(
    "hrmr_process_restarts_total",
    "counter",
    "Server processes started in place of lost ones.",
    info.restarts,
  );
  const { messages, httpRequests, datagramsDropped, datagramsIgnored } = addCounters(info, processes);
  out.single(
    "hrmr_messages_total",
    "counter",
    "Raw and WebSocket messages, and datagrams, whoever took them.",
    messages,
  );
  out.single("hrmr_http_requests_total", "counter", "HTTP requests, whoever answered them.", httpRequests);
  out.begin(
    "hrmr_datagrams_dropped_total",
    "counter",
    "Datagrams without an answer: too many calls were under way, or they were no message.",
  );
  out.sample("hrmr_datagrams_dropped_total", { reason: "busy" }, datagramsDropped);
  out.sample("hrmr_datagrams_dropped_total", { reason: "no message" }, datagramsIgnored);
}

function writeCalls(out: Exposition, modules: readonly MergedModule[]): void {
  const all = seriesOf(modules);
  out.begin("hrmr_requests_total", "counter", "Messages and HTTP requests that a module was called for.");
  for (const { labels, figures } of all) out.sample("hrmr_requests_total", labels, figures.calls);
  out.begin(
    "hrmr_errors_total",
    "counter",
    "Those that ended badly: it threw, was too late, cut or busy, or answered with a 5xx.",
  );
  for (const { labels, figures } of all) out.sample("hrmr_errors_total", labels, figures.errors);
  const name = "hrmr_request_duration_seconds";
  out.begin(name, "histogram", "From a message to its module's answer.");
  for (const series of all) writeHistogram(out, name, series);
}

function writeHistogram(out: Exposition, name: string, { labels, figures }: Series): void {
  let count = 0;
  for (const [index, bound] of LATENCY_BOUNDS.entries()) {
    count += figures.buckets[index] ?? 0;
    out.sample(`${name}_bucket`, { ...labels, le: bound }, count);
  }
  out.sample(`${name}_bucket`, { ...labels, le: "+Inf" }, figures.calls);
  out.sample(`${name}_sum`, labels, figures.totalSeconds);
  out.sample(`${name}_count`, labels, figures.calls);
}

/** One series for each live generation, and one for all retired ones. */
function seriesOf(modules: readonly MergedModule[]): Series[] {
  const own = modules.slice(0, MAX_MODULES).flatMap(({ name, live, old, gone }) => [
    ...[...old, ...(live === null ? [] : [live])].map(({ number, figures }) => series(name, String(number), figures)),
    // Written from the start on: Prometheus does not see the rise of a counter that appears with a value.
    series(name, GONE, gone),
  ]);
  const rest = modules.slice(MAX_MODULES);
  if (rest.length === 0) return own;
  const figures = rest.flatMap(({ live, old, gone }) => [
    gone,
    ...[...old, ...(live === null ? [] : [live])].map((each) => each.figures),
  ]);
  return [...own, series(OTHER, "all", addCalls(figures))];
}

function series(module: string, generation: string, figures: CallSnapshot): Series {
  return { labels: { module, generation }, figures };
}

function writeGenerations(out: Exposition, modules: readonly MergedModule[]): void {
  const name = "hrmr_live_generations";
  out.begin(
    name,
    "gauge",
    "Versions of a module in memory: the one that serves, and replaced ones with something under way.",
  );
  const count = ({ live, old }: MergedModule): number => old.length + (live === null ? 0 : 1);
  for (const module of modules.slice(0, MAX_MODULES)) out.sample(name, { module: module.name }, count(module));
  const rest = modules.slice(MAX_MODULES);
  if (rest.length === 0) return;
  out.sample(
    name,
    { module: OTHER },
    rest.reduce((sum, each) => sum + count(each), 0),
  );
}

function writeModuleProcesses(out: Exposition, modules: readonly MergedModule[]): void {
  const apart = modules.filter(({ processes }) => processes.length > 0);
  const name = "hrmr_module_process_memory_bytes";
  const bytes = (some: readonly MergedModule[]): number =>
    some.flatMap(({ processes }) => processes).reduce((sum, { memoryBytes }) => sum + memoryBytes, 0);
  out.begin(name, "gauge", "Resident memory of a module's own processes, of the version that serves.");
  for (const module of apart.slice(0, MAX_MODULES)) out.sample(name, { module: module.name }, bytes([module]));
  if (apart.length > MAX_MODULES) out.sample(name, { module: OTHER }, bytes(apart.slice(MAX_MODULES)));
}

function writeReloads(out: Exposition, processes: readonly ProcessSnapshot[]): void {
  const { ok, failed, last, lastSuccessAt, phaseSeconds } = mergeReloads(processes);
  out.begin("hrmr_reloads_total", "counter", "Reloads, the load at the start included.");
  out.sample("hrmr_reloads_total", { result: "ok" }, ok);
  out.sample("hrmr_reloads_total", { result: "failed" }, failed);
  const name = "hrmr_reload_duration_seconds";
  out.begin(name, "summary", "Time that the phases of reloads have taken together.");
  for (const [phase, seconds] of Object.entries(phaseSeconds)) {
    out.sample(`${name}_sum`, { phase }, seconds);
    out.sample(`${name}_count`, { phase }, ok + failed);
  }
  if (last !== null)
    out.single("hrmr_last_reload_ok", "gauge", "1 when the last reload succeeded, else 0.", last.ok ? 1 : 0);
  if (lastSuccessAt === null) return;
  const help = "When a reload last succeeded, in seconds since 1970.";
  out.single("hrmr_last_reload_success_timestamp_seconds", "gauge", help, Date.parse(lastSuccessAt) / 1000);
}

function writeRollbacks(out: Exposition, { rollbacks }: ServerInfo): void {
  out.begin(
    "hrmr_rollbacks_total",
    "counter",
    "Versions brought back: asked for by hand, or automatic because a new one failed.",
  );
  out.sample("hrmr_rollbacks_total", { kind: "asked" }, rollbacks?.asked ?? 0);
  out.sample("hrmr_rollbacks_total", { kind: "automatic" }, rollbacks?.automatic ?? 0);
}

function writeConnections(out: Exposition, info: ServerInfo, processes: readonly ProcessSnapshot[]): void {
  const { accepted, refused, byProtocol } = addConnections(info, processes);
  out.begin("hrmr_connections", "gauge", "Open connections by what they spoke last.");
  for (const protocol of PROTOCOLS) out.sample("hrmr_connections", { protocol }, byProtocol[protocol] ?? 0);
  out.single("hrmr_connections_accepted_total", "counter", "Connections accepted.", accepted);
  out.single(
    "hrmr_connections_refused_total",
    "counter",
    "Connections closed at once, for they were too many.",
    refused,
  );
}

function writePool(out: Exposition, processes: readonly ProcessSnapshot[]): void {
  const { threads, busy, queued } = addPools(processes);
  out.single("hrmr_pool_threads", "gauge", "Threads of the pool.", threads);
  out.single("hrmr_pool_busy", "gauge", "Threads of the pool with a call under way.", busy);
  out.single("hrmr_pool_queued", "gauge", "Calls that no thread has taken yet.", queued);
}

function writeProcesses(out: Exposition, processes: readonly ProcessSnapshot[]): void {
  // A process that is being replaced shares its slot with its successor, but a series may occur only once: the newer
  // process gets it.
  const byAge = processes.toSorted((a, b) => a.startedAtMs - b.startedAtMs);
  const inSlots = new Map(byAge.map((each) => [each.slot, each]));
  const write = (
    name: string,
    type: "gauge" | "counter",
    help: string,
    of: (each: ProcessSnapshot) => number,
  ): void => {
    out.begin(name, type, help);
    for (const each of inSlots.values()) out.sample(name, { slot: each.slot }, of(each));
  };
  write("hrmr_process_resident_memory_bytes", "gauge", "Memory in use.", ({ memoryBytes }) => memoryBytes);
  write("hrmr_process_cpu_seconds_total", "counter", "CPU time used.", ({ cpuSeconds }) => cpuSeconds);
  write("hrmr_process_open_fds", "gauge", "Open file descriptors.", ({ openDescriptors }) => openDescriptors);
  writeBlocked(out, inSlots.values());
}
