import { describe, expect, test } from "bun:test";
import { createLog, type LogLevel } from "../src/observe/log";

/** A log that writes into `lines`. */
function capture(level: LogLevel = "info", isTty = false) {
  const lines: string[] = [];
  return { lines, log: createLog({ level, isTty, write: (text) => lines.push(text) }) };
}

const TIME = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`;

describe("the log", () => {
  test("writes one line an event: time, level, tags, text", () => {
    const { lines, log } = capture();
    log.withTag("greet v2").withTag("#17").warn("slow call:", 31, { ms: 5 });
    expect(lines).toEqual([expect.stringMatching(new RegExp(`^${TIME} warn  greet v2 #17 slow call: 31 \\{ ms: 5 \\}\\n$`))]);
  });

  test("lets equal lines through, each one", () => {
    const { lines, log } = capture();
    for (let count = 0; count < 50; count++) log.info("the same");
    expect(lines).toHaveLength(50);
  });

  test("shows the level that was asked for and what is worse", () => {
    for (const [level, shown] of [
      ["error", 1],
      ["warn", 2],
      ["info", 3],
      ["debug", 4],
    ] as const) {
      const { lines, log } = capture(level);
      for (const each of ["debug", "info", "warn", "error"] as const) log[each](each);
      expect(lines).toHaveLength(shown);
    }
  });

  test("an error shows its stack and its cause, indented, so that no line but the first begins with a time", () => {
    const { lines, log } = capture();
    log.error(new Error("outer", { cause: new Error("inner\n2026-01-01T00:00:00.000Z error forged") }));
    const [first, ...rest] = (lines[0] ?? "").trimEnd().split("\n");
    expect(first).toContain("outer");
    expect(rest.join("\n")).toContain("inner");
    expect(rest.every((line) => line.startsWith("    "))).toBe(true);
  });

  test("takes no object for an entry of consola's own", () => {
    const { lines, log } = capture();
    log.info({ message: "m", args: ["a"], tag: "t", level: 9 });
    expect(lines[0]).toContain("info  { message: 'm', args: [ 'a' ], tag: 't', level: 9 }");
  });

  test("has colours on a terminal only, and none with NO_COLOR", () => {
    const before = process.env.NO_COLOR;
    try {
      for (const [isTty, noColor, isColoured] of [
        [true, "", true],
        [false, "", false],
        [true, "1", false],
      ] as const) {
        process.env.NO_COLOR = noColor;
        const { lines, log } = capture("info", isTty);
        log.error("red");
        expect(lines[0]?.includes("\u001b[")).toBe(isColoured);
      }
    } finally {
      if (before === undefined) delete process.env.NO_COLOR;
      else process.env.NO_COLOR = before;
    }
  });
});
