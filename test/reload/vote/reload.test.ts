/** A reload in a process that asks others before it swaps. */
import { expect, spyOn, test } from "bun:test";
import { rmSync } from "node:fs";
import { orderFor } from "../../../src/reload/order";
import type { Agreement, Proposal } from "../../../src/reload/vote/agree";
import { RouteTable } from "../../../src/router/table";
import { rejection, withFixture, type Fixture } from "../../support/module-fixture";
import { answering, told, TestProcess } from "../../support/registry";

const AGREED: Agreement = { error: null, refused: {} };

/** A process whose `agree` is the test's. */
async function withProcess(
  fixture: Fixture,
  agree: (proposal: Proposal) => Promise<Agreement>,
  test: (process: TestProcess) => Promise<void>,
) {
  const process = new TestProcess(fixture, { agree });
  try {
    await test(process);
  } finally {
    await process.registry.close();
  }
}

const EXCLUSIVE = (word: string): string =>
  answering(
    `own ${word}`,
    `reload: "exclusive",
     setup() { (globalThis.testOwners ??= []).push("${word} in"); },
     handoff: () => "${word}",
     async dispose() { await Bun.sleep(25); globalThis.testOwners.push("${word} out"); },`,
  );

/** The events of EXCLUSIVE modules since the last look. */
function ownersSeen(): string[] {
  const seen = (globalThis as { testOwners?: string[] }).testOwners ?? [];
  return seen.splice(0);
}

test("what is agreed on is swapped, and the proposal tells what each module would come to", () =>
  withFixture(
    { "greet.ts": answering("greet 1"), "ping.ts": answering("ping 1"), "gone.ts": answering("gone 1") },
    async (fixture) => {
      const proposals: Proposal[] = [];
      const agree = (proposal: Proposal): Promise<Agreement> => {
        proposals.push(structuredClone(proposal));
        return Promise.resolve(AGREED);
      };
      await withProcess(fixture, agree, async (process) => {
        await process.registry.reload();
        fixture.write("greet.ts", answering("greet 2"));
        fixture.write("bad.ts", "export default 7;");
        rmSync(`${fixture.modules}/gone.ts`);
        expect(told(await process.registry.reload()).map((line) => line.slice(0, 18))).toEqual([
          "bad failed vnull: ",
          "gone unloaded vnul",
          "greet swapped v2",
          "ping unchanged v1",
        ]);
        const said = proposals
          .at(-1)
          ?.modules.map(({ name, outcome, hash, error }) => [name, outcome, typeof hash, error?.slice(0, 12)]);
        expect(said?.sort()).toEqual([
          ["bad", "failed", "object", expect.any(String)],
          ["gone", "removed", "string", undefined],
          ["greet", "candidate", "string", undefined],
          ["ping", "unchanged", "string", undefined],
        ]);
      });
    },
  ));

test("RELOAD NAME asks about that module only", () =>
  withFixture({ "greet.ts": answering("greet 1"), "ping.ts": answering("ping 1") }, async (fixture) => {
    let last: Proposal | null = null;
    const agree = (proposal: Proposal): Promise<Agreement> => {
      last = proposal;
      return Promise.resolve(AGREED);
    };
    await withProcess(fixture, agree, async (process) => {
      await process.registry.reload();
      await process.registry.reload(orderFor(["ping"]));
      expect(last).toMatchObject({ modules: [{ name: "ping", outcome: "unchanged" }] });
    });
  }));

test("what the others refuse stays: an edit, a new module, a removal; the rest is swapped, and numbers are not used up", () =>
  withFixture(
    { "greet.ts": answering("greet 1"), "ping.ts": answering("ping 1"), "gone.ts": answering("gone 1") },
    async (fixture) => {
      let agreement = AGREED;
      await withProcess(
        fixture,
        () => Promise.resolve(agreement),
        async (process) => {
          await process.registry.reload();
          fixture.write("greet.ts", answering("greet 2"));
          fixture.write("ping.ts", answering("ping 2"));
          fixture.write("new.ts", answering("new 1"));
          rmSync(`${fixture.modules}/gone.ts`);
          agreement = {
            error: null,
            refused: { greet: "process 2: syntax", new: "process 2: late", gone: "process 2: used" },
          };
          const verdict = await process.registry.reload();
          expect(verdict.ok).toBeFalse();
          expect(told(verdict)).toEqual([
            "gone failed v1: process 2: used",
            "greet failed v1: process 2: syntax",
            "new failed vnull: process 2: late",
            "ping swapped v2",
          ]);
          expect(
            verdict.modules
              .filter(({ code }) => code === "refused")
              .map(({ name }) => name)
              .sort(),
          ).toEqual(["gone", "greet", "new"]);
          expect(["GREET", "PING", "NEW", "GONE"].map((key) => process.ask(key))).toEqual([
            "greet 1",
            "ping 2",
            null,
            "gone 1",
          ]);
          expect(process.registry.entries.get("greet")?.error).toBe("process 2: syntax");

          agreement = AGREED;
          expect(told(await process.registry.reload())).toEqual([
            "gone unloaded vnull",
            "greet swapped v2",
            "new loaded v1",
            "ping unchanged v2",
          ]);
          expect(process.ask("GREET")).toBe("greet 2");
          expect(process.registry.entries.get("greet")?.error).toBeNull();
        },
      );
    },
  ));

test("a module that clashes with what a refused one keeps is left out too", () =>
  withFixture({ "a.ts": answering("a 1"), "b.ts": answering("b 1") }, async (fixture) => {
    let agreement = AGREED;
    await withProcess(
      fixture,
      () => Promise.resolve(agreement),
      async (process) => {
        await process.registry.reload();
        fixture.write("a.ts", answering("a 2", "", "OTHER"));
        fixture.write("b.ts", answering("b 2", "", "A"));
        agreement = { error: null, refused: { a: "process 2: late" } };
        expect(told(await process.registry.reload())).toEqual([
          "a failed v1: process 2: late",
          expect.stringMatching(/^b failed v1: .*b\.ts claims the prefix "A", which .*a\.ts has already/),
        ]);
        expect([process.ask("A"), process.ask("B"), process.ask("OTHER")]).toEqual(["a 1", "b 1", null]);
      },
    );
  }));

test("until the others have answered, the old version serves, and no second reload begins", () =>
  withFixture({ "greet.ts": answering("greet 1") }, async (fixture) => {
    const asked = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<Agreement>();
    let rounds = 0;
    const agree = (): Promise<Agreement> => {
      rounds++;
      if (rounds !== 2) return Promise.resolve(AGREED);
      asked.resolve();
      return answer.promise;
    };
    await withProcess(fixture, agree, async (process) => {
      await process.registry.reload();
      fixture.write("greet.ts", answering("greet 2"));
      const first = process.registry.reload();
      await asked.promise;
      expect(String(await rejection(process.registry.reload()))).toContain("A reload is under way already.");
      expect(process.ask("GREET")).toBe("greet 1");
      answer.resolve(AGREED);
      const verdict = await first;
      expect(told(verdict)).toEqual(["greet swapped v2"]);
      expect(verdict.phases.agree).toBeGreaterThan(0);
      expect(told(await process.registry.reload())).toEqual(["greet unchanged v2"]);
      expect(rounds).toBe(3);
    });
  }));

test.each<[string, () => Promise<Agreement>, string]>([
  [
    "throws",
    () => {
      throw new Error("no answer from the lead");
    },
    "could not agree on it: no answer from the lead",
  ],
  [
    "rejects",
    () => Promise.reject(new Error("no answer within 5000 ms")),
    "could not agree on it: no answer within 5000 ms",
  ],
  [
    "refuses the whole",
    () => Promise.resolve({ error: "process 3: no modules folder", refused: {} }),
    "process 3: no modules folder",
  ],
])("an agreement that %s changes nothing, and the next reload goes through", (_, agreeing, reason) =>
  withFixture({ "greet.ts": answering("greet 1"), "own.ts": EXCLUSIVE("one") }, async (fixture) => {
    let agree = (): Promise<Agreement> => Promise.resolve(AGREED);
    await withProcess(
      fixture,
      () => agree(),
      async (process) => {
        ownersSeen();
        await process.registry.reload();
        fixture.write("greet.ts", answering("greet 2"));
        fixture.write("own.ts", EXCLUSIVE("two"));
        // So that the next reload could take the refused version for one that it knows.
        await fixture.buildSettled("greet");
        agree = agreeing;
        expect(String(await rejection(process.registry.reload()))).toContain(reason);
        expect([process.ask("GREET"), process.ask("OWN")]).toEqual(["greet 1", "own one"]);
        expect(process.versions).toEqual(["greet v1", "own v1"]);
        expect(process.registry.totals.snapshot()).toMatchObject({
          ok: 1,
          last: { ok: false, text: expect.stringContaining(reason) },
        });
        agree = () => Promise.resolve(AGREED);
        expect(told(await process.registry.reload())).toEqual(["greet swapped v2", "own swapped v2"]);
        expect([process.ask("GREET"), process.ask("OWN")]).toEqual(["greet 2", "own two"]);
      },
    );
  }),
);

test("the routing is planned once a reload, and once more only for what is left out of it", () =>
  withFixture({ "a.ts": answering("a 1"), "b.ts": answering("b 1") }, async (fixture) => {
    let agreement = AGREED;
    await withProcess(
      fixture,
      () => Promise.resolve(agreement),
      async (process) => {
        const build = spyOn(RouteTable, "build");
        try {
          await process.registry.reload();
          expect(build).toHaveBeenCalledTimes(1);
          fixture.write("a.ts", answering("a 2"));
          agreement = { error: null, refused: { a: "process 2: late" } };
          await process.registry.reload();
          expect(build).toHaveBeenCalledTimes(3);
        } finally {
          build.mockRestore();
        }
      },
    );
  }));

test("a refused exclusive module's old version comes back after the new one has let go", () =>
  withFixture({ "own.ts": EXCLUSIVE("one") }, async (fixture) => {
    let agreement = AGREED;
    let meanwhile: unknown;
    const process = new TestProcess(fixture, {
      agree: () => {
        meanwhile = process.ask("OWN");
        return Promise.resolve(agreement);
      },
    });
    await process.registry.reload();
    ownersSeen();
    fixture.write("own.ts", EXCLUSIVE("two"));
    agreement = { error: null, refused: { own: "process 2: late" } };
    expect(told(await process.registry.reload())).toEqual(["own failed v1: process 2: late"]);
    expect(meanwhile).toBe(503);
    expect(process.ask("OWN")).toBe("own one");
    expect(ownersSeen()).toEqual(["one out", "two in", "two out", "one in"]);
    await process.registry.close();
    ownersSeen();
  }));

test("an exclusive module is taken down after the other modules have started, so that it is away for a short time", () =>
  withFixture({ "own.ts": EXCLUSIVE("one"), "zed.ts": answering("zed 1") }, (fixture) =>
    withProcess(
      fixture,
      () => Promise.resolve(AGREED),
      async (process) => {
        await process.registry.reload();
        ownersSeen();
        fixture.write("own.ts", EXCLUSIVE("two"));
        fixture.write("zed.ts", answering("zed 2", 'setup() { globalThis.testOwners.push("zed in"); },'));
        expect(told(await process.registry.reload())).toEqual(["own swapped v2", "zed swapped v2"]);
        expect(ownersSeen()).toEqual(["zed in", "one out", "two in"]);
      },
    ),
  ));

test("a process that cannot look at its modules says so to the others", () =>
  withFixture({ "greet.ts": answering("greet 1") }, async (fixture) => {
    const proposals: Proposal[] = [];
    const agree = (proposal: Proposal): Promise<Agreement> => {
      proposals.push(proposal);
      return Promise.resolve(AGREED);
    };
    await withProcess(fixture, agree, async (process) => {
      await process.registry.reload();
      rmSync(fixture.modules, { recursive: true });
      expect(String(await rejection(process.registry.reload()))).toContain("there is no such folder");
      expect(proposals.at(-1)).toMatchObject({
        error: expect.stringContaining("there is no such folder"),
        modules: [],
      });
      expect(process.ask("GREET")).toBe("greet 1");
    });
  }));
