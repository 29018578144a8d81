/** Power failures: what a store wrote to a disk that forgets what was not synced, and tears writes at any byte. */
import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { StoredEntry } from "../../src/module/store/port";
import type { Backend, BackendOptions } from "../../src/store/backend";
import { JsonBackend } from "../../src/store/backends/json/backend";
import { SqliteBackend } from "../../src/store/backends/sqlite/sqlite";
import { CrashableDisk, type Loss, LOSSES, readTrace } from "../support/disk/crash";
import { NO_SHIM, ShimmedDisk } from "../support/disk/shim";
import { Random } from "../support/random";
import { type Acknowledged, ACKS, RECORDED, RECORDED_COLLECTION } from "../support/store/recorded";
import { backendOptions } from "../support/store/subject";

/** `npm run test:long` makes more of them. */
const CRASHES = Number(process.env["HRMR_TEST_STORE_CRASHES"] ?? 60);
const CRASHES_PER_SEED = 500;
const COMMITS = 500;
const BACKENDS = {
  sqlite: (path: string, options: BackendOptions): Backend => new SqliteBackend(path, options),
  json: (path: string, options: BackendOptions): Backend => new JsonBackend(path, options),
};

// In memory, where there is such a disk: the stores are opened hundreds of times.
const base = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "hrmr-torn-"));
afterAll(() => rmSync(base, { recursive: true, force: true }));

/** @returns what a store on the disk has written */
function record(kind: keyof typeof BACKENDS, seed: number): { root: string; trace: Buffer } {
  const root = join(base, `${kind}-${seed}`);
  mkdirSync(root);
  const disk = new ShimmedDisk(root);
  try {
    const url = `${kind}://${root}/data/hub.${kind}`;
    const { success, stderr } = Bun.spawnSync([process.execPath, RECORDED, root, url, String(seed), String(COMMITS)], {
      env: { ...process.env, ...disk.env },
      stderr: "pipe",
    });
    if (!success) throw new Error(stderr.toString());
    return { root, trace: readFileSync(disk.trace) };
  } finally {
    disk.remove();
  }
}

function acknowledgedIn(bytes: Uint8Array): Acknowledged[] {
  const lines = Buffer.from(bytes).toString().split("\n").slice(0, -1);
  return lines.map((line) => JSON.parse(line) as Acknowledged);
}

function lastVersion({ writes }: Acknowledged): number {
  return Math.max(...writes.map(({ version }) => version));
}

/** The documents at a version, by key. */
function documentsAt(version: number, history: readonly Acknowledged[]): Map<string, string> {
  const documents = new Map<string, string>();
  for (const { writes } of history)
    for (const { key, text, version: at } of writes) {
      if (at > version || at === 0) continue;
      if (text === null) documents.delete(key);
      else documents.set(key, text);
    }
  return documents;
}

/** Opens what a crash has left. @returns what is wrong, each a sentence */
async function faultsAfter(
  backend: Backend,
  acknowledged: number,
  history: readonly Acknowledged[],
): Promise<string[]> {
  const version = await backend.open();
  try {
    if (version < acknowledged) return [`the newest change is ${version}; ${acknowledged} was acknowledged`];
    if (version > 0 && !history.some((commit) => lastVersion(commit) === version))
      return [`the newest change is ${version}, in the middle of a transaction`];
    const range = { prefix: "", after: null, limit: 1000, reverse: false };
    const { entries } = await backend.list(RECORDED_COLLECTION, range);
    const found = new Map(entries.map(({ key, text }: StoredEntry) => [key, text]));
    const expected = documentsAt(version, history);
    const wrong = [...new Set([...found.keys(), ...expected.keys()])].filter(
      (key) => found.get(key) !== expected.get(key),
    );
    const faults = wrong.map((key) => `"${key}" is not as at the version ${version}`);
    const [next] = await backend.commit([
      {
        checks: [],
        mutations: [
          { kind: "increment", collection: "n", key: "n", by: 1, field: null, ifVersion: null, expiresAt: null },
        ],
      },
    ]);
    if (next?.changes[0]?.version !== version + 1)
      faults.push(`the next version is ${String(next?.changes[0]?.version)}`);
    return [...faults, ...(await backend.check())];
  } finally {
    await backend.close();
  }
}

/** Writes what a crash has left into a folder of its own. */
function restore(files: ReadonlyMap<string, Uint8Array | null>, root: string): void {
  mkdirSync(root, { recursive: true });
  for (const [path, bytes] of files) {
    // SQLite makes it anew after a crash.
    if (path.endsWith("-shm") || path.endsWith(ACKS)) continue;
    if (bytes === null) mkdirSync(join(root, path), { recursive: true });
    else {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), bytes);
    }
  }
}

async function crashOften(kind: keyof typeof BACKENDS, seed: number, crashes: number): Promise<void> {
  const random = new Random(seed);
  const { root, trace } = record(kind, seed);
  const steps = readTrace(trace);
  const acks = steps.flatMap((step) => (step.kind === "write" && step.path.endsWith(ACKS) ? [step.bytes] : []));
  const history = acknowledgedIn(Buffer.concat(acks)).sort((a, b) => lastVersion(a) - lastVersion(b));
  // The store has moved its log into the database, or written its file anew, in the middle.
  const moved = steps
    .slice(0, -20)
    .filter(({ kind, path }) => (kind === "write" && path.endsWith("hub.sqlite")) || kind === "rename");
  expect(moved.length).toBeGreaterThan(1);
  expect(history.length).toBeGreaterThanOrEqual(COMMITS);

  const disk = new CrashableDisk(root);
  const moments = Array.from({ length: crashes }, () => random.below(steps.length)).sort((a, b) => a - b);
  let acknowledged = 0;
  let done = 0;
  for (const [at, moment] of moments.entries()) {
    for (; done < moment; done++) {
      const step = steps[done] as (typeof steps)[number];
      disk.do(step);
      if (step.kind === "write" && step.path.endsWith(ACKS))
        acknowledged = Math.max(acknowledged, ...acknowledgedIn(step.bytes).map(lastVersion));
    }
    const loss = LOSSES[at % LOSSES.length] as Loss;
    const crashed = join(base, `${kind}-crash`);
    restore(disk.crash(loss, random), crashed);
    const backend = BACKENDS[kind](join(crashed, `data/hub.${kind}`), backendOptions({ keptChanges: 100_000 }));
    const faults = await faultsAfter(backend, acknowledged, history).catch((error: Error) => [error.message]);
    expect({ moment, loss, faults }).toEqual({ moment, loss, faults: [] });
    rmSync(crashed, { recursive: true });
  }
}

describe.skipIf(NO_SHIM !== null)(`power failures${NO_SHIM === null ? "" : ` (skipped: ${NO_SHIM})`}`, () => {
  test.each(Object.keys(BACKENDS) as (keyof typeof BACKENDS)[])(
    "%s: leave all acknowledged writes, and no part of a transaction",
    async (kind) => {
      for (let left = CRASHES, seed = 1; left > 0; left -= CRASHES_PER_SEED, seed++)
        await crashOften(kind, seed, Math.min(left, CRASHES_PER_SEED));
    },
    60_000 + CRASHES * 200,
  );
});
