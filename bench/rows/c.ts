/** A module in C and the same in TypeScript, each in its own process: the cost of the way between JavaScript and C. */
import type { Bench, Line, Row } from "../bench";
import { compare, type Side } from "../compare";
import { makeProject, moduleSource } from "../project";
import { exactly } from "../reply";
import { startProcess } from "../server";
import { comparisonLine } from "../table";
import { HELLO_TEXT, httpRequest, TEXT_TYPE } from "./http";
import { startArguments } from "./start-arguments";

const IN_C = `#include "hrmr.h"
static void echo(hrmr_request *request) { hrmr_reply_format(request, "echo: %s\\n", request->bytes); }
static void hello(hrmr_request *request) { hrmr_reply_text(request, ${JSON.stringify(HELLO_TEXT)}); }
void hrmr_module(hrmr_setup *setup) {
  hrmr_command(setup, "ECHO ", HRMR_LINE, echo);
  hrmr_http(setup, "/hello", hello);
}
`;
const IN_TYPESCRIPT = moduleSource(`{
  routes: {
    "ECHO ": { framing: "line", run: "process", handle: (message) => \`echo: \${message.text}\\n\` },
    "/hello": { run: "process", fetch: () => new Response(${JSON.stringify(HELLO_TEXT)}) },
  },
}`);

/** At most this much of the TypeScript module's CPU. */
const MOST = 1.3;

const SPECS = {
  "text line": { connections: 64, request: "ECHO hello there\n", reply: { pattern: "echo: ECHO hello there\\n" } },
  HTTP: {
    connections: 64,
    request: httpRequest("/hello"),
    reply: { http: { type: TEXT_TYPE }, pattern: exactly(HELLO_TEXT) },
  },
} satisfies Record<string, Side["spec"]>;

async function run(bench: Bench): Promise<Line[]> {
  const [native, script] = await Promise.all([
    startProcess("hrmr", startArguments(bench), makeProject({ "modules/native.c": IN_C })),
    startProcess("hrmr", startArguments(bench), makeProject({ "modules/script.ts": IN_TYPESCRIPT })),
  ]);
  try {
    const lines: Line[] = [];
    for (const [what, spec] of Object.entries(SPECS)) {
      const result = await compare(bench, { server: native, spec }, { server: script, spec });
      lines.push(comparisonLine(`${what} in C : in TypeScript, both in a process`, result, MOST));
    }
    return lines;
  } finally {
    await Promise.all([native.stop(), script.stop()]);
  }
}

export const cRow: Row = { name: "c-module", run };
