/** Migrations: each runs once a store, before the version's setup, and stays when the version is refused. */
import { expect, test } from "bun:test";
import { type Hub, reuseHubs, withHub } from "../support/hub";
import { runOnStore, storeModule } from "../support/store-module";

const withProject = reuseHubs();

/** Adds a word to the list of what has happened. */
const note = (word: string): string => `
  async (tx) => {
    const c = tx.collection("happened");
    await c.set("list", [...((await c.get("list"))?.value ?? []), "${word}"]);
  }`;
const SETUP = `setup: async ({ store }) => (await store.collection("happened").get("list")).value,`;

function migrations(...names: string[]): string {
  return `migrations: { ${names.map((name) => `"${name}": ${note(name)},`).join("")} },`;
}

async function valueOf(hub: Hub, code: string): Promise<unknown> {
  const outcome = await runOnStore(hub, code);
  expect(outcome.message).toBe(undefined);
  return outcome.value;
}

function happened(hub: Hub): Promise<unknown> {
  return valueOf(hub, `return (await store.collection("happened").get("list"))?.value ?? null;`);
}

/** A project with a store of its own. */
function files(name: string, module: string, kind = "sqlite"): Record<string, string> {
  const store = { url: `${kind}://data/${name}.${kind}` };
  return { "modules/probe.ts": module, "hrmr.json": JSON.stringify({ store }) };
}

test.each([
  ["inline", "sqlite"],
  ["pool", "sqlite"],
  ["process", "sqlite"],
  ["inline", "json"],
])("%s on %s: each runs once, in order, before setup", (run, kind) =>
  withProject(files(`once-${run}`, storeModule("", run), kind), [], async (hub) => {
    hub.write("modules/probe.ts", storeModule(`${migrations("001-a", "002-b")} ${SETUP}`, run));
    const verdict = await hub.ask("RELOAD\n");
    expect(verdict).toContain('its migration "001-a" has run');
    expect(verdict).toContain('its migration "002-b" has run');
    expect(await valueOf(hub, "return context.state;")).toEqual(["001-a", "002-b"]);
    hub.write("modules/probe.ts", storeModule(`${migrations("001-a", "002-b", "003-c")} ${SETUP}`, run));
    const next = await hub.ask("RELOAD\n");
    expect(next).toContain('its migration "003-c" has run');
    expect(next).not.toContain("002-b");
    expect(await valueOf(hub, "return context.state;")).toEqual(["001-a", "002-b", "003-c"]);
    expect(await hub.ask("RELOAD probe\n")).not.toContain("migration");
    expect(await happened(hub)).toEqual(["001-a", "002-b", "003-c"]);
  }),
);

test("one that fails refuses the version by name, does nothing itself, and those before it stay", () =>
  withProject(files("fails", storeModule("")), [], async (hub) => {
    const failing = `async (tx) => { await (${note("lost")})(tx); throw new Error("no such field"); }`;
    const text = `migrations: { "001-a": ${note("001-a")}, "002-b": ${failing}, "003-c": ${note("003-c")} },`;
    hub.write("modules/probe.ts", storeModule(text));
    const verdict = await hub.ask("RELOAD\n");
    expect(verdict).toContain('the migration "002-b" failed: no such field');
    expect(verdict).toContain('its migrations have run and stay: "001-a"');
    expect(await happened(hub)).toEqual(["001-a"]);
    hub.write("modules/probe.ts", storeModule(migrations("001-a", "002-b", "003-c")));
    const mended = await hub.ask("RELOAD\n");
    expect(mended).not.toContain('"001-a"');
    expect(await happened(hub)).toEqual(["001-a", "002-b", "003-c"]);
  }));

test("a version that is refused after its migrations says which have run", () =>
  withProject(files("refused", storeModule("")), [], async (hub) => {
    hub.write("modules/probe.ts", storeModule(`${migrations("001-a", "002-b")} check: () => false,`));
    const verdict = await hub.ask("RELOAD\n");
    expect(verdict).toContain("check returned false");
    expect(verdict).toContain('its migrations have run and stay: "001-a", "002-b"');
    expect(await happened(hub)).toEqual(["001-a", "002-b"]);
  }));

test("one that does not end is given up after loadMs, and the old version serves", () =>
  withProject(files("endless", storeModule("")), [], async (hub) => {
    const settings = JSON.parse(files("endless", "")["hrmr.json"] as string) as object;
    hub.write("hrmr.json", JSON.stringify({ ...settings, timeouts: { loadMs: 2000 } }));
    await hub.ask("RELOAD\n");
    hub.write("modules/probe.ts", storeModule(`migrations: { "001-a": () => new Promise(() => {}) },`));
    const verdict = await hub.ask("RELOAD\n");
    expect(verdict).toContain('the migration "001-a" failed');
    expect(verdict).toContain("was not over within 2000 ms");
    expect(await happened(hub)).toBe(null);
  }));

test("an exclusive module serves while its migrations run", () =>
  withProject(files("exclusive", storeModule('reload: "exclusive",')), [], async (hub) => {
    const asks = `async (tx) => {
      const { hostname, port } = new URL("${hub.url}");
      const answer = Promise.withResolvers();
      await Bun.connect({ hostname, port: Number(port), socket: {
        open: (socket) => void socket.write("RUN return 'old';\\n"),
        data: (socket, data) => { answer.resolve(data.toString()); socket.end(); },
      } });
      await tx.collection("happened").set("list", [await answer.promise]);
    }`;
    hub.write("modules/probe.ts", storeModule(`reload: "exclusive", migrations: { "001-a": ${asks} },`));
    expect(await hub.ask("RELOAD\n")).toContain('its migration "001-a" has run');
    expect(await happened(hub)).toEqual(['{"value":"old"}\n']);
  }));

test("of several processes one runs them, at the start and at a reload", () =>
  withHub({ "modules/probe.ts": storeModule(`${migrations("001-a")} ${SETUP}`) }, ["--processes", "3"], async (hub) => {
    expect(await happened(hub)).toEqual(["001-a"]);
    hub.write("modules/probe.ts", storeModule(`${migrations("001-a", "002-b")} ${SETUP}`));
    expect(await hub.ask("RELOAD\n")).toContain('its migration "002-b" has run');
    for (let n = 0; n < 6; n++) expect(await valueOf(hub, "return context.state;")).toEqual(["001-a", "002-b"]);
  }));

test("a restart runs none again, and another database gets them all", () =>
  withHub(files("first", storeModule(migrations("001-a", "002-b"))), [], async (hub) => {
    const data = ["--data", `${hub.dir}/data`];
    await withHub(files("first", storeModule(migrations("001-a", "002-b"))), [], async (other) => {
      expect(await happened(other)).toEqual(["001-a", "002-b"]);
    });
    const same = { "hrmr.json": JSON.stringify({ store: { url: `sqlite://${hub.dir}/data/first.sqlite` } }) };
    await withHub({ "modules/probe.ts": storeModule(migrations("001-a", "002-b")), ...same }, data, async (again) => {
      expect(await happened(again)).toEqual(["001-a", "002-b"]);
    });
  }));
