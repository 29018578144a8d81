/** Which version comes back, and when one comes back by itself: decided by figures alone. */
import { describe, expect, test } from "bun:test";
import { DEFAULT_VERSIONS } from "../../../src/config/options";
import { type Hold, holdBack, holdText, isHeldBack } from "../../../src/reload/versions/hold";
import { type Counts, judge } from "../../../src/reload/versions/probation";
import { findVersion, versionBefore, type VersionRecord } from "../../../src/reload/versions/versions";

const NONE: Counts = { calls: 0, errors: 0 };
const counts = (calls: number, errors: number): Counts => ({ calls, errors });

function standingOn(figures: Partial<Parameters<typeof judge>[0]>, limits = {}): string {
  const all = { ageMs: 1000, total: NONE, recent: NONE, crashes: 0, former: NONE, ...figures };
  const judgement = judge(all, { ...DEFAULT_VERSIONS, ...limits });
  return "reason" in judgement ? `${judgement.standing}: ${judgement.reason}` : judgement.standing;
}

describe("a version on probation", () => {
  test.each<[string, Partial<Parameters<typeof judge>[0]>, string]>([
    ["without calls waits", {}, "probation"],
    ["without calls is good in the end", { ageMs: 30_000 }, "good"],
    ["that fails seldom waits", { total: counts(1000, 100) }, "probation"],
    ["that fails half of its calls stays", { total: counts(20, 10) }, "probation"],
    ["that fails more than half of them goes", { total: counts(20, 11) }, "rolled back: 11 of 20 calls failed"],
    ["is not judged by fewer calls than minCalls", { total: counts(19, 19) }, "probation"],
    [
      "that fails goes, however old it is",
      { total: counts(20, 20), ageMs: 30_000 },
      "rolled back: 20 of 20 calls failed",
    ],
    [
      "that went bad after a good begin goes by its last seconds",
      { total: counts(9000, 40), recent: counts(50, 40) },
      "rolled back: 40 of 50 calls failed",
    ],
    ["that fails as the one before did stays", { total: counts(100, 80), former: counts(1000, 790) }, "probation"],
    ["that fails not even twice as often stays", { total: counts(100, 60), former: counts(100, 31) }, "probation"],
    [
      "that fails twice as often goes",
      { total: counts(100, 60), former: counts(100, 30) },
      "rolled back: 60 of 100 calls failed",
    ],
    ["crashes twice and stays", { crashes: 2 }, "probation"],
    ["crashes a third time and goes", { crashes: 3 }, "crashed: it crashed 3 times"],
  ])("%s", (_, figures, expected) => expect(standingOn(figures)).toBe(expected));

  test("is good at once where there is no probation", () => {
    expect(standingOn({ total: counts(100, 100), crashes: 9 }, { probationMs: 0 })).toBe("good");
  });

  test("with maxErrorShare 0 goes at the first failure that makes minCalls calls", () => {
    expect(standingOn({ total: counts(1, 1) }, { maxErrorShare: 0, minCalls: 1 })).toBe(
      "rolled back: 1 of 1 calls failed",
    );
    expect(standingOn({ total: counts(1, 0) }, { maxErrorShare: 0, minCalls: 1 })).toBe("probation");
  });
});

/** "3 bbbb good", "4 aaaa good of 1": number, hash and standing. */
function records(...lines: string[]): VersionRecord[] {
  return lines.map((line) => {
    const [, number, hash = "", standing, of] =
      /^(\d+) (\w+) (good|probation|rolled back|crashed|failed)(?: of (\d+))?$/.exec(line) ?? [];
    const isFailed = standing === "failed";
    return {
      number: Number(number),
      hash,
      at: "2026-01-02T03:04:05.000Z",
      from: of === undefined ? "disk" : "rollback",
      of: of === undefined ? null : Number(of),
      source: "/srv/modules/greet.ts",
      config: {},
      verdict: (isFailed ? "rolled back" : standing) as VersionRecord["verdict"],
      reason: isFailed ? "20 of 20 calls failed" : null,
    };
  });
}

describe("the version that comes back", () => {
  test.each<[string, string[], number | null, number | null]>([
    ["is the one before", ["1 aaaa good", "2 bbbb good", "3 cccc probation"], 3, 2],
    [
      "is the last good one, not one that was on probation to its end",
      ["1 aaaa good", "2 bbbb probation", "3 cccc good"],
      3,
      1,
    ],
    ["is one that was on probation, if there is no other", ["1 aaaa probation", "2 bbbb good"], 2, 1],
    ["is none of the same code", ["1 aaaa good", "2 bbbb good", "3 bbbb good"], 3, 1],
    ["is none that failed", ["1 aaaa good", "2 bbbb failed", "3 aaaa good of 1", "4 cccc good"], 4, 3],
    [
      "is none that crashed, under whatever number",
      ["1 aaaa good", "2 bbbb good", "3 bbbb crashed", "4 cccc good"],
      4,
      1,
    ],
    [
      "is after a rollback the one before that, and so on",
      ["1 aaaa good", "2 bbbb good", "3 cccc rolled back", "4 bbbb good of 2"],
      4,
      1,
    ],
    ["is the last good one when nothing serves", ["1 aaaa good", "2 bbbb good"], null, 2],
    ["is none before the first", ["1 aaaa good"], 1, null],
    ["is none where nothing is kept", [], null, null],
  ])("%s", (_, lines, live, expected) => expect(versionBefore(records(...lines), live)?.number ?? null).toBe(expected));

  const kept = records("7 aabb01 good", "8 aabb02 good", "9 1234ff good", "1234 cc0000 good");
  test.each([
    ["8", 8],
    ["v8", 8],
    ["aabb02", 8],
    ["AABB02", 8],
    ["1234ff", 9],
    ["1234", 1234],
    ["cc00", 1234],
  ])("may be named %p", (wanted, number) => expect(findVersion("greet", kept, wanted).number).toBe(number));

  test.each([
    ["10", 'Module "greet" has no stored version "10".'],
    ["aab", 'Module "greet" has no stored version "aab".'],
    ["aabb", 'Several versions of module "greet" begin with "aabb".'],
    ["", 'Module "greet" has no stored version "".'],
  ])("is not found as %p", (wanted, message) => expect(() => findVersion("greet", kept, wanted)).toThrow(message));
});

describe("what was rolled back from", () => {
  const version = (number: number, hash: string, config = {}) => ({ number, hash, config });

  test("is held back, one rollback after another, until somebody goes to it again", () => {
    const first = holdBack(null, version(3, "cc"), version(2, "bb"), null);
    const second = holdBack(first, version(4, "bb"), version(1, "aa"), "20 of 20 calls failed");
    expect(["cc", "bb", "aa"].map((hash) => isHeldBack(second, hash, {}))).toEqual([true, true, false]);
    const back: Hold = holdBack(second, version(5, "aa"), version(3, "cc"), null);
    expect(["cc", "bb", "aa"].map((hash) => isHeldBack(back, hash, {}))).toEqual([false, true, true]);
    expect(isHeldBack(null, "cc", {})).toBe(false);
  });

  test("is told apart by its settings", () => {
    const hold = holdBack(null, version(2, "aa", { word: "new" }), version(1, "aa", { word: "old" }), null);
    expect([isHeldBack(hold, "aa", { word: "new" }), isHeldBack(hold, "aa", { word: "old" })]).toEqual([true, false]);
  });

  test("is told with its number, the reason and what to do", () => {
    const hold = holdBack(null, version(7, "aa"), version(6, "bb"), "20 of 20 calls failed");
    expect(holdText("greet", hold)).toBe(
      "held back: rolled back from v7 (20 of 20 calls failed); edit the file or `hrmr reload --force greet`",
    );
  });
});
