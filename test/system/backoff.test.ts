/** How soon a lost process is started again. */
import { expect, test } from "bun:test";
import { Backoff } from "../../src/system/backoff";

test("a process that has served for a second is back at once, however often it is killed", () => {
  const backoff = new Backoff();
  expect(Array.from({ length: 20 }, () => backoff.next(1000))).toEqual(Array<number>(20).fill(0));
});

test("one that never serves is started later each time, up to half a minute", () => {
  const backoff = new Backoff();
  const delays = Array.from({ length: 12 }, () => backoff.next(0));
  expect(delays.slice(0, 6)).toEqual([0, 100, 200, 400, 800, 1600]);
  expect(delays.at(-1)).toBe(30_000);
  // It serves at last: earlier failures are forgotten.
  expect(backoff.next(5000)).toBe(0);
});
