/** hrmr against what bounds it: short rounds in turn, so that a noisy machine disturbs both alike, and the median of the rounds' ratios. */
import type { Bench } from "./bench";
import type { LoadSpec } from "./load";
import { cpuMicros, type Started } from "./server";
import { median } from "./table";

/** One side of a comparison. */
export interface Side {
  readonly server: Started;
  readonly spec: Omit<LoadSpec, "port">;
}

export interface SideResult {
  requestsPerSecond: number;
  /** CPU time of the server's process (all threads, user and system) for each request, in microseconds. */
  cpuMicros: number;
}

export interface Comparison {
  hrmr: SideResult;
  bound: SideResult;
  /** hrmr's CPU time over the bound's. */
  ratio: number;
  lowest: number;
  highest: number;
}

const ROUND_MS = 700;
const WARM_UP_MS = 900;

/** @throws Error on a wrong reply of either side */
export async function compare(bench: Bench, hrmr: Side, bound: Side): Promise<Comparison> {
  const { generator } = bench;
  try {
    await generator.open("hrmr", { ...hrmr.spec, port: hrmr.server.port });
    await generator.open("the bound", { ...bound.spec, port: bound.server.port });
    await generator.run("hrmr", WARM_UP_MS);
    await generator.run("the bound", WARM_UP_MS);
    const rounds: [SideResult, SideResult][] = [];
    for (let round = 0; round < bench.rounds; round++) {
      // Each goes first in turn.
      const first = round % 2 === 0 ? await measure(bench, "hrmr", hrmr) : null;
      const second = await measure(bench, "the bound", bound);
      rounds.push([first ?? (await measure(bench, "hrmr", hrmr)), second]);
    }
    const ratios = rounds.map(([a, b]) => a.cpuMicros / b.cpuMicros);
    return {
      hrmr: middle(rounds.map(([a]) => a)),
      bound: middle(rounds.map(([, b]) => b)),
      ratio: median(ratios),
      lowest: Math.min(...ratios),
      highest: Math.max(...ratios),
    };
  } finally {
    await generator.close();
  }
}

async function measure(bench: Bench, load: string, { server }: Side): Promise<SideResult> {
  const before = cpuMicros(server.pid);
  const { requests, elapsedMs } = await bench.generator.run(load, ROUND_MS);
  const used = cpuMicros(server.pid) - before;
  return { requestsPerSecond: (requests / elapsedMs) * 1000, cpuMicros: used / requests };
}

function middle(results: SideResult[]): SideResult {
  return {
    requestsPerSecond: median(results.map((result) => result.requestsPerSecond)),
    cpuMicros: median(results.map((result) => result.cpuMicros)),
  };
}
