/** The stored versions. */
import { expect, test } from "bun:test";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runProgram } from "../../support/program";
import { historyOf, pong, untilWritten, versionsOf, withProject } from "../../support/restarts";

const GREET = "modules/greet.ts";

test("each version that served is listed, with where it came from, since when, and what became of it", () =>
  withProject({ [GREET]: pong("one") }, async (project) => {
    const hub = await project.start();
    hub.write(GREET, pong("two"));
    expect(await hub.ask("RELOAD\n")).toStartWith("OK greet v2 (was v1)");
    const [first, second] = await versionsOf(hub.dir, "greet");
    expect(first).toMatchObject({
      number: 1,
      from: "disk",
      of: null,
      verdict: "good",
      reason: null,
      isLive: false,
      isKept: true,
    });
    expect(second).toMatchObject({
      number: 2,
      from: "disk",
      verdict: "probation",
      isLive: true,
      source: join(hub.dir, GREET),
    });
    const { modules } = await hub.status();
    expect(modules.find(({ name }) => name === "greet")).toMatchObject({ hash: second?.hash ?? "", generation: 2 });
    expect(Date.parse(second?.at ?? "")).toBeWithin(Date.now() - 60_000, Date.now() + 1);

    const { stdout } = await runProgram(["versions"], { cwd: hub.dir });
    expect(stdout).toMatch(
      /^greet\n.*VERSION +HASH +SINCE +FROM +STANDING\n\* +v2 +[0-9a-f]{12} .* disk +probation\n +v1 .* good\n$/,
    );
    const missing = await runProgram(["versions", "nobody"], { cwd: hub.dir });
    expect([missing.exitCode, missing.stdout]).toEqual([1, ""]);
    expect(missing.stderr).toContain('No version of a module "nobody" is kept.');
  }));

test("a failed edit is no version, and neither is one that changes nothing", () =>
  withProject({ [GREET]: pong("one") }, async (project) => {
    const hub = await project.start();
    hub.write(GREET, "export default {");
    expect(await hub.ask("RELOAD\n")).toStartWith("ERR");
    hub.write(GREET, pong("one"));
    expect(await hub.ask("RELOAD\n")).toStartWith("OK");
    expect(await historyOf(hub.dir, "greet")).toEqual(["v1 disk good, live"]);
  }));

test("numbers go on over restarts and over a removal; the same files keep theirs", () =>
  withProject({ [GREET]: pong("one") }, async (project) => {
    const hub = await project.start();
    hub.write(GREET, pong("two"));
    await hub.ask("RELOAD\n");
    await project.restart();
    expect(await historyOf(hub.dir, "greet")).toEqual(["v1 disk good", "v2 disk probation, live"]);
    hub.write(GREET, pong("three"));
    const again = await project.restart();
    expect(await historyOf(hub.dir, "greet")).toEqual(["v1 disk good", "v2 disk probation", "v3 disk good, live"]);
    again.remove(GREET);
    expect(await again.ask("RELOAD\n")).toStartWith("OK greet unloaded (was v3)");
    again.write(GREET, pong("three"));
    expect(await again.ask("RELOAD\n")).toStartWith("OK greet v3 loaded");
    again.remove(GREET);
    await again.ask("RELOAD\n");
    const last = await project.restart();
    last.write(GREET, pong("four"));
    expect(await last.ask("RELOAD\n")).toStartWith("OK greet v4 loaded");
  }));

test("more versions than versions.keep are forgotten, with their bundles, and their numbers are not given again", () =>
  withProject({ [GREET]: pong("0"), "hrmr.json": '{ "versions": { "keep": 3 } }' }, async (project) => {
    const hub = await project.start();
    for (let edit = 1; edit <= 5; edit++) {
      hub.write(GREET, pong(String(edit)));
      await hub.ask("RELOAD\n");
    }
    await untilWritten(hub.dir);
    const kept = await versionsOf(hub.dir, "greet");
    expect(kept.map(({ number, isKept }) => `${number} ${isKept}`)).toEqual(["4 true", "5 true", "6 true"]);
    const folder = join(hub.dir, ".hrmr/versions/greet");
    expect(readdirSync(folder).sort()).toEqual([...kept.map(({ hash }) => `${hash}.js`), "index.json"].sort());
    expect(statSync(join(folder, "index.json")).mode & 0o777).toBe(0o600);
    expect(statSync(join(hub.dir, ".hrmr/approved.json")).mode & 0o777).toBe(0o600);
  }));

test("a damaged index is left out with a warning, and no number is given twice", () =>
  withProject({ [GREET]: pong("one") }, async (project) => {
    const hub = await project.start();
    hub.write(GREET, pong("two"));
    await hub.ask("RELOAD\n");
    await untilWritten(hub.dir);
    await project.kill();
    writeFileSync(join(hub.dir, ".hrmr/versions/greet/index.json"), '{ "format": 1, "vers');
    hub.write(GREET, pong("three"));
    const again = await project.start();
    await again.program.waitFor("index.json cannot be read, and is left out");
    expect(await historyOf(hub.dir, "greet")).toEqual(["v3 disk good, live"]);
    expect(JSON.parse(readFileSync(join(hub.dir, ".hrmr/approved.json"), "utf8"))).toMatchObject({ format: 1 });
  }));

test("what cannot be written down serves all the same, and is told", () =>
  withProject({ [GREET]: pong("one") }, async (project) => {
    const hub = await project.start();
    // In the place of the module's folder there is something else.
    hub.remove(".hrmr/versions/greet");
    hub.write(".hrmr/versions/greet", "no folder");
    hub.write(GREET, pong("two"));
    expect(await hub.ask("RELOAD\n")).toStartWith("OK greet v2");
    expect(await hub.ask("PING\n")).toBe("two\n");
    await hub.program.waitFor("could not be written to");
  }));
