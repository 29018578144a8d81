import { expect, test } from "bun:test";
import { LogThrottle, suppressedText } from "../src/observe/log-throttle";

const failure = (text: string, module = "greet", generation = 1) => ({ module, generation, text });

/** @returns how many of `count` equal failures are told */
function admit(throttle: LogThrottle, count: number, nowMs: number, what = failure("TypeError: x")): number {
  let told = 0;
  for (let at = 0; at < count; at++) if (throttle.admit(what, nowMs)) told++;
  return told;
}

test("the first ten of a second are told, the rest is a number at its end, and then it begins anew", () => {
  const throttle = new LogThrottle();
  expect(admit(throttle, 10, 0)).toBe(10);
  expect(admit(throttle, 4812, 999)).toBe(0);
  expect(throttle.flush(999)).toEqual([]);
  const [suppressed, ...more] = throttle.flush(1000);
  expect(suppressed).toEqual({ count: 4812, overMs: 1000, failure: failure("TypeError: x") });
  expect(more).toEqual([]);
  expect(throttle.flush(1001)).toEqual([]);
  expect(admit(throttle, 20, 1002)).toBe(10);
});

test("ten and fewer are told without a word more", () => {
  const throttle = new LogThrottle();
  expect(admit(throttle, 10, 0)).toBe(10);
  expect(throttle.flush(5000)).toEqual([]);
});

test("another module, version or first line is another failure; what stands behind the first line is not", () => {
  const throttle = new LogThrottle({ perSecond: 1 });
  const different = [failure("a"), failure("b"), failure("a", "other"), failure("a", "greet", 2)];
  expect(different.map((each) => throttle.admit(each, 0))).toEqual([true, true, true, true]);
  expect(throttle.admit(failure("a\n  at greet.ts:1"), 0)).toBe(false);
  expect(throttle.flush(1000)).toEqual([{ count: 1, overMs: 1000, failure: failure("a") }]);
});

test("failures of ever new kinds are no way round it: they are told up to a hundred, then counted together", () => {
  const throttle = new LogThrottle();
  let told = 0;
  for (let at = 0; at < 5000; at++) if (throttle.admit(failure(`bad byte ${at}`), at / 10)) told++;
  expect(told).toBe(100);
  expect(throttle.flush(1100)).toEqual([{ count: 4900, overMs: 1090, failure: null }]);
  expect(throttle.admit(failure("bad byte 4999"), 1101)).toBe(true);
});

test("at the end of the server what is counted is told at once", () => {
  const throttle = new LogThrottle({ perSecond: 2 });
  admit(throttle, 5, 0);
  expect(throttle.flush(10)).toEqual([]);
  expect(throttle.flush(10, true)).toEqual([{ count: 3, overMs: 10, failure: failure("TypeError: x") }]);
});

test("says how many in how long", () => {
  expect(suppressedText({ count: 4812, overMs: 1010, failure: failure("TypeError: x") })).toBe(
    "… 4,812 more like it in the last second: TypeError: x",
  );
  expect(suppressedText({ count: 1, overMs: 1900, failure: null })).toBe("… 1 more failure, of many kinds, in the last 2 seconds");
});
