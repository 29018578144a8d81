/** Events in a server of two processes, and over reloads under load. */
import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Hub, shareHub } from "../support/hub";
import { until } from "../support/until";
import { bytesOf, EventWindow } from "../../src/supervise/serve/event-window";

/** Reloads of the test under load. The long form: 200. */
const RELOADS = Number(process.env["HRMR_TEST_EVENT_RELOADS"] ?? 20);

/** TELL client n: emits it. */
const EMITTER = `
import { defineModule } from "hrmr";
export default defineModule({ routes: { "TELL ": { framing: "line", handle: (message, context) => {
  const [, client, n] = message.text.split(" ");
  context.events.emit("load." + client, { client, n: Number(n) });
  return n + "\\n";
} } } });`;

/** Notes "client n" in a file of this module and process. The process of `apart` is another one for each version. */
function subscriber(name: string, rest: string): string {
  return `
import { defineModule } from "hrmr";
import { appendFileSync } from "node:fs";
const note = ({ data }) => appendFileSync("got-${name}-" + ${name === "apart" ? 0 : "process.pid"} + ".txt", data.client + " " + data.n + "\\n");
export default defineModule({ ${rest} });`;
}

const MODULES: Record<string, string> = {
  emitter: EMITTER,
  once: subscriber("once", `on: { "load.*": (event) => note(event) }`),
  late: subscriber(
    "late",
    `on: { "load.>": async (event) => { if (event.data.n % 7 === 0) await Bun.sleep(1); note(event); } }`,
  ),
  apart: subscriber(
    "apart",
    `routes: { "APART": { run: "process", handle: () => "yes\\n" } }, on: { "load.*": (event) => note(event) }`,
  ),
  each: subscriber("each", `background: "process", on: { "load.*": (event) => note(event) }`),
  reader: subscriber(
    "reader",
    `background: "process",
    setup: (context) => ({ events: context.events.subscribe("load.*") }),
    start: (context) => void (async () => { for await (const event of context.state.events) note(event); })()`,
  ),
};
const onHub = shareHub(
  Object.fromEntries(Object.entries(MODULES).map(([name, source]) => [`modules/${name}.ts`, source])),
  ["--processes", "2"],
);

/** By file: the numbers of each client's events, in the order of their arrival. */
function received(hub: Hub, name: string): Map<string, number[]>[] {
  const files = readdirSync(hub.dir).filter((file) => file.startsWith(`got-${name}-`));
  return files.map((file) => {
    const numbers = new Map<string, number[]>();
    for (const line of readFileSync(join(hub.dir, file), "utf8").split("\n").slice(0, -1)) {
      const [client = "", n] = line.split(" ");
      numbers.set(client, [...(numbers.get(client) ?? []), Number(n)]);
    }
    return numbers;
  });
}

function count(all: Map<string, number[]>[]): number {
  return all.flatMap((numbers) => [...numbers.values()]).reduce((sum, { length }) => sum + length, 0);
}

/** Emits until it is told to stop, one event after another. @returns how many */
async function tell(hub: Hub, client: string, goesOn: () => boolean): Promise<number> {
  const connection = await hub.connect();
  let n = 0;
  while (goesOn()) {
    n++;
    connection.clear();
    await connection.send(`TELL ${client} ${n}\n`);
    await connection.waitFor("\n");
    // Faster than all subscribers, on a busy machine, and some of them would drop events.
    await Bun.sleep(4);
  }
  return n;
}

test(
  "over reloads of emitter and subscribers, each event comes to each subscriber once and in order",
  () =>
    onHub(async (hub) => {
      let goesOn = true;
      const clients = ["a", "b", "c"];
      const told = Promise.all(clients.map((client) => tell(hub, client, () => goesOn)));
      const names = Object.keys(MODULES);
      for (let i = 0; i < RELOADS; i++) {
        const name = names[i % names.length] as string;
        hub.write(`modules/${name}.ts`, `${MODULES[name]}\n// version ${i}\n`);
        expect(await hub.ask(`RELOAD ${name}\n`)).toStartWith("OK");
      }
      goesOn = false;
      const counts = await told;
      const sum = counts.reduce((a, b) => a + b, 0);
      const copies: Record<string, number> = { once: 1, late: 1, apart: 1, each: 2, reader: 2 };
      for (const [name, processes] of Object.entries(copies)) {
        await until(`all events at ${name}`, () => count(received(hub, name)) >= sum * processes).catch(
          async (error: unknown) => {
            const { subscribers } = (await hub.status()).events;
            throw new Error(
              `${count(received(hub, name))} of ${sum * processes} events: ${JSON.stringify(subscribers)}`,
              {
                cause: error,
              },
            );
          },
        );
        const all = received(hub, name);
        expect(all).toHaveLength(processes);
        for (const numbers of all)
          for (const [at, client] of clients.entries())
            expect(numbers.get(client)).toEqual(Array.from({ length: counts[at] as number }, (_, n) => n + 1));
      }
      const { events } = await hub.status();
      expect(events.emitters).toEqual([{ module: "emitter", emitted: sum }]);
      expect(events.subscribers.map(({ dropped, errors }) => dropped + errors)).toEqual([0, 0, 0, 0, 0]);
    }),
  900_000,
);

test("a process that reads no events misses what is more than 64 MB, and learns how many", () => {
  const events = [{ id: "aaaaaaaa.1", emitter: "m", topic: "t", text: "x".repeat(1_000_000) }];
  const window = new EventWindow();
  let sent = 0;
  while (window.send(events) !== null) sent++;
  expect(sent).toBe(67);
  expect(window.send([...events, ...events])).toBeNull();
  window.taken(bytesOf(events));
  expect(window.send(events)).toBe(3);
  window.taken(67 * bytesOf(events));
  expect(window.send(events)).toBe(0);
  // One that is larger than all the room is sent when nothing else is on its way.
  window.taken(bytesOf(events));
  expect(window.send(Array.from({ length: 100 }, () => events[0] as (typeof events)[0]))).toBe(0);
});
