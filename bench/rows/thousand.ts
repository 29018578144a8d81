/**
 * A server of 1,000 modules: a RELOAD of one of them, how long it stops the event loop, and a start with nothing
 * changed.
 */
import type { Bench, Line, Row } from "../bench";
import { Control } from "../control";
import { makeProject, moduleSource } from "../project";
import { startProcess } from "../server";
import { median } from "../statistics";
import { figureLine, spreadText } from "../table";
import { editAndReload, longestStall, mustServe, padVersion, STALL_MODULE } from "./edits";
import { startArguments } from "./start-arguments";

const MODULES = 1000;
const RELOADS = 15;
/** Beyond these, what is compiled and started once is paid for. */
const WARM_UP = 3;
/** So that one reload's writes do not fall into the next. In milliseconds. */
const PAUSE_MS = 100;

/** Three routes: a path, a path with a name, and first bytes. The first module also answers VERSION. */
function nth(index: number, version: number): string {
  const text = `v${padVersion(version)}`;
  return moduleSource(`{
  routes: {
    "/k${index}": { fetch: () => new Response("${text}") },
    "/k${index}/:id": { fetch: () => new Response("${text}") },
    "K${index} ": () => "${text}\\n",${index === 0 ? `\n    VERSION: { framing: "line", handle: () => "${text}\\n" },` : ""}
  },
}`);
}

async function measureReloads(dir: string, bench: Bench): Promise<Line[]> {
  const server = await startProcess("hrmr", startArguments(bench), dir);
  const control = await Control.connect(server.port);
  const lines: Line[] = [];
  let version = 0;
  try {
    for (const [command, most] of [
      ["RELOAD k0", 15],
      ["RELOAD", 40],
    ] as const) {
      const times: number[] = [];
      const stalls: number[] = [];
      for (let round = 0; round < RELOADS + WARM_UP; round++) {
        await Bun.sleep(PAUSE_MS);
        await longestStall(control);
        const { clientMs } = await editAndReload(control, dir, "k0", nth(0, ++version), command);
        const stallMs = await longestStall(control);
        await mustServe(control, version);
        if (round < WARM_UP) continue;
        times.push(clientMs);
        stalls.push(stallMs);
      }
      const title = command === "RELOAD" ? "RELOAD" : "RELOAD NAME";
      lines.push(
        figureLine({
          title: `${title}, one of ${MODULES} modules changed`,
          value: median(times),
          most,
          unit: " ms",
          spread: spreadText(times),
        }),
        figureLine({
          title: `${title}, longest stall of the loop`,
          value: median(stalls),
          most: 10,
          unit: " ms",
          spread: spreadText(stalls),
        }),
      );
    }
    return lines;
  } finally {
    control.close();
    await server.stop();
  }
}

export const thousandRow: Row = {
  name: "thousand",
  isExtra: true,
  async run(bench) {
    const files = Array.from({ length: MODULES }, (_, index) => [`modules/k${index}.ts`, nth(index, 0)] as const);
    const dir = makeProject({ ...Object.fromEntries(files), "modules/stall.ts": STALL_MODULE });
    const lines = await measureReloads(dir, bench);
    const again = await startProcess("hrmr", startArguments(bench), dir);
    await again.stop();
    const start = figureLine({
      title: `start of ${MODULES} modules, nothing changed`,
      value: again.startMs,
      most: 1500,
      unit: " ms",
      digits: 0,
    });
    return [...lines, start];
  },
};
