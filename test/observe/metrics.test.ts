import { describe, expect, spyOn, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Departed } from "../../src/observe/departed";
import { addCalls, CallFigures, LATENCY_BOUNDS, nextSecond, percentileMs } from "../../src/observe/figures";
import { metricsText } from "../../src/observe/metrics";
import { readinessOf, statusOf } from "../../src/observe/report";
import type {
  CallSnapshot,
  GenerationSnapshot,
  ModuleSnapshot,
  ProcessSnapshot,
  ServerInfo,
  StoreSnapshot,
} from "../../src/observe/snapshot";
import { readExposition, type Sample } from "../support/exposition";

const INFO: ServerInfo = {
  version: "1.2.3",
  pid: 10,
  startedAtMs: 1000,
  uptimeMs: 5000,
  listening: ["tcp://127.0.0.1:1"],
  wantedProcesses: 1,
  restarts: 0,
};

function counted(...elapsedMs: number[]): CallSnapshot {
  const figures = new CallFigures();
  for (const ms of elapsedMs) figures.record(ms);
  return figures.snapshot();
}

const NO_CALLS = addCalls([]);

function generation(number: number, figures = NO_CALLS, pinnedBy: Record<string, number> = {}): GenerationSnapshot {
  const inFlight = Object.values(pinnedBy).reduce((sum, count) => sum + count, 0);
  return { number, hash: `h${number}`, loadedAt: "2026-01-01T00:00:00.000Z", inFlight, pinnedBy, figures };
}

function moduleOf(name: string, given: Partial<ModuleSnapshot> = {}): ModuleSnapshot {
  const routes = [{ key: "GO", kind: "handle", run: "inline" }];
  return {
    name,
    source: `modules/${name}.ts`,
    state: "serving",
    live: generation(1),
    old: [],
    gone: NO_CALLS,
    routes,
    error: null,
    ...given,
  };
}

function processOf(given: Partial<ProcessSnapshot> = {}): ProcessSnapshot {
  return {
    slot: 0,
    pid: 11,
    startedAtMs: 1000,
    uptimeMs: 5000,
    isDraining: false,
    connections: { open: 2, accepted: 5, refused: 1, byProtocol: { raw: 1, http1: 1 } },
    counters: { messages: 3, httpRequests: 4, errors: 1, datagramsDropped: 5, datagramsIgnored: 6 },
    memoryBytes: 1000,
    cpuSeconds: 1.5,
    openDescriptors: 20,
    pool: { threads: 4, busy: 1, queued: 2, workers: [] },
    modules: [moduleOf("greet")],
    reloads: { ok: 1, failed: 0, last: null, lastSuccessAt: null, phaseSeconds: { build: 0.1 } },
    ...given,
  };
}

function storeOf(given: Partial<StoreSnapshot> = {}): StoreSnapshot {
  return {
    state: "open",
    backend: "sqlite",
    url: "sqlite:///data/hub.sqlite",
    durability: "full",
    isLeading: false,
    size: { documents: 7, bytes: 4096, changes: 3 },
    counts: { commits: 5, conflicts: 2, transactions: 4, retries: 1, watchesLost: 0 },
    groups: counted(1, 2),
    largestGroup: 3,
    waiting: 1,
    watches: 2,
    lastError: null,
    ...given,
  };
}

const samplesOf = (text: string, name: string): readonly Sample[] => readExposition(text).get(name)?.samples ?? [];
const labelled = (samples: readonly Sample[]): Record<string, number> =>
  Object.fromEntries(samples.map(({ labels, value }) => [Object.values(labels).join(" "), value]));

describe("figures", () => {
  test("every call is in one bucket, at its bound in the lower one", () => {
    const bounds = LATENCY_BOUNDS.map((seconds) => seconds * 1000);
    const { calls, buckets, totalSeconds } = counted(...bounds, 0, 30_001, 1e9);
    expect(calls).toBe(bounds.length + 3);
    expect(buckets).toEqual([2, ...bounds.slice(1).map(() => 1), 2]);
    expect(totalSeconds).toBeCloseTo((bounds.reduce((sum, ms) => sum + ms, 0) + 30_001 + 1e9) / 1000, 6);
  });

  test("of many calls within a second every eighth is timed, and stands for those before it; each counts", () => {
    // A call that takes over 0.1 ms, on a machine that is busy elsewhere, would have the next ones timed.
    using clock = spyOn(performance, "now").mockReturnValue(1000);
    const figures = new CallFigures();
    let timed = 0;
    const call = (): void => {
      const startedAt = figures.begins(false);
      if (startedAt !== 0) timed++;
      figures.ended(startedAt);
    };
    for (let count = 0; count < 100; count++) call();
    expect([timed, figures.snapshot().calls]).toEqual([100, 100]);
    for (let count = 0; count < 800; count++) call();
    expect([timed, figures.snapshot().calls]).toEqual([200, 900]);
    for (let count = 0; count < 3; count++) call();
    expect([timed, figures.snapshot().calls, figures.snapshot().calls]).toEqual([200, 903, 903]);
    expect(figures.begins(true)).toBeGreaterThan(0);
    nextSecond();
    for (let count = 0; count < 100; count++) call();
    expect([timed, figures.snapshot().calls]).toEqual([300, 1003]);
    expect(clock).toHaveBeenCalled();
  });

  test("where one call is slow the next ones are timed, each of them", () => {
    // As above.
    using clock = spyOn(performance, "now").mockReturnValue(1000);
    const figures = new CallFigures();
    const call = (elapsedMs: number): number => {
      const startedAt = figures.begins(false);
      figures.ended(startedAt === 0 ? 0 : startedAt - elapsedMs);
      return startedAt;
    };
    for (let count = 0; count < 107; count++) call(0);
    expect(call(60)).not.toBe(0);
    // Eight, for seven were not looked at.
    expect(figures.snapshot().buckets[LATENCY_BOUNDS.indexOf(0.1)]).toBe(8);
    for (let count = 0; count < 100; count++) expect(call(60)).not.toBe(0);
    expect(figures.snapshot()).toMatchObject({ calls: 208 });
    expect(figures.snapshot().buckets[LATENCY_BOUNDS.indexOf(0.1)]).toBe(108);
    expect(clock).toHaveBeenCalled();
  });

  test("percentiles lie in the bucket of the call they stand for, however it is spread", () => {
    const ms = Array.from({ length: 1000 }, (_, index) => (index < 990 ? 0.7 : 200));
    const figures = counted(...ms);
    const [p50, p99, p999] = [0.5, 0.99, 0.999].map((share) => percentileMs(figures, share) ?? 0);
    expect(p50).toBeWithin(0.5, 1.0001);
    expect(p99).toBeWithin(0.5, 1.0001);
    expect(p999).toBeWithin(100, 250.0001);
    expect(percentileMs(NO_CALLS, 0.5)).toBeNull();
    expect(percentileMs(counted(99_000), 0.5)).toBe(30_000);
  });

  test("several add up to what one would have counted", () => {
    const [left, right] = [new CallFigures(), new CallFigures()];
    for (const ms of [0.01, 3, 700]) left.record(ms);
    for (const ms of [0.02, 3]) right.record(ms);
    left.fail();
    const added = addCalls([left.snapshot(), right.snapshot()]);
    left.add(right);
    expect({ ...added, totalSeconds: 0 }).toEqual({ ...left.snapshot(), totalSeconds: 0 });
    expect(added.totalSeconds).toBeCloseTo(0.70603, 9);
    expect(added.buckets).toEqual(counted(0.01, 0.02, 3, 3, 700).buckets);
    expect([added.calls, added.errors]).toEqual([5, 1]);
    const buckets = Array.from({ length: LATENCY_BOUNDS.length + 1 }, () => 0);
    expect(NO_CALLS).toEqual({ calls: 0, errors: 0, totalSeconds: 0, buckets });
  });
});

describe("the report over all processes", () => {
  test("adds up what there is, and merges a module's versions by their numbers", () => {
    const one = processOf({
      slot: 1,
      modules: [moduleOf("greet", { live: generation(2, counted(1)), gone: counted(1) })],
    });
    const two = processOf({
      slot: 2,
      modules: [
        moduleOf("greet", { live: generation(2, counted(1, 2)), old: [generation(1, counted(5), { stream: 2 })] }),
      ],
    });
    const status = statusOf({ ...INFO, wantedProcesses: 2 }, [one, two]);
    expect(status).toMatchObject({ state: "serving", requests: 14, messages: 6, errors: 2, memoryBytes: 2000 });
    expect(status.connections).toEqual({ open: 4, accepted: 10, refused: 2, byProtocol: { raw: 2, http1: 2 } });
    expect(status.pool).toMatchObject({ threads: 8, busy: 2, queued: 4 });
    expect(status.processes.map(({ slot, requests }) => [slot, requests])).toEqual([
      [1, 7],
      [2, 7],
    ]);
    expect(status.modules).toHaveLength(1);
    expect(status.modules[0]).toMatchObject({ generation: 2, hash: "h2", calls: 5, errors: 0, routes: ["GO"] });
    expect(status.modules[0]?.old).toEqual([{ generation: 1, inFlight: 2, pinnedBy: { stream: 2 } }]);
    expect(status.modules[0]?.p50Ms).toBeWithin(0.5, 1.0001);
  });

  test("is degraded while a process is missing or a module is not what it should be, and draining when all drain", () => {
    const failing = moduleOf("greet", { state: "degraded", error: "broken" });
    expect(statusOf({ ...INFO, wantedProcesses: 2 }, [processOf()]).state).toBe("degraded");
    expect(statusOf(INFO, [processOf({ modules: [failing] })]).state).toBe("degraded");
    expect(statusOf(INFO, [processOf({ isDraining: true })]).state).toBe("draining");
    expect(statusOf(INFO, [processOf({ isDraining: true }), processOf()]).state).toBe("serving");
    expect(statusOf(INFO, []).state).toBe("degraded");
  });

  test("a module without any version is not ready, by name and reason; one whose old version serves is", () => {
    const failed = moduleOf("chat", { state: "failed", live: null, error: "modules/chat.ts:1: no\n  frame" });
    const degraded = moduleOf("greet", { state: "degraded", error: "broken" });
    expect(readinessOf([processOf({ modules: [degraded] })])).toEqual({
      isReady: true,
      reasons: [],
      modules: [{ name: "greet", state: "degraded", generation: 1 }],
    });
    // It serves in one process only: every second connection would find nothing.
    const half = [processOf({ modules: [moduleOf("chat")] }), processOf({ modules: [failed, degraded] })];
    expect(readinessOf(half)).toMatchObject({
      isReady: false,
      reasons: ['module "chat" failed to load: modules/chat.ts:1: no'],
    });
    expect(readinessOf([processOf({ isDraining: true })]).reasons).toEqual(["draining"]);
    expect(readinessOf([]).isReady).toBe(false);
  });
});

describe("the store over all processes", () => {
  const failed = { at: "2026-01-01T00:00:02.000Z", code: "FULL", message: "the disk is full" };
  const of = (...stores: StoreSnapshot[]) =>
    stores.map((store, at) => processOf({ slot: at + 1, pid: 20 + at, store }));

  test("adds up the counts, and has the size once", () => {
    const { store } = statusOf(INFO, of(storeOf({ size: null, largestGroup: 9 }), storeOf()));
    expect(store).toMatchObject({ state: "open", size: { documents: 7, bytes: 4096, changes: 3 }, largestGroup: 9 });
    expect(store).toMatchObject({ commits: 10, conflicts: 4, transactions: 8, retries: 2, waiting: 2, watches: 4 });
    expect([store.groups, store.errors, store.lastError]).toEqual([4, 0, null]);
    expect([store.leadingPid, statusOf(INFO, of(storeOf(), storeOf({ isLeading: true }))).store.leadingPid]).toEqual([
      null,
      21,
    ]);
  });

  test("is failing while one process fails, and tells the newest error", () => {
    const older = { ...failed, at: "2026-01-01T00:00:01.000Z", code: "BUSY" };
    const processes = of(storeOf({ lastError: failed, state: "failing" }), storeOf({ lastError: older }));
    const { store } = statusOf(INFO, processes);
    expect([store.state, store.lastError]).toEqual(["failing", failed]);
    expect(samplesOf(metricsText(INFO, processes), "hrmr_store_up").map(({ value }) => value)).toEqual([0]);
  });

  test("has no metrics while nobody uses it", () => {
    for (const processes of [of(storeOf({ state: "unused", size: null })), [processOf()]]) {
      expect(metricsText(INFO, processes)).not.toContain("hrmr_store");
      expect(statusOf(INFO, processes).store.state).toBe("unused");
    }
    expect(labelled(samplesOf(metricsText(INFO, of(storeOf(), storeOf())), "hrmr_store_commits_total"))).toEqual({
      "": 10,
    });
  });
});

describe("the text for Prometheus", () => {
  test("is well formed, with what a name can do to it", () => {
    const name = 'a"b\\c\nd{}= 1';
    const text = metricsText({ ...INFO, version: name }, [processOf({ modules: [moduleOf(name)] })]);
    expect(samplesOf(text, "hrmr_build_info")[0]?.labels).toEqual({ version: name });
    expect(new Set(samplesOf(text, "hrmr_requests_total").map(({ labels }) => labels["module"]))).toEqual(
      new Set([name]),
    );
  });

  test("has all that is promised, and says only what is known", () => {
    const last = { at: "2026-01-01T00:00:01.000Z", ok: false, elapsedMs: 5, dropped: 0, text: "ERR\n", phases: {} };
    const reloads = {
      ok: 2,
      failed: 1,
      last,
      lastSuccessAt: "1970-01-01T00:01:00.000Z",
      phaseSeconds: { build: 0.5, swap: 0.1 },
    };
    const text = metricsText({ ...INFO, restarts: 3 }, [
      processOf({ slot: 1, reloads }),
      processOf({ slot: 2, reloads }),
    ]);
    const value = (metric: string): Record<string, number> => labelled(samplesOf(text, metric));
    expect(value("hrmr_reloads_total")).toEqual({ ok: 2, failed: 1 });
    expect(value("hrmr_reload_duration_seconds")).toEqual({ build: 3, swap: 3 });
    expect(value("hrmr_last_reload_ok")).toEqual({ "": 0 });
    expect(value("hrmr_last_reload_success_timestamp_seconds")).toEqual({ "": 60 });
    expect(value("hrmr_connections")).toMatchObject({ raw: 2, http1: 2, http2: 0, websocket: 0, connect: 0 });
    expect(value("hrmr_connections_accepted_total")).toEqual({ "": 10 });
    expect(value("hrmr_connections_refused_total")).toEqual({ "": 2 });
    expect([value("hrmr_pool_threads"), value("hrmr_pool_busy"), value("hrmr_pool_queued")]).toEqual([
      { "": 8 },
      { "": 2 },
      { "": 4 },
    ]);
    expect(value("hrmr_process_resident_memory_bytes")).toEqual({ 1: 1000, 2: 1000 });
    expect(value("hrmr_process_cpu_seconds_total")).toEqual({ 1: 1.5, 2: 1.5 });
    expect(value("hrmr_process_open_fds")).toEqual({ 1: 20, 2: 20 });
    expect([value("hrmr_processes"), value("hrmr_process_restarts_total")]).toEqual([{ "": 2 }, { "": 3 }]);
    expect([value("hrmr_up"), value("hrmr_ready")]).toEqual([{ "": 1 }, { "": 1 }]);
    expect(readExposition(metricsText(INFO, [processOf()])).has("hrmr_last_reload_ok")).toBe(false);
  });

  test("a module's total goes on rising when its versions come and go", () => {
    const before = moduleOf("greet", { live: generation(2, counted(1, 1)), old: [generation(1, counted(1))] });
    const after = moduleOf("greet", { live: generation(3, counted(1)), gone: counted(1, 1, 1) });
    const [then, now] = [before, after].map((module) =>
      samplesOf(metricsText(INFO, [processOf({ modules: [module] })]), "hrmr_requests_total"),
    );
    expect(labelled(then ?? [])).toEqual({ "greet 1": 1, "greet 2": 2, "greet old": 0 });
    expect(labelled(now ?? [])).toEqual({ "greet 3": 1, "greet old": 3 });
  });

  test("nor does it fall when a process dies, is late with its answer, or many have died", () => {
    const departed = new Departed();
    const read = (processes: ProcessSnapshot[]): [calls: number, requests: number, accepted: number] => {
      const info = { ...INFO, departed: departed.behind(processes) };
      const text = metricsText(info, processes);
      const total = (name: string): number => samplesOf(text, name).reduce((sum, { value }) => sum + value, 0);
      expect(statusOf(info, processes).modules[0]?.calls).toBe(total("hrmr_requests_total"));
      return [
        total("hrmr_requests_total"),
        total("hrmr_http_requests_total"),
        total("hrmr_connections_accepted_total"),
      ];
    };
    const [one, two] = [11, 12].map((pid) =>
      processOf({ pid, modules: [moduleOf("greet", { live: generation(1, counted(1, 2)) })] }),
    );
    if (one === undefined || two === undefined) throw new Error("there are two");
    expect(read([one, two])).toEqual([4, 8, 10]);
    expect(read([two])).toEqual([4, 8, 10]);
    expect(read([one, two])).toEqual([4, 8, 10]);
    for (let pid = 100; pid < 300; pid++) read([one, { ...two, pid }]);
    expect(read([one])).toEqual([2 + 2 * 201, 4 + 4 * 201, 5 + 5 * 201]);
  });

  test("has one process a slot while it is being replaced", () => {
    const [old, young] = [
      processOf({ slot: 1, memoryBytes: 7, isDraining: true }),
      processOf({ slot: 1, pid: 12, startedAtMs: 2000, memoryBytes: 8 }),
    ];
    expect(labelled(samplesOf(metricsText(INFO, [young, old]), "hrmr_process_resident_memory_bytes"))).toEqual({
      1: 8,
    });
  });

  test("modules above 200 share one name", () => {
    const modules = Array.from({ length: 250 }, (_, index) =>
      moduleOf(`m${index}`, { live: generation(1, counted(1)) }),
    );
    const text = metricsText(INFO, [processOf({ modules })]);
    const samples = samplesOf(text, "hrmr_requests_total");
    expect(new Set(samples.map(({ labels }) => labels["module"])).size).toBe(201);
    expect(labelled(samples)["other all"]).toBe(50);
    expect(samples.reduce((sum, { value }) => sum + value, 0)).toBe(250);
    expect(labelled(samplesOf(text, "hrmr_live_generations"))["other"]).toBe(50);
  });

  test("is what docs/metrics.md says: each metric, its type and its labels", () => {
    const last = { at: "2026-01-01T00:00:01.000Z", ok: true, elapsedMs: 5, dropped: 0, text: "OK\n", phases: {} };
    const reloads = { ok: 1, failed: 0, last, lastSuccessAt: last.at, phaseSeconds: { build: 1 } };
    const apart = moduleOf("greet", {
      live: generation(1, counted(1)),
      process: { pid: 3, memoryBytes: 40_000_000, restarts: 0, state: "running" },
      life: { state: "started", error: null, nextTryAt: null },
      tasks: [
        {
          name: "tidy",
          when: "every 10s",
          timeZone: null,
          catchUp: false,
          description: "",
          isRunning: false,
          nextAt: last.at,
          last: { at: last.at, why: "due", durationMs: 1, error: null },
          runs: 1,
          failures: 0,
          skipped: 0,
        },
      ],
    });
    const metrics = readExposition(
      metricsText(INFO, [
        processOf({
          modules: [apart],
          reloads,
          blocked: [{ module: "greet", count: 1, longestMs: 2, totalMs: 2 }],
          socketsDropped: [{ module: "events", topic: "user.*", dropped: 1, clients: [] }],
          services: [{ caller: "greet", callee: "kv.get", calls: 1, errors: 0, totalSeconds: 1 }],
          store: storeOf(),
          events: {
            missed: 0,
            emitters: [{ module: "greet", emitted: 1 }],
            subscribers: [{ module: "greet", topic: "user.*", subscribers: 1, delivered: 1, dropped: 0, errors: 0 }],
          },
        }),
      ]),
    );
    const told = [...metrics].map(([name, { type, samples }]) => {
      const labels = new Set(samples.flatMap((sample) => Object.keys(sample.labels)));
      return [name, type, [...labels].join(", ")];
    });
    const page = readFileSync(join(import.meta.dir, "../../docs/metrics.md"), "utf8");
    const rows = [...page.matchAll(/^\| `(hrmr_\w+)` +\| (\w+) +\| ([\w, ]*?) +\|/gm)].map(([, name, type, labels]) => [
      name,
      type,
      labels,
    ]);
    expect(rows).toEqual(told);
  });
});

test("uptime goes by a clock that nobody sets: a start that lies in the future by the other one changes nothing", () => {
  const future = Date.now() + 86_400_000;
  const status = statusOf({ ...INFO, startedAtMs: future, uptimeMs: 61_999 }, [
    processOf({ startedAtMs: future, uptimeMs: 60_000 }),
  ]);
  expect([status.uptimeSeconds, status.processes[0]?.uptimeSeconds]).toEqual([61, 60]);
});
