/** Memory: over many reloads, and of idle connections. */
import { readFileSync } from "node:fs";
import type { Row } from "../bench";
import { Control } from "../control";
import { makeProject } from "../project";
import { settledBytes, startProcess } from "../server";
import { figureLine } from "../table";
import { editAndReload, mustServe, padVersion, STALL_MODULE } from "./edits";
import { startArguments } from "./start-arguments";

const MEGABYTE = 1_048_576;

function honoModule(version: number): string {
  return `import { Hono } from "hono";
import { defineModule } from "hrmr";

const app = new Hono();
app.get("/version", (c) => c.text("v${padVersion(version)}"));
export default defineModule({ routes: { "/": { fetch: app.fetch }, VERSION: () => "v${padVersion(version)}\\n" } });
`;
}

export const reloadMemoryRow: Row = {
  name: "memory-reloads",
  async run(bench) {
    const last = bench.isFull ? 2000 : 600;
    const dir = makeProject({ "modules/edited.ts": honoModule(0) });
    const server = await startProcess("hrmr", startArguments(bench), dir);
    const control = await Control.connect(server.port);
    try {
      const startedAt = performance.now();
      let early = 0;
      for (let version = 1; version <= last; version++) {
        await editAndReload(control, dir, "edited", honoModule(version));
        await mustServe(control, version);
        if (version === 200) early = await settledBytes(server.pid);
      }
      const late = await settledBytes(server.pid);
      const seconds = (performance.now() - startedAt) / 1000;
      return [
        figureLine({
          title: `memory after ${last} reloads with hono${bench.isFull ? "" : " (--full: 2000)"}`,
          value: (late / early - 1) * 100,
          most: 8,
          unit: " %",
          hrmr: `${(late / MEGABYTE).toFixed(1)} MB (${seconds.toFixed(0)} s)`,
          bound: `200th: ${(early / MEGABYTE).toFixed(1)} MB`,
        }),
      ];
    } finally {
      control.close();
      await server.stop();
    }
  },
};

const WANTED = 10_000;
/** Descriptors that the server and the generator need besides. */
const RESERVED = 200;

export const idleRow: Row = {
  name: "memory-idle",
  async run(bench) {
    const count = Math.min(WANTED, descriptorLimit() - RESERVED);
    const config = JSON.stringify({ limits: { maxConnections: count + 50 } });
    const dir = makeProject({ "modules/stall.ts": STALL_MODULE, "hrmr.json": config });
    const server = await startProcess("hrmr", startArguments(bench), dir);
    const control = await Control.connect(server.port);
    try {
      // The first connections make the allocator grow once. That memory does not count.
      await bench.generator.hold(server.port, 500);
      await bench.generator.close();
      await control.ask("COLLECT");
      const before = await settledBytes(server.pid);
      const open = await bench.generator.hold(server.port, count);
      await control.ask("COLLECT");
      const after = await settledBytes(server.pid);
      const status = await control.ask("STATUS");
      const counted = Number(/"openConnections":\s*(\d+)/.exec(status.reply)?.[1]);
      if (open !== count || counted < count)
        throw new Error(`of ${count} idle connections ${open} are open, and the server counts ${counted}`);
      return [
        figureLine({
          title: `${count} idle connections${count < WANTED ? " (descriptor limit)" : ""}, memory each`,
          value: (after - before) / count / 1024,
          most: 1.8,
          unit: " KB",
          digits: 2,
          hrmr: `${(after / MEGABYTE).toFixed(1)} MB`,
          bound: `none: ${(before / MEGABYTE).toFixed(1)} MB`,
        }),
      ];
    } finally {
      await bench.generator.close();
      control.close();
      await server.stop();
    }
  },
};

function descriptorLimit(): number {
  const limit = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
  return limit === "unlimited" || limit === undefined ? Infinity : Number(limit);
}
