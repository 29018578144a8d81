/**
 * `bun run bench [--only NAME]... [--rounds N] [--full]`: starts each server itself, checks the replies while it
 * measures, prints one table.
 *
 * A ratio compares the CPU time of the server's process for a request with that of its bound, in the same minute on the
 * same machine. Requests per second are printed too, but depend on other load of the machine. Ends with 1 if a row got
 * a wrong reply (the others still run). A missed target ends with 0: the table shows it.
 */
import { readFileSync } from "node:fs";
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { version } from "../package.json";
import type { Bench, Row } from "./bench";
import { Generator } from "./generator";
import { removeProjects } from "./project";
import { cRow } from "./rows/c";
import { http2PlainRow, http2TlsRow, httpsRow } from "./rows/encrypted";
import {
  helloRow,
  honoJsonRow,
  honoTextRow,
  parameterRow,
  pipelinedRow,
  postIgnoredRow,
  postJsonRow,
  staticRow,
} from "./rows/http";
import { idleRow, reloadMemoryRow } from "./rows/memory";
import { nginxLargeRow, nginxMiddleRow, nginxSmallRow } from "./rows/nginx";
import { drainRow, killRow, upgradeRow } from "./rows/operations";
import { figuresRow, processesRow } from "./rows/processes";
import { redisOthersRow, redisReadRow, redisRelaxedRow, redisWriteRow } from "./rows/redis";
import { reloadInlineRow, reloadLoadRow, reloadManyRow, reloadPoolRow } from "./rows/reload";
import { rpcHttpRow, rpcRawRow } from "./rows/rpc";
import { startRow } from "./rows/start";
import { storeMillionRow } from "./rows/store-million";
import { streamsRow } from "./rows/streams";
import { thousandRow } from "./rows/thousand";
import { eventsRow } from "./rows/events";
import { poolServiceRow, serviceRow } from "./rows/services";
import { chunkRow, lineRow, poolAloneRow, poolRow, processRow } from "./rows/text";
import { trafficRow } from "./rows/traffic";
import {
  transfersNodeRow,
  transfersRow,
  transfersServeRow,
  transfersSingleRow,
  transfersZipfRow,
} from "./rows/transfers";
import {
  websocketBinaryRow,
  websocketIdleRow,
  websocketLongTextRow,
  websocketMiddleRow,
  websocketTextRow,
} from "./rows/websocket";
import { findProgram, stopAll } from "./server";
import { failedLine, tableHead, tableLine } from "./table";

const ROWS: readonly Row[] = [
  chunkRow,
  lineRow,
  poolRow,
  poolAloneRow,
  serviceRow,
  poolServiceRow,
  eventsRow,
  rpcRawRow,
  rpcHttpRow,
  transfersRow,
  transfersSingleRow,
  transfersZipfRow,
  transfersNodeRow,
  transfersServeRow,
  redisReadRow,
  redisWriteRow,
  redisRelaxedRow,
  redisOthersRow,
  storeMillionRow,
  processRow,
  cRow,
  helloRow,
  pipelinedRow,
  postJsonRow,
  postIgnoredRow,
  parameterRow,
  honoTextRow,
  honoJsonRow,
  staticRow,
  nginxSmallRow,
  nginxMiddleRow,
  nginxLargeRow,
  httpsRow,
  http2PlainRow,
  http2TlsRow,
  websocketTextRow,
  websocketMiddleRow,
  websocketBinaryRow,
  websocketLongTextRow,
  trafficRow,
  reloadInlineRow,
  reloadPoolRow,
  reloadLoadRow,
  reloadManyRow,
  thousandRow,
  reloadMemoryRow,
  idleRow,
  streamsRow,
  websocketIdleRow,
  startRow,
  killRow,
  drainRow,
  upgradeRow,
  processesRow,
  figuresRow,
];
const DEFAULT_ROUNDS = 5;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: { only: { type: "string", multiple: true }, rounds: { type: "string" }, full: { type: "boolean" } },
  });
  const rounds = Number(values.rounds ?? DEFAULT_ROUNDS);
  const rows = ROWS.filter(({ name, isExtra }) =>
    values.only === undefined ? values.full || !isExtra : values.only.some((part) => name.includes(part)),
  );
  if (rows.length === 0 || !Number.isInteger(rounds) || rounds < 1) {
    console.error(
      `Usage: bun run bench [--only NAME]... [--rounds N] [--full]\nNames, or parts of them: ${ROWS.map(({ name }) => name).join(", ")}`,
    );
    return 2;
  }
  if (process.platform !== "linux") {
    console.error("The benchmark reads CPU time and memory from /proc, which only Linux has.");
    return 2;
  }
  const program = await findProgram();
  console.log(describe(program.description));
  console.log(tableHead());
  const code = await runRows({ generator: new Generator(), program, rounds, isFull: values.full ?? false }, rows);
  const left = ROWS.filter((row) => row.isExtra && !rows.includes(row)).map(({ name }) => name);
  if (values.only === undefined && left.length > 0) console.log(`Left out without --full: ${left.join(", ")}.`);
  return code;
}

async function runRows(bench: Bench, rows: readonly Row[]): Promise<number> {
  const startedAt = performance.now();
  const failures: string[] = [];
  let missed = 0;
  try {
    for (const row of rows) {
      const lines = await row.run(bench).catch((error: unknown) => {
        failures.push(`${row.name}: ${error instanceof Error ? error.message : String(error)}`);
        return [failedLine(row.name)];
      });
      for (const line of lines) {
        console.log(tableLine(line));
        if (line.isMet === false) missed++;
      }
    }
  } finally {
    await bench.generator.end();
  }
  const seconds = Math.round((performance.now() - startedAt) / 1000);
  const targets = missed === 0 ? "Every target was met" : `${missed} missed`;
  if (failures.length === 0) console.log(`\nAll replies were right. ${targets}; ${seconds} s.`);
  else
    console.error(
      `\nFAILED, ${failures.length} of ${rows.length} (of the others: ${targets}; ${seconds} s):\n${failures.join("\n")}`,
    );
  return failures.length === 0 ? 0 : 1;
}

function describe(program: string): string {
  const processor = /^model name\s*:\s*(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1] ?? process.arch;
  const kernel = readFileSync("/proc/sys/kernel/osrelease", "utf8").trim();
  const load = readFileSync("/proc/loadavg", "utf8").split(" ")[0];
  return [
    `hrmr ${version}: ${program}; bun ${Bun.version} (${Bun.revision.slice(0, 9)})`,
    `${cpus().length} cores, ${processor}, Linux ${kernel}, load before the run ${load}`,
    "us: CPU time of the server's process for a request; result: hrmr's over the bound's, median of the rounds; 64 connections.",
    "",
  ].join("\n");
}

async function cleanUp(): Promise<void> {
  await stopAll();
  removeProjects();
}

for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.on(signal, () => void cleanUp().finally(() => process.exit(130)));
try {
  process.exitCode = await main();
} catch (error) {
  console.error(`\nFAILED: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
} finally {
  await cleanUp();
}
