/** Topics, patterns, queues, positions and the rights of versions: decisions without a server. */
import { describe, expect, test } from "bun:test";
import { KeptEvents } from "../../src/hub/events/kept";
import { type Subscriber, Subscribers } from "../../src/hub/events/subscribers";
import { VersionGate } from "../../src/hub/events/versions";
import { positionText, readPosition } from "../../src/module/event/position";
import { EventQueue } from "../../src/module/event/queue";
import type { EventRecord } from "../../src/module/event/record";
import { matchesTopic, patternMistake, topicMistake } from "../../src/module/event/topics";

const event = (id: string, topic = "t", text = "U"): EventRecord => ({ id, emitter: "m", topic, text });

describe("a pattern", () => {
  test.each([
    ["user.created", "user.created", true],
    ["user.created", "user.create", false],
    ["user.create", "user.created", false],
    ["user.*", "user.created", true],
    ["user.*", "user", false],
    ["user.*", "user.bob.created", false],
    ["*.created", "user.created", true],
    ["*.*", "user.created", true],
    ["*", "user.created", false],
    ["user.>", "user.created", true],
    ["user.>", "user.bob.created", true],
    ["user.>", "user", false],
    [">", "a", true],
    [">", "a.b.c", true],
    ["*.>", "a", false],
    ["a.*.c", "a.b.c", true],
    ["a.*.c", "a.b.d.c", false],
    ["grüße.🎈", "grüße.🎈", true],
  ])("%p and the topic %p: %p", (pattern, topic, isChosen) => {
    expect(patternMistake(pattern)).toBeNull();
    expect(matchesTopic(pattern, topic)).toBe(isChosen);
  });

  test.each(["", "a..b", ".a", "a.", "a b", "a\n", "a.**", "a*", "a.>b", ">.a", "a.>.b", "\ud800", "x".repeat(256), 7])(
    "%p is refused",
    (pattern) => expect(patternMistake(pattern)).toBeString(),
  );
});

test.each(["*", "user.*", ">", "user.>", "a.*.b", "", "a..b", "a\u0000", null, undefined, {}])(
  "%p is no topic of an event",
  (topic) => expect(topicMistake(topic)).toBeString(),
);

test("each subscriber is found once by a topic, and not any more when it has gone", () => {
  const subscribers = new Subscribers();
  const make = (...patterns: string[]): Subscriber => ({ patterns, offer: () => {} });
  const [one, two, three] = [make("a.b"), make("a.*", "a.b"), make("a.b", "c")];
  for (const each of [one, two, three]) subscribers.add(each as Subscriber);
  expect(subscribers.of("a.b")).toHaveLength(3);
  expect(subscribers.of("a.x")).toEqual([two as Subscriber]);
  expect(subscribers.of("c")).toEqual([three as Subscriber]);
  subscribers.delete(three as Subscriber);
  expect(subscribers.of("c")).toEqual([]);
  expect(subscribers.of("a.b")).toHaveLength(2);
});

describe("a queue", () => {
  test("takes so many events and bytes, and gives them back in order", () => {
    const queue = new EventQueue(3, 100);
    expect([1, 2, 3, 4].map((n) => queue.push(event(`o.${n}`)))).toEqual([true, true, true, false]);
    expect(queue.shift()?.id).toBe("o.1");
    expect(queue.push(event("o.5", "t", "x".repeat(99)))).toBe(false);
    expect(queue.push(event("o.6"))).toBe(true);
    expect(queue.takeAll().map(({ id }) => id)).toEqual(["o.2", "o.3", "o.6"]);
    expect(queue.push(event("o.7", "t", "x".repeat(200)))).toBe(true);
    expect(queue.size).toBe(1);
  });

  test("of many events is as fast as one of few, and keeps its order", () => {
    const queue = new EventQueue(1e6, 1e9);
    let last = 0;
    for (let n = 1; n <= 100_000; n++) {
      queue.push(event(`o.${n}`));
      if (n % 3 !== 0) expect(queue.shift()?.id).toBe(`o.${++last}`);
    }
    expect(queue.size).toBe(100_000 - last);
  });
});

describe("a position", () => {
  test("is read from its text, and a text that is none is refused", () => {
    expect(positionText(readPosition("1f0a9c3e.17,77aa01bc.4") ?? new Map())).toBe("1f0a9c3e.17,77aa01bc.4");
    expect(readPosition("")).toEqual(new Map());
    for (const text of ["x", "1f0a9c3e", "1f0a9c3e.17,", "1f0a9c3e.-1", "1F0A9C3E.1", "1f0a9c3e.1 ", "*"])
      expect(readPosition(text)).toBeNull();
  });

  test("leads to the events behind it, in whatever order the processes have them", () => {
    const [a, b] = ["aaaaaaaa", "bbbbbbbb"];
    const after = (ids: string[], position: string): string[] => {
      const kept = new KeptEvents("00000000");
      for (const id of ids) kept.push(event(id));
      return kept.after(readPosition(position) ?? new Map()).map(({ id }) => id);
    };
    expect(after([`${a}.1`, `${a}.2`, `${a}.3`], `${a}.1`)).toEqual([`${a}.2`, `${a}.3`]);
    expect(after([`${b}.1`, `${a}.1`, `${b}.2`], `${a}.1`)).toEqual([`${b}.2`]);
    expect(after([`${b}.1`, `${a}.1`, `${b}.2`], `${a}.1,${b}.0`)).toEqual([`${b}.1`, `${b}.2`]);
    expect(after([`${b}.1`, `${a}.1`, `${b}.2`], `${b}.2,${a}.0`)).toEqual([`${a}.1`]);
    // Its events are not kept any more, or of a server before.
    expect(after([`${b}.1`], `${a}.7`)).toEqual([`${b}.1`]);
  });

  test("of a process without events is behind none", () => {
    const kept = new KeptEvents("cccccccc");
    const { position } = kept;
    kept.push(event("cccccccc.1"));
    expect(positionText(position)).toBe("cccccccc.0");
    expect(kept.after(position)).toHaveLength(1);
  });
});

describe("a version", () => {
  const version = (id: number) => ({ id, module: "m" });
  const held = (id: number, topic: string) => ({ version: version(id), topic, text: "U" });
  const serving = (id: number | null) => [{ module: "m", id }];

  test("acts from its swap on: its events are held, and its subscriptions begin with it", () => {
    const emitted: string[] = [];
    const gate = new VersionGate<string>(({ topic }) => emitted.push(topic));
    expect(gate.holds(held(1, "early"))).toBe(true);
    expect(gate.enter(version(1), "early")).toBe("new");
    expect(gate.follow(serving(1))).toEqual({ ended: [], begun: ["early"] });
    expect(emitted).toEqual([]);
    gate.release();
    expect(emitted).toEqual(["early"]);
    expect(gate.holds(held(1, "now"))).toBe(false);
    expect(gate.enter(version(1), "now")).toBe("live");
    expect(gate.follow(serving(1))).toEqual({ ended: [], begun: [] });
    expect(gate.follow(serving(2))).toEqual({ ended: ["early", "now"], begun: [] });
    expect(gate.enter(version(1), "late")).toBe("left");
    // What it does yet, it may tell: a call under way, or its stop.
    expect(gate.holds(held(1, "late"))).toBe(false);
  });

  test("that is refused has told nothing", () => {
    const emitted: string[] = [];
    const gate = new VersionGate<string>(({ topic }) => emitted.push(topic));
    gate.follow(serving(1));
    expect(gate.holds(held(2, "refused"))).toBe(true);
    gate.enter(version(2), "refused");
    expect(gate.follow(serving(1))).toEqual({ ended: [], begun: [] });
    expect(gate.holds(held(3, "next"))).toBe(true);
    expect(gate.enter(version(3), "next")).toBe("new");
    expect(gate.follow(serving(3))).toEqual({ ended: [], begun: ["next"] });
    gate.release();
    expect(emitted).toEqual(["next"]);
  });

  test("that waits for another to end keeps its subscriptions for its swap", () => {
    const gate = new VersionGate<string>(() => {});
    gate.follow(serving(1));
    gate.enter(version(1), "old");
    expect(gate.follow(serving(null))).toEqual({ ended: ["old"], begun: [] });
    expect(gate.enter(version(2), "new")).toBe("new");
    expect(gate.follow(serving(2))).toEqual({ ended: [], begun: ["new"] });
    expect(gate.follow([])).toEqual({ ended: ["new"], begun: [] });
  });
});
