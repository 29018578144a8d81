/** The gain of a second process, and the cost of figures and logs. */
import type { Bench, Line, Row } from "../bench";
import { compare } from "../compare";
import { makeProject, moduleSource } from "../project";
import { exactly } from "../reply";
import { type Started, startProcess } from "../server";
import { median } from "../statistics";
import { comparisonLine } from "../table";
import { HELLO, HELLO_TEXT, httpRequest, TEXT_TYPE } from "./http";
import { startArguments } from "./start-arguments";

/**
 * About 10 ms of computing, always the same: a handler that only waited until a time would gain without a second core.
 */
const WORK = moduleSource(`{ routes: { "/work": { fetch() {
  let sum = 0;
  for (let n = 1; n < 3_000_000; n++) sum = (sum * 31 + n) % 1_000_003;
  return new Response("sum " + sum);
} } } }`);
const ROUND_MS = 2000;
const ROUNDS = 3;
/**
 * Enough that each process has some, however the kernel deals them out; the generator needs no CPU for so few requests.
 */
const FEW_CONNECTIONS = 16;
const LEAST_GAIN = 1.8;

async function perSecond({ generator }: Bench, { port }: Started): Promise<number> {
  const reply = { http: { type: TEXT_TYPE }, pattern: "sum \\d+" };
  try {
    await generator.open("work", { port, connections: FEW_CONNECTIONS, request: httpRequest("/work"), reply });
    const { requests, elapsedMs } = await generator.run("work", ROUND_MS);
    return (requests / elapsedMs) * 1000;
  } finally {
    await generator.close();
  }
}

export const processesRow: Row = {
  name: "processes",
  async run(bench) {
    const start = (processes: number) =>
      startProcess(
        "hrmr",
        [...startArguments(bench), "--processes", String(processes)],
        makeProject({ "modules/work.ts": WORK }),
      );
    const one = await start(1);
    let two: Started | null = null;
    try {
      two = await start(2);
      const rates: [number, number][] = [];
      for (let round = 0; round < ROUNDS; round++)
        rates.push([await perSecond(bench, one), await perSecond(bench, two)]);
      const gains = rates.map(([alone, both]) => both / alone);
      const gain = median(gains);
      const line: Line = {
        title: "2 processes, handlers of 10 ms : 1 process",
        hrmr: `${median(rates.map(([, both]) => both)).toFixed(0)}/s`,
        bound: `${median(rates.map(([alone]) => alone)).toFixed(0)}/s`,
        result: gain.toFixed(2),
        spread: `${Math.min(...gains).toFixed(2)}..${Math.max(...gains).toFixed(2)}`,
        target: `>= ${LEAST_GAIN.toFixed(2)}`,
        isMet: Number(gain.toFixed(2)) >= LEAST_GAIN,
      };
      return [line];
    } finally {
      await Promise.all([one.stop(), two?.stop()]);
    }
  },
};

const SCRAPE_MS = 1000;
const MOST = 1.02;

/** hrmr against itself: with `flags`, and asked for /metrics each second or not. */
async function againstItself(
  bench: Bench,
  title: string,
  flags: readonly string[],
  isScraped: boolean,
  most: number | null,
): Promise<Line> {
  const start = (more: readonly string[]) =>
    startProcess("hrmr", [...startArguments(bench), ...more], makeProject({ "modules/hello.ts": HELLO }));
  const server = await start(flags);
  let bound: Started | null = null;
  const url = `http://127.0.0.1:${server.port}/metrics`;
  const scraping = isScraped ? setInterval(() => void fetch(url).then((response) => response.text()), SCRAPE_MS) : null;
  try {
    bound = await start([]);
    const reply = { http: { type: TEXT_TYPE }, pattern: exactly(HELLO_TEXT) };
    const spec = { connections: 64, request: httpRequest("/"), reply };
    return comparisonLine(title, await compare(bench, { server, spec }, { server: bound, spec }), most);
  } finally {
    if (scraping !== null) clearInterval(scraping);
    await Promise.all([server.stop(), bound?.stop()]);
  }
}

export const figuresRow: Row = {
  name: "figures",
  async run(bench) {
    const log = ["--access-log", "--log-file", "access.log", "--log-format", "json"];
    return [
      await againstItself(bench, "/metrics each second : not asked", [], true, MOST),
      await againstItself(
        bench,
        "access log of 1 in 100 : none",
        [...log, "--set", "log.accessSample=100"],
        false,
        null,
      ),
    ];
  },
};
