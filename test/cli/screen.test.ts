/** The output of commands for people. */
import { describe, expect, test } from "bun:test";
import { statusScreen } from "../../src/cli/screen/status-screen";
import { findingLines } from "../../src/cli/commands/validate";
import {
  cleanText,
  formatBytes,
  formatCount,
  formatDuration,
  formatLatency,
  type Paint,
  paintFor,
  tableLines,
} from "../../src/cli/screen/terminal";
import { MODULE, STATUS } from "../support/control-fixture";

const plain: Paint = (text) => text;

describe("the screen of hrmr status", () => {
  test("cuts long names so that the table stays within the line, and nothing where the line has no end", () => {
    const name = "a-module-with-a-name-longer-than-what-a-line-can-hold-together-with-figures";
    const status = { ...STATUS, modules: [MODULE, { ...MODULE, name, state: "unavailable" as const }] };
    const narrow = statusScreen(status, 80, plain, 0).split("\n");
    expect(narrow.every((line) => Bun.stringWidth(line) <= 80)).toBe(true);
    expect(narrow.find((line) => line.includes("…"))).toMatch(/^a-module.*…  unavailable  v12 /);
    expect(statusScreen(status, Infinity, plain, 0)).toContain(`${name}  unavailable`);
  });

  test("has a line of the store once a module has used it, and its error while it fails", () => {
    expect(statusScreen(STATUS, 80, plain, 0)).not.toContain("store ");
    const store = {
      ...STATUS.store,
      state: "open" as const,
      size: { documents: 1234, bytes: 3_200_000, changes: 10 },
      commits: 40,
      groups: 10,
      p99Ms: 3.14,
      retries: 1,
      watches: 2,
    };
    const lines = (given: typeof store | (Omit<typeof store, "state"> & { state: "failing" })) =>
      statusScreen({ ...STATUS, store: given }, Infinity, plain, 0).split("\n");
    expect(lines(store)).toContain(
      "store        sqlite, 1234 documents, 3 MB, 40 commits (4.0 a turn, p99 3.1 ms), 1 transaction ran again, 2 watches",
    );
    const lastError = { at: new Date(0).toISOString(), code: "FULL", message: "no space\u001b[1m is left" };
    const failing = lines({ ...store, state: "failing", lastError });
    expect(failing.find((line) => line.startsWith("store"))).toContain("sqlite, failing, 1234 documents");
    expect(failing.find((line) => line.includes("is left"))).not.toContain("\u001b");
  });

  test("is the same text with colours as without", () => {
    const status = { ...STATUS, modules: [{ ...MODULE, state: "failed" as const, errors: 3, error: "boom\n  at x" }] };
    const colours: Paint = (text, colour) => `\u001b[${colour === "red" ? 31 : 2}m${text}\u001b[0m`;
    const coloured = statusScreen(status, 80, colours, 0);
    expect(coloured).toContain("\u001b[31mfailed\u001b[0m");
    expect(Bun.stripANSI(coloured)).toBe(statusScreen(status, 80, plain, 0));
  });

  test("breaks long lines between words, and never those of code", () => {
    const words = "a note that says why this version is held back until somebody edits its file or forces it";
    const code = `4 | ${"x ".repeat(60)}`;
    const troubled = { ...MODULE, notes: [words], error: `modules/greet.ts:4:1: ${words}\n${code}\n  | ^` };
    const last = {
      at: new Date(0).toISOString(),
      ok: true,
      elapsedMs: 1,
      dropped: 0,
      text: `OK ${words}\n`,
      phases: {},
    };
    const status = {
      ...STATUS,
      listening: ["tcp://127.0.0.1:7000"],
      modules: [troubled],
      leaked: [{ module: "greet", generation: 1, since: last.at, why: words }],
      reloads: { ...STATUS.reloads, last },
    };
    const red: Paint = (text) => `\u001b[31m${text}\u001b[39m`;
    for (const paint of [plain, red]) {
      const whole = Bun.stripANSI(statusScreen(status, Infinity, paint, 0));
      const narrow = Bun.stripANSI(statusScreen(status, 72, paint, 0));
      expect(narrow.split("\n").filter((line) => Bun.stringWidth(line) > 72)).toEqual([`  ${code}`]);
      expect(narrow.split(/\s+/)).toEqual(whole.split(/\s+/));
      expect(narrow).toMatch(/^last reload {2}0 s ago: OK a note .*\n {13}[a-z]/m);
    }
  });

  test("says so when there are no modules", () => {
    expect(statusScreen({ ...STATUS, modules: [] }, 80, plain, 0)).toContain("\n\nno modules\n\n");
  });
});

test("a table measures wide characters and colours as a terminal shows them", () => {
  const columns = [
    { title: "A", canShrink: true },
    { title: "B", align: "right" as const },
  ];
  const rows = [
    ["日本語", "\u001b[31m1\u001b[39m"],
    ["ab", "100"],
  ];
  expect(tableLines(columns, rows, Infinity, plain)).toEqual([
    "A         B",
    "日本語    \u001b[31m1\u001b[39m",
    "ab      100",
  ]);
  const [, cut = ""] = tableLines(columns, [["日本語日本語", "1"]], 12, plain);
  expect(cut).toBe("日本語日…  1");
  expect(tableLines(columns, [["\u001b[31mmany words\u001b[39m", "1"]], 11, plain)[1]).toBe(
    "\u001b[31mmany wo…\u001b[39m  1",
  );
});

test("notes stand behind the rows of a table, or below them where the line is too short", () => {
  const columns = [{ title: "VERSION" }, { title: "", isNote: true }];
  const rows = [
    ["v2", "23 of 31 calls failed"],
    ["v1", ""],
  ];
  expect(tableLines(columns, rows, 40, plain)).toEqual(["VERSION", "v2       23 of 31 calls failed", "v1"]);
  expect(tableLines(columns, rows, 20, plain)).toEqual(["VERSION", "v2\n   23 of 31 calls\n     failed", "v1"]);
});

test("colours are for terminals, and NO_COLOR takes them away", () => {
  const before = process.env.NO_COLOR;
  try {
    delete process.env.NO_COLOR;
    expect(paintFor({ isTTY: true })("x", "red")).toBe("\u001b[31mx\u001b[39m");
    expect(paintFor({ isTTY: false })("x", "red")).toBe("x");
    expect(paintFor({})("x", "red")).toBe("x");
    process.env.NO_COLOR = "1";
    expect(paintFor({ isTTY: true })("x", "red")).toBe("x");
    process.env.NO_COLOR = "";
    expect(paintFor({ isTTY: true })("x", "red")).toBe("\u001b[31mx\u001b[39m");
  } finally {
    if (before === undefined) delete process.env.NO_COLOR;
    else process.env.NO_COLOR = before;
  }
});

test("what would drive the terminal is taken out of a module's words", () => {
  expect(cleanText("a\u001b[2J\u001b]0;title\u0007b\tc\r\nd\u0000\u009b31me\u0085")).toBe("ab  c\nd?e?");
  expect(cleanText("grüße 日本\n")).toBe("grüße 日本\n");
});

test.each([
  [formatCount, 0, "0"],
  [formatCount, 99_999, "99999"],
  [formatCount, 100_000, "100k"],
  [formatCount, 999_499, "999k"],
  [formatCount, 999_500, "1.00M"],
  [formatCount, 12_345_678, "12.3M"],
  [formatCount, 999_499_999, "999M"],
  [formatCount, 4_560_000_000, "4.56G"],
  [formatCount, 12_345_000_000_000, "12345G"],
  [formatBytes, 999, "999 B"],
  [formatBytes, 61_300_000, "61 MB"],
  [formatBytes, 1_250_000_000, "1.3 GB"],
  [formatDuration, -3, "0 s"],
  [formatDuration, 59.9, "59 s"],
  [formatDuration, 60, "1 min"],
  [formatDuration, 725, "12 min 5 s"],
  [formatDuration, 3605, "1 h"],
  [formatDuration, 273_600, "3 d 4 h"],
  [formatLatency, null, "-"],
  [formatLatency, 0.04, "<0.1 ms"],
  [formatLatency, 9.96, "10 ms"],
  [formatLatency, 999.6, "1.0 s"],
] as [(value: never) => string, number | null, string][])("%p of %p is shown as %p", (format, value, shown) => {
  expect(format(value as never)).toBe(shown);
});

test("hrmr validate breaks its lines between words at the width of the terminal, and never those of code", () => {
  const code = `1 | ${"x ".repeat(60)}`;
  const text = `modules/greet.ts:1:17: Expected identifier but found end of file, and there is more to say\n${code}`;
  const list = [
    {
      check: "module greet",
      state: "error" as const,
      code: "BUILD_FAILED",
      text,
      hint: "A start would leave it out and serve the others.",
    },
  ];
  const [first, second] = findingLines(list, 60, plain);
  expect([first, second]).toEqual([
    "error    module greet  modules/greet.ts:1:17: Expected",
    "                       identifier but found end of file, and",
  ]);
  expect(
    findingLines(list, 60, plain)
      .filter((line) => !line.includes("1 |"))
      .every((line) => line.length <= 60),
  ).toBe(true);
  expect(findingLines(list, 60, plain)).toContain(`         ${code.trimEnd()}`);
  expect(findingLines(list, Infinity, plain)[0]).toEndWith("and there is more to say");
  expect(findingLines([{ ...list[0]!, check: "module ".padEnd(40, "x"), text }], 60, plain).slice(0, 3)).toEqual([
    `error    module ${"x".repeat(33)}`,
    "         modules/greet.ts:1:17: Expected identifier but",
    "         found end of file, and there is more to say",
  ]);
});
