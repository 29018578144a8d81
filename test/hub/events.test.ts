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
const onHub = shareHub(files);

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
