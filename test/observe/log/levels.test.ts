/** The first and the last level: events that end the server, and a connection's changes of state. */
import { expect, test } from "bun:test";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createLog } from "../../../src/observe/log/log";
import { makeProject, moduleSource, withHub } from "../../support/hub";
import { runProgram } from "../../support/program";

const MODULES = {
  "modules/p.ts": moduleSource(
    '{ routes: { "PING": { framing: "line", handle: () => "PONG\\n" }, "NEVER": { framing: "line", handle: () => new Promise(() => {}) } } }',
  ),
};

test("each level tells what is as grave, or graver", () => {
  const levels = ["critical", "error", "warn", "info", "debug", "trace"] as const;
  for (const [at, level] of levels.entries()) {
    const lines: string[] = [];
    const log = createLog({ level, format: "json", write: (text) => lines.push(text) });
    for (const each of levels) log[each](`says ${each}`);
    expect(lines.map((line) => (JSON.parse(line) as { level: string }).level)).toEqual(levels.slice(0, at + 1));
  }
});

test("trace tells a connection's states by name, with its number, and debug those of the server", async () => {
  await withHub(MODULES, ["--log-level", "trace"], async (hub) => {
    expect(await hub.ask("PING\n")).toBe("PONG\n");
    await hub.program.waitFor(/ is closed, after raw/);
    const states = [...hub.program.output().matchAll(/trace #1 (.*)/g)].map(([, text]) => text);
    expect(states).toEqual([
      "was accepted over tcp",
      "goes from new to raw",
      "has ended its side",
      "is closed, after raw",
    ]);
    const client = await hub.connect();
    await client.send("PI");
    await hub.program.waitFor(/trace #2 turns from idle to message/);
    await client.send("NG\n");
    await hub.program.waitFor(/trace #2 turns from message to idle/);
    client.close();
    await (await fetch(hub.url)).text();
    await hub.program.waitFor(/trace #3 goes from new to http1/);
  });
  await withHub(MODULES, ["--log-level", "debug"], async (hub) => {
    expect(await hub.ask("PING\n")).toBe("PONG\n");
    expect(hub.program.output()).not.toContain("trace");
    await hub.program.waitFor("debug the server turns from starting to serving");
    hub.program.signal("SIGTERM");
    await hub.program.waitFor("debug the server turns from serving to stopping");
  });
});

test("critical tells that a second signal ends the server", async () => {
  await withHub(MODULES, [], async (hub) => {
    const client = await hub.connect();
    await client.send("PING\nNEVER\n");
    await client.waitFor("PONG\n");
    hub.program.signal("SIGTERM");
    await hub.program.waitFor("SIGTERM: finishing what is under way");
    hub.program.signal("SIGTERM");
    expect(await hub.program.exited).toBe(143);
    await hub.program.waitFor(/Z critical SIGTERM again: the server ends at once/);
  });
});

test("critical tells, in a log file, why the server does not start", async () => {
  const dir = makeProject({
    ...MODULES,
    "hrmr.json": '{ "log": { "file": "hrmr.log", "level": "critical" } }',
    data: "",
  });
  try {
    const { stderr } = await runProgram(["start", "--port", "0", "--data", "data/below"], { cwd: dir });
    expect(stderr).toStartWith(`The data folder ${dir}/data/below cannot be written.`);
    expect(readFileSync(join(dir, "hrmr.log"), "utf8")).toMatch(
      /^\S+Z critical the server does not start: The data folder /,
    );
  } finally {
    rmSync(dir, { recursive: true });
  }
});
