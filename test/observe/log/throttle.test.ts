import { expect, test } from "bun:test";
import { LogThrottle, suppressedText } from "../../../src/observe/log/throttle";

const event = (
  text: string,
  module: string | undefined = "greet",
  generation = 1,
): Parameters<LogThrottle["admit"]>[0] => ({
  level: "error",
  module,
  generation,
  text,
});

/** @returns how many of `count` equal events are told */
function admit(throttle: LogThrottle, count: number, nowMs: number, what = event("TypeError: x")): number {
  let told = 0;
  for (let at = 0; at < count; at++) if (throttle.admit(what, nowMs)) told++;
  return told;
}

/** Events of ever new kinds. @returns how many are told */
function admitKinds(throttle: LogThrottle, count: number, nowMs: number, module?: string): number {
  let told = 0;
  for (let at = 0; at < count; at++) if (throttle.admit(event(`bad byte ${nowMs} ${at}`, module), nowMs)) told++;
  return told;
}

test("the first ten of a second are told, the rest is a number at its end", () => {
  const throttle = new LogThrottle();
  expect(admit(throttle, 10, 0)).toBe(10);
  expect(admit(throttle, 4812, 999)).toBe(0);
  expect(throttle.flush(999)).toEqual([]);
  expect(throttle.flush(1000)).toEqual([{ count: 4812, overMs: 1000, event: event("TypeError: x") }]);
  expect(throttle.flush(1001)).toEqual([]);
});

test("a flood that goes on is one number a second, until a second has passed without it", () => {
  const throttle = new LogThrottle();
  admit(throttle, 11, 0);
  for (let second = 1; second < 60; second++) {
    expect(throttle.flush(second * 1000)).toHaveLength(1);
    expect(admit(throttle, 3, second * 1000 + 1)).toBe(0);
  }
  expect(throttle.flush(60_000)).toEqual([{ count: 3, overMs: 1000, event: event("TypeError: x") }]);
  expect(throttle.isIdle).toBe(false);
  expect(throttle.flush(61_000)).toEqual([]);
  expect(admit(throttle, 20, 61_002)).toBe(10);
});

test("ten and fewer are told without a word more", () => {
  const throttle = new LogThrottle();
  expect(admit(throttle, 10, 0)).toBe(10);
  expect(throttle.flush(5000)).toEqual([]);
  expect(throttle.isIdle).toBe(true);
});

test("another module, version, level or first line is another kind; what stands behind the first line is not", () => {
  const throttle = new LogThrottle({ perKind: 1 });
  const different = [
    event("a"),
    event("b"),
    event("a", "other"),
    event("a", "greet", 2),
    { ...event("a"), level: "warn" as const },
  ];
  expect(different.map((each) => throttle.admit(each, 0))).toEqual([true, true, true, true, true]);
  expect(throttle.admit(event("a\n  at greet.ts:1"), 0)).toBe(false);
  expect(throttle.flush(1000)).toEqual([{ count: 1, overMs: 1000, event: event("a") }]);
});

test("ever new kinds are no way round it: a hundred are told, then five a second, and the rest is one number", () => {
  const throttle = new LogThrottle();
  expect(admitKinds(throttle, 5000, 0)).toBe(100);
  const many = { ...event("x"), generation: undefined, text: "" };
  expect(throttle.flush(1000)).toEqual([{ count: 4900, overMs: 1000, event: many }]);
  for (let second = 1; second < 60; second++) {
    expect(admitKinds(throttle, 5000, second * 1000)).toBe(5);
    expect(throttle.flush(second * 1000 + 1000)).toEqual([{ count: 4995, overMs: 1000, event: many }]);
  }
  // Twenty seconds without any, and all is as in the beginning.
  for (let second = 61; second <= 81; second++) expect(throttle.flush(second * 1000)).toEqual([]);
  expect(throttle.isIdle).toBe(true);
  expect(admitKinds(throttle, 5000, 82_000)).toBe(100);
});

test("whoever stays below that within each second has no more of it", () => {
  const throttle = new LogThrottle();
  let told = 0;
  for (let second = 0; second < 60; second++) {
    told += admitKinds(throttle, 50, second * 1000) + admit(throttle, 9, second * 1000);
    throttle.flush(second * 1000 + 1000);
  }
  expect(told).toBeLessThanOrEqual(100 + 5 * 60);
});

test("many kinds that flood at once are few lines too", () => {
  const throttle = new LogThrottle();
  for (let second = 0; second < 10; second++) {
    let told = 0;
    for (let at = 0; at < 5000; at++) if (throttle.admit(event(`kind ${at % 90}`), second * 1000)) told++;
    expect(told).toBeLessThanOrEqual(second === 0 ? 100 : 0);
    const sums = throttle.flush(second * 1000 + 1000);
    expect(sums).toHaveLength(11);
    expect(told + sums.reduce((sum, { count }) => sum + count, 0)).toBe(5000);
  }
});

test("what floods in one module hides nothing of another, nor of the server's own", () => {
  const throttle = new LogThrottle();
  admitKinds(throttle, 5000, 0, "flooded");
  throttle.flush(1000);
  admitKinds(throttle, 5000, 1001, "flooded");
  expect(admit(throttle, 10, 1002, event("a", "quiet"))).toBe(10);
  expect(admit(throttle, 10, 1002, { level: "warn", text: "b" })).toBe(10);
});

test("what is of many kinds is as grave as the gravest of them", () => {
  const throttle = new LogThrottle({ burst: 1 });
  for (const [at, level] of (["warn", "info", "error", "warn"] as const).entries())
    throttle.admit({ level, text: `${at}` }, 0);
  expect(throttle.flush(1000)).toMatchObject([{ count: 3, event: { level: "error", text: "" } }]);
});

test("at the end of the server what is counted is told at once", () => {
  const throttle = new LogThrottle({ perKind: 2 });
  admit(throttle, 5, 0);
  expect(throttle.flush(10)).toEqual([]);
  expect(throttle.flush(10, true)).toEqual([{ count: 3, overMs: 10, event: event("TypeError: x") }]);
});

test("says how many in how long", () => {
  expect(suppressedText({ count: 4812, overMs: 1010, event: event("TypeError: x") })).toBe(
    "… 4,812 more like it in the last second: TypeError: x",
  );
  expect(suppressedText({ count: 1, overMs: 1900, event: event("") })).toBe(
    "… 1 more event, of many kinds, in the last 2 seconds",
  );
});
