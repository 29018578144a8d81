/** Raw text commands: the least a message can cost. */
import type { Bench, Line, Row } from "../bench";
import { compare, type Side } from "../compare";
import { makeProject, moduleSource } from "../project";
import { startBaseline, startProcess, type Started } from "../server";
import { comparisonLine } from "../table";
import { startArguments } from "./start-arguments";

const CONNECTIONS = 64;
const PONG = { connections: CONNECTIONS, reply: { pattern: "PONG\\n" } };

const MODULE = moduleSource(`{
  routes: {
    PING: () => "PONG\\n",
    LINE: { framing: "line", handle: () => "PONG\\n" },
    POOL: { framing: "line", run: "pool", handle: () => "PONG\\n" },
    AWAY: { framing: "line", run: "process", handle: () => "PONG\\n" },
  },
}`);

function startText(bench: Bench): Promise<Started> {
  const dir = makeProject({ "modules/text.ts": MODULE });
  return startProcess("hrmr", startArguments(bench), dir);
}

async function againstListen(bench: Bench, title: string, request: string, most: number): Promise<Line[]> {
  const server = await startText(bench);
  const bound = await startBaseline("text.ts");
  try {
    return [comparisonLine(title, await compare(bench, side(server, request), side(bound, request)), most)];
  } finally {
    await Promise.all([server.stop(), bound.stop()]);
  }
}

function side(server: Started, request: string): Side {
  return { server, spec: { ...PONG, request } };
}

export const chunkRow: Row = {
  name: "text-chunk",
  run: (bench) => againstListen(bench, "text, chunk framing : bare Bun.listen", "PING", 1.1),
};

export const lineRow: Row = {
  name: "text-line",
  run: (bench) => againstListen(bench, "text, line framing : bare Bun.listen", "LINE\n", 1.25),
};

export const poolRow: Row = {
  name: "text-pool",
  async run(bench) {
    const server = await startText(bench);
    try {
      const result = await compare(bench, side(server, "POOL\n"), side(server, "LINE\n"));
      return [comparisonLine("text on the pool, 4 threads : the same inline", result, 1.35)];
    } finally {
      await server.stop();
    }
  },
};

export const poolAloneRow: Row = {
  name: "text-pool-alone",
  isExtra: true,
  async run(bench) {
    const server = await startText(bench);
    const alone = (request: string): Side => ({ server, spec: { ...PONG, connections: 1, request } });
    try {
      const result = await compare(bench, alone("POOL\n"), alone("LINE\n"));
      return [comparisonLine("the same with one connection", result, 2.7)];
    } finally {
      await server.stop();
    }
  },
};

export const processRow: Row = {
  name: "text-process",
  async run(bench) {
    const server = await startText(bench);
    try {
      const result = await compare(bench, side(server, "AWAY\n"), side(server, "POOL\n"));
      return [comparisonLine("text in the module's process : on the pool", result, 2.5)];
    } finally {
      await server.stop();
    }
  },
};
