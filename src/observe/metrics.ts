/** GET /metrics: the figures of all processes for Prometheus. Pure. docs/metrics.md says what each one means. */
import { addCalls, callsOf, generationsOf, LATENCY_BOUNDS } from "./figures";
import {
  addConnections,
  addCounters,
  addPools,
  type MergedModule,
  mergeModules,
  mergeReloads,
  readinessOf,
} from "./report";
import { mergeDrops, mergeEvents, mergeServices } from "./conduct";
import { mergeStores } from "./stores";
import type {
  CallSnapshot,
  ProcessSnapshot,
  ServerInfo,
  ServiceCallSnapshot,
  SubscriberSnapshot,
  TaskSnapshot,
} from "./snapshot";
import { sumOf } from "./sums";

/** How many modules have series of their own. The rest share the module "other". */
const MAX_MODULES = 200;
const OTHER = "other";
/** The `generation` label of all retired versions together, so that a module's total never goes back. */
const GONE = "old";
const PROTOCOLS = ["new", "tls", "raw", "http1", "http2", "websocket", "connect"];

/** The figures of one module and one generation. */
interface Series {
  readonly labels: Labels;
  readonly figures: CallSnapshot;
}

/** @returns the text, format 0.0.4 */
export function metricsText(info: ServerInfo, processes: readonly ProcessSnapshot[]): string {
  const out = new Exposition();
  const modules = mergeModules(processes, info.departed);
  writeServer(out, info, processes);
  writeCalls(out, modules);
  writeServices(out, processes);
  writeEvents(out, processes);
  writeStore(out, processes);
  writeDrops(out, processes);
  writeGenerations(out, modules);
  writeModuleProcesses(out, modules);
  writeLives(out, modules);
  writeTasks(out, modules);
  writeReloads(out, processes);
  writeRollbacks(out, info);
  writeConnections(out, info, processes);
  writePool(out, processes);
  writeProcesses(out, processes);
  return out.text;
}

function writeServer(out: Exposition, info: ServerInfo, processes: readonly ProcessSnapshot[]): void {
  out.gauge("hrmr_build_info", "Always 1; the version is in the label.", [[{ version: info.version }, 1]]);
  out.gauge("hrmr_up", "Always 1: the server answers.", 1);
  out.gauge("hrmr_ready", "1 if the server is ready, else 0.", readinessOf(processes).isReady ? 1 : 0);
  const started = "When the server was started, in seconds since 1970.";
  out.gauge("hrmr_start_time_seconds", started, info.startedAtMs / 1000);
  out.gauge("hrmr_processes", "Server processes that answer.", processes.length);
  out.gauge("hrmr_processes_wanted", "Server processes that are wanted.", info.wantedProcesses);
  out.counter("hrmr_process_restarts_total", "Server processes started in place of lost ones.", info.restarts);
  const { messages, httpRequests, datagramsDropped, datagramsIgnored } = addCounters(info, processes);
  out.counter("hrmr_messages_total", "All raw messages, WebSocket messages and datagrams.", messages);
  out.counter("hrmr_http_requests_total", "All HTTP requests.", httpRequests);
  const dropped = "Datagrams without an answer: too many calls were under way, or they were no message.";
  out.counter("hrmr_datagrams_dropped_total", dropped, [
    [{ reason: "busy" }, datagramsDropped],
    [{ reason: "no message" }, datagramsIgnored],
  ]);
}

function writeCalls(out: Exposition, modules: readonly MergedModule[]): void {
  const all = seriesOf(modules);
  const samples = (of: (figures: CallSnapshot) => number): Sample[] =>
    all.map(({ labels, figures }) => [labels, of(figures)]);
  const called = "Calls of modules, for messages and HTTP requests.";
  out.counter(
    "hrmr_requests_total",
    called,
    samples(({ calls }) => calls),
  );
  const failed = "Failed calls: the handler threw, was late, cut or busy, or answered with a 5xx.";
  out.counter(
    "hrmr_errors_total",
    failed,
    samples(({ errors }) => errors),
  );
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
  const own = modules.slice(0, MAX_MODULES).flatMap((module) => [
    ...generationsOf(module).map(({ number, figures }) => series(module.name, String(number), figures)),
    // Written from the start on: Prometheus does not see the rise of a counter that appears with a value.
    series(module.name, GONE, module.gone),
  ]);
  const rest = modules.slice(MAX_MODULES);
  return rest.length === 0 ? own : [...own, series(OTHER, "all", addCalls(rest.map(callsOf)))];
}

function series(module: string, generation: string, figures: CallSnapshot): Series {
  return { labels: { module, generation }, figures };
}

/** A sample for each module, and one for all beyond `MAX_MODULES`. */
function perModule(modules: readonly MergedModule[], of: (module: MergedModule) => number): Sample[] {
  const own = modules.slice(0, MAX_MODULES).map((module): Sample => [{ module: module.name }, of(module)]);
  const rest = modules.slice(MAX_MODULES);
  return rest.length === 0 ? own : [...own, [{ module: OTHER }, sumOf(rest, of)]];
}

function writeGenerations(out: Exposition, modules: readonly MergedModule[]): void {
  const help = "Versions of a module in memory: the one that serves, and replaced ones with something under way.";
  const samples = perModule(modules, (module) => generationsOf(module).length);
  out.gauge("hrmr_live_generations", help, samples);
}

function writeModuleProcesses(out: Exposition, modules: readonly MergedModule[]): void {
  const apart = modules.filter(({ processes }) => processes.length > 0);
  const samples = perModule(apart, ({ processes }) => sumOf(processes, ({ memoryBytes }) => memoryBytes));
  const help = "Resident memory of a module's own processes, of the version that serves.";
  out.gauge("hrmr_module_process_memory_bytes", help, samples);
}

function writeLives(out: Exposition, modules: readonly MergedModule[]): void {
  const samples = perModule(
    modules.filter(({ life }) => life !== undefined),
    ({ life }) => (life?.state === "failed" ? 1 : 0),
  );
  out.gauge("hrmr_module_start_failed", "1 if the start of the module fails, else 0.", samples);
}

/** Counted since the background process began: it starts at 0 again when another one takes over. */
function writeTasks(out: Exposition, modules: readonly MergedModule[]): void {
  const all = modules
    .slice(0, MAX_MODULES)
    .flatMap(({ name, tasks }) => tasks.map((task) => ({ labels: { module: name, task: task.name }, task })));
  const samples = (of: (task: TaskSnapshot) => number | null): Sample[] =>
    all.flatMap(({ labels, task }): Sample[] => {
      const value = of(task);
      return value === null ? [] : [[labels, value]];
    });
  const seconds = (at: string | null | undefined): number | null => (at == null ? null : Date.parse(at) / 1000);
  out.counter(
    "hrmr_task_runs_total",
    "Runs of the tasks of schedules.",
    samples(({ runs }) => runs),
  );
  out.counter(
    "hrmr_task_failures_total",
    "Those that failed.",
    samples(({ failures }) => failures),
  );
  const skipped = "Due times that passed while a run was under way.";
  out.counter(
    "hrmr_task_skipped_total",
    skipped,
    samples((task) => task.skipped),
  );
  const last = "When the last run began, in seconds since 1970.";
  out.gauge(
    "hrmr_task_last_run_timestamp_seconds",
    last,
    samples((task) => seconds(task.last?.at)),
  );
  out.gauge(
    "hrmr_task_last_run_ok",
    "1 if the last run succeeded, else 0.",
    samples((task) => (task.last === null ? null : task.last.error === null ? 1 : 0)),
  );
  out.gauge(
    "hrmr_task_next_run_timestamp_seconds",
    "When it is due next, in seconds since 1970.",
    samples(({ nextAt }) => seconds(nextAt)),
  );
}

function writeReloads(out: Exposition, processes: readonly ProcessSnapshot[]): void {
  const { ok, failed, last, lastSuccessAt, phaseSeconds } = mergeReloads(processes);
  out.counter("hrmr_reloads_total", "Reloads, the load at the start included.", [
    [{ result: "ok" }, ok],
    [{ result: "failed" }, failed],
  ]);
  const name = "hrmr_reload_duration_seconds";
  out.begin(name, "summary", "Time that the phases of reloads have taken together.");
  for (const [phase, seconds] of Object.entries(phaseSeconds)) {
    out.sample(`${name}_sum`, { phase }, seconds);
    out.sample(`${name}_count`, { phase }, ok + failed);
  }
  if (last !== null) out.gauge("hrmr_last_reload_ok", "1 if the last reload succeeded, else 0.", last.ok ? 1 : 0);
  if (lastSuccessAt === null) return;
  const help = "When a reload last succeeded, in seconds since 1970.";
  out.gauge("hrmr_last_reload_success_timestamp_seconds", help, Date.parse(lastSuccessAt) / 1000);
}

function writeRollbacks(out: Exposition, { rollbacks }: ServerInfo): void {
  const help = "Versions brought back: asked for by hand, or automatic because a new one failed.";
  out.counter("hrmr_rollbacks_total", help, [
    [{ kind: "asked" }, rollbacks?.asked ?? 0],
    [{ kind: "automatic" }, rollbacks?.automatic ?? 0],
  ]);
}

function writeConnections(out: Exposition, info: ServerInfo, processes: readonly ProcessSnapshot[]): void {
  const { accepted, refused, byProtocol } = addConnections(info, processes);
  const open = PROTOCOLS.map((protocol): Sample => [{ protocol }, byProtocol[protocol] ?? 0]);
  out.gauge("hrmr_connections", "Open connections by the protocol that they spoke last.", open);
  out.counter("hrmr_connections_accepted_total", "Connections accepted.", accepted);
  out.counter("hrmr_connections_refused_total", "Connections closed at once: there were too many.", refused);
}

function writePool(out: Exposition, processes: readonly ProcessSnapshot[]): void {
  const { threads, busy, queued } = addPools(processes);
  out.gauge("hrmr_pool_threads", "Threads of the pool.", threads);
  out.gauge("hrmr_pool_busy", "Threads of the pool with a call under way.", busy);
  out.gauge("hrmr_pool_queued", "Calls that no thread has taken yet.", queued);
}

function writeProcesses(out: Exposition, processes: readonly ProcessSnapshot[]): void {
  // A process that is being replaced shares its slot with its successor, but a series may occur only once: the newer
  // process gets it.
  const byAge = processes.toSorted((a, b) => a.startedAtMs - b.startedAtMs);
  const inSlots = [...new Map(byAge.map((each) => [each.slot, each])).values()];
  const samples = (of: (each: ProcessSnapshot) => number): Sample[] =>
    inSlots.map((each) => [{ slot: each.slot }, of(each)]);
  out.gauge(
    "hrmr_process_resident_memory_bytes",
    "Memory in use.",
    samples(({ memoryBytes }) => memoryBytes),
  );
  out.counter(
    "hrmr_process_cpu_seconds_total",
    "CPU time used.",
    samples(({ cpuSeconds }) => cpuSeconds),
  );
  out.gauge(
    "hrmr_process_open_fds",
    "Open file descriptors.",
    samples(({ openDescriptors }) => openDescriptors),
  );
  writeBlocked(out, inSlots);
}

type Labels = Readonly<Record<string, string | number>>;

/** The Content-Type of the text. */
export const EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** A value, with the labels that tell it from the metric's others. */
type Sample = readonly [labels: Labels, value: number];

/**
 * Collects metrics in Prometheus' text format, version 0.0.4, each once with all of its samples:
 * https://prometheus.io/docs/instrumenting/exposition_formats/
 */
class Exposition {
  readonly #lines: string[] = [];

  counter(name: string, help: string, samples: number | Iterable<Sample>): void {
    this.#write(name, "counter", help, samples);
  }

  gauge(name: string, help: string, samples: number | Iterable<Sample>): void {
    this.#write(name, "gauge", help, samples);
  }

  /** Its samples follow, by `sample`. */
  begin(name: string, type: "histogram" | "summary", help: string): void {
    this.#write(name, type, help, []);
  }

  /** @param name the metric's name, or that with _bucket, _sum or _count behind it */
  sample(name: string, labels: Labels, value: number): void {
    this.#lines.push(`${name}${formatLabels(labels)} ${formatNumber(value)}`);
  }

  get text(): string {
    return this.#lines.map((line) => `${line}\n`).join("");
  }

  #write(name: string, type: string, help: string, samples: number | Iterable<Sample>): void {
    this.#lines.push(`# HELP ${name} ${help.replace(/\\/g, "\\\\").replace(/\n/g, "\\n")}`, `# TYPE ${name} ${type}`);
    const all: Iterable<Sample> = typeof samples === "number" ? [[{}, samples]] : samples;
    for (const [labels, value] of all) this.sample(name, labels, value);
  }
}

function formatLabels(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeValue(String(value))}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

function escapeValue(value: string): string {
  return value.replace(/\\/g, "\\\\").replace(/"/g, '\\"').replace(/\n/g, "\\n");
}

function formatNumber(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  return Number.isFinite(value) ? String(value) : value > 0 ? "+Inf" : "-Inf";
}

/** For the present processes, like the calls of pool threads. */
function writeServices(out: Exposition, processes: readonly ProcessSnapshot[]): void {
  const all = mergeServices(processes);
  const samples = (of: (one: ServiceCallSnapshot) => number): Sample[] =>
    all.map((one) => [{ caller: one.caller, callee: one.callee }, of(one)]);
  out.counter(
    "hrmr_service_calls_total",
    "Calls of services, by the module that called and by the service.",
    samples(({ calls }) => calls),
  );
  out.counter(
    "hrmr_service_errors_total",
    "Those that failed.",
    samples(({ errors }) => errors),
  );
  out.counter(
    "hrmr_service_seconds_total",
    "The time that callers waited for them.",
    samples(({ totalSeconds }) => totalSeconds),
  );
}

function writeEvents(out: Exposition, processes: readonly ProcessSnapshot[]): void {
  const { emitters, subscribers, missed } = mergeEvents(processes);
  const samples = (of: (one: SubscriberSnapshot) => number): Sample[] =>
    subscribers.map((one) => [{ module: one.module, topic: one.topic }, of(one)]);
  out.counter(
    "hrmr_events_emitted_total",
    "Events, by the module that emitted them.",
    emitters.map(({ module, emitted }): Sample => [{ module }, emitted]),
  );
  out.gauge(
    "hrmr_event_subscribers",
    "Handlers and iterators, by module and topic.",
    samples((one) => one.subscribers),
  );
  out.counter(
    "hrmr_events_delivered_total",
    "Events that subscribers got.",
    samples(({ delivered }) => delivered),
  );
  out.counter(
    "hrmr_events_dropped_total",
    "Events that subscribers did not get: their queue was full.",
    samples(({ dropped }) => dropped),
  );
  out.counter("hrmr_events_missed_total", "Events that did not reach a process whose event loop was blocked.", missed);
  out.counter(
    "hrmr_event_errors_total",
    "Failures of handlers.",
    samples(({ errors }) => errors),
  );
}

/** For the present processes. Nothing of a store that no module has used. */
function writeStore(out: Exposition, processes: readonly ProcessSnapshot[]): void {
  const { state, size, counts, groups, waiting, watches, ...store } = mergeStores(processes);
  if (state === "unused") return;
  const { backend, durability } = store;
  out.gauge("hrmr_store_up", "1 if the store is open and can be written, else 0.", [
    [{ backend, durability }, state === "open" ? 1 : 0],
  ]);
  if (size !== null) {
    out.gauge("hrmr_store_documents", "Documents in the store.", size.documents);
    out.gauge("hrmr_store_bytes", "The size of its files.", size.bytes);
    out.gauge("hrmr_store_changes_kept", "Changes that are kept for watches.", size.changes);
  }
  out.counter("hrmr_store_commits_total", "Commits of modules: writes, batches and transactions.", counts.commits);
  const conflicts = "Commits that were refused: a document had another version than was expected.";
  out.counter("hrmr_store_conflicts_total", conflicts, counts.conflicts);
  out.counter("hrmr_store_transactions_total", "Transactions among the commits.", counts.transactions);
  const retries = "Transactions that were refused and ran again: what they had read was changed.";
  out.counter("hrmr_store_retries_total", retries, counts.retries);
  const name = "hrmr_store_commit_duration_seconds";
  out.begin(name, "histogram", "Commits of the database, each for all commits of modules within a turn.");
  writeHistogram(out, name, { labels: {}, figures: groups });
  out.counter("hrmr_store_errors_total", "Commits of the database that failed.", groups.errors);
  out.gauge("hrmr_store_waiting_commits", "Commits of modules that wait for the database.", waiting);
  out.gauge("hrmr_store_watches", "Watches.", watches);
  const lost = "Watches that ended since they were read too slowly, or began too late.";
  out.counter("hrmr_store_watches_lost_total", lost, counts.watchesLost);
}

function writeDrops(out: Exposition, processes: readonly ProcessSnapshot[]): void {
  out.counter(
    "hrmr_websocket_messages_dropped_total",
    "Messages that slow WebSockets did not get, by module and topic.",
    mergeDrops(processes).map(({ module, topic, dropped }): Sample => [{ module, topic }, dropped]),
  );
}

/** For the present processes: a replaced process starts at 0 again. */
function writeBlocked(out: Exposition, inSlots: readonly ProcessSnapshot[]): void {
  const samples = inSlots.flatMap(({ slot, blocked = [] }) =>
    blocked.map(({ module, totalMs }): Sample => [{ module: module ?? "", slot }, totalMs / 1000]),
  );
  const help = "Time that the event loop stood still for longer than timeouts.blockedMs.";
  out.counter("hrmr_event_loop_blocked_seconds_total", help, samples);
}
