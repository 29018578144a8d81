/** How long a RELOAD takes. */
import type { Bench, Line, Row } from "../bench";
import { Control } from "../control";
import { makeProject } from "../project";
import { startProcess } from "../server";
import { median } from "../statistics";
import { figureLine, spreadText } from "../table";
import { editAndReload, mustServe, padVersion, type ReloadTime, VERSION_PATTERN, versionModule } from "./edits";
import { httpRequest } from "./http";
import { startArguments } from "./start-arguments";

const RELOADS = 40;
/** The first reloads also compile and start things once. */
const WARM_UP = 5;
/** So that one reload's collection does not fall into the next. In milliseconds. */
const PAUSE_MS = 25;

/** Two loads, half the connections each: text and HTTP keep-alive, both answered by the module that is being edited. */
export async function openMixedLoad({ generator }: Bench, port: number): Promise<void> {
  await generator.open("text", {
    port,
    connections: 32,
    request: "VERSION\n",
    reply: { pattern: `${VERSION_PATTERN}\\n` },
  });
  const http = { type: "text/plain;charset=utf-8" };
  await generator.open("HTTP", {
    port,
    connections: 32,
    request: httpRequest("/version"),
    reply: { http, pattern: VERSION_PATTERN },
  });
}

interface Case {
  title: string;
  run: "inline" | "pool";
  isLoaded: boolean;
  most: number;
}

async function measureReloads(bench: Bench, { title, run, isLoaded, most }: Case): Promise<Line[]> {
  const dir = makeProject({ "modules/edited.ts": versionModule(0, run) });
  const server = await startProcess("hrmr", startArguments(bench), dir);
  const control = await Control.connect(server.port);
  try {
    if (isLoaded) {
      await openMixedLoad(bench, server.port);
      for (const load of ["text", "HTTP"]) await bench.generator.start(load);
    }
    const times: ReloadTime[] = [];
    for (let version = 1; version <= RELOADS + WARM_UP; version++) {
      const time = await editAndReload(control, dir, "edited", versionModule(version, run));
      if (version > WARM_UP) times.push(time);
      await mustServe(control, version);
      await Bun.sleep(PAUSE_MS);
    }
    if (isLoaded) {
      for (const load of ["text", "HTTP"]) {
        const { problem } = await bench.generator.stop(load);
        if (problem !== null) throw new Error(`${load} during reloads: ${problem}`);
      }
    }
    return [timesLine(title, times, most)];
  } finally {
    control.close();
    await bench.generator.close();
    await server.stop();
  }
}

function timesLine(title: string, times: ReloadTime[], most: number): Line {
  const atClient = times.map(({ clientMs }) => clientMs);
  const hrmr = `server says ${median(times.map(({ serverMs }) => serverMs)).toFixed(1)} ms`;
  return figureLine({ title, value: median(atClient), most, unit: " ms", hrmr, spread: spreadText(atClient) });
}

export const reloadInlineRow: Row = {
  name: "reload-inline",
  run: (bench) =>
    measureReloads(bench, { title: "RELOAD of a small module, inline", run: "inline", isLoaded: false, most: 5 }),
};

export const reloadPoolRow: Row = {
  name: "reload-pool",
  run: (bench) =>
    measureReloads(bench, { title: "RELOAD of a small module, on the pool", run: "pool", isLoaded: false, most: 8 }),
};

export const reloadLoadRow: Row = {
  name: "reload-load",
  run: (bench) =>
    measureReloads(bench, { title: "RELOAD of a small module, under load", run: "inline", isLoaded: true, most: 10 }),
};

const MANY = 20;

function largeModule(index: number, version: number): string {
  return `import { Hono } from "hono";
import { z } from "zod";
import { defineModule } from "hrmr";

const shape = z.object({ name: z.string(), age: z.number().int() });
const app = new Hono().basePath("/m${index}");
app.get("/check", (c) => c.json(shape.parse({ name: "ada", age: 36 })));
app.get("/version", (c) => c.text("v${padVersion(version)}"));
export default defineModule({
  routes: { "/m${index}": { fetch: app.fetch }${index === 0 ? `, VERSION: () => "v${padVersion(version)}\\n"` : ""} },
});
`;
}

export const reloadManyRow: Row = {
  name: "reload-many",
  async run(bench) {
    const files = Array.from({ length: MANY }, (_, index) => [`modules/m${index}.ts`, largeModule(index, 0)] as const);
    const dir = makeProject(Object.fromEntries(files));
    const server = await startProcess("hrmr", startArguments(bench), dir);
    const control = await Control.connect(server.port);
    try {
      const times: ReloadTime[] = [];
      for (let version = 1; version <= 23; version++) {
        const time = await editAndReload(control, dir, "m0", largeModule(0, version));
        if (version > 3) times.push(time);
        await mustServe(control, version);
        await Bun.sleep(2 * PAUSE_MS);
      }
      return [timesLine(`RELOAD, one of ${MANY} modules with hono and zod`, times, 35)];
    } finally {
      control.close();
      await server.stop();
    }
  },
};
