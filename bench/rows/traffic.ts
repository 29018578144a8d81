/** 200 reloads under traffic: what clients notice. */
import type { Row } from "../bench";
import { Control } from "../control";
import { makeProject } from "../project";
import { startProcess } from "../server";
import { figureLine } from "../table";
import { editAndReload, longestStall, mustServe, STALL_MODULE, versionModule } from "./edits";
import { openMixedLoad } from "./reload";
import { startArguments } from "./start-arguments";

const RELOADS = 200;
const CALM_MS = 1000;
const PAUSE_MS = 5;

export const trafficRow: Row = {
  name: "traffic",
  async run(bench) {
    const { generator } = bench;
    const dir = makeProject({ "modules/edited.ts": versionModule(0), "modules/stall.ts": STALL_MODULE });
    const server = await startProcess("hrmr", startArguments(bench), dir);
    const control = await Control.connect(server.port);
    try {
      await openMixedLoad(bench, server.port);
      for (const load of ["text", "HTTP"]) await generator.start(load);
      await Bun.sleep(CALM_MS);
      await longestStall(control);
      // The same load without a reload: its stalls are the machine's.
      await Bun.sleep(CALM_MS);
      const calmMs = await longestStall(control);
      const startedAt = performance.now();
      for (let version = 1; version <= RELOADS; version++) {
        await editAndReload(control, dir, "edited", versionModule(version));
        await mustServe(control, version);
        await Bun.sleep(PAUSE_MS);
      }
      const stallMs = await longestStall(control);
      const seconds = (performance.now() - startedAt) / 1000;
      const results = [await generator.stop("text"), await generator.stop("HTTP")];
      const wrong = results.find((result) => result.wrong > 0);
      if (wrong !== undefined) throw new Error(`during ${RELOADS} reloads: ${wrong.problem}`);
      const requests = results.reduce((sum, result) => sum + result.requests, 0);
      const lost = results.reduce((sum, result) => sum + result.lost, 0);
      const closed = results.reduce((sum, result) => sum + result.closed, 0);
      const longestMs = Math.max(...results.map((result) => result.longestMs));
      const title = `${RELOADS} reloads under load`;
      const hrmr = `${requests} requests, ${seconds.toFixed(1)} s`;
      return [
        figureLine({ title: `${title}: failed requests`, value: lost, most: 0, unit: "", digits: 0, hrmr }),
        figureLine({ title: `${title}: closed connections`, value: closed, most: 0, unit: "", digits: 0 }),
        figureLine({
          title: `${title}: longest stall`,
          value: stallMs,
          most: 15,
          unit: " ms",
          hrmr: `slowest reply ${longestMs.toFixed(1)} ms`,
          bound: `no reloads: ${calmMs.toFixed(1)} ms`,
        }),
      ];
    } finally {
      control.close();
      await generator.close();
      await server.stop();
    }
  },
};
