/** A server whose event loop is blocked: status names the module, and the server can be ended. */
import { expect, test } from "bun:test";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Hub, makeProject, moduleSource, withHub } from "../support/hub";
import { callProgram } from "../support/call-program";
import { runProgram } from "../support/program";
import { lives } from "../support/supervised";
import { eventually, until } from "../support/until";

/** A file named "go" in the project ends it. */
const BLOCK = moduleSource(`{ routes: { "BLOCK": () => {
  while (!require("node:fs").existsSync(${JSON.stringify("DIR")} + "/go")) Bun.sleepSync(5);
  return "over\\n";
} } }`);

async function withBlocked(args: string[], test: (hub: Hub) => Promise<void>): Promise<void> {
  await withHub({ "modules/ping.ts": moduleSource('{ routes: { "PING": () => "PONG\\n" } }') }, args, async (hub) => {
    hub.write("modules/greedy.ts", BLOCK.replace("DIR", hub.dir));
    expect(await hub.ask("RELOAD")).toStartWith("OK ");
    const client = await hub.connect();
    await client.send("BLOCK");
    // Messages behind it are not answered any more.
    await hub.program.waitFor(/"BLOCK" has been blocking the event loop/);
    try {
      await test(hub);
    } finally {
      hub.write("go", "");
    }
  });
}

const FAST = ["--set", "timeouts.blockedMs=200"];

test("hrmr status says who blocks it, and that it does no more", async () => {
  await withBlocked(FAST, async (hub) => {
    const { exitCode, stderr } = await runProgram(["status"], { cwd: hub.dir });
    expect(stderr).toMatch(
      /^The server, pid \d+, does not answer: greedy v1: "BLOCK" has been blocking its event loop for [\d.]+ s\.\n`hrmr stop --force` ends it\./,
    );
    expect(stderr).toContain(`pid ${hub.program.pid},`);
    expect(exitCode).toBe(1);
    hub.write("go", "");
    await hub.program.waitFor(/"BLOCK" blocked the event loop for /);
    await eventually(async () => expect((await callProgram(["status"], { cwd: hub.dir })).exitCode).toBe(0));
    expect(existsSync(join(hub.dir, ".hrmr/blocked.json"))).toBe(false);
  });
});

test("hrmr stop --force ends it", async () => {
  await withBlocked(FAST, async (hub) => {
    const { exitCode, stdout, stderr } = await runProgram(["stop", "--force"], { cwd: hub.dir });
    expect(stderr).toContain(`The server, pid ${hub.program.pid}, did not answer within 2 s, and was killed.`);
    expect(stdout).toBe(`hrmr has stopped (pid ${hub.program.pid}).\n`);
    expect(exitCode).toBe(0);
    await hub.program.exited;
  });
});

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  test(`two of ${signal} end it, whether its watchdog is on or not`, async () => {
    for (const blockedMs of [200, 0]) {
      await withHub(
        { "modules/ping.ts": moduleSource('{ routes: { "PING": () => "PONG\\n" } }') },
        ["--set", `timeouts.blockedMs=${blockedMs}`],
        async (hub) => {
          hub.write(
            "modules/greedy.ts",
            BLOCK.replace("DIR", hub.dir).replace("while", 'require("node:fs").writeFileSync("began", ""); while'),
          );
          expect(await hub.ask("RELOAD")).toStartWith("OK ");
          const client = await hub.connect();
          await client.send("BLOCK");
          await until("the handler to begin", () => existsSync(join(hub.dir, "began")));
          hub.program.signal(signal);
          // The kernel takes it before it sends another of its kind, and ends nothing by it.
          await until("the first one to be taken", () => !isPending(hub.program.pid, signal));
          expect(lives(hub.program.pid)).toBe(true);
          hub.program.signal(signal);
          expect([130, 143]).toContain(await hub.program.exited);
        },
      );
    }
  });
}

test("one of several processes that is blocked is told of, and ended by --force", async () => {
  await withBlocked([...FAST, "--processes", "2"], async (hub) => {
    const { exitCode, stdout } = await callProgram(["status"], { cwd: hub.dir });
    expect(stdout).toContain("1 of 2 processes");
    expect(exitCode).toBe(0);
    expect((await callProgram(["stop", "--force"], { cwd: hub.dir })).exitCode).toBe(0);
    await hub.program.exited;
  });
});

test("a signal that comes while it is not blocked drains, also a second time", async () => {
  await withHub(
    {
      "modules/slow.ts": moduleSource(
        '{ routes: { "NEVER": { framing: "line", handle: () => { console.log("began"); return new Promise(() => {}); } } } }',
      ),
    },
    [],
    async (hub) => {
      const client = await hub.connect();
      await client.send("NEVER\n");
      await hub.program.waitFor("began");
      hub.program.signal("SIGTERM");
      await hub.program.waitFor("SIGTERM: finishing what is under way; a second one ends at once");
      hub.program.signal("SIGTERM");
      expect(await hub.program.exited).toBe(143);
      // By the server itself, which takes its files along.
      expect(existsSync(join(hub.dir, ".hrmr/lock"))).toBe(false);
    },
  );
});

test("hrmr start -d tells on stderr of modules that failed, as a start in the foreground does", async () => {
  const dir = makeProject({
    "modules/good.ts": moduleSource('{ routes: { "G": () => "g\\n" } }'),
    "modules/bad.ts": "export default 1;\n",
  });
  try {
    const { exitCode, stdout, stderr } = await runProgram(["start", "-d", "--port", "0"], { cwd: dir });
    await callProgram(["stop"], { cwd: dir });
    expect(exitCode).toBe(0);
    expect(stdout).toContain("in the background: pid ");
    expect(stderr).toStartWith(
      'Module "bad" was not loaded: modules/bad.ts: Module "bad": the default export is a number.',
    );
    rmSync(join(dir, "modules/bad.ts"));
    const second = await runProgram(["start", "-d", "--port", "0"], { cwd: dir });
    await callProgram(["stop"], { cwd: dir });
    expect(second.stderr).toBe("");
  } finally {
    rmSync(dir, { recursive: true });
  }
});

/** Whether the signal waits for a thread of the process to take it (proc(5), ShdPnd). */
function isPending(pid: number, signal: "SIGTERM" | "SIGINT"): boolean {
  const number = signal === "SIGTERM" ? 15 : 2;
  const [, mask = "0"] = /^ShdPnd:\s*(\w+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return (BigInt(`0x${mask}`) & (1n << BigInt(number - 1))) !== 0n;
}
