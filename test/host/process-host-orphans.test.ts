/**
 * Nothing is left of a module's process: not itself, none of its children, no file; and it has no descriptor of the
 * server's.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { describe, expect, test } from "bun:test";
import { type Hub, moduleSource, withHub } from "../support/hub";
import { until } from "../support/until";

const PARENT = moduleSource(`{ routes: {
  "PID": { framing: "line", run: "process", handle: () => process.pid + "\\n" },
  "GROUP": { framing: "line", run: "process", handle: () => process.ppid + "\\n" },
  "START": { framing: "line", run: "process", handle: () => Bun.spawn(["sleep", "1000"]).pid + "\\n" },
  "ENV": { framing: "line", run: "process", handle: () => JSON.stringify(process.env) + "\\n" },
  "SEND": { framing: "line", run: "process", handle: () => typeof process.send + " " + typeof process.disconnect + "\\n" },
  "LOOP": { framing: "line", run: "process", timeoutMs: 0, handle: () => { for (;;); } },
} }`);
const FILES = { "modules/parent.ts": PARENT };

function lives(pid: number): boolean {
  try {
    // One that nobody waits for is gone too.
    return !readFileSync(`/proc/${pid}/stat`, "latin1").includes(") Z ");
  } catch {
    return false;
  }
}

async function untilGone(...pids: number[]): Promise<void> {
  await until(`the processes ${pids.join()} have ended`, () => !pids.some(lives));
}

async function numberOf(hub: Hub, word: string): Promise<number> {
  return Number(await hub.ask(word));
}

test("kill -9 of the server ends it and what it started, also in the middle of a loop", () =>
  withHub(FILES, [], async (hub) => {
    const pids = [await numberOf(hub, "PID\n"), await numberOf(hub, "START\n")];
    const looping = await hub.connect();
    await looping.send("LOOP\n");
    hub.program.signal("SIGKILL");
    await hub.program.exited;
    await untilGone(...pids);
  }));

test("kill -9 of one process of several ends that one's", () =>
  withHub({ ...FILES, "hrmr.json": '{ "processes": 2 }' }, [], async (hub) => {
    const processes = (await hub.status()).modules.find(({ name }) => name === "parent")?.processes ?? [];
    expect(new Set(processes.map(({ pid }) => pid)).size).toBe(2);
    const server = await numberOf(hub, "GROUP\n");
    const mine = processes.map(({ pid }) => pid).filter((pid) => parentOf(pid) === server);
    expect(mine).toHaveLength(1);
    process.kill(server, "SIGKILL");
    await untilGone(...mine);
    await hub.program.waitFor(/replaced|started in place|was lost|ended: SIGKILL/);
    expect(await numberOf(hub, "PID\n")).toBeGreaterThan(0);
  }));

test("a shutdown ends it, and a signal to its group does not", () =>
  withHub(FILES, [], async (hub) => {
    const pid = await numberOf(hub, "PID\n");
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR2"] as const) process.kill(pid, signal);
    expect(await numberOf(hub, "PID\n")).toBe(pid);
    await hub.program.stop();
    await untilGone(pid);
  }));

describe("it has nothing of the server's", () => {
  test("but three pipes and the shared memory, which no folder lists", () =>
    withHub(FILES, [], async (hub) => {
      const pid = await numberOf(hub, "PID\n");
      const opened = readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
        try {
          return [readlinkSync(`/proc/${pid}/fd/${fd}`)];
        } catch {
          return [];
        }
      });
      // Of sockets it has stdout, stderr and the channel; the rest is its own event loop.
      expect(opened.filter((target) => target.startsWith("socket:")).length).toBeLessThanOrEqual(3);
      const files = opened.filter((target) => target.startsWith("/") && target !== "/dev/null");
      expect(files.filter((target) => !target.endsWith("(deleted)"))).toEqual([]);
      const map = readFileSync(`/proc/${pid}/maps`, "latin1")
        .split("\n")
        .filter((line) => / rw-s /.test(line) && line.includes("(deleted)"));
      expect(map).toHaveLength(1);
    }));

  test("not the ways to the server, in its environment or on its process object", () =>
    withHub(FILES, [], async (hub) => {
      const env = JSON.parse(await hub.ask("ENV\n")) as Record<string, string>;
      for (const name of ["HRMR_ROLE", "NODE_CHANNEL_FD", "BUN_FEATURE_FLAG_NO_ORPHANS", "NOTIFY_SOCKET"])
        expect(env[name]).toBeUndefined();
      expect(await hub.ask("SEND\n")).toBe("undefined undefined\n");
    }));
});

function parentOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
}
