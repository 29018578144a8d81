/** After a crash, a kill or a reboot: the versions that served last come back, whatever the files are by then. */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { moduleSource } from "../../support/hub";
import { Random } from "../../support/random";
import { historyOf, pong, rollback, withProject } from "../../support/restarts";
import { askWho, connectToEach, servingPids, whoModule } from "../../support/supervised";

const GREET = "modules/greet.ts";
const BROKEN = "export default {";

describe.each([1, 2])("with %d processes", (processes) => {
  const args = ["--processes", String(processes), "--resume"];

  test("the versions that served when the server was killed serve again, with their numbers, though every file is broken by then", () =>
    withProject(
      {
        [GREET]: pong("1"),
        "modules/who.ts": whoModule(1),
        "modules/gone.ts": pong("x").replace("PING", "GONE").replace("/ping", "/gone"),
      },
      async (project) => {
        const hub = await project.start(...args);
        hub.write(GREET, pong("2"));
        expect(await hub.ask("RELOAD\n")).toStartWith("OK greet v2");
        hub.write(GREET, BROKEN);
        hub.write("modules/who.ts", BROKEN);
        hub.remove("modules/gone.ts");
        hub.write("modules/new.ts", pong("new").replace("PING", "NEW").replace("/ping", "/new"));
        await project.kill();

        const again = await project.start(...args);
        expect(again.program.output()).not.toContain("error");
        expect(await again.ask("PING\n")).toBe("2\n");
        expect(await again.ask("GONE\n")).toBe("x\n");
        expect(await again.ask("NEW\n")).toStartWith("ERR no module is bound");
        for (const client of (await connectToEach(again, await servingPids(again))).values())
          expect((await askWho(client)).version).toBe(1);
        const { modules } = await again.status();
        expect(modules.map(({ name, state, generation }) => `${name} ${state} v${generation}`).sort()).toEqual([
          "gone serving v1",
          "greet serving v2",
          "http serving v1",
          "who serving v1",
        ]);
        expect(await historyOf(again.dir, "greet")).toEqual(["v1 disk good", "v2 disk probation, live"]);

        const verdict = await again.ask("RELOAD\n");
        expect(verdict).toStartWith("ERR");
        expect(verdict).toMatch(/gone unloaded[\s\S]*greet was not loaded[\s\S]*who was not loaded/);
        expect(await again.ask("PING\n")).toBe("2\n");
        again.write(GREET, pong("3"));
        again.write("modules/who.ts", whoModule(2));
        expect(await again.ask("RELOAD\n")).toMatch(/^OK[\s\S]*greet v3 \(was v2\)/);
      },
    ));

  test("a version that was rolled back stays out, with --resume and without", () =>
    withProject({ [GREET]: pong("1") }, async (project) => {
      const hub = await project.start("--processes", String(processes));
      hub.write(GREET, pong("2"));
      await hub.ask("RELOAD\n");
      expect((await rollback(hub.dir, "greet")).exitCode).toBe(0);
      for (const more of [["--resume"], []]) {
        await project.kill();
        const again = await project.start("--processes", String(processes), ...more);
        expect(await again.ask("PING\n")).toBe("1\n");
        expect(await again.ask("RELOAD\n")).toContain("held back: rolled back from v2");
        expect(await historyOf(again.dir, "greet")).toEqual([
          "v1 disk good",
          "v2 disk rolled back",
          "v3 rollback of v1 good, live",
        ]);
      }
      project.hub.write(GREET, pong("3"));
      expect(await project.hub.ask("RELOAD\n")).toStartWith("OK greet v4 (was v3)");
    }));
});

test("without --resume the files count, and --resume says so where there is nothing to resume", () =>
  withProject({ [GREET]: pong("1") }, async (project) => {
    const hub = await project.start("--resume");
    await hub.program.waitFor("There is nothing to resume: the modules folder is loaded.");
    await project.kill();
    hub.write(GREET, pong("2"));
    const again = await project.start();
    expect(await again.ask("PING\n")).toBe("2\n");
    expect(await historyOf(hub.dir, "greet")).toEqual(["v1 disk good", "v2 disk good, live"]);
    await project.kill();
    hub.write(GREET, pong("3"));
    const last = await project.start("--set", "resume=true");
    expect(await last.ask("PING\n")).toBe("2\n");
    expect(last.program.output()).not.toContain("nothing to resume");
  }));

test("what served may have been nothing: a module that was broken is so again, and told", () =>
  withProject({ [GREET]: BROKEN, "modules/who.ts": whoModule(1) }, async (project) => {
    const hub = await project.start();
    hub.write(GREET, pong("1"));
    await project.kill();
    const again = await project.start("--resume");
    expect((await again.status()).modules.find(({ name }) => name === "greet")).toMatchObject({
      state: "failed",
      error: expect.stringContaining("greet.ts"),
    });
    // It is tried again by itself, too: whichever comes first loads it.
    expect(await again.ask("RELOAD\n")).toStartWith("OK");
    expect(await again.ask("PING\n")).toBe("1\n");
  }));

test("a bundle that is gone or damaged is built again, or its module is told by name while the others serve", () =>
  withProject(
    {
      [GREET]: pong("1"),
      "modules/lost.ts": pong("lost").replace("PING", "LOST").replace("/ping", "/lost"),
      "modules/who.ts": whoModule(1),
    },
    async (project) => {
      const hub = await project.start();
      await project.kill();
      for (const name of ["greet", "lost"]) {
        for (const folder of ["versions", "bundles"].map((each) => join(hub.dir, ".hrmr", each, name))) {
          for (const file of readdirSync(folder).filter((each) => each.endsWith(".js"))) {
            if (name === "greet") rmSync(join(folder, file));
            else writeFileSync(join(folder, file), readFileSync(join(folder, file), "utf8").replace("lost", "evil"));
          }
        }
      }
      hub.write("modules/lost.ts", BROKEN);
      const again = await project.start("--resume");
      expect(await again.ask("PING\n")).toBe("1\n");
      expect(await again.ask("WHO\n")).toStartWith("v1 ");
      await again.program.waitFor('Module "lost" was not loaded: ');
      expect((await again.status()).modules.find(({ name }) => name === "lost")).toMatchObject({
        state: "failed",
        generation: null,
      });
      expect(await historyOf(hub.dir, "greet")).toEqual(["v1 disk good, live"]);
    },
  ));

test("a bundle that is gone, of files that have changed: the new ones serve under a number of their own", () =>
  withProject({ [GREET]: pong("1") }, async (project) => {
    const hub = await project.start();
    await project.kill();
    rmSync(join(hub.dir, ".hrmr/versions/greet"), { recursive: true });
    rmSync(join(hub.dir, ".hrmr/bundles"), { recursive: true });
    hub.write(GREET, pong("2"));
    const again = await project.start("--resume");
    expect(await again.ask("PING\n")).toBe("2\n");
    expect(await historyOf(hub.dir, "greet")).toEqual(["v2 resume good, live"]);
  }));

test("a damaged approved.json is told, and the files are loaded", () =>
  withProject({ [GREET]: pong("1") }, async (project) => {
    const hub = await project.start();
    await project.kill();
    writeFileSync(join(hub.dir, ".hrmr/approved.json"), '{ "format": 1, "modules": [{}] }');
    const again = await project.start("--resume");
    await again.program.waitFor("approved.json was not written by this version of hrmr, and is left out.");
    expect(await again.ask("PING\n")).toBe("1\n");
  }));

test("killed at any moment of a reload, the server comes back with the old or the new whole, and with what it had acknowledged", () =>
  withProject({ "modules/a.ts": source("A", 0), "modules/b.ts": source("B", 0) }, async (project) => {
    const random = new Random(20261121);
    const rounds = Number(process.env["HRMR_TEST_KILLS"] ?? 8);
    await project.start("--resume");
    let acknowledged = 0;
    for (let round = 1; round <= rounds; round++) {
      const { hub } = project;
      for (const name of ["a", "b"]) hub.write(`modules/${name}.ts`, source(name.toUpperCase(), round));
      const answer = hub.ask("RELOAD\n").catch(() => "");
      await Bun.sleep(random.below(40));
      const killed = project.kill();
      if ((await answer).startsWith("OK")) acknowledged = round;
      await killed;
      // Files that the next server must not look at.
      for (const name of ["a", "b"]) hub.write(`modules/${name}.ts`, BROKEN);
      const again = await project.start("--resume");
      const both = [await again.ask("A\n"), await again.ask("B\n")].map((text) => Number(text));
      expect(both[0]).toBe(both[1] as number);
      expect([acknowledged, round]).toContain(both[0] as number);
      acknowledged = both[0] as number;
    }
  }));

function source(key: string, round: number): string {
  return moduleSource(`{ routes: { "${key}": () => "${round}\\n" } }`);
}
