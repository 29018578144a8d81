/** A version that fails while it is on probation gives way to the one before it, by itself. */
import { describe, expect, test } from "bun:test";
import { type Hub, moduleSource } from "../../support/hub";
import { historyOf, versionsOf, withProject } from "../../support/restarts";
import { connectToEach, servingPids, whoModule } from "../../support/supervised";
import { until, UNTIL_MS } from "../../support/until";

const GREET = "modules/greet.ts";

/** Answers /ping with `text`, or with 500 for that share of the requests. */
function failing(text: string, share: number, more = ""): string {
  return moduleSource(`{ routes: { "/ping": { ${more} fetch: () => {
    globalThis.turns = (globalThis.turns ?? 0) + 1;
    if ((globalThis.turns % 10) < ${share * 10}) throw new Error("on purpose");
    return new Response("${text}");
  } } } }`)
    .replaceAll("globalThis.turns", `count.turns`)
    .replace("export default", "const count = { turns: 0 };\nexport default");
}

/** Asks without a pause until `isOver`. @returns the status codes and replies, counted */
async function askUntil(hub: Hub, isOver: () => boolean | Promise<boolean>): Promise<Record<string, number>> {
  const seen: Record<string, number> = {};
  const end = performance.now() + UNTIL_MS;
  while (!(await isOver())) {
    if (performance.now() > end) throw new Error(`it did not come to an end: ${JSON.stringify(seen)}`);
    const response = await fetch(`${hub.url}/ping`);
    const key = `${response.status} ${response.ok ? await response.text() : ""}`.trim();
    seen[key] = (seen[key] ?? 0) + 1;
  }
  return seen;
}

async function askTimes(hub: Hub, count: number): Promise<Record<string, number>> {
  let left = count;
  return await askUntil(hub, () => left-- === 0);
}

function hasCome(hub: Hub, text: string): () => boolean {
  return () => hub.program.output().includes(text);
}

async function greetOf(hub: Hub) {
  const module = (await hub.status()).modules.find(({ name }) => name === "greet");
  if (module === undefined) throw new Error("There is no module greet.");
  return module;
}

describe.each([1, 2])("with %d processes", (processes) => {
  test("a version that fails 60 % of its calls is rolled back, and log, status, versions and metrics say so", () =>
    withProject({ [GREET]: failing("good", 0) }, async (project) => {
      const hub = await project.start("--processes", String(processes));
      expect(await askTimes(hub, 30)).toEqual({ "200 good": 30 });
      hub.write(GREET, failing("bad", 0.6));
      expect(await hub.ask("RELOAD\n")).toStartWith("OK greet v2");
      expect((await greetOf(hub)).notes).toEqual([expect.stringMatching(/^v2 is on probation for another \d+ s$/)]);
      const seen = await askUntil(hub, hasCome(hub, "OK greet v3 (was v2) swapped"));
      expect(seen["500"]).toBeGreaterThanOrEqual(12);
      expect(await askTimes(hub, 50)).toEqual({ "200 good": 50 });
      await hub.program.waitFor(/error greet v2 .*\d+ of \d+ calls failed: v1 comes back\n/);

      const [, bad, back] = await versionsOf(hub.dir, "greet");
      const reason = bad?.reason;
      expect(bad).toMatchObject({
        number: 2,
        verdict: "rolled back",
        reason: expect.stringMatching(/^\d+ of \d+ calls failed$/),
      });
      expect(back).toMatchObject({ number: 3, from: "rollback", of: 1, verdict: "good", isLive: true });
      expect((await greetOf(hub)).notes).toEqual([
        `held back: rolled back from v2 (${reason}); edit the file or \`hrmr reload --force greet\``,
      ]);
      expect((await hub.status()).rollbacks).toEqual({ asked: 0, automatic: 1 });
      expect(await (await fetch(`${hub.url}/metrics`)).text()).toContain('hrmr_rollbacks_total{kind="automatic"} 1\n');
      // The bad file is still there.
      expect(await hub.ask("RELOAD\n")).toContain("held back: rolled back from v2");
      expect(await askTimes(hub, 20)).toEqual({ "200 good": 20 });
    }));
});

test("a version that fails no more than the one before stays, and is good in the end", () =>
  withProject(
    { [GREET]: failing("one", 0.6), "hrmr.json": '{ "versions": { "probationMs": 1500 } }' },
    async (project) => {
      const hub = await project.start();
      await askTimes(hub, 100);
      hub.write(GREET, failing("two", 0.7));
      await hub.ask("RELOAD\n");
      await askTimes(hub, 100);
      await until("the verdict", async () => (await historyOf(hub.dir, "greet"))[1] === "v2 disk good, live");
      expect((await askTimes(hub, 10))["200 two"]).toBe(3);
    },
  ));

test("a version that was brought back and fails too stays: there is no second rollback", () =>
  withProject(
    { [GREET]: failing("one", 0), "hrmr.json": '{ "versions": { "minCalls": 5, "probationMs": 60000 } }' },
    async (project) => {
      const bad = "bad";
      const source = (text: string) =>
        moduleSource(`{ routes: { "/ping": { fetch: () => {
        if (require("node:fs").existsSync("${project.dir}/${bad}")) throw new Error("the service behind is down");
        return new Response("${text}");
      } } } }`);
      const hub = await project.start();
      hub.write(GREET, source("two"));
      await hub.ask("RELOAD\n");
      hub.write(GREET, source("three"));
      await hub.ask("RELOAD\n");
      hub.write(bad, "");
      await askUntil(hub, hasCome(hub, "OK greet v4 (was v3) swapped"));
      await askTimes(hub, 50);
      // A version of another module, whose probation ends later than a second rollback would.
      hub.write("modules/who.ts", whoModule(1));
      hub.write("hrmr.json", '{ "versions": { "minCalls": 5, "probationMs": 1000 } }');
      await hub.ask("RELOAD\n");
      hub.write("modules/who.ts", whoModule(2));
      await hub.ask("RELOAD\n");
      await until(
        "the verdict on the other",
        async () => (await historyOf(hub.dir, "who"))[1] === "v2 disk good, live",
      );
      expect((await historyOf(hub.dir, "greet")).slice(2)).toEqual([
        "v3 disk rolled back",
        "v4 rollback of v2 good, live",
      ]);
      expect((await hub.status()).rollbacks).toEqual({ asked: 0, automatic: 1 });
    },
  ));

test("the first version has nothing before it, and is told to fail by its errors alone", () =>
  withProject({ [GREET]: failing("one", 1) }, async (project) => {
    const hub = await project.start();
    expect(await askTimes(hub, 40)).toEqual({ "500": 40 });
    expect(await historyOf(hub.dir, "greet")).toEqual(["v1 disk good, live"]);
    expect((await greetOf(hub)).notes).toBeUndefined();
  }));

test("with probationMs 0 nothing comes back by itself", () =>
  withProject({ [GREET]: failing("one", 0), "hrmr.json": '{ "versions": { "probationMs": 0 } }' }, async (project) => {
    const hub = await project.start();
    hub.write(GREET, failing("two", 1));
    await hub.ask("RELOAD\n");
    expect(await askTimes(hub, 60)).toEqual({ "500": 60 });
    expect(await historyOf(hub.dir, "greet")).toEqual(["v1 disk good", "v2 disk good, live"]);
  }));

const FATAL = {
  pool: 'timeoutMs: 50, run: "pool", fetch: () => { for (;;); }',
  process: 'run: "process", fetch: () => process.kill(process.pid, "SIGKILL")',
};

describe.each(["pool", "process"] as const)('with run: "%s"', (run) => {
  test("a version whose code ends its host again and again is rolled back, and its neighbour serves on", () =>
    withProject({ [GREET]: failing("good", 0, `run: "${run}",`), "modules/who.ts": whoModule(1) }, async (project) => {
      // The share of failed calls must not decide first, while the host is away.
      const hub = await project.start("--processes", "2", "--threads", "1", "--set", "versions.minCalls=1000000");
      const clients = await connectToEach(hub, await servingPids(hub));
      expect(await askTimes(hub, 5)).toEqual({ "200 good": 5 });
      hub.write(GREET, moduleSource(`{ routes: { "/ping": { ${FATAL[run]} } } }`));
      expect(await hub.ask("RELOAD\n")).toStartWith("OK greet v2");
      await askUntil(hub, hasCome(hub, "OK greet v3 (was v2) swapped"));
      expect(await askTimes(hub, 20)).toEqual({ "200 good": 20 });
      const [, crashed] = await versionsOf(hub.dir, "greet");
      expect(crashed).toMatchObject({ number: 2, verdict: "crashed", reason: expect.stringContaining("it crashed") });
      for (const client of clients.values()) {
        await client.clear().send("WHO\n");
        expect(await client.waitFor("\n")).toStartWith("v1 ");
      }
    }));
});
