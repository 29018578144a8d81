import { beforeAll, expect, test } from "bun:test";
import type { Procedures } from "../../src/hub/rpc/procedures";
import type { ServiceAnswer } from "../../src/module/service/calls";
import { Carried } from "../../src/module/service/values";
import type { Talk, Talker } from "../../src/protocol/raw/talk";
import { RawMessage } from "../../src/protocol/raw/message";
import { ANONYMOUS } from "../../src/module/session";
import type { AccessEntry } from "../../src/observe/log/fields";
import { Replies } from "../../src/server/connection/replies";
import { rawRoutes } from "../../src/server/rpc/raw";

const CLIENT = { address: "127.0.0.1", port: 1, transport: "tcp", isLocal: true, connection: 1 } as const;

/** A connection whose calls the test answers itself. */
function talkingConnection() {
  const calls: ServiceAnswer[] = [];
  const events: string[] = [];
  const procedures = {
    streams: new Set(),
    find: () => ({ module: "bank", service: "pay" }),
    call(_found: unknown, _params: unknown, _caller: unknown, answer: ServiceAnswer) {
      calls.push(answer);
      return () => answer.reject(new Error("cancelled") as never);
    },
  } as unknown as Procedures;
  let talk: Talk | null = null;
  const connection = {
    client: CLIENT,
    session: ANONYMOUS,
    talk<T extends Talk>(talker: Talker<T>): T {
      return (talk ??= talker.begin({
        client: CLIENT,
        session: ANONYMOUS,
        say: (line) => events.push(line) > 0,
        drained: async () => {},
        settled: () => events.push("settled"),
      })) as T;
    },
  };
  const [route] = rawRoutes(procedures);
  const handle = route?.handler as unknown as (message: RawMessage) => string;
  const ask = (id: number): string => {
    const bytes = Buffer.from(`{"jsonrpc":"2.0","id":${id},"method":"bank.pay"}\n`);
    return handle(new RawMessage(bytes, 0, bytes.length, connection));
  };
  return { ask, calls, events, isBusy: () => talk?.isBusy, leave: () => talk?.left() };
}

const answer = (id: number): string => `{"jsonrpc":"2.0","result":true,"id":${id}}\n`;
/** All microtasks, and what waits for them. */
const turnOver = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

// Bun runs the first tick of a process early.
beforeAll(() => new Promise<void>((resolve) => process.nextTick(resolve)));

test("answers of calls that settle together are one write, before the talk is over", async () => {
  const { ask, calls, events, isBusy } = talkingConnection();
  expect([ask(1), ask(2), ask(3)]).toEqual(["", "", ""]);
  calls[0]?.resolve(Carried.of(true));
  await Promise.resolve();
  calls[2]?.resolve(Carried.of(true));
  calls[1]?.resolve(Carried.of(true));
  expect(isBusy()).toBe(true);
  await turnOver();
  expect(events).toEqual([answer(1) + answer(3) + answer(2), "settled"]);
  expect(isBusy()).toBe(false);
});

test("an answer leaves in the turn in which its call settles", async () => {
  const { ask, calls, events } = talkingConnection();
  ask(1);
  ask(2);
  calls[0]?.resolve(Carried.of(true));
  await turnOver();
  expect(events).toEqual([answer(1)]);
  calls[1]?.resolve(Carried.of(true));
  await turnOver();
  expect(events).toEqual([answer(1), answer(2), "settled"]);
});

test("parts of a stream come behind answers that were there before, and before its end", async () => {
  const { ask, calls, events } = talkingConnection();
  ask(1);
  ask(2);
  calls[0]?.resolve(Carried.of(true));
  const parts = (async function* () {
    yield Carried.of("part");
  })();
  calls[1]?.stream(parts);
  await turnOver();
  await turnOver();
  const part = '{"jsonrpc":"2.0","method":"$/next","params":{"id":2,"value":"part"}}\n';
  expect(events.join("")).toBe(`${answer(1)}${part}{"jsonrpc":"2.0","result":null,"id":2}\nsettled`);
});

test("many long answers do not wait for each other", () => {
  const { ask, calls, events } = talkingConnection();
  for (let id = 1; id <= 3; id++) ask(id);
  for (const call of calls) call.resolve(Carried.of("x".repeat(70_000)));
  expect(events.filter((event) => event !== "settled").length).toBe(3);
});

test("a client that is gone gets none of the answers that wait", async () => {
  const { ask, calls, events, leave } = talkingConnection();
  ask(1);
  ask(2);
  calls[0]?.resolve(Carried.of(true));
  leave();
  await turnOver();
  expect(events.filter((event) => event.includes("result"))).toEqual([]);
});

test("lines that leave in one write are several replies of the access log", () => {
  const [written, told]: [string[], AccessEntry[]] = [[], []];
  const dispatch = { access: (entry: AccessEntry) => void told.push(entry) };
  const connection = { dispatch, client: CLIENT, isClosed: false, isOverfull: false };
  const sender = { write: (text: string) => written.push(text) > 0 };
  const replies = new Replies(connection as never, sender as never, {} as never);
  let say: (lines: string) => boolean = () => false;
  replies.talk((line) => {
    say = (lines) => line.say(lines);
    return { isBusy: false, left() {} };
  });
  expect(say("a\nbüc\n")).toBe(true);
  expect(written).toEqual(["a\nbüc\n"]);
  expect(told.map(({ protocol, bytes }) => [protocol, bytes])).toEqual([
    ["raw", 2],
    ["raw", 5],
  ]);
});
