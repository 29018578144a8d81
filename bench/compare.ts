/**
 * Compares hrmr with its bound: short alternating rounds, so that a noisy machine disturbs both alike, and the median
 * of the rounds' ratios.
 */
import type { Bench } from "./bench";
import type { LoadResult, LoadSpec } from "./load";
import { familyCpuMicros, type Started } from "./server";
import { median } from "./statistics";

/** One side of a comparison. */
export interface Side {
  readonly server: Started;
  readonly spec: Omit<LoadSpec, "port">;
}

export interface SideResult {
  requestsPerSecond: number;
  /**
   * CPU time of the server's process and its modules' (all threads, user and system) for each request, in microseconds.
   */
  cpuMicros: number;
}

export interface Comparison {
  hrmr: SideResult;
  bound: SideResult;
  /** hrmr's CPU time over the bound's. */
  ratio: number;
  lowest: number;
  highest: number;
  /** hrmr's requests a second over the bound's, in each round. */
  gains: number[];
}

const ROUND_MS = 700;
const WARM_UP_MS = 900;

/** A side whose load is not the generator's. */
export interface Loaded {
  readonly server: Started;
  /** Full speed for about that long; resolves after the last reply. @throws Error on a wrong or missing reply */
  run(ms: number): Promise<Pick<LoadResult, "requests" | "elapsedMs">>;
}

/** @throws Error on a wrong reply of either side */
export async function compare({ generator, rounds }: Bench, hrmr: Side, bound: Side): Promise<Comparison> {
  try {
    await generator.open("hrmr", { ...hrmr.spec, port: hrmr.server.port });
    await generator.open("the bound", { ...bound.spec, port: bound.server.port });
    return await compareLoads(
      rounds,
      { server: hrmr.server, run: (ms) => generator.run("hrmr", ms) },
      { server: bound.server, run: (ms) => generator.run("the bound", ms) },
    );
  } finally {
    await generator.close();
  }
}

/** @throws Error on a wrong reply of either side */
export async function compareLoads(rounds: number, hrmr: Loaded, bound: Loaded): Promise<Comparison> {
  for (const side of [hrmr, bound]) await side.run(WARM_UP_MS);
  const results: [SideResult, SideResult][] = [];
  for (let round = 0; round < rounds; round++) {
    // They take turns at being first.
    const first = round % 2 === 0 ? await measure(hrmr) : null;
    const second = await measure(bound);
    results.push([first ?? (await measure(hrmr)), second]);
  }
  const ratios = results.map(([a, b]) => a.cpuMicros / b.cpuMicros);
  return {
    hrmr: middle(results.map(([a]) => a)),
    bound: middle(results.map(([, b]) => b)),
    ratio: median(ratios),
    lowest: Math.min(...ratios),
    highest: Math.max(...ratios),
    gains: results.map(([a, b]) => a.requestsPerSecond / b.requestsPerSecond),
  };
}

async function measure({ server, run }: Loaded): Promise<SideResult> {
  const before = familyCpuMicros(server.pid);
  const { requests, elapsedMs } = await run(ROUND_MS);
  const used = familyCpuMicros(server.pid) - before;
  return { requestsPerSecond: (requests / elapsedMs) * 1000, cpuMicros: used / requests };
}

function middle(results: SideResult[]): SideResult {
  return {
    requestsPerSecond: median(results.map((result) => result.requestsPerSecond)),
    cpuMicros: median(results.map((result) => result.cpuMicros)),
  };
}
