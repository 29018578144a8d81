/**
 * State from one version to the next, in every host: plain data arrives; the verdict names data that cannot be handed
 * over, and it is not there.
 */
import { describe, expect, test } from "bun:test";
import { type Hub, shareHub } from "../support/hub";

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

/**
 * A version whose key answers with the handoff that it got, and which hands over the result of `gives`. `state` is {
 * made: "state" }.
 */
function version(run: string, key: string, gives: string, rest = ""): string {
  return `${DESCRIBE}
class Thing { constructor() { this.size = 1; } grow() { this.size++; } }
let got = "nothing yet";
export default {
  ${rest}
  setup(_context, handed) { got = describe(handed); return { made: "state" }; },
  handoff(state) { ${gives} },
  routes: { "${key}": { run: "${run}", handle: () => got } },
};\n`;
}

/** One server for all of them: each test hands over in a module of its own. */
const withShared = shareHub({}, ["--threads", "1", "--set", `timeouts.loadMs=${LOAD_MS}`]);
let modules = 0;

/** Loads what `text` says of the module, whose key is its name and a dot. @returns the verdict */
async function load(hub: Hub, name: string, text: string): Promise<string> {
  hub.write(`modules/${name}.ts`, text);
  return hub.ask(`RELOAD ${name}\n`);
}

/** The verdict, as of the second version of a module named "hand", and what that version says it got. */
interface Handed {
  readonly verdict: string;
  readonly got: string;
}

/** One version after the other: each gets what the one before gives. @returns one for each of `given` */
async function handOver(hub: Hub, run: string, given: readonly string[], rest = ""): Promise<Handed[]> {
  const name = `hand${++modules}`;
  const key = `${name}.`;
  const handed: Handed[] = [];
  for (const [at, gives] of [...given, ""].entries()) {
    // Each another text, or it would be the same version.
    const verdict = await load(hub, name, `${version(run, key, gives, rest)}export const number = ${at};\n`);
    const told = verdict.replaceAll(name, "hand").replace(`v${at + 1} (was v${at})`, "v2 (was v1)");
    if (at === 0) expect(verdict).toStartWith(`OK ${name} v1`);
    else handed.push({ verdict: told, got: await hub.ask(key) });
  }
  return handed;
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
  ["5 MB of bytes", "const data = new Uint8Array(5_000_000).fill(3); data[0] = 1; return data;", "bytes 5000000 1 3"],
  ["5 MB of text", `return "x".repeat(5_000_000);`, "string 5000000"],
];

const REFUSED: [string, string, RegExp][] = [
  ["a function", "return () => 1;", /its state was not handed over: handoff returned data that cannot be copied: /],
  [
    "a function deep within",
    "return { list: [{ call() {} }] };",
    /its state was not handed over: handoff returned data that cannot be copied: /,
  ],
  ["a symbol", "return Symbol('x');", /its state was not handed over: handoff returned data that cannot be copied: /],
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
    /its state was not handed over: handoff returned data that cannot be copied: trap/,
  ],
  [
    "a promise that never settles",
    "return new Promise(() => {});",
    /its state was not handed over: handoff did not finish within 4000 ms/,
  ],
];

describe.each(HOSTS)("with run: %s", (run) => {
  const cases = [...GIVEN, ...REFUSED];
  let all: Promise<Handed[]> | null = null;
  /** The result of one of them. They are handed over once for all tests. */
  const handedOf = async (hub: Hub, what: string): Promise<Handed> => {
    all ??= handOver(
      hub,
      run,
      cases.map(([, gives]) => gives),
    );
    return (await all)[cases.findIndex(([each]) => each === what)] as Handed;
  };

  test.each(GIVEN)("the next version gets %s", (what, _gives, got) =>
    withShared(async (hub) => {
      const handed = await handedOf(hub, what);
      expect(handed.verdict).toStartWith("OK hand v2 (was v1) swapped");
      expect(handed.verdict).not.toContain("not handed over");
      expect(handed.got).toBe(got);
    }),
  );

  test.each(REFUSED)("of %s the verdict tells, and the next version starts with none", (what, _gives, told) =>
    withShared(async (hub) => {
      const { verdict, got } = await handedOf(hub, what);
      expect(verdict).toStartWith("OK hand v2 (was v1) swapped");
      expect(verdict.replaceAll(/ (on pool thread 1|in its process):/g, ":")).toMatch(told);
      expect(got).toBe("undefined");
    }),
  );

  test("a socket is not handed over, or of no use: nobody can go on with the old version's", () =>
    withShared(async (hub) => {
      const opens = `return Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });`;
      const [handed] = await handOver(hub, run, [opens]);
      expect(handed?.verdict).toStartWith("OK hand v2");
      expect(handed?.verdict.includes("not handed over") ? handed.got : "plain").toMatch(/^(undefined|plain)/);
    }));

  test("a version that fails in setup with what it was handed leaves the one before, which hands over again", () =>
    withShared(async (hub) => {
      const name = `fails-${run}`;
      const key = `${name}.`;
      expect(await load(hub, name, version(run, key, "return { made: state.made, calls: 1 };"))).toStartWith("OK");
      const taker = version(run, key, "");
      const failing = taker.replace(
        /setup\(.*\},/,
        "setup(_context, handed) { throw new Error('cannot use ' + describe(handed)); },",
      );
      expect(await load(hub, name, failing)).toContain("cannot use plain made,calls");
      expect(await hub.ask(key)).toBe("undefined");
      expect(await load(hub, name, taker)).toStartWith(`OK ${name} v2 (was v1)`);
      expect(await hub.ask(key)).toBe("plain made,calls");
    }));

  test("with reload: exclusive it gets it too, though the old version is gone by then", () =>
    withShared(async (hub) => {
      const given = ["return state;", "return () => 1;"];
      const [handed, refused] = await handOver(hub, run, given, `reload: "exclusive",`);
      expect(handed?.verdict).toStartWith("OK hand v2 (was v1) swapped");
      expect(handed?.got).toBe("plain made");
      expect(refused?.verdict).toMatch(/its state was not handed over.*cannot be copied/);
      expect(refused?.got).toBe("undefined");
    }));

  test("an exclusive version that comes back since the new one failed gets what it handed over", () =>
    withShared(async (hub) => {
      const name = `back-${run}`;
      const key = `${name}.`;
      const counting = (setup: string): string =>
        `export default { reload: "exclusive", setup(_context, handed) { ${setup} }, handoff: (state) => state,
        routes: { "${key}": { run: "${run}", handle: (_m, { state }) => String(state.calls++) } } };\n`;
      const good = counting("return { calls: handed === undefined ? 0 : handed.calls };");
      expect(await load(hub, name, good)).toStartWith("OK");
      expect([await hub.ask(key), await hub.ask(key)]).toEqual(["0", "1"]);
      expect(await load(hub, name, counting("throw new Error('cannot use ' + handed.calls);"))).toContain(
        "cannot use 2",
      );
      expect(await hub.ask(key)).toBe("2");
      const edited = `// edited\nconst edited = 1;\n${good.replace("calls++", "calls++ + ' again' + edited")}`;
      expect(await load(hub, name, edited)).toStartWith(`OK ${name} v2`);
      expect(await hub.ask(key)).toBe("3 again1");
    }));
});

test.each([
  ["inline", "pool"],
  ["pool", "process"],
  ["process", "inline"],
])("from %s to %s nothing is handed over, and setup gets none", (from, to) =>
  withShared(async (hub) => {
    const name = `from-${from}`;
    expect(await load(hub, name, version(from, `${name}.`, "return state;"))).toStartWith("OK");
    expect(await load(hub, name, version(to, `${name}.`, ""))).toStartWith(`OK ${name} v2 (was v1)`);
    expect(await hub.ask(`${name}.`)).toBe("undefined");
  }),
);
