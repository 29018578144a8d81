/** `.env` in the modules' process.env, in each host: at the start, after a reload and after an upgrade. */
import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Hub, moduleSource } from "../support/hub";
import { runProgram } from "../support/program";
import { rollback, withProject } from "../support/restarts";
import { withProcesses } from "../support/supervised";

/** Answers with the variables at its load and now. */
function reading(key: string, run: string): string {
  const now = `[AT_LOAD, process.env.TOKEN, process.env.LOCAL, process.env.HOME === "/of/the/file", process.env.NODE_ENV].join(" ")`;
  const route = `{ framing: "line", run: "${run}", handle: () => ${now} + "\\n" }`;
  return `const AT_LOAD = process.env.TOKEN;\n${moduleSource(`{ routes: { "${key}": ${route} } }`)}`;
}

const FILES = {
  ".env": "TOKEN=one\nHOME=/of/the/file\nNODE_ENV=one\nBUN_BE_BUN=1\n",
  // Bun reads it by itself when it runs from source.
  ".env.local": "LOCAL=yes\nTOKEN=local\n",
  "modules/here.ts": reading("HERE", "inline"),
  "modules/there.ts": reading("THERE", "pool"),
  "modules/away.ts": reading("AWAY", "process"),
  "modules/other.ts": moduleSource('{ routes: { "OTHER": () => "other\\n" } }'),
};

/** Answers with its settings. */
function showing(key: string): string {
  return moduleSource(`{ routes: { "${key}": (_, { config }) => JSON.stringify(config) + "\\n" } }`);
}

async function expectToken(hub: Hub, token: string): Promise<void> {
  for (const key of ["HERE\n", "THERE\n", "AWAY\n"])
    expect(await hub.ask(key)).toBe(`${token} ${token}  false ${token}\n`);
}

test("modules in all hosts read the variables of .env, and those of another .env after a reload", () =>
  withProcesses(
    1,
    async (hub) => {
      await expectToken(hub, "one");
      hub.write(".env", "TOKEN=two\nNODE_ENV=two\n");
      const verdict = await hub.ask("RELOAD");
      expect(verdict).toMatch(/^OK/);
      expect(verdict).toContain("TOKEN, NODE_ENV changed in .env");
      // Its code does not name the variable.
      expect(verdict).not.toContain("other v2");
      await expectToken(hub, "two");
      // The new process must not take the variables for those of its environment.
      expect((await runProgram(["upgrade"], { cwd: hub.dir })).exitCode).toBe(0);
      await expectToken(hub, "two");
      hub.write(".env", "TOKEN=three\nNODE_ENV=three\n");
      expect(await hub.ask("RELOAD")).toMatch(/^OK/);
      await expectToken(hub, "three");
      hub.remove(".env");
      expect(await hub.ask("RELOAD")).toMatch(/^OK/);
      await expectToken(hub, "");
    },
    FILES,
  ));

test("several processes read them too", () =>
  withProcesses(
    2,
    async (hub) => {
      for (let at = 0; at < 4; at++) await expectToken(hub, "one");
      hub.write(".env", "TOKEN=two\nNODE_ENV=two\n");
      expect(await hub.ask("RELOAD")).toMatch(/^OK/);
      for (let at = 0; at < 4; at++) await expectToken(hub, "two");
    },
    FILES,
  ));

test("a setting from a variable is in no file of the state folder, and a start with the last versions fills it in", () =>
  withProject(
    {
      ".env": "TOKEN=s3cret-one\nHRMR_MODULES_OTHER_KEY=s3cret-two\n",
      "hrmr.json": JSON.stringify({
        modules: { shown: { deep: [{ url: "http://me:${TOKEN}@host" }], plain: "$${TOKEN}" }, other: { key: "" } },
      }),
      "modules/shown.ts": showing("SHOWN"),
      "modules/other.ts": showing("OTHER"),
    },
    async (project) => {
      const old = '{"deep":[{"url":"http://me:s3cret-one@host"}],"plain":"${TOKEN}"}\n';
      const first = await project.start();
      expect(await first.ask("SHOWN")).toBe(old);
      first.write("modules/shown.ts", `${showing("SHOWN")}export const next = 2;\n`);
      expect(await first.ask("RELOAD")).toMatch(/^OK shown v2/);
      first.write(".env", "TOKEN=s3cret-new\nHRMR_MODULES_OTHER_KEY=s3cret-two\n");
      expect(await first.ask("RELOAD")).toMatch(/^OK shown v3/);
      const shown = old.replace("s3cret-one", "s3cret-new");
      expect(await first.ask("SHOWN")).toBe(shown);
      first.write("modules/shown.ts", "broken");
      const again = await project.restart("--resume");
      expect(await again.ask("SHOWN")).toBe(shown);
      expect(await again.ask("OTHER")).toBe('{"key":"s3cret-two"}\n');

      const state = join(project.dir, ".hrmr");
      const files = readdirSync(state, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
      const texts = files.map(({ parentPath, name }) => readFileSync(join(parentPath, name), "utf8"));
      expect(texts.filter((text) => text.includes("s3cret"))).toEqual([]);
      expect(texts.filter((text) => text.includes("http://me:${TOKEN}@host")).length).toBeGreaterThan(0);

      expect((await rollback(project.dir, "shown", "1")).exitCode).toBe(0);
      expect(await again.ask("SHOWN")).toBe(shown);
    },
  ));
