/** Figures of a server of several processes: the same from every process, and none is lost with one. */
import { expect, test } from "bun:test";
import { readExposition, type Sample } from "../support/exposition";
import { type Hub, moduleSource, withHub } from "../support/hub";

const FILES = {
  "modules/greet.ts": moduleSource(`{ routes: { "GREET": { framing: "line", handle: () => process.pid + "\\n" } } }`),
  "hrmr.json": '{ "processes": 2 }',
};

async function metricsOf(hub: Hub): Promise<(name: string, labels?: Record<string, string>) => readonly Sample[]> {
  const metrics = readExposition(
    await (await fetch(`${hub.url}/metrics`, { headers: { connection: "close" } })).text(),
  );
  return (name, labels = {}) =>
    metrics
      .get(name)
      ?.samples.filter((sample) => Object.entries(labels).every(([label, value]) => sample.labels[label] === value)) ??
    [];
}

const total = (samples: readonly Sample[]): number => samples.reduce((sum, { value }) => sum + value, 0);

test("each process tells of all, and a killed one's calls stay counted", () =>
  withHub(FILES, [], async (hub) => {
    const pids = new Set<string>();
    for (let count = 0; count < 40; count++) pids.add((await hub.ask("GREET\n")).trim());
    const before = await metricsOf(hub);
    expect(total(before("hrmr_requests_total", { module: "greet" }))).toBe(40);
    expect(before("hrmr_process_resident_memory_bytes").map(({ labels }) => labels["slot"])).toEqual(["1", "2"]);
    expect([
      total(before("hrmr_processes")),
      total(before("hrmr_ready")),
      total(before("hrmr_process_restarts_total")),
    ]).toEqual([2, 1, 0]);
    for (let count = 0; count < 5; count++)
      expect((await hub.status()).modules.find(({ name }) => name === "greet")?.calls).toBe(40);
    process.kill(Number([...pids][0]), "SIGKILL");
    await hub.program.waitFor("ended: SIGKILL");
    for (let state = ""; state !== "serving";) ({ state } = await hub.status());
    const after = await metricsOf(hub);
    expect(total(after("hrmr_requests_total", { module: "greet" }))).toBe(40);
    expect([total(after("hrmr_processes")), total(after("hrmr_process_restarts_total"))]).toEqual([2, 1]);
  }));
