/** The losses of clients when a process is killed, the server ends, or a new one takes over. */
import type { Bench, Line, Row } from "../bench";
import { makeSoakProject } from "../soak/project";
import { SoakServer, lives, until } from "../soak/server";
import { median } from "../statistics";
import { figureLine, spreadText } from "../table";
import { httpRequest, TEXT_TYPE } from "./http";
import { withReconnecting } from "./reconnecting";

const LOADED_MS = 1000;
/** For the lives of 64 clients before and after. */
const WRK_SECONDS = 4;

const PROCESSES = 4;
const CONNECTIONS = 64;
/** Each with its own server: only the first end soon after a start is followed by no wait. */
const KILLS = 3;

interface Killed {
  readonly lost: number;
  readonly held: number;
  readonly backMs: number;
  readonly requests: number;
}

async function killOne({ generator, program }: Bench): Promise<Killed> {
  const { project, flags } = await makeSoakProject(program);
  const server = await SoakServer.start(program, project.dir, PROCESSES, flags);
  try {
    const reply = { http: { type: TEXT_TYPE }, pattern: "1 v1 \\d+\n" };
    await generator.open("HTTP", {
      port: server.portOf("tcp"),
      connections: CONNECTIONS,
      request: httpRequest("/ask/1"),
      reply,
    });
    await generator.start("HTTP");
    await Bun.sleep(LOADED_MS);
    const { processes } = await server.status();
    const victim = processes.toSorted((a, b) => b.connections - a.connections)[0] as (typeof processes)[number];
    const killedAt = performance.now();
    process.kill(victim.pid, "SIGKILL");
    await until(async () => {
      const { serving } = await server.pids();
      return serving.length === PROCESSES && !serving.includes(victim.pid);
    }, `${PROCESSES} processes`);
    const backMs = performance.now() - killedAt;
    const { lost, wrong, problem, requests } = await generator.stop("HTTP");
    if (wrong > 0) throw new Error(`while a process was killed: ${problem}`);
    return { lost, held: victim.connections, backMs, requests };
  } finally {
    await generator.close();
    await server.kill();
  }
}

export const killRow: Row = {
  name: "kill",
  async run(bench) {
    const killed: Killed[] = [];
    for (let round = 0; round < KILLS; round++) killed.push(await killOne(bench));
    const worst = killed.toSorted((a, b) => b.lost - b.held - (a.lost - a.held))[0] as Killed;
    const times = killed.map(({ backMs }) => backMs);
    return [
      figureLine({
        title: `kill -9 of one of ${PROCESSES}: lost requests`,
        value: worst.lost,
        // Each of its connections has at most one open request.
        most: worst.held,
        unit: "",
        digits: 0,
        hrmr: `of ${worst.requests}`,
        bound: `${worst.held} on the lost process`,
      }),
      figureLine({
        title: `back to ${PROCESSES} processes`,
        value: median(times),
        most: 1000,
        unit: " ms",
        digits: 0,
        spread: spreadText(times, 0),
      }),
    ];
  },
};

export const drainRow: Row = {
  name: "drain",
  async run(bench) {
    const lines: Line[] = [];
    for (const processes of [1, 2]) {
      lines.push(
        await withReconnecting(bench, processes, async (server, clients) => {
          await Bun.sleep(LOADED_MS);
          const startedAt = performance.now();
          await server.stop();
          const stopMs = performance.now() - startedAt;
          const { answered, failures } = await clients.ended();
          return figureLine({
            title: `SIGTERM under load, ${processes} processes: failed`,
            value: failures.length,
            most: 0,
            unit: "",
            digits: 0,
            hrmr: `of ${answered}, ended in ${Math.round(stopMs)} ms`,
            bound: failures[0]?.slice(0, 22) ?? "",
          });
        }),
      );
    }
    return lines;
  },
};

export const upgradeRow: Row = {
  name: "upgrade",
  run: (bench) =>
    withReconnecting(bench, 2, async (server, clients, port) => {
      const wrk = runWrk(port);
      await Bun.sleep(LOADED_MS);
      const old = await server.pids();
      const startedAt = performance.now();
      process.kill(old.inCharge, "SIGUSR2");
      await until(() => !old.all.some(lives), "the end of the old server");
      const tookMs = performance.now() - startedAt;
      const said = await wrk;
      const { answered, failures, refused } = await clients.stop();
      const title = "SIGUSR2 under load, 2 processes";
      const common = { most: 0, unit: "", digits: 0 };
      await server.stop();
      return [
        figureLine({
          ...common,
          title: `${title}: failed`,
          value: failures.length,
          hrmr: `of ${answered}, ${Math.round(tookMs)} ms`,
          bound: said,
        }),
        figureLine({ ...common, title: `${title}: refused`, value: refused }),
      ];
    }),
};

/**
 * An independent client, if it is installed. It counts an end between two requests as a read error. @returns its lines
 * about errors
 */
async function runWrk(port: number): Promise<string> {
  if (Bun.which("wrk") === null) return "(there is no wrk)";
  const url = `http://127.0.0.1:${port}/ask/1`;
  const child = Bun.spawn(["wrk", "-t1", "-c16", `-d${WRK_SECONDS}s`, url], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "ignore",
  });
  const text = await child.stdout.text();
  const errors = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(text);
  const status = /Non-2xx or 3xx responses: (\d+)/.exec(text)?.[1];
  if (!text.includes("requests in")) return "(wrk failed)";
  if (errors === null && status === undefined) return "wrk: no errors";
  return `wrk: ${errors?.slice(1).join("/") ?? ""} ${status ?? ""}`.trim();
}
