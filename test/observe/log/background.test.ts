/** The log of `hrmr start -d`, which the commands that come later must leave in its format. */
import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runProgram } from "../../support/program";
import { until } from "../../support/until";

const START = ["start", "-d", "--port", "0", "--log-format", "json"];

let dir: string;

afterEach(async () => {
  await runProgram(["stop", "--force"], { cwd: dir });
  rmSync(dir, { recursive: true, force: true });
});

test.skipIf(process.platform !== "linux")(
  "an upgrade and a refused second start leave a log for machines in JSON (reads /proc)",
  async () => {
    dir = mkdtempSync(join(tmpdir(), "hrmr-background-log-"));
    expect((await runProgram(START, { cwd: dir })).exitCode).toBe(0);
    const second = await runProgram(START, { cwd: dir });
    expect([second.exitCode, second.stderr]).toEqual([1, expect.stringContaining("runs with the state folder")]);
    const upgrade = await runProgram(["upgrade"], { cwd: dir });
    expect([upgrade.exitCode, upgrade.stdout]).toEqual([0, expect.stringMatching(/^OK pid \d+ serves/)]);

    const told = await until("the log tells of both servers' starts", () => {
      const lines = readFileSync(join(dir, ".hrmr", "hrmr.log"), "utf8")
        .split("\n")
        .slice(0, -1);
      const parsed = lines.map((line) => JSON.parse(line) as { level: string; msg: string });
      return parsed.filter(({ msg }) => msg.includes("ready in")).length === 2 && parsed;
    });
    // The second start's failure is no trouble of the server that runs.
    expect(told.filter(({ level }) => level === "critical")).toEqual([]);
  },
);
