/** Events between modules, in every host of one process. */
import { describe, expect, test } from "bun:test";
import { type Hub, shareHub } from "../support/hub";
import { until } from "../support/until";

const HOSTS = ["inline", "pool", "process"] as const;

/** EMIT_run topic json: emits it, there. */
function emitter(run: string): string {
  return `
import { defineModule } from "hrmr";
export default defineModule({ routes: { "EMIT_${run} ": { run: "${run}", framing: "line", handle: (message, context) => {
  const [, topic, json] = /^\\S+ (\\S+) ?(.*)$/s.exec(message.text.trim());
  try { context.events.emit(topic, json === "" ? undefined : JSON.parse(json)); return "emitted\\n"; }
  catch (error) { return error.name + ": " + error.message + "\\n"; }
} } } });`;
}

/** Remembers its events; GOT_run answers them. */
function handler(run: string): string {
  return `
import { defineModule } from "hrmr";
const got = [];
export default defineModule({
  routes: { "GOT_${run}": { run: "${run}", handle: (_, context) => JSON.stringify(got) + "\\n" } },
  on: {
    "user.*": (event, context) => void got.push({ ...event, host: context.host, name: context.name }),
    "fails.>": async (event) => { got.push(event.topic); await Bun.sleep(0); throw new Error("it has failed"); },
  },
});`;
}

/** READ_run topic count: waits for so many events. */
function reader(run: string): string {
  return `
import { defineModule } from "hrmr";
const open = new Map();
export default defineModule({ routes: {
  "OPEN_${run} ": { run: "${run}", framing: "line", handle: (message, context) => { const topic = message.text.split(" ")[1]; open.set(topic, context.events.subscribe(topic)); return "open\\n"; } },
  "READ_${run} ": { run: "${run}", framing: "line", handle: async (message) => {
    const [, topic, count] = message.text.split(" ");
    const data = [];
    for await (const event of open.get(topic)) { data.push(event.data); if (data.length === Number(count)) break; }
    return JSON.stringify(data) + "\\n";
  } },
} });`;
}

const files: Record<string, string> = { "hrmr.json": '{ "threads": 1 }' };
for (const run of HOSTS) {
  files[`modules/emitter_${run}.ts`] = emitter(run);
  files[`modules/reader_${run}.ts`] = reader(run);
}
for (const run of ["inline", "process"]) files[`modules/handler_${run}.ts`] = handler(run);
/** Fails, hangs and is slow, by topic; FATES answers what came. */
files["modules/fates.ts"] = `
import { defineModule } from "hrmr";
const got = [];
let release = () => {};
export default defineModule({
  routes: { "FATES": (_, context) => JSON.stringify(got) + "\\n", "RELEASE": () => (release(), "released\\n") },
  on: {
    "fate.throws": (event, context) => { context.events.emit("fate.told", event.data); throw new TypeError("thrown at once"); },
    "fate.rejects": async (event) => { await Bun.sleep(0); got.push("rejects " + event.data); throw new Error("thrown late"); },
    "fate.told": (event) => void got.push("told " + event.data),
    "fate.calls": async (event, context) => { got.push("calls " + await context.services.callee.add(event.data)); },
    "fate.waits": async (event) => { got.push("waits " + event.data); await new Promise((resolve) => (release = resolve)); },
    "fate.many": () => {},
    "fate.both": (event) => { event.data.list.push("mine"); got.push("one " + event.data.list.length); },
    "fate.*": (event) => { if (event.topic === "fate.both") { event.data.list.push("mine"); got.push("two " + event.data.list.length); } },
  },
});`;
files["modules/callee.ts"] = `export default { services: { add: (n) => n + 1 } };`;
files["modules/early.ts"] = early(1);
const onHub = shareHub(files);

/** Emits in setup, and subscribes there. */
function early(version: number, rest = ""): string {
  return `
import { defineModule } from "hrmr";
export default defineModule({
  setup(context) {
    context.events.emit("fate.told", "setup ${version}");
    const events = context.events.subscribe("early");
    void (async () => { for await (const event of events) context.events.emit("fate.told", "early ${version} " + event.data); })();
  },
  check() { ${rest} },
  start(context) { context.events.emit("fate.told", "start ${version}"); },
  routes: { "EARLY": () => "${version}\\n" },
});`;
}

interface Got {
  topic: string;
  data: unknown;
  emitter: string;
  id: string;
  host: string;
  name: string;
}

async function got(hub: Hub, run: string): Promise<Got[]> {
  return JSON.parse(await hub.ask(`GOT_${run}`)) as Got[];
}

for (const from of HOSTS) {
  describe(`from ${from}`, () => {
    for (const to of ["inline", "process"]) {
      test(`an event reaches a handler ${to}, as it was`, () =>
        onHub(async (hub) => {
          const data = { from, to, text: "grüße 🎈", list: [1, null] };
          expect(await hub.ask(`EMIT_${from} user.${from}-${to} ${JSON.stringify(data)}\n`)).toBe("emitted\n");
          const event = await until("the handler has the event", async () =>
            (await got(hub, to)).find(({ topic }) => topic === `user.${from}-${to}`),
          );
          expect(event).toMatchObject({ data, emitter: `emitter_${from}`, name: `handler_${to}` });
          expect(event.host).toBe(to === "inline" ? "main" : "process");
        }));
    }

    for (const to of HOSTS) {
      test(`events reach an iterator ${to}, in order`, () =>
        onHub(async (hub) => {
          const topic = `read.${from}.${to}`;
          await hub.ask(`OPEN_${to} ${topic}\n`);
          for (let i = 0; i < 5; i++) await hub.ask(`EMIT_${from} ${topic} ${i}\n`);
          expect(JSON.parse(await hub.ask(`READ_${to} ${topic} 5\n`))).toEqual([0, 1, 2, 3, 4]);
        }));
    }

    test("a topic with a wildcard is refused", () =>
      onHub(async (hub) => {
        expect(await hub.ask(`EMIT_${from} user.* 1\n`)).toMatch(/^TypeError: events.emit: .*wildcard/);
      }));
  });
}

describe("a handler", () => {
  const fates = async (hub: Hub) => JSON.parse(await hub.ask("FATES")) as string[];
  const emit = (hub: Hub, topic: string, data: unknown) => hub.ask(`EMIT_inline ${topic} ${JSON.stringify(data)}\n`);
  const totalOf = async (hub: Hub, topic: string) =>
    (await hub.status()).events.subscribers.find((each) => each.module === "fates" && each.topic === topic);

  test("that fails is logged and counted, its own events are emitted, and the next event comes", () =>
    onHub(async (hub) => {
      await emit(hub, "fate.throws", 71);
      await emit(hub, "fate.rejects", 72);
      await emit(hub, "fate.throws", 73);
      await emit(hub, "fate.rejects", 74);
      await until("all", async () => (await fates(hub)).filter((fate) => / 7[1234]$/.test(fate)).length === 4);
      expect(await fates(hub)).toEqual(expect.arrayContaining(["told 71", "told 73", "rejects 72", "rejects 74"]));
      await until("the counts", async () => (await totalOf(hub, "fate.rejects"))?.errors === 2);
      expect(await totalOf(hub, "fate.throws")).toMatchObject({ delivered: 2, errors: 2, dropped: 0 });
      await until("the log", () => hub.program.output().includes("thrown late"));
      expect(hub.program.output()).toContain("fates v1");
      expect(hub.program.output()).toContain("thrown at once");
    }));

  test("gets a copy of its own, and calls services", () =>
    onHub(async (hub) => {
      await emit(hub, "fate.both", { list: [] });
      await emit(hub, "fate.calls", 41);
      await until("all", async () => (await fates(hub)).includes("calls 42"));
      expect(await fates(hub)).toEqual(expect.arrayContaining(["one 1", "two 1"]));
    }));

  test("that waits keeps its events to itself, drops what is too much, and costs no other any", () =>
    onHub(async (hub) => {
      const count = 10_500;
      const client = await hub.connect();
      await client.send("EMIT_inline fate.waits 0\n");
      await client.waitFor("emitted\n");
      await until("its begin", async () => (await fates(hub)).includes("waits 0"));
      for (let n = 0; n < count; n += 100) {
        client.clear();
        await client.send(`EMIT_inline fate.waits ${n}\n`.repeat(100) + "EMIT_inline fate.many 1\n");
        await client.waitForBytes("emitted\n".length * 101);
      }
      expect(await totalOf(hub, "fate.waits")).toMatchObject({ dropped: 500, delivered: 0 });
      const metrics = await (await fetch(`${hub.url}/metrics`)).text();
      expect(metrics).toContain('hrmr_events_dropped_total{module="fates",topic="fate.waits"} 500\n');
      expect(metrics).toMatch(/hrmr_events_emitted_total\{module="emitter_inline"\} \d+\n/);
      await until("the other's events", async () => (await totalOf(hub, "fate.many"))?.delivered === count / 100);
      expect(await totalOf(hub, "fate.many")).toMatchObject({ dropped: 0 });
      expect(await hub.ask("RELEASE")).toBe("released\n");
    }));

  test("of a version that is refused never runs, and what that version emits is never heard", () =>
    onHub(async (hub) => {
      await until("the event of the start", async () => (await fates(hub)).includes("told start 1"));
      hub.write("modules/early.ts", early(2, 'throw new Error("no");'));
      expect(await hub.ask("RELOAD early\n")).toStartWith("ERR");
      await emit(hub, "early", "a");
      await until("the old version's event", async () => (await fates(hub)).includes("told early 1 a"));
      hub.write("modules/early.ts", early(3));
      expect(await hub.ask("RELOAD early\n")).toStartWith("OK");
      await emit(hub, "early", "b");
      await until("the new version's event", async () => (await fates(hub)).includes("told early 3 b"));
      const got = (await fates(hub)).filter((fate) => /setup|start|early/.test(fate));
      expect(got).toEqual([
        // While the server starts, no process is the background process: nobody hears what a setup emits.
        "told start 1",
        "told early 1 a",
        "told setup 3",
        "told start 3",
        "told early 3 b",
      ]);
    }));
});

test.each([
  ["data that cannot be copied", "() => 1", /TypeError: events.emit: the data of "a" cannot be copied/],
  ["more than 1 MB", '"x".repeat(1_048_577)', /RangeError: events.emit: the data of "a" has \d+ bytes/],
])("%s is refused where it is emitted", (_, data, error) =>
  onHub(async (hub) => {
    hub.write(
      "modules/wrong.ts",
      `export default { routes: { "WRONG": (_, context) => { try { context.events.emit("a", ${data}); return "emitted"; } catch (error) { return String(error); } } } };`,
    );
    expect(await hub.ask("RELOAD wrong\n")).toStartWith("OK");
    expect(await hub.ask("WRONG")).toMatch(error);
  }),
);
