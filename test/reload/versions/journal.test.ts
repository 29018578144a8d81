/** The journal of the version store: what an answered reload is kept with until the other files are written. */
import { expect, test } from "bun:test";
import {
  appendFileSync,
  copyFileSync,
  cpSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { Journal, type StoreChange } from "../../../src/reload/versions/journal";
import { makeProject } from "../../support/hub";
import { historyOf, pong, type Project, untilWritten, withProject } from "../../support/restarts";

const GREET = "modules/greet.ts";
const JOURNAL = ".hrmr/approved.log";
const change = (name: string): StoreChange => ({ modules: [], gone: [name], records: {} });

function withJournal(test: (journal: Journal, dir: string) => void): void {
  const dir = makeProject({});
  try {
    test(new Journal(dir), dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

test("lines come back in their order, with values that JSON has not", () =>
  withJournal((journal, dir) => {
    const config = { big: 12345678901234567890n, at: new Date("2026-11-28T00:00:00Z"), text: "ä\n€" };
    const version = { number: 2, hash: "0123456789ab", file: "/b.js", config };
    const module = { name: "a", source: "/a.ts", isImplicit: false, version, lastNumber: 2, error: null, hold: null };
    const first: StoreChange = { modules: [module], gone: [], records: {} };
    journal.append(first);
    journal.append(change("b"));
    expect(new Journal(dir).read()).toEqual({ changes: [first, change("b")], droppedBytes: 0 });
    expect(statSync(journal.path).mode & 0o777).toBe(0o600);
    expect(journal.bytes).toBe(statSync(journal.path).size);
  }));

test("a journal that is cut anywhere has the lines before the cut, and tells how much is damaged", () =>
  withJournal((journal, dir) => {
    for (const name of ["a", "b", "c"]) journal.append(change(name));
    const whole = readFileSync(journal.path);
    const ends = [...whole].flatMap((byte, at) => (byte === 10 ? [at + 1] : []));
    for (let length = 0; length <= whole.length; length++) {
      writeFileSync(journal.path, whole.subarray(0, length));
      const lines = ends.filter((end) => end <= length);
      const { changes, droppedBytes } = new Journal(dir).read();
      expect(changes).toEqual(["a", "b", "c"].slice(0, lines.length).map(change));
      expect(droppedBytes).toBe(length - (lines.at(-1) ?? 0));
    }
  }));

test("a byte that is wrong anywhere ends the journal at its line", () =>
  withJournal((journal, dir) => {
    for (const name of ["a", "b", "c"]) journal.append(change(name));
    const whole = readFileSync(journal.path);
    for (let at = 0; at < whole.length; at++) {
      const line = whole.subarray(0, at).filter((byte) => byte === 10).length;
      for (const flip of [1, 32, 128]) {
        const wrong = Buffer.from(whole);
        wrong[at] = (wrong[at] as number) ^ flip;
        writeFileSync(journal.path, wrong);
        expect(new Journal(dir).read().changes).toEqual(["a", "b", "c"].slice(0, line).map(change));
      }
    }
  }));

test("lines that are in the other files are dropped, and lines that came meanwhile stay", () =>
  withJournal((journal, dir) => {
    for (const name of ["a", "b", "c"]) journal.append(change(name));
    journal.drop(2);
    expect(new Journal(dir).read().changes).toEqual([change("c")]);
    journal.append(change("d"));
    expect(new Journal(dir).read().changes).toEqual([change("c"), change("d")]);
    journal.drop(2);
    expect(statSync(journal.path).size).toBe(0);
    rmSync(journal.path);
    journal.drop(0);
    expect(new Journal(dir).read()).toEqual({ changes: [], droppedBytes: 0 });
  }));

/** Leaves the files as a server leaves them that was killed right after it had answered the reload to v2. */
async function killedAfterTheAnswer(project: Project): Promise<string> {
  const hub = await project.start();
  await untilWritten(hub.dir);
  const before = join(hub.dir, "before");
  cpSync(join(hub.dir, ".hrmr/versions"), join(before, "versions"), { recursive: true });
  copyFileSync(join(hub.dir, ".hrmr/approved.json"), join(before, "approved.json"));
  hub.write(GREET, pong("2"));
  expect(await hub.ask("RELOAD\n")).toStartWith("OK greet v2");
  await untilWritten(hub.dir);
  const { modules } = JSON.parse(readFileSync(join(hub.dir, ".hrmr/approved.json"), "utf8"));
  const index = JSON.parse(readFileSync(join(hub.dir, ".hrmr/versions/greet/index.json"), "utf8"));
  await project.kill();
  rmSync(join(hub.dir, ".hrmr/versions"), { recursive: true });
  cpSync(join(before, "versions"), join(hub.dir, ".hrmr/versions"), { recursive: true });
  copyFileSync(join(before, "approved.json"), join(hub.dir, ".hrmr/approved.json"));
  const greet = modules.find(({ name }: { name: string }) => name === "greet");
  new Journal(join(hub.dir, ".hrmr")).append({ modules: [greet], gone: [], records: { greet: index.versions } });
  hub.write(GREET, "export default {");
  return hub.dir;
}

test("a start finds what only the journal has, and moves it to the other files", () =>
  withProject({ [GREET]: pong("1") }, async (project) => {
    const dir = await killedAfterTheAnswer(project);
    const hub = await project.start("--resume");
    expect(await hub.ask("PING\n")).toBe("2\n");
    expect(hub.program.output()).not.toContain("approved.log");
    expect(await historyOf(dir, "greet")).toEqual(["v1 disk good", "v2 disk probation, live"]);
    await untilWritten(dir);
    expect(readFileSync(join(dir, ".hrmr/versions/greet/index.json"), "utf8")).toContain('"number": 2');
    // The bundle is kept, too.
    rmSync(join(dir, ".hrmr/bundles"), { recursive: true });
    await project.kill();
    expect(await (await project.start("--resume")).ask("PING\n")).toBe("2\n");
  }));

const DAMAGE: [name: string, damage: (path: string) => void][] = [
  ["torn", (path) => truncateSync(path, statSync(path).size - 9)],
  ["with another checksum", (path) => writeFileSync(path, readFileSync(path, "utf8").replace(/^./, "x"))],
  ["followed by zeros", (path) => writeFileSync(path, Buffer.alloc(4096))],
];

test.each(DAMAGE)(
  "a line that is %s is dropped with a line in the log, and the versions before it serve",
  (_, damage) =>
    withProject({ [GREET]: pong("1") }, async (project) => {
      const dir = await killedAfterTheAnswer(project);
      damage(join(dir, JOURNAL));
      const hub = await project.start("--resume");
      await hub.program.waitFor(/approved\.log: the last \d+ bytes were not written completely, and are dropped/);
      expect(await hub.ask("PING\n")).toBe("1\n");
      hub.write(GREET, pong("3"));
      expect(await hub.ask("RELOAD\n")).toStartWith("OK greet v2 (was v1)");
      await project.kill();
      const again = await project.start("--resume");
      expect(await again.ask("PING\n")).toBe("3\n");
      expect(again.program.output()).not.toContain("dropped");
    }),
);

test("a line whose bundle did not reach the disk is dropped, and nobody gets the number of its version", () =>
  withProject({ [GREET]: pong("1") }, async (project) => {
    const dir = await killedAfterTheAnswer(project);
    const { changes } = new Journal(join(dir, ".hrmr")).read();
    truncateSync((changes as StoreChange[])[0]?.modules[0]?.version?.file ?? "", 10);
    const hub = await project.start("--resume");
    await hub.program.waitFor("approved.log: the bundles of the last reload did not reach the disk.");
    expect(await hub.ask("PING\n")).toBe("1\n");
    hub.write(GREET, pong("3"));
    expect(await hub.ask("RELOAD\n")).toStartWith("OK greet v3 (was v1)");
  }));

test("a journal that cannot be written stops no reload, and is told", () =>
  withProject({ [GREET]: pong("1") }, async (project) => {
    const hub = await project.start();
    await untilWritten(hub.dir);
    hub.remove(JOURNAL);
    hub.write(`${JOURNAL}/in-its-place`, "");
    hub.write(GREET, pong("2"));
    expect(await hub.ask("RELOAD\n")).toStartWith("OK greet v2");
    await hub.program.waitFor("could not be written to");
    expect(await hub.ask("PING\n")).toBe("2\n");
  }));

test("a server that stops leaves an empty journal", () =>
  withProject({ [GREET]: pong("1") }, async (project) => {
    const hub = await project.start();
    hub.write(GREET, pong("2"));
    await hub.ask("RELOAD\n");
    await hub.program.stop();
    expect(statSync(join(hub.dir, JOURNAL)).size).toBe(0);
    appendFileSync(join(hub.dir, GREET), "broken (");
    expect(await (await project.start("--resume")).ask("PING\n")).toBe("2\n");
  }));
