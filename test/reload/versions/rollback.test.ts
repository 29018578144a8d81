/** Going back to a version that has served: by hand. */
import { describe, expect, test } from "bun:test";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { moduleSource } from "../../support/hub";
import { runProgram } from "../../support/program";
import { historyOf, pong, type Project, rollback, withProject } from "../../support/restarts";
import { Askers, askWho, connectToEach, servingPids, whoModule } from "../../support/supervised";

const GREET = "modules/greet.ts";

/** Serves "1", "2", … one after another. */
async function serve(project: Project, versions: number, ...args: string[]): Promise<Project["hub"]> {
  const hub = await project.start(...args);
  for (let version = 2; version <= versions; version++) {
    hub.write(GREET, pong(String(version)));
    expect(await hub.ask("RELOAD\n")).toStartWith(`OK greet v${version}`);
  }
  return hub;
}

test("the version before serves again, and a reload does not undo that until the files change", () =>
  withProject({ [GREET]: pong("1") }, async (project) => {
    const hub = await serve(project, 3);
    const { exitCode, text } = await rollback(hub.dir, "greet");
    expect([exitCode, text]).toEqual([
      0,
      expect.stringMatching(/^OK greet v4 \(was v3\) swapped in \d+ ms, 0 connections dropped; the same as v2\n$/),
    ]);
    expect(await hub.ask("PING\n")).toBe("2\n");
    const held = "held back: rolled back from v3; edit the file or `hrmr reload --force greet`";
    const reload = await hub.ask("RELOAD\n");
    expect(reload).toStartWith("OK greet v4 unchanged");
    expect(reload).toContain(held);
    expect(await hub.ask("PING\n")).toBe("2\n");
    expect((await hub.status()).modules.find(({ name }) => name === "greet")).toMatchObject({
      state: "serving",
      notes: [held],
    });
    expect((await runProgram(["status"], { cwd: hub.dir })).stdout).toContain(`\ngreet: ${held}\n`);

    hub.write(GREET, pong("4"));
    expect(await hub.ask("RELOAD\n")).toStartWith("OK greet v5 (was v4) swapped");
    hub.write(GREET, pong("3"));
    // Edited since: what failed then is tried as anything else.
    expect(await hub.ask("RELOAD\n")).toStartWith("OK greet v6 (was v5) swapped");
    expect(await historyOf(hub.dir, "greet")).toEqual([
      "v1 disk good",
      "v2 disk good",
      "v3 disk rolled back",
      "v4 rollback of v2 good",
      "v5 disk good",
      "v6 disk probation, live",
    ]);
  }));

test("one rollback after another goes into the past, a named one goes anywhere, and --force brings the files back", () =>
  withProject({ [GREET]: pong("1") }, async (project) => {
    const hub = await serve(project, 3);
    for (const expected of ["2\n", "1\n"]) {
      expect((await rollback(hub.dir, "greet")).exitCode).toBe(0);
      expect(await hub.ask("PING\n")).toBe(expected);
    }
    const none = await rollback(hub.dir, "greet");
    expect([none.exitCode, none.text]).toEqual([
      1,
      expect.stringContaining('No good version of module "greet" before v5 is kept.'),
    ]);
    expect(await hub.ask("RELOAD\n")).toContain("held back");
    const { stdout } = await runProgram(["reload", "--force", "greet"], { cwd: hub.dir });
    expect(stdout).toStartWith("OK greet v6 (was v5) swapped");
    expect(await hub.ask("PING\n")).toBe("3\n");
    expect((await rollback(hub.dir, "greet", "v1")).text).toContain("the same as v1");
    expect(await hub.ask("PING\n")).toBe("1\n");
    // Back to the files on the disk: they are no longer held back.
    expect((await rollback(hub.dir, "greet", "3")).exitCode).toBe(0);
    expect(await hub.ask("RELOAD\n")).toMatch(/^OK 2 modules unchanged/);
  }));

test("mistakes are told, and change nothing", () =>
  withProject({ [GREET]: pong("1") }, async (project) => {
    const hub = await serve(project, 2);
    const mistakes: [string[], string][] = [
      [["greet", "v9"], 'Module "greet" has no stored version "v9".'],
      [["greet", "2"], 'Module "greet" serves v2, which is the same as v2.'],
      [["nobody"], 'No version of a module "nobody" is kept.'],
    ];
    for (const [args, message] of mistakes) {
      const { exitCode, text } = await rollback(hub.dir, ...args);
      expect([exitCode, text]).toEqual([1, expect.stringContaining(message)]);
    }
    expect((await rollback(hub.dir)).exitCode).toBe(2);
    expect(await hub.ask("PING\n")).toBe("2\n");
    expect(await historyOf(hub.dir, "greet")).toEqual(["v1 disk good", "v2 disk probation, live"]);
  }));

test("a stored version that does not load any more leaves what serves, and is told with the cause", () =>
  withProject({ [GREET]: pong("1") }, async (project) => {
    const setup = `setup() { if (require("node:fs").existsSync("${project.dir}/forbidden")) throw new Error("not any more"); }`;
    const hub = await serve(project, 1);
    hub.write(GREET, moduleSource(`{ ${setup}, routes: { "PING": () => "2\\n" } }`));
    await hub.ask("RELOAD\n");
    hub.write(GREET, pong("3"));
    await hub.ask("RELOAD\n");
    hub.write("forbidden", "");
    const { exitCode, text } = await rollback(hub.dir, "greet", "2");
    expect([exitCode, text]).toEqual([1, expect.stringContaining("not any more")]);
    expect(await hub.ask("PING\n")).toBe("3\n");
    // Nothing was rolled back from.
    expect((await hub.status()).modules.find(({ name }) => name === "greet")?.notes).toEqual([
      expect.stringMatching(/^v3 is on probation for another \d+ s$/),
    ]);
  }));

test("a version whose bundle is gone is built from its files, and refused if those have changed", () =>
  withProject({ [GREET]: pong("1") }, async (project) => {
    const hub = await serve(project, 2);
    for (const folder of [".hrmr/versions/greet", ".hrmr/bundles/greet"]) {
      for (const file of readdirSync(join(hub.dir, folder)))
        if (file.endsWith(".js")) rmSync(join(hub.dir, folder, file));
    }
    const { exitCode, text } = await rollback(hub.dir, "greet");
    expect([exitCode, text]).toEqual([1, expect.stringContaining("the bundle of v1 is gone or damaged")]);
    expect(await hub.ask("PING\n")).toBe("2\n");
    hub.write(GREET, pong("1"));
    expect((await rollback(hub.dir, "greet")).exitCode).toBe(0);
    expect(await hub.ask("PING\n")).toBe("1\n");
  }));

test("a module that is broken on the disk since the start is brought back by hand", () =>
  withProject({ [GREET]: pong("1") }, async (project) => {
    const hub = await project.start();
    hub.write(GREET, "export default {");
    const again = await project.restart();
    expect((await again.status()).modules.find(({ name }) => name === "greet")).toMatchObject({ state: "failed" });
    expect((await rollback(again.dir, "greet")).text).toStartWith("OK greet v2 loaded");
    expect(await again.ask("PING\n")).toBe("1\n");
    expect(await again.ask("RELOAD\n")).toStartWith("ERR");
    expect(await again.ask("PING\n")).toBe("1\n");
  }));

test("settings are part of a version: they come back with it, and their change is what is held back", () =>
  withProject(
    {
      [GREET]: moduleSource(`{ routes: { "PING": (_message, context) => context.config.word + "\\n" } }`),
      "hrmr.json": '{ "modules": { "greet": { "word": "old" } } }',
    },
    async (project) => {
      const hub = await project.start();
      hub.write("hrmr.json", '{ "modules": { "greet": { "word": "new" } } }');
      expect(await hub.ask("RELOAD\n")).toContain("its settings changed");
      expect((await rollback(hub.dir, "greet")).exitCode).toBe(0);
      expect(await hub.ask("PING\n")).toBe("old\n");
      expect(await hub.ask("RELOAD\n")).toContain("held back: rolled back from v2");
      expect(await hub.ask("PING\n")).toBe("old\n");
      hub.write("hrmr.json", '{ "modules": { "greet": { "word": "newer" } } }');
      expect(await hub.ask("RELOAD\n")).toStartWith("OK greet v4");
      expect(await hub.ask("PING\n")).toBe("newer\n");
    },
  ));

describe.each([1, 2])("with %d processes", (processes) => {
  test("rollbacks, reloads and edits under load give no wrong answer, and all processes end with the same version", () =>
    withProject({ "modules/who.ts": whoModule(1) }, async (project) => {
      const hub = await project.start("--processes", String(processes));
      const askers = new Askers(hub.port, 4, ["http", "line"]);
      for (let version = 2; version <= 6; version++) {
        hub.write("modules/who.ts", whoModule(version));
        expect(await hub.ask("RELOAD\n")).toStartWith("OK");
        await askers.answers(50);
        expect((await rollback(hub.dir, "who")).exitCode).toBe(0);
        await askers.answers(50);
        expect(await hub.ask("RELOAD\n")).toContain("held back");
        await askers.answers(50);
      }
      const { failures, refused, cutOff, versions } = await askers.stop();
      expect({ failures, refused, cutOff }).toEqual({ failures: [], refused: 0, cutOff: 0 });
      expect([...versions].sort()).toEqual([1, 2, 3, 4, 5, 6]);
      for (const client of (await connectToEach(hub, await servingPids(hub))).values())
        expect((await askWho(client)).version).toBe(1);
    }));
});
