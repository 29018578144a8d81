/** A module's prints are lines of the log, in every format and every host. */
import { expect, test } from "bun:test";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ask } from "../support/client";
import { makeProject, moduleSource, withHub } from "../support/hub";
import { runProgram } from "../support/program";

const PRINTS = (run: string): string => `{ run: "${run}", framing: "line", handle: async () => {
  console.log("%s is %d", "answer", 42, { list: [1] });
  console.info("two\\nlines");
  console.warn("careful");
  console.error("wrong");
  console.error(new TypeError("thrown"));
  console.debug("too much");
  console.table([{ column: "cell" }]);
  process.stdout.write("written\\n");
  await 1;
  console.log("later");
  return "done\\n";
} }`;

const MODULES = {
  "modules/here.ts": `console.log("top level");\n${moduleSource(`{ routes: { "INLINE": ${PRINTS("inline")} } }`)}`,
  "modules/pooled.ts": moduleSource(`{ routes: { "POOL": ${PRINTS("pool")} } }`),
  "modules/apart.ts": moduleSource(`{ routes: { "APART": ${PRINTS("process")} } }`),
};

interface Line {
  readonly level: string;
  readonly msg: string;
  readonly module?: string;
  readonly error?: { readonly name: string; readonly stack: string };
}

test("in JSON, each line of the log is an object with its level and its module", async () => {
  const dir = makeProject(MODULES);
  try {
    const { stdout } = await runProgram(["start", "-d", "--port", "0", "--log-format", "json"], { cwd: dir });
    const port = Number(/127\.0\.0\.1:(\d+)/.exec(stdout)?.[1]);
    for (const key of ["INLINE", "POOL", "APART"]) expect(await ask(port, `${key}\n`)).toBe("done\n");
    await runProgram(["stop"], { cwd: dir });
    const text = readFileSync(join(dir, ".hrmr/hrmr.log"), "utf8").trimEnd().split("\n");
    const told = text.map((line) => JSON.parse(line) as Line);
    const of = (module: string): string[] =>
      told
        .filter((line) => line.module === module)
        .map(({ level, msg }) => `${level} ${msg.replace(/^on pool thread \d+: /, "")}`);
    const expected = [
      "info answer is 42 { list: [ 1 ] }",
      "info two\nlines",
      "warn careful",
      "error wrong",
      "info written",
      "info later",
    ];
    expect(of("here")).toEqual(expect.arrayContaining(["info top level", ...expected]));
    expect(of("pooled")).toEqual(expect.arrayContaining(expected));
    expect(of("apart").map((line) => line.replace(/^\w+ /, ""))).toEqual(
      expect.arrayContaining(["careful", "wrong", "written", "later"]),
    );
    expect(
      told.filter(({ msg }) => msg.includes("too much") && !msg.includes("apart")).map(({ module }) => module),
    ).not.toContain("here");
    expect(told.find(({ module, error }) => module === "here" && error !== undefined)?.error).toMatchObject({
      name: "TypeError",
    });
    expect(told.some(({ module, msg }) => module === "here" && /│.*cell.*│/.test(msg))).toBe(true);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test("in text, it has a time, its level and its module, and a control character is escaped", async () => {
  const bell = moduleSource(
    `{ routes: { "BELL": () => { console.log("\\u0007"); console.group("group"); console.log("in it"); return "b\\n"; } } }`,
  );
  await withHub({ "modules/bell.ts": bell }, [], async (hub) => {
    expect(await hub.ask("BELL")).toBe("b\n");
    await hub.program.waitFor(/^\S+Z info {2}bell v1 \\x07$/m);
    await hub.program.waitFor(/^\S+Z info {2}bell v1 group\n\S+Z info {2}bell v1 {3}in it$/m);
  });
});

test("a level that is not told is not printed either", async () => {
  await withHub(
    {
      "modules/quiet.ts": moduleSource(
        '{ routes: { "Q": () => { console.log("quiet"); console.error("loud"); return "q\\n"; } } }',
      ),
    },
    ["--log-level", "error"],
    async (hub) => {
      expect(await hub.ask("Q")).toBe("q\n");
      await hub.program.waitFor("error quiet v1 loud");
      expect(hub.program.output()).not.toMatch(/info|quiet v1 quiet/);
    },
  );
});
