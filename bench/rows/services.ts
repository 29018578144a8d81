/** Calls of services: from one module to another, in one thread and from the pool. */
import type { Bench, Line, Row } from "../bench";
import { compare, type Side } from "../compare";
import { makeProject, moduleSource } from "../project";
import { startProcess, type Started } from "../server";
import { comparisonLine } from "../table";
import { startArguments } from "./start-arguments";

const CONNECTIONS = 16;
/** So that the message itself counts little. */
const CALLS = 100;
const VALUE = `{ id: 4, name: "bob", tags: ["a", "b"] }`;

const CALLEE = moduleSource("{ services: { echo: async (value) => value } }");
/** DIRECT calls the same function in its own module, with the copies that keep two modules apart. */
const CALLER = `import { defineModule } from "hrmr";
const value = ${VALUE};
const echo = async (value) => value;
async function repeat(call) {
  for (let done = 0; done < ${CALLS}; done++) await call();
  return "DONE\\n";
}
export default defineModule({
  routes: {
    DIRECT: { framing: "line", handle: () => repeat(async () => structuredClone(await echo(structuredClone(value)))) },
    SERVICE: { framing: "line", handle: (_, { services }) => repeat(() => services.callee.echo(value)) },
    TEXT: { framing: "line", run: "pool", handle: () => "DONE\\n" },
    POOL: {
      framing: "line",
      run: "pool",
      handle: async (_, { services }) => {
        await services.callee.echo(value);
        return "DONE\\n";
      },
    },
  },
});
`;

async function compared(
  bench: Bench,
  title: string,
  requests: [ours: string, bound: string],
  most: number,
): Promise<Line[]> {
  const dir = makeProject({ "modules/callee.ts": CALLEE, "modules/caller.ts": CALLER });
  const server = await startProcess("hrmr", startArguments(bench), dir);
  try {
    const [ours, bound] = requests.map((request) => side(server, `${request}\n`)) as [Side, Side];
    return [comparisonLine(title, await compare(bench, ours, bound), most)];
  } finally {
    await server.stop();
  }
}

function side(server: Started, request: string): Side {
  return { server, spec: { connections: CONNECTIONS, request, reply: { pattern: "DONE\\n" } } };
}

/** At most 1.5 us more than the function call with its two copies, which cost 4.5 us together. */
export const serviceRow: Row = {
  name: "service-inline",
  run: (bench) =>
    compared(
      bench,
      `${CALLS} calls of a service, inline : the function and structuredClone`,
      ["SERVICE", "DIRECT"],
      1.3,
    ),
};

export const poolServiceRow: Row = {
  name: "service-from-pool",
  run: (bench) => compared(bench, "a pool call that calls an inline service : a pool call", ["POOL", "TEXT"], 1.3),
};
