/** Reloads of several processes on one modules folder: a module is swapped in all of them or in none. */
import { expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { withFixture, type Fixture } from "../../support/module-fixture";
import { answering, told, type TestProcess, TestRound, TestServer } from "../../support/registry";

async function withServer(fixture: Fixture, count: number, test: (server: TestServer) => Promise<void>): Promise<void> {
  const server = new TestServer(fixture, count);
  try {
    await test(server);
  } finally {
    await server.close();
  }
}

test("four processes swap together", () =>
  withFixture({ "greet.ts": answering("greet 1") }, (fixture) =>
    withServer(fixture, 4, async (server) => {
      await server.reload();
      fixture.write("greet.ts", answering("greet 2"));
      for (const verdict of await server.reload()) expect(told(verdict)).toEqual(["greet swapped v2"]);
      expect(server.processes.map((process) => process.ask("GREET"))).toEqual(Array(4).fill("greet 2"));
      for (const verdict of await server.reload()) expect(told(verdict)).toEqual(["greet unchanged v2"]);
    }),
  ));

test("a setup that fails in one process refuses the module in all, by its name", () =>
  withFixture({ "greet.ts": answering("greet 1"), "ping.ts": answering("ping 1") }, (fixture) =>
    withServer(fixture, 3, async (server) => {
      await server.reload();
      // The third one that comes finds the lock taken, as a file or a port would be.
      fixture.write(
        "greet.ts",
        answering(
          "greet 2",
          `setup() { if ((globalThis.testLocks = (globalThis.testLocks ?? 0) + 1) === 3) throw new Error("locked"); },`,
        ),
      );
      fixture.write("ping.ts", answering("ping 2"));
      const verdicts = await server.reload();
      const own = verdicts.findIndex((verdict) => !String(told(verdict)[0]).includes("process"));
      expect(told(verdicts[own])[0]).toContain("locked");
      for (const [at, verdict] of verdicts.entries()) {
        expect(told(verdict)[1]).toBe("ping swapped v2");
        if (at !== own) expect(told(verdict)[0]).toMatch(new RegExp(`^greet failed v1: process ${own + 1}: .*locked`));
      }
      expect(server.processes.map((process) => [process.ask("GREET"), process.ask("PING")])).toEqual(
        Array(3).fill(["greet 1", "ping 2"]),
      );
    }),
  ));

test("a file that changes between two processes' looks is swapped in neither of them, and in both at the next reload", () =>
  withFixture({ "greet.ts": answering("greet 1") }, (fixture) =>
    withServer(fixture, 2, async (server) => {
      await server.reload();
      const [one, two] = server.processes as [TestProcess, TestProcess];
      server.round = new TestRound(2);
      fixture.write("greet.ts", answering("greet 2"));
      const early = one.registry.reload();
      await server.round.first;
      fixture.write("greet.ts", answering("greet 3"));
      const late = two.registry.reload();
      const moved = ["greet failed v1: its files changed while it was being loaded; reload again"];
      expect([told(await early), told(await late)]).toEqual([moved, moved]);
      expect([one.ask("GREET"), two.ask("GREET")]).toEqual(["greet 1", "greet 1"]);
      for (const verdict of await server.reload()) expect(told(verdict)).toEqual(["greet swapped v2"]);
      expect([one.ask("GREET"), two.ask("GREET")]).toEqual(["greet 3", "greet 3"]);
    }),
  ));

test("a process that was left behind catches up at the next reload", () =>
  withFixture({ "greet.ts": answering("greet 1") }, (fixture) =>
    withServer(fixture, 3, async (server) => {
      await server.reload();
      fixture.write("greet.ts", answering("greet 2"));
      server.round = new TestRound(2);
      await Promise.all(server.processes.slice(0, 2).map(({ registry }) => registry.reload()));
      expect(server.processes.map((process) => process.ask("GREET"))).toEqual(["greet 2", "greet 2", "greet 1"]);
      expect((await server.reload()).map((verdict) => told(verdict)[0])).toEqual([
        "greet unchanged v2",
        "greet unchanged v2",
        "greet swapped v2",
      ]);
      expect(server.processes.map((process) => process.ask("GREET"))).toEqual(Array(3).fill("greet 2"));
    }),
  ));

test("a module that is broken, put in, taken out and put back comes to the same in every process", () =>
  withFixture({ "greet.ts": answering("greet 1") }, (fixture) =>
    withServer(fixture, 2, async (server) => {
      const both = async (): Promise<unknown[]> => [
        ...new Set((await server.reload()).map((verdict) => told(verdict)[0]?.split(":")[0])),
      ];
      await server.reload();
      fixture.write("greet.ts", "export default {");
      expect(await both()).toEqual(["greet failed v1"]);
      rmSync(`${fixture.modules}/greet.ts`);
      expect(await both()).toEqual(["greet unloaded vnull"]);
      fixture.write("greet.ts", answering("greet 1"));
      expect(await both()).toEqual(["greet loaded v1"]);
      expect(server.processes.map((process) => process.ask("GREET"))).toEqual(["greet 1", "greet 1"]);
    }),
  ));
