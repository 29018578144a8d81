/**
 * `bun run soak [--minutes 5] [--processes 2] [--seed N]`: asks a server over all its protocols, checks every answer,
 * and meanwhile reloads, breaks and mends its modules, kills, restarts and upgrades its processes, and sends bad
 * clients to it. Ends with a table, and with 1 if anything in it is wrong. In the last part no process is replaced: it
 * shows whether memory grows.
 *
 * Starts the source, or the binary that HRMR_BIN names. Ctrl-C ends it early, with the table so far.
 */
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { Random } from "../test/support/random";
import { removeProjects } from "./project";
import type { Program } from "./server";
import { Chaos } from "./soak/chaos";
import { httpProtocols } from "./soak/http";
import { http2Protocols } from "./soak/http2";
import { MemorySampler, type Slope } from "./soak/memory";
import { makeSoakProject } from "./soak/project";
import { runClients } from "./soak/protocol";
import { rawProtocols } from "./soak/raw";
import { type Findings, reportText, verdictOf } from "./soak/report";
import { descriptors, SoakServer, until } from "./soak/server";
import { Fates, Tally } from "./soak/tally";
import type { World } from "./soak/world";

/** Share of the run in which processes are replaced. After it, memory is watched. */
const ROUGH_SHARE = 0.55;
/** Share of the rest in which memory may still grow: by its end, everything has been used once. */
const WARM_UP_SHARE = 0.3;
const PAUSE_MS = 300;
const PROGRESS_MS = 15_000;
const MAX_MINUTES = 24 * 60;

interface Settings {
  readonly minutes: number;
  readonly processes: number;
  readonly seed: number;
}

let isInterrupted = false;

function readSettings(): Settings | null {
  const { values } = parseArgs({
    options: { minutes: { type: "string" }, processes: { type: "string" }, seed: { type: "string" } },
  });
  const settings = {
    minutes: Number(values.minutes ?? 5),
    processes: Number(values.processes ?? 2),
    seed: Number(values.seed ?? Math.floor(Math.random() * 1e9)),
  };
  const isGood =
    settings.minutes > 0 &&
    settings.minutes <= MAX_MINUTES &&
    Number.isInteger(settings.processes) &&
    settings.processes > 0;
  return isGood && Number.isInteger(settings.seed) ? settings : null;
}

function findSoaked(): Program {
  const binary = process.env["HRMR_BIN"];
  if (binary !== undefined && binary !== "") return { argv: [resolve(binary)], description: `the binary ${binary}` };
  return { argv: [process.execPath, resolve(import.meta.dir, "..", "src", "main.ts")], description: "the source" };
}

async function soak({ minutes, processes, seed }: Settings): Promise<number> {
  const program = findSoaked();
  console.log(
    `Soaking ${program.description}, ${processes} processes, ${minutes} minutes; --seed ${seed} draws the same again.\n`,
  );
  const { project, flags } = await makeSoakProject(program);
  const server = await SoakServer.start(program, project.dir, processes, flags);
  try {
    const world: World = {
      port: server.portOf("tcp"),
      udpPort: server.portOf("udp"),
      project,
      tally: new Tally(),
      fates: new Fates(),
      least: { asked: 1, talk: 1 },
      newest: { asked: 1, talk: 1 },
      isStopped: false,
    };
    const begin = await openDescriptors(server);
    const chaos = new Chaos({ server, world, random: new Random(seed), processes });
    const clients = runClients(world, [...httpProtocols(world), ...http2Protocols(world), ...rawProtocols(world)]);
    const slopes = await runPhases(server, world, chaos, minutes * 60_000);
    world.isStopped = true;
    await clients;
    const leftOpen = await waitForNoClients(server);
    const findings: Findings = {
      tally: world.tally,
      chaos,
      log: server.log,
      slopes,
      descriptors: { begin, end: await openDescriptors(server), processes: (await server.pids()).all.length },
      leftOpen,
    };
    await server.stop();
    return tell(findings);
  } finally {
    await server.kill();
    removeProjects();
  }
}

async function runPhases(server: SoakServer, world: World, chaos: Chaos, totalMs: number): Promise<Slope[]> {
  const startedAt = performance.now();
  const roughMs = totalMs * ROUGH_SHARE;
  const warmMs = roughMs + (totalMs - roughMs) * WARM_UP_SHARE;
  const sampler = new MemorySampler(world.port);
  let isSampling = false;
  let toldAt = startedAt;
  for (;;) {
    const passedMs = performance.now() - startedAt;
    if (isInterrupted || passedMs >= totalMs) break;
    if (!isSampling && passedMs >= warmMs) {
      isSampling = true;
      const { all, serving } = await server.pids();
      await sampler.start(all, serving);
    }
    if (performance.now() - toldAt >= PROGRESS_MS) {
      toldAt = performance.now();
      const { tally } = world;
      console.log(
        `${Math.round(passedMs / 1000)} s: ${tally.total("right")} right, ${tally.total("wrong")} wrong, ${tally.total("lost")} lost`,
      );
    }
    await chaos.step(passedMs >= roughMs);
    await Bun.sleep(PAUSE_MS);
  }
  return await sampler.stop();
}

/**
 * @returns how many connections the server still has, without those of the control socket. Waits until there are none,
 * or time is up
 */
async function waitForNoClients(server: SoakServer): Promise<number> {
  const open = async () => (await server.status()).connections.open;
  await until(async () => (await open()) === 0, "the end of all connections", 15_000).catch(() => {});
  return await open();
}

async function openDescriptors(server: SoakServer): Promise<number> {
  return (await server.pids()).all.reduce((sum, pid) => sum + descriptors(pid), 0);
}

function tell(findings: Findings): number {
  const off = verdictOf(findings);
  console.log(`\n${reportText(findings)}\n`);
  if (isInterrupted) console.log("Interrupted: this is what there was until then.");
  if (off.length === 0) console.log("All is as it should be.");
  else console.error(`FAILED:\n${off.map((line) => `  ${line}`).join("\n")}`);
  return off.length === 0 ? 0 : 1;
}

const settings = readSettings();
if (settings === null) {
  console.error("Usage: bun run soak [--minutes 5] [--processes 2] [--seed N]");
  process.exitCode = 2;
} else if (process.platform !== "linux") {
  console.error("The soak reads memory and descriptors from /proc, which only Linux has.");
  process.exitCode = 2;
} else {
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => void (isInterrupted = true));
  process.exitCode = await soak(settings);
}
