/**
 * `bun run chaos [--operations 500] [--seed N] [--processes 2]`: edits, breaks, deletes, restores, pushes and rolls
 * back modules of a server under load, and kills its processes, by kill -9, the server itself among them. After each
 * operation, every process must run the versions that were acknowledged last. Ends with a table, and with 1 if anything
 * in it is wrong.
 *
 * Starts the source, or the binary that HRMR_BIN names.
 */
import { parseArgs } from "node:util";
import { Random } from "../test/support/random";
import { type ChaosReport, runChaos } from "./chaos/run";
import { removeProjects } from "./project";

const SHOWN = 20;

function tableText({ operations, problems, load }: ChaosReport): string {
  const rows = [...operations].sort(([one], [other]) => one.localeCompare(other));
  const lines = rows.map(([label, { count, slowestMs, problems: off }]) => {
    return `${label.padEnd(32)} ${String(count).padStart(6)} ${`${Math.round(slowestMs)} ms`.padStart(10)} ${String(off).padStart(9)}`;
  });
  return [
    `${"operation".padEnd(32)} ${"times".padStart(6)} ${"slowest".padStart(10)} ${"problems".padStart(9)}`,
    ...lines,
    "",
    `Load: ${load.answered} right answers, ${load.wrong.length} wrong, ${load.lost} lost around a kill.`,
    ...problems.slice(0, SHOWN).map((problem) => `OFF  ${problem}`),
    ...load.wrong.slice(0, SHOWN).map((answer) => `WRONG  ${answer}`),
    "",
  ].join("\n");
}

const { values } = parseArgs({
  options: { operations: { type: "string" }, processes: { type: "string" }, seed: { type: "string" } },
});
const operations = Number(values.operations ?? 500);
const processes = Number(values.processes ?? 2);
const seed = Number(values.seed ?? Math.floor(Math.random() * 1e9));
if (![operations, processes, seed].every(Number.isSafeInteger) || operations < 1 || processes < 1) {
  console.error("bun run chaos [--operations 500] [--seed N] [--processes 2]");
  process.exit(2);
}
console.log(`${operations} operations on ${processes} processes; --seed ${seed} draws the same again.\n`);
try {
  const report = await runChaos(operations, new Random(seed), processes);
  console.log(tableText(report));
  process.exitCode = report.problems.length + report.load.wrong.length === 0 ? 0 : 1;
} finally {
  removeProjects();
}
