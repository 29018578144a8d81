/** Servers that are named by their pid files, from any folder. */
import { expect, test } from "bun:test";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeProject, moduleSource, withHub } from "../support/hub";
import { runProgram } from "../support/program";

const NEVER = {
  "modules/p.ts": moduleSource(
    '{ routes: { "NEVER": { framing: "line", handle: () => { console.log("began"); return new Promise(() => {}); } } } }',
  ),
};
const elsewhere = { cwd: tmpdir() };

test("hrmr status -P and stop -P find the server from any folder", async () => {
  await withHub(NEVER, ["-P", "run.pid"], async (hub) => {
    const file = join(hub.dir, "run.pid");
    const { exitCode, stdout } = await runProgram(["status", "-P", file, "--json"], elsewhere);
    expect([exitCode, (JSON.parse(stdout) as { pid: number }).pid]).toEqual([0, hub.program.pid]);
    const stopped = await runProgram(["stop", "--pid-file", file], elsewhere);
    expect(stopped.stdout).toBe(`hrmr has stopped (pid ${hub.program.pid}).\n`);
    expect([await hub.program.exited, existsSync(file)]).toEqual([0, false]);
  });
});

test("stop -P --force cuts what is under way, and --timeout gives up", async () => {
  await withHub(NEVER, ["-P", "run.pid"], async (hub) => {
    const file = join(hub.dir, "run.pid");
    const client = await hub.connect();
    await client.send("NEVER\n");
    await hub.program.waitFor("began");
    const late = await runProgram(["stop", "-P", file, "--timeout", "1"], elsewhere);
    expect([late.exitCode, late.stderr.split("\n")[0]]).toEqual([
      1,
      `The server, pid ${hub.program.pid}, still finishes what is under way, after 1 s.`,
    ]);
    expect((await runProgram(["stop", "-P", file, "--force"], elsewhere)).exitCode).toBe(0);
    await hub.program.exited;
  });
});

test("a pid file of nobody's is told, and nobody is ended by it", async () => {
  const dir = makeProject({});
  const other = Bun.spawn(["sleep", "60"]);
  try {
    // Its id is that of another program by now: nobody holds the lock.
    writeFileSync(join(dir, "left.pid"), `${other.pid}\n`);
    writeFileSync(join(dir, "text.pid"), "no number\n");
    for (const [file, why] of [
      ["left.pid", "the server that wrote it has ended"],
      ["text.pid", "it holds no process id"],
      ["none.pid", "there is no such file"],
    ]) {
      for (const command of ["stop", "status"]) {
        const { exitCode, stderr } = await runProgram([command, "-P", file as string], { cwd: dir });
        expect([exitCode, stderr.split("\n")[0]]).toEqual([
          1,
          `No hrmr server runs with the pid file ${dir}/${file}: ${why}.`,
        ]);
      }
    }
    expect(other.exitCode).toBeNull();
  } finally {
    other.kill();
    rmSync(dir, { recursive: true });
  }
});
