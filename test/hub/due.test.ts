/** Due times of tasks, decided from times alone: no clock, no timers. */
import { describe, expect, test } from "bun:test";
import { DueTimes, resumedMark } from "../../src/hub/schedule/due";
import { parseWhen } from "../../src/module/shape/when";

const NOON = Date.parse("2026-03-10T12:00:00Z");
/** As docs/modules.md says. In milliseconds. */
const GRACE_MS = 10_000;
const BACK_MS = 60_000;
const at = (text: string): number => Date.parse(text);

describe("times", () => {
  test("an interval is due at its whole multiples, whoever asks and whenever", () => {
    const { next } = parseWhen("every 10s", null);
    expect(next(NOON)).toBe(NOON + 10_000);
    expect(next(NOON + 1)).toBe(NOON + 10_000);
    expect(next(NOON + 9999)).toBe(NOON + 10_000);
    expect(parseWhen("every 2h", null).next(NOON + 5)).toBe(at("2026-03-10T14:00:00Z"));
    expect(parseWhen("EVERY 1 d", null).next(NOON)).toBe(at("2026-03-11T00:00:00Z"));
  });

  test("a cron line is read in its time zone, over the change to summer time", () => {
    const { next } = parseWhen("0 9 * * *", "Europe/Berlin");
    expect(next(at("2026-03-28T00:00:00Z"))).toBe(at("2026-03-28T08:00:00Z"));
    expect(next(at("2026-03-28T08:00:00Z"))).toBe(at("2026-03-29T07:00:00Z"));
  });

  test.each([
    ["0 0 31 2 *", "never comes"],
    ["every 500ms", 'is no interval. Write "every 10s"'],
    ["every 0.5s", 'the least is "every 1s"'],
    ["every 0s", 'the least is "every 1s"'],
    ["every 400d", 'the most is "every 366d"'],
    ["every", "is no interval"],
    ["* * * * * *", 'For seconds, write "every 10s"'],
    ["@reboot", 'write a "start"'],
    ["61 * * * *", "is not a cron line"],
    ["", "is not a cron line"],
  ])("%p is refused with what to write", (text, problem) => {
    expect(() => parseWhen(text, null)).toThrow(problem);
  });
});

describe("due", () => {
  const everyMinute = () => new DueTimes(parseWhen("* * * * *", "UTC"), NOON);

  test("a time is taken once, and not before it has come", () => {
    const due = everyMinute();
    expect(due.take(NOON + 59_999)).toBeNull();
    expect(due.take(NOON + 60_000)).toBe(NOON + 60_000);
    expect(due.take(NOON + 60_000)).toBeNull();
    expect(due.nextAt).toBe(NOON + 120_000);
  });

  test("a clock that is set forward, or a computer that slept, makes one run and no storm", () => {
    const due = everyMinute();
    const later = NOON + 86_400_000;
    expect(due.take(later)).toBe(NOON + 60_000);
    expect(due.take(later)).toBeNull();
    expect(due.nextAt).toBe(later + 60_000);
  });

  test("a clock that is set back a little repeats no run", () => {
    const due = everyMinute();
    due.take(NOON + 60_000);
    expect(due.take(NOON + 59_000)).toBeNull();
    expect(due.take(NOON + 60_001)).toBeNull();
    expect(due.take(NOON + 120_000)).toBe(NOON + 120_000);
  });

  test("a clock that is set back far does not silence the task until its old time comes again", () => {
    const due = everyMinute();
    due.take(NOON + 60_000);
    const back = NOON - 86_400_000;
    expect(due.take(back)).toBeNull();
    expect(due.nextAt).toBe(back + 60_000);
    expect(due.take(back + 60_000)).toBe(back + 60_000);
  });
});

describe("going on from before", () => {
  const past = { mark: NOON - 86_400_000, when: "* * * * *" };

  test("a new task, and one whose time was changed, is due from now on", () => {
    expect(resumedMark(null, "* * * * *", true, NOON)).toBe(NOON);
    expect(resumedMark(past, "every 10s", true, NOON)).toBe(NOON);
  });

  test("a missed run is made up with catchUp, and otherwise only if it was due a moment ago", () => {
    expect(resumedMark(past, past.when, true, NOON)).toBe(past.mark);
    expect(resumedMark(past, past.when, false, NOON)).toBe(NOON - GRACE_MS);
    expect(resumedMark({ ...past, mark: NOON - 5 }, past.when, false, NOON)).toBe(NOON - 5);
  });

  test("a mark of the far future is none", () => {
    expect(resumedMark({ ...past, mark: NOON + BACK_MS + 1 }, past.when, true, NOON)).toBe(NOON);
    expect(resumedMark({ ...past, mark: NOON + BACK_MS }, past.when, true, NOON)).toBe(NOON + BACK_MS);
  });
});
