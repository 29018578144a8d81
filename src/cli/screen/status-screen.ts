/** The screen of `hrmr status`. */
import type { ModuleState, ModuleStatus, ServerStatus, StoreStatus, TaskSnapshot } from "../../observe/snapshot";
import {
  cleanText,
  type Colour,
  type Column,
  fitText,
  formatBytes,
  formatCount,
  formatDuration,
  formatLatency,
  type Paint,
  plural,
  tableLines,
} from "./terminal";

const PROCESS_COLUMNS: readonly Column[] = [
  { title: "SLOT", align: "right" },
  { title: "PID", align: "right" },
  { title: "UP" },
  { title: "CONNECTIONS", align: "right" },
  { title: "REQUESTS", align: "right" },
  { title: "MEMORY", align: "right" },
  { title: "" },
];

const MODULE_COLUMNS: readonly Column[] = [
  { title: "MODULE", canShrink: true },
  { title: "STATE" },
  { title: "VERSION" },
  { title: "HASH" },
  { title: "ROUTES", align: "right" },
  { title: "CALLS", align: "right" },
  { title: "ERRORS", align: "right" },
  { title: "P50", align: "right" },
  { title: "P99", align: "right" },
];

/** How many characters of a hash are shown: enough to tell versions apart. */
const HASH_DIGITS = 7;
const LABEL_WIDTH = 13;
/** How much of a failed module's error is shown; `hrmr reload` and the log have all of it. */
const MAX_ERROR_LINES = 6;

const STATE_COLOURS: Record<ModuleState | ServerStatus["state"], Colour> = {
  serving: "green",
  degraded: "yellow",
  draining: "yellow",
  failed: "red",
  unavailable: "red",
  quarantined: "red",
};

/** @returns the state's name in its colour */
export function paintState(state: ModuleState | ServerStatus["state"], paint: Paint): string {
  return paint(state, STATE_COLOURS[state]);
}

/**
 * @param width  of a line; Infinity: nothing is cut, no line broken
 * @param nowMs milliseconds since 1970, to show how long ago something was
 * @returns the screen, without a line end behind the last line
 */
export function statusScreen(status: ServerStatus, width: number, paint: Paint, nowMs: number): string {
  const { version, pid, state, uptimeSeconds } = status;
  const head = `${paint(`hrmr ${version}`, "bold")}  pid ${pid}  ${paintState(state, paint)}  up ${formatDuration(uptimeSeconds)}`;
  const fit = (lines: readonly string[], indent?: number) => lines.map((line) => fitText(line, width, indent));
  const blocks = [
    fit([head, ...figureLines(status, paint)], LABEL_WIDTH),
    processLines(status, width, paint),
    moduleTable(status.modules, width, paint),
    fit(status.modules.flatMap((module) => aboutModule(module, paint, nowMs))),
    fit(conductLines(status, paint, nowMs)),
    fit([lastReloadLine(status, paint, nowMs)], LABEL_WIDTH),
  ];
  return blocks
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.join("\n"))
    .join("\n\n");
}

function figureLines(status: ServerStatus, paint: Paint): string[] {
  const { connections, pool, listening } = status;
  const kinds = Object.entries(connections.byProtocol).filter(([, count]) => count > 0);
  const counted = `${formatCount(connections.accepted)} accepted, ${formatCount(connections.refused)} refused`;
  const byKind =
    kinds.length === 0 ? "" : ` (${kinds.map(([kind, count]) => `${formatCount(count)} ${kind}`).join(", ")})`;
  return [
    ...listening.map((url, at) => labelled(at === 0 ? "listening" : "", url, paint)),
    labelled("connections", `${formatCount(connections.open)} open${byKind}, ${counted}`, paint),
    labelled("requests", requestsText(status, paint), paint),
    labelled("pool", `${plural(pool.threads, "thread")}, ${pool.busy} busy, ${pool.queued} queued`, paint),
    labelled("memory", formatBytes(status.memoryBytes), paint),
    ...storeLines(status.store, paint),
  ];
}

/** Empty until a module uses it. */
function storeLines(store: StoreStatus, paint: Paint): string[] {
  const { state, backend, size, commits, groups, retries, p99Ms, watches, watchesLost, lastError } = store;
  if (state === "unused") return [];
  const facts = [
    state === "open" ? backend : `${backend}, ${paint(state, state === "failing" ? "red" : "yellow")}`,
    ...(size === null ? [] : [plural(size.documents, "document"), formatBytes(size.bytes)]),
    commits === 0
      ? "no commits"
      : `${plural(commits, "commit")} (${(commits / groups).toFixed(1)} a turn, p99 ${formatLatency(p99Ms)})`,
    ...(retries === 0 ? [] : [plural(retries, "transaction") + " ran again"]),
    ...(watches === 0 ? [] : [plural(watches, "watch").replace("watchs", "watches")]),
    ...(watchesLost === 0 ? [] : [paint(`${formatCount(watchesLost)} too slow`, "yellow")]),
  ];
  const failed = state !== "failing" || lastError === null ? [] : [labelled("", cleanText(lastError.message), paint)];
  return [labelled("store", facts.join(", "), paint), ...failed];
}

function requestsText({ requests, httpRequests, messages, errors }: ServerStatus, paint: Paint): string {
  const failed = plural(errors, "error");
  return `${formatCount(requests)} (${formatCount(httpRequests)} HTTP, ${formatCount(messages)} raw), ${errors > 0 ? paint(failed, "yellow") : failed}`;
}

function labelled(label: string, text: string, paint: Paint): string {
  return paint(label.padEnd(LABEL_WIDTH), "dim") + text;
}

/** Empty for a server of one process: the lines above are complete. */
function processLines({ processes, wantedProcesses, restarts }: ServerStatus, width: number, paint: Paint): string[] {
  if (wantedProcesses === 1 && processes.length === 1) return [];
  const rows = processes.map((each) => [
    String(each.slot),
    String(each.pid),
    formatDuration(each.uptimeSeconds),
    formatCount(each.connections),
    formatCount(each.requests),
    formatBytes(each.memoryBytes),
    each.isDraining ? paint("draining", "yellow") : each.isBackground ? "background" : "",
  ]);
  const serving = processes.filter((each) => !each.isDraining).length;
  const count = `${serving} of ${plural(wantedProcesses, "process").replace("processs", "processes")}, ${formatCount(restarts)} lost and replaced`;
  const summary = labelled("processes", serving < wantedProcesses ? paint(count, "yellow") : count, paint);
  return [summary, ...tableLines(PROCESS_COLUMNS, rows, width, paint)];
}

function moduleTable(modules: readonly ModuleStatus[], width: number, paint: Paint): string[] {
  if (modules.length === 0) return ["no modules"];
  const rows = modules.map((module) => [
    cleanText(module.name),
    paintState(module.state, paint),
    module.generation === null ? "-" : `v${module.generation}`,
    module.hash?.slice(0, HASH_DIGITS) ?? "-",
    String(module.routes.length),
    formatCount(module.calls),
    module.errors > 0 ? paint(formatCount(module.errors), "yellow") : "0",
    formatLatency(module.p50Ms),
    formatLatency(module.p99Ms),
  ]);
  return tableLines(MODULE_COLUMNS, rows, width, paint);
}

/** The processes of a module with `run: "process"`, one for each server process. */
function apartLines({ name, processes }: ModuleStatus, paint: Paint): string[] {
  return processes.map(({ pid, state, memoryBytes, restarts }) => {
    const lost = restarts === 0 ? "" : paint(`, ${formatCount(restarts)} lost and replaced`, "yellow");
    const now = pid === 0 ? state : `pid ${pid}, ${state}, ${formatBytes(memoryBytes)}`;
    return `${cleanText(name)} has a process of its own: ${now}${lost}`;
  });
}

/** Why its `start` has not run: it fails, or another module's does. */
function lifeLines({ name, life, generation }: ModuleStatus, paint: Paint, nowMs: number): string[] {
  const shown = cleanText(name);
  if (life?.state === "waiting") return [`${shown} starts when the modules that it needs have started`];
  if (life?.state !== "failed") return [];
  const [cause = ""] = cleanText(life.error ?? "").split("\n");
  const next = life.nextTryAt === null ? "is being tried" : `is tried again ${soon(life.nextTryAt, nowMs)}`;
  return [`${paint(`the start of ${shown} failed`, "red")}, and ${next}; v${generation} serves: ${cause}`];
}

function quarantineLines({ name, quarantine }: ModuleStatus, paint: Paint, nowMs: number): string[] {
  if (quarantine === null) return [];
  const { reason, nextTryAt } = quarantine;
  const next = nextTryAt === null ? "is being tried" : `is tried again ${soon(nextTryAt, nowMs)}`;
  return [`${paint(`${cleanText(name)} is in quarantine`, "red")}, and ${next}: ${cleanText(reason)}`];
}

/** At most this many tasks of a module are shown. */
const MAX_TASKS = 20;

function taskLines({ name, tasks = [] }: ModuleStatus, paint: Paint, nowMs: number): string[] {
  const rest = tasks.length - MAX_TASKS;
  return [
    ...tasks.slice(0, MAX_TASKS).map((task) => `${cleanText(name)}: ${taskText(task, paint, nowMs)}`),
    ...(rest > 0 ? [`${cleanText(name)}: and ${plural(rest, "task")} more`] : []),
  ];
}

/** "every 10s" ran 4 s ago in 12 ms, next in 6 s; 2 of 30 runs failed, 1 skipped. */
function taskText(task: TaskSnapshot, paint: Paint, nowMs: number): string {
  const { when, isRunning, nextAt, last, runs, failures, skipped } = task;
  const shown = JSON.stringify(cleanText(task.name));
  const label = task.name === when ? shown : `${shown} (${cleanText(when)})`;
  const next = nextAt === null ? "never again" : `next ${soon(nextAt, nowMs)}`;
  const counts = [
    ...(failures > 0 ? [paint(`${formatCount(failures)} of ${plural(runs, "run")} failed`, "yellow")] : []),
    ...(skipped > 0 ? [paint(`${formatCount(skipped)} skipped`, "yellow")] : []),
  ].join(", ");
  return `${label} ${isRunning ? "is running" : lastText(last, paint, nowMs)}, ${next}${counts === "" ? "" : `; ${counts}`}`;
}

function lastText(last: TaskSnapshot["last"], paint: Paint, nowMs: number): string {
  if (last === null) return "has not run yet";
  const ago = formatDuration(Math.max(0, nowMs - Date.parse(last.at)) / 1000);
  if (last.error === null) return `ran ${ago} ago in ${formatLatency(last.durationMs)}`;
  const [cause = ""] = cleanText(last.error).split("\n");
  return `${paint("failed", "red")} ${ago} ago (${cause})`;
}

/**
 * Facts about a module besides its figures: its processes, its tasks, its quarantine, notes on its version, old versions and their
 * open work, and why the newest failed.
 */
function aboutModule(module: ModuleStatus, paint: Paint, nowMs: number): string[] {
  const { name, generation, old, error, nextTryAt, notes = [] } = module;
  const shown = cleanText(name);
  const facts = [
    ...apartLines(module, paint),
    ...quarantineLines(module, paint, nowMs),
    ...lifeLines(module, paint, nowMs),
    ...taskLines(module, paint, nowMs),
    ...notes.map((note) => `${shown}: ${cleanText(note)}`),
    ...old.map((each) => `${shown} v${each.generation} was replaced and still has ${pinsText(each)}`),
  ];
  if (error === null) return facts;
  const next = nextTryAt === undefined ? "" : `, tried again ${soon(nextTryAt, nowMs)}`;
  const rest = generation === null ? `nothing of it is served${next}` : `v${generation} goes on serving`;
  const [cause = "", ...frame] = cleanText(error).trimEnd().split("\n");
  const cut = frame.length >= MAX_ERROR_LINES ? [...frame.slice(0, MAX_ERROR_LINES - 2), "…"] : frame;
  return [...facts, `${paint(`${shown} was not loaded`, "red")}, ${rest}: ${cause}`, ...cut.map((line) => `  ${line}`)];
}

/** "in 5 s"; "now" for a time that has come. */
function soon(at: string, nowMs: number): string {
  const seconds = (Date.parse(at) - nowMs) / 1000;
  return seconds < 1 ? "now" : `in ${formatDuration(seconds)}`;
}

function pinsText({ inFlight, pinnedBy }: ModuleStatus["old"][number]): string {
  const kinds = Object.entries(pinnedBy).filter(([, count]) => count > 0);
  return kinds.length === 0
    ? `${formatCount(inFlight)} under way`
    : kinds.map(([kind, count]) => plural(count, kind)).join(", ");
}

function lastReloadLine({ reloads: { last } }: ServerStatus, paint: Paint, nowMs: number): string {
  if (last === null) return labelled("last reload", "none yet", paint);
  const age = formatDuration(Math.max(0, nowMs - Date.parse(last.at)) / 1000);
  const [verdict = ""] = cleanText(last.text).split("\n");
  return labelled("last reload", `${age} ago: ${paint(verdict, last.ok ? "green" : "red")}`, paint);
}

/** At most this many pairs of caller and callee are shown: the most frequent. */
const MAX_SERVICES = 8;

/** @param nowMs milliseconds since 1970 */
export function conductLines(status: ServerStatus, paint: Paint, nowMs: number): string[] {
  const { blocked, leaked, shared, services, sockets } = status;
  const age = (since: string): string => formatDuration((nowMs - Date.parse(since)) / 1000);
  return [
    ...blocked.map(({ module, count, longestMs }) => {
      const who = module === null ? "something" : cleanText(module);
      return `${paint(`${who} blocked the event loop`, "yellow")} ${plural(count, "time")}, for ${(longestMs / 1000).toFixed(1)} s at most`;
    }),
    ...leaked.map(({ module, generation, since, why }) => {
      const what = `${cleanText(module)} v${generation} was disposed ${age(since)} ago and is still in memory`;
      return `${paint(what, "yellow")}: ${cleanText(why)}`;
    }),
    ...shared.map(({ module, name, openedBy, since, isOpen }) => {
      const whose = module === null ? "all modules" : cleanText(module);
      const opener = `${cleanText(openedBy.module)} v${openedBy.generation}`;
      return `${whose}: "${cleanText(name)}" is ${isOpen ? "open" : "being opened"}, by ${opener}, ${age(since)} ago`;
    }),
    ...sockets.dropped.slice(0, MAX_SERVICES).map(({ module, topic, dropped, clients }) => {
      const of = topic === "" ? "" : ` of ${cleanText(topic)}`;
      const last = clients[0] === undefined ? "" : `, last ${cleanText(clients[0].client)}`;
      const what = `slow WebSockets missed ${plural(dropped, "message")}${of}${last}`;
      return `${cleanText(module)}: ${paint(what, "yellow")}`;
    }),
    ...services.slice(0, MAX_SERVICES).map(({ caller, callee, calls, errors, totalSeconds }) => {
      const failed = errors === 0 ? "" : paint(`, ${errors} failed`, "yellow");
      const ms = ((totalSeconds / calls) * 1000).toPrecision(2);
      return `${cleanText(caller)} called ${cleanText(callee)} ${plural(calls, "time")}${failed}, ${ms} ms each`;
    }),
  ];
}
