/** Folders and files behind switched symbolic links: a reload loads their current targets. */
import { expect, test } from "bun:test";
import { mkdirSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { runProgram } from "../../support/program";
import { answering, PLACES, point, withReleases, writeRelease } from "../../support/releases";
import { until } from "../../support/until";

for (const processes of [1, 2]) {
  test.each(PLACES)(
    `a switched link %s: RELOAD loads its new target, in ${processes} processes`,
    async (_, args, cwd) => {
      const prepare = (dir: string): void => symlinkSync("current/modules", join(dir, "linked"));
      const place = { args, processes, prepare, ...(cwd === undefined ? null : { cwd }) };
      await withReleases(place, async ({ hub, get, release }) => {
        expect(await get("/plain")).toEqual(["plain 1"]);
        release(2);
        expect(await hub.ask("RELOAD")).toMatch(/^OK 2 modules changed/);
        expect(await get("/plain")).toEqual(["plain 2"]);
        expect(await get("/helped")).toEqual(["helped 2"]);
        if (!args.includes("linked")) expect(await get("/")).toEqual(["page 2"]);
        rmSync(join(hub.dir, "releases", "1"), { recursive: true });
        expect(await hub.ask("RELOAD")).toMatch(/^OK \d modules unchanged/);
        writeRelease(hub.dir, 3);
        release(3);
        expect(await hub.ask("RELOAD")).toMatch(/^OK 2 modules changed/);
        expect(await get("/helped")).toEqual(["helped 3"]);
        release(9);
        expect(await hub.ask("RELOAD")).toMatch(/^ERR .*there is no such folder/);
        expect(await get("/plain")).toEqual(["plain 3"]);
      });
    },
  );

  test(`switched links among modules and imports: RELOAD loads their new targets, in ${processes} processes`, () => {
    const prepare = (dir: string): void => {
      const own = {
        "modules/imports.ts": `import { said } from "../current/shared/said";\n${answering("/imports", `"imports " + said`)}`,
        "modules/pool.ts": `import { said } from "../current/shared/said.ts";\n${answering("/pool", `"pool " + said`, 'run: "pool",')}`,
        "modules/process.ts": `import { said } from "./lib/said";\n${answering("/process", `"process " + said`, 'run: "process",')}`,
        "modules/package.ts": `import { said } from "linked/deep/said";\n${answering("/package", `"package " + said`)}`,
        "modules/alias.ts": `import { said } from "@current/said";\n${answering("/alias", `"alias " + said`)}`,
        "tsconfig.json": `{ "compilerOptions": { "paths": { "@current/*": ["./current/shared/*"] } } }`,
      };
      for (const [name, text] of Object.entries(own)) {
        mkdirSync(dirname(join(dir, name)), { recursive: true });
        writeFileSync(join(dir, name), text);
      }
      point(join(dir, "modules", "app"), "../current/app");
      point(join(dir, "modules", "single.ts"), "../current/single.ts");
      point(join(dir, "modules", "lib"), "../current/shared");
      point(join(dir, "node_modules", "linked"), "../current/package");
    };
    const names = ["app", "single", "imports", "pool", "process", "package", "alias"];
    return withReleases({ processes, prepare }, async ({ hub, get, release }) => {
      const answers = async (): Promise<string[]> => (await Promise.all(names.map((name) => get(`/${name}`)))).flat();
      expect(await answers()).toEqual(names.map((name) => `${name} 1`));
      release(2);
      expect(await hub.ask("RELOAD")).toMatch(/^OK 7 modules changed/);
      expect(await answers()).toEqual(names.map((name) => `${name} 2`));
      rmSync(join(hub.dir, "releases", "1"), { recursive: true });
      expect(await hub.ask("RELOAD")).toMatch(/^OK \d modules unchanged/);
      release(9);
      const verdict = await hub.ask("RELOAD");
      expect(verdict).toMatch(/^ERR 7 modules failed/);
      expect(verdict).toContain("modules/app is a link to ../current/app, which is not there");
      expect(await answers()).toEqual(names.map((name) => `${name} 2`));
      release(2);
      expect(await hub.ask("RELOAD")).toMatch(/^OK \d modules unchanged/);
    });
  });
}

test("a release that does not build is left by switching the link, though nothing of it was ever built", () => {
  const prepare = (dir: string): void => {
    writeFileSync(join(dir, "releases", "1", "shared", "said.ts"), "export const said = = 1;\n");
    mkdirSync(join(dir, "modules"));
    writeFileSync(
      join(dir, "modules", "imports.ts"),
      `import { said } from "../current/shared/said";\n${answering("/x", `"x " + said`)}`,
    );
  };
  return withReleases({ processes: 1, prepare }, async ({ hub, get, release }) => {
    await hub.program.waitFor('"imports" was not loaded: releases/1/shared/said.ts:1');
    release(2);
    await until("the other release to serve", async () => (await hub.ask("RELOAD")).startsWith("OK"));
    expect(await get("/x")).toEqual(["x 2"]);
  });
});

test("a push goes into the release that the link leads to, and a removal takes it away there", () =>
  withReleases({ args: ["--modules", "current/modules"], processes: 1 }, async ({ hub, get, release }) => {
    release(2);
    expect(await hub.ask("RELOAD")).toMatch(/^OK/);
    hub.write("pushed/fresh.ts", answering("/fresh", '"pushed"'));
    const where = ["--state", join(hub.dir, "state")];
    const pushed = await runProgram(["push", "pushed/fresh.ts", ...where], { cwd: hub.dir });
    expect(pushed.stdout + pushed.stderr).toContain("OK");
    expect(await get("/fresh")).toEqual(["pushed"]);
    expect(readFileSync(join(hub.dir, "releases/2/modules/fresh.ts"), "utf8")).toContain("pushed");
    expect((await runProgram(["remove", "fresh", ...where], { cwd: hub.dir })).exitCode).toBe(0);
    expect(realpathSync(join(hub.dir, "current"))).toBe(join(hub.dir, "releases", "2"));
    expect(await get("/plain")).toEqual(["plain 2"]);
  }));
