/** A control socket with operations that answer for a test, and record their calls. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Audit } from "../../src/control/audit";
import type { Operations } from "../../src/reload/operations";
import { type ControlServer, openControlSocket } from "../../src/control/server";
import type { ModuleStatus, ServerStatus } from "../../src/observe/snapshot";

export const NO_AUDIT: Audit = { note: () => {} };

/** Longer than any name that is given here, and shorter than a socket's path may be. */
const PREFIX = "hrmr-ctl-";

export interface Fixture {
  /** A folder of the test's own. */
  readonly dir: string;
  readonly path: string;
  /** The calls of operations, in order: "reload greet", "stop hrmr stop force". */
  readonly asked: string[];
  /** The server's log. */
  readonly logged: unknown[];
  readonly server: ControlServer;
}

/**
 * Opens a control socket at `.hrmr/control.sock` of a new folder, runs the test and cleans up. @param name  of the
 * socket
 */
export async function withControl(
  operations: Partial<Operations>,
  test: (fixture: Fixture) => Promise<void>,
  name = "control.sock",
): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), PREFIX));
  const asked: string[] = [];
  const logged: unknown[] = [];
  const path = join(dir, name);
  const log = { error: (...values: unknown[]) => void logged.push(...values) };
  const server = await openControlSocket({ path, operations: fakeOperations(operations, asked), log, audit: NO_AUDIT });
  try {
    await test({ dir, path, asked, logged, server });
  } finally {
    await server.close();
    rmSync(dir, { recursive: true, force: true });
  }
}

export function fakeOperations(given: Partial<Operations>, asked: string[] = []): Operations {
  const report = { ok: true, text: "OK 1 module unchanged (1 ms)\n", modules: [], elapsedMs: 1, dropped: 0 };
  const operations: Operations = {
    status: async () => STATUS,
    reload: async () => report,
    stop: () => {},
    restart: async () => ({ ok: true, text: "OK 2 processes replaced\n", pid: process.pid }),
    upgrade: async () => ({ ok: false, text: "ERR the new process did not start\n", pid: process.pid }),
    versions: async () => ({}),
    rollback: async () => report,
    runTask: async (module, task) => {
      const outcome = { module, task, version: 1, durationMs: 1, error: null };
      return { ok: true, text: `OK ${module} v1 ran "${task}" in 1 ms\n`, ...outcome };
    },
    config: () => ({ limits: { maxBodyBytes: 1 } }),
    metrics: async () => "# TYPE hrmr_up gauge\nhrmr_up 1\n",
    readiness: async () => ({ isReady: true, reasons: [], modules: [] }),
    uploads: {
      limits: () => ({ maxBytes: 8_388_608, maxFiles: 500 }),
      push: async () => ({ ...report, hash: null, sha256: null }),
      remove: async () => ({ ...report, hash: null, sha256: null }),
      pull: async (module) => ({ module, files: [], skipped: [] }),
    },
    ...given,
  };
  return {
    ...operations,
    reload: (order) => {
      const { names, forced } = order;
      asked.push(`reload ${names === null ? "all" : names.join(" ")}${forced?.length === 0 ? "" : ", force"}`);
      return operations.reload(order);
    },
    stop: (reason, force) => {
      asked.push(`stop ${reason}${force ? ", force" : ""}`);
      operations.stop(reason, force);
    },
    restart: () => {
      asked.push("restart");
      return operations.restart();
    },
    upgrade: () => {
      asked.push("upgrade");
      return operations.upgrade();
    },
  };
}

export const MODULE: ModuleStatus = {
  name: "greet",
  source: "/srv/modules/greet.ts",
  state: "serving",
  generation: 12,
  hash: "3f2a9c1deadbeef0",
  loadedAt: "2026-01-02T03:04:05.000Z",
  routes: ["GET /greet", "GREET\n"],
  inFlight: 0,
  blockedCount: 0,
  longestBlockedMs: 0,
  calls: 1_234_567,
  errors: 0,
  p50Ms: 0.4,
  p99Ms: 3.14,
  old: [],
  processes: [],
  quarantine: null,
  error: null,
  life: { state: "started", error: null, nextTryAt: null },
};

export const STATUS: ServerStatus = {
  version: "1.0.0",
  pid: process.pid,
  state: "serving",
  uptimeSeconds: 273_600,
  listening: ["tcp://127.0.0.1:8080", "unix:///run/x.sock"],
  processes: [
    {
      slot: 0,
      pid: process.pid,
      uptimeSeconds: 273_600,
      connections: 23,
      requests: 1_234_567,
      memoryBytes: 61_300_000,
      isDraining: false,
      isBackground: false,
    },
  ],
  wantedProcesses: 1,
  restarts: 0,
  connections: { open: 23, accepted: 1204, refused: 3, byProtocol: { raw: 2, http1: 12, http2: 0, websocket: 9 } },
  requests: 1_234_567,
  messages: 34_567,
  httpRequests: 1_200_000,
  errors: 12,
  datagrams: { dropped: 0, ignored: 0 },
  memoryBytes: 61_300_000,
  pool: { threads: 4, busy: 1, queued: 0, workers: [] },
  modules: [MODULE],
  reloads: { ok: 1, failed: 0, last: null, lastSuccessAt: null, phaseSeconds: {} },
  blocked: [],
  leaked: [],
  services: [],
  events: { missed: 0, emitters: [], subscribers: [] },
  store: {
    state: "unused",
    backend: "sqlite",
    url: "sqlite:///srv/data/hub.sqlite",
    durability: "full",
    leadingPid: null,
    size: null,
    commits: 0,
    conflicts: 0,
    transactions: 0,
    retries: 0,
    groups: 0,
    largestGroup: 0,
    errors: 0,
    p50Ms: null,
    p99Ms: null,
    waiting: 0,
    watches: 0,
    watchesLost: 0,
    lastError: null,
  },
  sockets: { dropped: [] },
  shared: [],
};
