/**
 * State from one version to the next, in every host: what is handed over arrives, and what cannot be is told in the
 * verdict and is not there.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Hub, makeProject, withHub } from "./support/hub";
import { startProgram } from "./support/program";

const HOSTS = ["inline", "pool", "process"] as const;
/** As long as `handoff` may take in these tests. */
const LOAD_MS = 4000;

/** Tells what setup got, in words: the kind of it, and its size. */
const DESCRIBE = `
const describe = (value) => {
  if (typeof value === "string") return "string " + value.length;
  if (value instanceof Uint8Array) return "bytes " + value.length + " " + value[0] + " " + value[value.length - 1];
  if (value instanceof Map) return "map " + [...value].map(([key, each]) => key + "=" + describe(each)).join(",");
  if (value instanceof Date) return "date " + value.toISOString();
  if (value !== null && typeof value === "object") return Object.getPrototypeOf(value) === Object.prototype ? "plain " + Object.keys(value).join(",") + (value.self === value ? " cyclic" : "") : "instance";
  return String(value);
};`;

/** @param gives the expression that `handoff` returns */
function giver(run: string, gives: string, rest = ""): string {
  return `class Thing { constructor() { this.size = 1; } grow() { this.size++; } }
export default {
  ${rest}
  setup: () => ({ made: "state" }),
  handoff(state) { ${gives} },
  routes: { "GOT": { run: "${run}", handle: () => "first" } },
};\n`;
}

function taker(run: string, rest = ""): string {
  return `${DESCRIBE}
export default {
  ${rest}
  setup: (_context, handoff) => ({ got: describe(handoff) }),
  routes: { "GOT": { run: "${run}", handle: (_m, { state }) => state.got } },
};\n`;
}

/** One server for all of them: each hands over a module of its own. */
let hub: Hub;
let modules = 0;

beforeAll(async () => {
  const dir = makeProject({ "modules/other.ts": giver("inline", "").replace("GOT", "OTHER") });
  const args = ["--port", "0", "--threads", "1", "--set", `timeouts.loadMs=${LOAD_MS}`];
  hub = new Hub(dir, await startProgram(args, { cwd: dir }));
});
afterAll(() => hub.stop());

/** @returns the verdict as of a module named "hand", and what the second version says it got */
async function handOver(run: string, gives: string, rest = ""): Promise<{ verdict: string; got: string }> {
  const name = `hand${++modules}`;
  const file = `modules/${name}.ts`;
  const key = `GOT${modules}.`;
  hub.write(file, giver(run, gives, rest).replace('"GOT"', `"${key}"`));
  expect(await hub.ask(`RELOAD ${name}\n`)).toStartWith(`OK ${name} v1`);
  expect(await hub.ask(key)).toBe("first");
  hub.write(file, taker(run, rest).replace('"GOT"', `"${key}"`));
  const result = { verdict: (await hub.ask(`RELOAD ${name}\n`)).replaceAll(name, "hand"), got: await hub.ask(key) };
  hub.remove(file);
  expect(await hub.ask("RELOAD\n")).toStartWith("OK");
  return result;
}

const GIVEN: [string, string, string][] = [
  ["state itself", "return state;", "plain made"],
  ["an empty string", `return "";`, "string 0"],
  ["no bytes", "return new Uint8Array(0);", "bytes 0 undefined undefined"],
  ["null", "return null;", "null"],
  ["nothing", "", "undefined"],
  ["a promise of data", `await0; return Promise.resolve(7);`.replace("await0; ", ""), "7"],
  [
    "a Map of a Date and bytes",
    `return new Map([["at", new Date(0)], ["data", new Uint8Array([5, 6])]]);`,
    "map at=date 1970-01-01T00:00:00.000Z,data=bytes 2 5 6",
  ],
  ["a cycle", "const value = {}; value.self = value; return value;", "plain self cyclic"],
  ["an object of a class, without what makes it one", "return new Thing();", "plain size"],
  [
    "50 MB of bytes",
    "const data = new Uint8Array(50_000_000).fill(3); data[0] = 1; return data;",
    "bytes 50000000 1 3",
  ],
  ["50 MB of text", `return "x".repeat(50_000_000);`, "string 50000000"],
];

const REFUSED: [string, string, RegExp][] = [
  ["a function", "return () => 1;", /its state was not handed over: handoff returned what cannot be copied: /],
  [
    "a function deep within",
    "return { list: [{ call() {} }] };",
    /its state was not handed over: handoff returned what cannot be copied: /,
  ],
  ["a symbol", "return Symbol('x');", /its state was not handed over: handoff returned what cannot be copied: /],
  [
    "a promise that fails",
    "return Promise.reject(new Error('not now'));",
    /its state was not handed over: handoff failed: not now/,
  ],
  ["a throw", "throw new Error('no way');", /its state was not handed over: handoff failed: no way/],
  ["a throw of what is no error", "throw 'just text';", /its state was not handed over: handoff failed: .*just text/],
  [
    "a getter that throws",
    "return { get x() { throw new Error('trap'); } };",
    /its state was not handed over: handoff returned what cannot be copied: trap/,
  ],
  [
    "a promise that never settles",
    "return new Promise(() => {});",
    /its state was not handed over: handoff did not finish within 4000 ms/,
  ],
];

describe.each(HOSTS)("with run: %s", (run) => {
  test.each(GIVEN)("the next version gets %s", async (_what, gives, got) => {
    const handed = await handOver(run, gives);
    expect(handed.verdict).toStartWith("OK hand v2 (was v1) swapped");
    expect(handed.verdict).not.toContain("not handed over");
    expect(handed.got).toBe(got);
  });

  test.each(REFUSED)("of %s the verdict tells, and the next version starts with none", async (_what, gives, told) => {
    const { verdict, got } = await handOver(run, gives);
    expect(verdict).toStartWith("OK hand v2 (was v1) swapped");
    expect(verdict.replaceAll(/ (on pool thread 1|in its process):/g, ":")).toMatch(told);
    expect(got).toBe("undefined");
  });

  test("a socket is not handed over, or of no use: nobody can go on with the old version's", async () => {
    const opens = `return Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });`;
    const { verdict, got } = await handOver(run, opens);
    expect(verdict).toStartWith("OK hand v2");
    expect(verdict.includes("not handed over") ? got : "plain").toMatch(/^(undefined|plain)/);
  });

  test("a version that fails in setup with what it was handed leaves the one before, which hands over again", () =>
    withHub(
      { "modules/hand.ts": giver(run, "return { made: state.made, calls: 1 };") },
      ["--threads", "1"],
      async (hub) => {
        hub.write(
          "modules/hand.ts",
          taker(run).replace("({ got: describe(handoff) })", "{ throw new Error('cannot use ' + describe(handoff)); }"),
        );
        expect(await hub.ask("RELOAD\n")).toContain("cannot use plain made,calls");
        expect(await hub.ask("GOT")).toBe("first");
        hub.write("modules/hand.ts", taker(run));
        expect(await hub.ask("RELOAD\n")).toStartWith("OK hand v2 (was v1)");
        expect(await hub.ask("GOT")).toBe("plain made,calls");
      },
    ));

  test("with reload: exclusive it gets it too, though the old version is gone by then", async () => {
    const { verdict, got } = await handOver(run, "return state;", `reload: "exclusive",`);
    expect(verdict).toStartWith("OK hand v2 (was v1) swapped");
    expect(got).toBe("plain made");
    const refused = await handOver(run, "return () => 1;", `reload: "exclusive",`);
    expect(refused.verdict).toMatch(/its state was not handed over.*cannot be copied/);
    expect(refused.got).toBe("undefined");
  });

  test("an exclusive version that comes back since the new one failed gets what it handed over", () => {
    const version = (setup: string): string =>
      `export default { reload: "exclusive", setup(_context, handed) { ${setup} }, handoff: (state) => state,
        routes: { "GOT": { run: "${run}", handle: (_m, { state }) => String(state.calls++) } } };\n`;
    const good = version("return { calls: handed === undefined ? 0 : handed.calls };");
    return withHub({ "modules/hand.ts": good }, ["--threads", "1"], async (hub) => {
      expect([await hub.ask("GOT"), await hub.ask("GOT")]).toEqual(["0", "1"]);
      hub.write("modules/hand.ts", version("throw new Error('cannot use ' + handed.calls);"));
      expect(await hub.ask("RELOAD\n")).toContain("cannot use 2");
      expect(await hub.ask("GOT")).toBe("2");
      hub.write(
        "modules/hand.ts",
        `// edited\nconst edited = 1;\n${good.replace("calls++", "calls++ + ' again' + edited")}`,
      );
      expect(await hub.ask("RELOAD\n")).toStartWith("OK hand v2");
      expect(await hub.ask("GOT")).toBe("3 again1");
    });
  });
});

test.each([
  ["inline", "pool"],
  ["pool", "process"],
  ["process", "inline"],
])("from %s to %s nothing is handed over, and setup gets none", (from, to) =>
  withHub({ "modules/hand.ts": giver(from, "return state;") }, ["--threads", "1"], async (hub) => {
    hub.write("modules/hand.ts", taker(to));
    expect(await hub.ask("RELOAD\n")).toStartWith("OK hand v2 (was v1)");
    expect(await hub.ask("GOT")).toBe("undefined");
  }),
);
