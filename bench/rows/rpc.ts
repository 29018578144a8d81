/** JSON-RPC: an echo procedure with a checked input, on raw lines and over HTTP. */
import type { Bench, Line, Row } from "../bench";
import { compare, type Side } from "../compare";
import { makeProject, moduleSource } from "../project";
import { exactly } from "../reply";
import { startBaseline, startProcess, type Started } from "../server";
import { comparisonLine } from "../table";
import { postRequest } from "./http";
import { startArguments } from "./start-arguments";

const CONNECTIONS = 64;
const PIPELINED = 16;
const PARAMS = '{"text":"Hello, World!","count":4}';
const REQUEST = `{"jsonrpc":"2.0","id":1,"method":"echo.say","params":${PARAMS}}`;
const ANSWER = `{"jsonrpc":"2.0","result":${PARAMS},"id":1}`;

const ECHO = `import { z } from "zod";
${moduleSource(`{
  services: {
    say: { public: true, input: z.object({ text: z.string(), count: z.number() }), call: (input) => input },
  },
}`)}`;

type Load = Side["spec"];

async function against(
  bench: Bench,
  title: string,
  baseline: string,
  [ours, bounds]: readonly [Load, Load],
  most: number,
): Promise<Line[]> {
  const server = await startProcess("hrmr", startArguments(bench), makeProject({ "modules/echo.ts": ECHO }));
  let bound: Started | null = null;
  try {
    bound = await startBaseline(baseline);
    const result = await compare(bench, { server, spec: ours }, { server: bound, spec: bounds });
    return [comparisonLine(title, result, most)];
  } finally {
    await Promise.all([server.stop(), bound?.stop()]);
  }
}

export const rpcRawRow: Row = {
  name: "rpc-raw",
  run: (bench) => {
    const reply = { pattern: `${exactly(ANSWER)}\\n` };
    const load = { connections: CONNECTIONS, request: `${REQUEST}\n`, reply, pipeline: PIPELINED };
    return against(bench, "JSON-RPC lines, 16 pipelined : bare Bun.listen, zod", "rpc.ts", [load, load], 1.3);
  },
};

export const rpcHttpRow: Row = {
  name: "rpc-http",
  run: (bench) => {
    const load = (type: string): Load => ({
      connections: CONNECTIONS,
      request: postRequest("/rpc", REQUEST),
      reply: { http: { type }, pattern: `${exactly(ANSWER)}\\n?` },
    });
    const loads = [load("application/json;charset=utf-8"), load("application/json")] as const;
    return against(bench, "POST /rpc : hono on Bun.serve, zod", "rpc-hono.ts", loads, 1);
  },
};
