/** The audit log: orders to the server, with their senders. */
import { describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AuditLog } from "../../src/control/audit";
import { ask } from "../support/client";
import { type Hub, moduleSource, withHub } from "../support/hub";
import { callProgram } from "../support/call-program";
import { lives, withProcesses } from "../support/supervised";
import { until } from "../support/until";

const greet = (text: string): string =>
  moduleSource(`{ routes: { "GREET": { framing: "line", handle: () => "${text}\\n" } } }`);

type AuditEntry = Parameters<AuditLog["note"]>[0];

function entriesOf(path: string): (AuditEntry & { time: string })[] {
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, "utf8").split("\n").filter(Boolean);
  return lines.map((line) => JSON.parse(line) as AuditEntry & { time: string });
}

const audit = (hub: Hub) => entriesOf(join(hub.dir, ".hrmr/audit.log"));
const entry = (more: Partial<AuditEntry>): AuditEntry => ({
  by: "SIGHUP",
  action: "reload",
  modules: null,
  ok: true,
  verdict: "OK",
  hash: null,
  upload: null,
  ...more,
});

for (const processes of [1, 2]) {
  test(`of ${processes} process(es) names the client's address, or the user of a unix socket, for RELOAD and SHUTDOWN`, async () => {
    const unix = join(tmpdir(), `hrmr-audit-${process.pid}-${processes}.sock`);
    await withProcesses(
      processes,
      async (hub) => {
        hub.write("modules/greet.ts", greet("v2"));
        expect(await hub.ask("RELOAD\n")).toStartWith("OK");
        hub.write("modules/greet.ts", greet("v3"));
        expect(await ask(unix, "RELOAD greet\n")).toStartWith("OK");
        expect(await ask(unix, "SHUTDOWN\n")).toStartWith("OK");
        expect(await hub.program.exited).toBe(0);
        const by = process.platform === "linux" ? `uid ${process.getuid?.()} by a unix socket` : "a unix socket";
        expect(audit(hub)).toMatchObject([
          { by: expect.stringMatching(/^RELOAD of 127\.0\.0\.1 \(#\d+\)$/), action: "reload", modules: null, ok: true },
          { by: expect.stringContaining(`RELOAD of ${by} (#`), action: "reload", modules: ["greet"], ok: true },
          { by: expect.stringContaining(`SHUTDOWN of ${by} (#`), action: "stop", ok: true },
        ]);
      },
      { "modules/greet.ts": greet("v1") },
      ["--listen", "tcp://127.0.0.1:0", "--listen", `unix://${unix}`],
    );
  });
}

test("a client's user id is told to modules", async () => {
  const unix = join(tmpdir(), `hrmr-uid-${process.pid}.sock`);
  const files = { "modules/who.ts": moduleSource(`{ routes: { "WHO": ({ client }) => String(client.uid) } }`) };
  await withHub(files, ["--listen", "tcp://127.0.0.1:0", "--listen", `unix://${unix}`], async (hub) => {
    expect(await hub.ask("WHO")).toBe("undefined");
    if (process.platform === "linux") expect(await ask(unix, "WHO")).toBe(String(process.getuid?.()));
  });
});

test("what changed nothing is not told, whoever asked; a change of the configuration alone is", () =>
  withHub({ "modules/greet.ts": greet("v1"), "hrmr.json": "{}" }, [], async (hub) => {
    for (let count = 0; count < 3; count++) {
      expect(await hub.ask("RELOAD\n")).toStartWith("OK");
      expect((await callProgram(["reload"], { cwd: hub.dir })).exitCode).toBe(0);
    }
    hub.program.signal("SIGHUP");
    await hub.program.waitFor("SIGHUP: OK");
    expect(audit(hub)).toEqual([]);
    hub.write("hrmr.json", '{ "limits": { "maxQueued": 7 } }');
    expect((await callProgram(["reload"], { cwd: hub.dir })).exitCode).toBe(0);
    expect(audit(hub)).toMatchObject([{ action: "reload", ok: true }]);
  }));

test("SIGUSR2 is told", () =>
  withProcesses(1, async (hub) => {
    hub.program.signal("SIGUSR2");
    await until("the old process to end", () => !lives(hub.program.pid));
    expect(audit(hub)).toMatchObject([
      { by: "SIGUSR2", action: "upgrade", ok: true, verdict: expect.stringMatching(/^OK pid \d+ serves/) },
    ]);
    expect((await callProgram(["stop"], { cwd: hub.dir })).exitCode).toBe(0);
  }));

describe("the file", () => {
  const withFolder = (run: (dir: string) => void): void => {
    const dir = mkdtempSync(join(tmpdir(), "hrmr-audit-"));
    try {
      run(dir);
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  };
  const unexpected = (error: Error): never => {
    throw error;
  };

  test("is put aside when it is large, and five old files are kept", () =>
    withFolder((dir) => {
      const log = new AuditLog(dir, unexpected, 1000);
      for (let count = 0; count < 100; count++) log.note(entry({ verdict: `OK ${count} ${"x".repeat(200)}` }));
      log.close();
      expect(readdirSync(dir).toSorted()).toEqual([
        "audit.log",
        "audit.log.1",
        "audit.log.2",
        "audit.log.3",
        "audit.log.4",
        "audit.log.5",
      ]);
      const kept = [".5", ".4", ".3", ".2", ".1", ""].flatMap((end) => entriesOf(join(dir, `audit.log${end}`)));
      const last = Array.from({ length: kept.length }, (_, at) => `OK ${100 - kept.length + at} `);
      expect(kept.map(({ verdict }) => verdict.slice(0, verdict.indexOf("x")))).toEqual(last);
    }));

  test("cannot be filled by failures: twenty get a line, the rest a number, and each success gets a line", () =>
    withFolder((dir) => {
      const log = new AuditLog(dir, unexpected);
      for (let count = 0; count < 1000; count++) log.note(entry({ ok: false, verdict: `ERR ${count}` }));
      log.note(entry({ action: "push", modules: ["greet"] }));
      log.close();
      const told = entriesOf(join(dir, "audit.log"));
      expect(told).toHaveLength(22);
      expect(told[20]).toMatchObject({ action: "push", ok: true });
      expect(told[21]).toMatchObject({
        ok: false,
        verdict: "980 more failures since the last line; the server's log has them",
      });
    }));

  test("holds short lines, however long the names and reasons are", () =>
    withFolder((dir) => {
      const log = new AuditLog(dir, unexpected);
      log.note(
        entry({
          ok: false,
          verdict: "x".repeat(100_000),
          modules: Array.from({ length: 5000 }, () => "y".repeat(5000)),
        }),
      );
      expect(readFileSync(join(dir, "audit.log")).length).toBeLessThan(12_000);
    }));
});
