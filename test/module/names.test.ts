/** No name of a file is a bug in hrmr: it is a module, or the log says why not. */
import { expect, test } from "bun:test";
import { runProgram } from "../support/program";
import { moduleSource, withHub } from "../support/hub";

const ODD = [
  "constructor",
  "toString",
  "hasOwnProperty",
  "valueOf",
  "isPrototypeOf",
  "ünï",
  "with space",
  "emoji😀",
  "per%cent",
  "quote\"'x",
  "a;b$c",
  "x".repeat(250),
  "index",
  "1",
];

const files = Object.fromEntries(
  ODD.map((name, at) => [
    `modules/${name}.ts`,
    moduleSource(`{ routes: { "K${String(at).padStart(2, "0")}": () => "${at}" } }`),
  ]),
);

for (const processes of ["1", "2"]) {
  test(`modules named like properties of every object, or oddly, are served, changed and taken away, in ${processes} processes`, () =>
    withHub(
      { ...files, "modules/UPPER.ts": moduleSource(`{ routes: { "BIG": () => "big" } }`) },
      ["-w", processes],
      async (hub) => {
        for (const at of ODD.keys()) expect(await hub.ask(`K${String(at).padStart(2, "0")}`)).toBe(String(at));
        expect((await runProgram(["validate"], { cwd: hub.dir })).stdout).toContain("constructor");
        expect((await hub.status()).modules.find(({ name }) => name === "constructor")).toMatchObject({
          state: "serving",
          generation: 1,
        });
        hub.write("modules/constructor.ts", moduleSource(`{ routes: { "K00": () => "changed" } }`));
        hub.remove("modules/toString.ts");
        expect(await hub.ask("RELOAD")).toStartWith("OK 2 modules changed");
        expect(await hub.ask("K00")).toBe("changed");
        // The one that serves goes on, and the other must not be taken for it.
        hub.write("modules/upper.ts", moduleSource(`{ routes: { "SMALL": () => "small" } }`));
        expect(await hub.ask("RELOAD")).toMatch(/^ERR 2 modules failed[^]*differ only in upper and lower case/);
        expect(await hub.ask("BIG")).toBe("big");
        expect((await fetch(`${hub.url}/metrics`)).status).toBe(200);
        expect(hub.program.output()).not.toContain("bug in hrmr");
      },
    ));
}
