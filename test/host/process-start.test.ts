/** Processes of this program that end, or say nothing, before they have begun: because its file was replaced, say. */
import { chmodSync, copyFileSync, linkSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "bun:test";
import { Processes } from "../../src/host/process/processes";
import type { RemoteSettings } from "../../src/host/remote/remote-host";
import { ModuleError } from "../../src/module/graph/describe-error";
import { ServerProcess } from "../../src/supervise/serve/child-process";
import type { ChildStart } from "../../src/supervise/serve/messages";
import { Hub, makeProject, moduleSource } from "../support/hub";
import { CLIENT, PoolFixture, routeOf } from "../support/pool-fixture";
import { program, runProgram, startProgram } from "../support/program";
import { until } from "../support/until";

const SILENT = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

function processes(command: readonly string[], more: Partial<RemoteSettings> = {}): Processes {
  const start = { command, env: { HRMR_ROLE: "module" } };
  return new Processes({ maxQueued: 100, loadTimeoutMs: 300, killGraceMs: 50, log: SILENT, ...more }, start);
}

class Folder implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), "hrmr-start-"));

  file(name: string, text: string, mode: number): string {
    const path = join(this.path, name);
    writeFileSync(path, text);
    chmodSync(path, mode);
    return path;
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

describe("a module's process that never begins", () => {
  const broken: [what: string, command: (folder: Folder) => string[], reason: RegExp][] = [
    ["ends at once", () => ["/bin/sh", "-c", "exit 3"], /it exited with code 3/],
    [
      "ends at once without an error",
      (folder) => [folder.file("empty.sh", "#!/bin/sh\n", 0o755)],
      /it exited with code 0/,
    ],
    ["is killed", () => ["/bin/sh", "-c", "kill -9 $$"], /it was ended by SIGKILL/],
    ["says nothing", () => ["/bin/sleep", "600"], /it did not begin within \d+ ms/],
    ["prints and goes on", () => ["/bin/sh", "-c", "echo hello; sleep 600"], /it did not begin within \d+ ms/],
    ["has no program", (folder) => [join(folder.path, "gone")], /it cannot be started: .*ENOENT/],
    [
      "has a program that is not executable",
      (folder) => [folder.file("plain", "#!/bin/sh\n", 0o644)],
      /it cannot be started: .*EACCES/,
    ],
    ["has a folder for a program", (folder) => [folder.path], /it cannot be started: .*EACCES/],
  ];
  for (const [what, command, reason] of broken) {
    test(`fails the module's load, like a process that dies in it: it ${what}`, async () => {
      using folder = new Folder();
      const fixture = new PoolFixture();
      const host = processes(command(folder));
      try {
        const spec = fixture.module('export default { routes: { "A": { run: "process", handle: () => "a" } } };');
        for (const work of [() => host.import(spec), () => host.prepare(spec, null)]) {
          const error: unknown = await work().then(
            () => "loaded",
            (thrown: unknown) => thrown,
          );
          expect(error).toBeInstanceOf(ModuleError);
          expect((error as ModuleError).message).toMatch(/^its process was lost while it was (?:loaded|set up): /);
          expect((error as ModuleError).message).toMatch(reason);
          // Nothing of it is left, and nothing tries again.
          expect(host.status(spec.id)).toBeNull();
        }
      } finally {
        await host.close();
        await fixture.close();
      }
    });
  }

  test("is no fault of the module: it is tried again until the program is back, without a rollback", async () => {
    using folder = new Folder();
    const fixture = new PoolFixture();
    const good = `#!/bin/sh\nexec ${program()
      .map((word) => `'${word}'`)
      .join(" ")} "$@"\n`;
    const path = folder.file("hrmr", good, 0o755);
    const blamed: string[] = [];
    const host = processes([path], {
      loadTimeoutMs: 10_000,
      firstQuarantineMs: 100,
      onCrash: (_, reason) => blamed.push(reason),
      onCrashLoop: (_, reason) => {
        blamed.push(reason);
        return Promise.resolve(false);
      },
    });
    const reasons = new Set<string>();
    try {
      const spec = fixture.module('export default { routes: { "A": { run: "process", handle: () => "a" } } };');
      await host.prepare(spec, null);
      const pid = host.status(spec.id)?.places[0]?.facts?.pid ?? 0;
      folder.file("hrmr", "#!/bin/sh\nexit 7\n", 0o755);
      process.kill(pid, "SIGKILL");
      await until("the module is shut out", () => {
        const { reason } = host.status(spec.id)?.quarantine ?? {};
        if (reason !== undefined) reasons.add(reason);
        return reasons.size > 0;
      });
      expect([...reasons].join()).toContain("it exited with code 7");
      // The process that was killed had begun, the others had not.
      expect(blamed).toEqual(["it was ended by SIGKILL"]);
      folder.file("hrmr", good, 0o755);
      await until(
        "the module serves again",
        () => host.status(spec.id)?.quarantine === null && host.status(spec.id)?.places[0]?.state === "running",
      );
    } finally {
      await host.close();
      await fixture.close();
    }
  });
});

test("a call that a process does not take is told why, with the name and version that people see", async () => {
  const fixture = new PoolFixture();
  const host = processes(["/bin/sleep", "600"], { maxQueued: 0 });
  const spec = fixture.module('export default { routes: { "A": { run: "process", handle: () => "a" } } };');
  const refusal = (): Promise<Error> =>
    new Promise((refused, taken) => {
      const owner = { resolve: taken, reject: refused };
      host.call({ route: routeOf(spec.id, 0), client: CLIENT, latin1: "A", body: null, timeoutMs: 1000, owner });
    });
  try {
    const loaded = host.import(spec).catch(() => "failed");
    expect(String(await refusal())).toBe(
      'HostBusyError: The process of module "demo" is busy: 0 calls are under way. Try again later, or raise limits.maxQueued.',
    );
    expect(await loaded).toBe("failed");
    expect(String(await refusal())).toBe('HostLostError: Module "demo" v1 has no process any more.');
  } finally {
    await host.close();
    await fixture.close();
  }
});

test("a server process that says nothing is given up", async () => {
  const gone: string[] = [];
  const owner = {
    calls: {} as never,
    stop: () => {},
    released: () => {},
    published: () => {},
    gone: (_: unknown, how: string) => void gone.push(how),
  };
  const child = new ServerProcess({ slot: 2 } as ChildStart, [], owner, {
    command: ["/bin/sleep", "600"],
    helloMs: 100,
  });
  const error: unknown = await child.ready.catch((thrown: unknown) => thrown);
  expect(String(error)).toMatch(/process 2 \(pid \d+\) did not begin within 100 ms/);
  await child.exited;
  expect(gone).toEqual(["SIGKILL"]);
});

const LINE = (key: string, more: string) => moduleSource(`{ routes: { "${key}": { framing: "line", ${more} } } }`);

test("a server whose program was replaced by a broken one, or taken away, says so, and goes on", async () => {
  const [file = "", ...rest] = program();
  const dir = makeProject({
    "modules/near.ts": LINE("NEAR", 'handle: () => "1\\n"'),
    "modules/apart.ts": LINE("APART", 'run: "process", handle: () => "1\\n"'),
  });
  const own = join(dir, "own-program");
  try {
    linkSync(file, own);
  } catch {
    // Another file system.
    copyFileSync(file, own);
  }
  const hub = new Hub(dir, await startProgram(["--port", "0"], { cwd: dir, command: [own, ...rest] }));
  try {
    hub.write("broken-program", "#!/bin/sh\nexit 9\n");
    chmodSync(join(dir, "broken-program"), 0o755);
    renameSync(join(dir, "broken-program"), own);
    for (const reason of ["it exited with code 9", "it cannot be started: .*ENOENT"]) {
      const version = reason.startsWith("it exited") ? 2 : 3;
      hub.write("modules/apart.ts", LINE("APART", `run: "process", handle: () => "${version}\\n"`));
      hub.write("modules/near.ts", LINE("NEAR", `handle: () => "${version}\\n"`));
      const verdict = await hub.ask("RELOAD\n");
      expect(verdict).toMatch(
        new RegExp(`apart was not loaded: .*its process was lost while it was loaded: ${reason}`),
      );
      expect(verdict).toContain(`near v${version}`);
      expect([await hub.ask("APART\n"), await hub.ask("NEAR\n")]).toEqual(["1\n", `${version}\n`]);
      // By the program as it should be: it asks the server.
      const pushed = await runProgram(["push", "modules/apart.ts"], { cwd: dir });
      expect([pushed.exitCode, pushed.stdout + pushed.stderr]).toEqual([1, expect.stringMatching(new RegExp(reason))]);
      const upgraded = await runProgram(["upgrade"], { cwd: dir });
      expect(upgraded.exitCode).toBe(1);
      expect(upgraded.stdout + upgraded.stderr).toMatch(
        /The new process did not take over: it (?:ended: exit code 9|cannot be started: .*ENOENT.*)\. The old one goes on serving/,
      );
      rmSync(own, { force: true });
    }
    expect([await hub.ask("APART\n"), await hub.ask("NEAR\n")]).toEqual(["1\n", "3\n"]);
  } finally {
    await hub.stop();
  }
});
