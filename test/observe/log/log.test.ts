import { describe, expect, test } from "bun:test";
import { createLog } from "../../../src/observe/log/log";
import { logWith } from "../../../src/observe/log/fields";

/** A log that writes into `lines`. */
function capture(options: Parameters<typeof createLog>[0] = {}) {
  const lines: string[] = [];
  return { lines, log: createLog({ isTty: false, ...options, write: (text) => lines.push(text) }) };
}

/** The objects that a JSON log wrote. */
function parse(lines: string[]): Record<string, unknown>[] {
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}

const TIME = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`;

/** Of each kind of what must not reach a terminal, or a reader who goes by lines. */
const HOSTILE = [
  "\u0000",
  "\u0007",
  "\b",
  "\u000b",
  "\f",
  "\r",
  "\u001b",
  "\u001b]0;title\u0007",
  "\u001b[2J",
  "\u001b[8m",
  "\u001b[0;8m",
  "\u007f",
  "\u0085",
  "\u009b31m",
  "\u2028",
  "\u2029",
  "\u202e",
  "\u2066",
  "\u200f",
];

const COLOUR = new RegExp(String.raw`\u001b\[(?:0|39|[1-79]\d?)m`, "g");

const withoutControls = (text: string): string =>
  text.replace(/[^\p{Cc}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, "");

describe("the log", () => {
  test("writes one line an event: time, level, tags, text", () => {
    const { lines, log } = capture();
    log.withFields({ module: "greet", generation: 2 }).withFields({ connection: 17 }).warn("slow call:", 31, { ms: 5 });
    log.withTag("master").info("here");
    expect(lines).toEqual([
      expect.stringMatching(new RegExp(`^${TIME} warn  greet v2 #17 slow call: 31 \\{ ms: 5 \\}\\n$`)),
      expect.stringMatching(new RegExp(`^${TIME} info  master here\\n$`)),
    ]);
  });

  test("tells which of several processes says it, and nothing where there is one", () => {
    for (const [slot, shown] of [
      [0, "here"],
      [3, "[3] here"],
    ] as const) {
      const { lines, log } = capture({ fields: { slot } });
      log.info("here");
      expect(lines[0]?.trimEnd().endsWith(` info  ${shown}`)).toBe(true);
    }
  });

  test("lets equal lines through, each one", () => {
    const { lines, log } = capture();
    for (let count = 0; count < 50; count++) log.info("the same");
    expect(lines).toHaveLength(50);
  });

  test("shows the level that was asked for and what is worse, also when it changes", () => {
    const { lines, log } = capture();
    for (const [level, shown] of [
      ["error", 1],
      ["warn", 2],
      ["info", 3],
      ["debug", 4],
    ] as const) {
      lines.length = 0;
      log.setLevel(level);
      const child = log.withFields({ module: "greet" });
      for (const each of ["debug", "info", "warn", "error"] as const) {
        child[each](each);
        expect(child.shows(each)).toBe(lines.some((line) => line.includes(each)));
      }
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

  test("a value that cannot be shown costs its author no error, and the next line is written", () => {
    for (const format of ["text", "json"] as const) {
      const { lines, log } = capture({ format });
      const refuse = (): never => {
        throw new Error("no");
      };
      const error = Object.defineProperty(new Error("x"), "message", { get: refuse });
      const thing = { [Symbol.for("nodejs.util.inspect.custom")]: refuse };
      log.info("a", thing, error);
      log.info("still here");
      expect(lines).toHaveLength(2);
      expect(lines[1]).toContain("still here");
    }
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
        const { lines, log } = capture({ isTty });
        log.error("red", { of: "an object" });
        expect(lines[0]?.includes("\u001b[")).toBe(isColoured);
      }
    } finally {
      if (before === undefined) delete process.env.NO_COLOR;
      else process.env.NO_COLOR = before;
    }
  });
});

describe("hostile text", () => {
  test.each(HOSTILE.map((text) => [JSON.stringify(text), text]))("%s is shown, never sent", (_name, hostile) => {
    const values = [`peer said ${hostile}.`, new Error(`in an error ${hostile}.`), { [`key${hostile}`]: hostile }];
    for (const isTty of [false, true]) {
      const { lines, log } = capture({ isTty });
      for (const value of values) log.withFields({ module: `m${hostile}` }).info(value);
      // These may stay: the line ends, and of colours those that are put there on purpose.
      const rest = withoutControls(lines.join("").replace(COLOUR, "")).replaceAll("\n", "");
      expect(rest).toBe("");
      expect(lines.join("")).toContain("peer said ");
    }
    const { lines, log } = capture({ format: "json" });
    for (const value of values) log.withFields({ module: `m${hostile}`, error: value }).info(value);
    expect(withoutControls(lines.join(""))).toBe("\n\n\n");
    expect(parse(lines)[0]?.["module"]).toBe(`m${hostile}`);
  });

  test("a forged line does not begin a line", () => {
    const { lines, log } = capture();
    for (const end of ["\n", "\r\n", "\r", "\u2028", "\u0085", "\v"])
      log.info(`a${end}2026-01-01T00:00:00.000Z error forged`);
    expect(lines).toHaveLength(6);
    expect(
      lines
        .join("")
        .split(/\r\n|[\n\r\u2028\u0085\v]/)
        .filter((line) => line.startsWith("2026-01-01")),
    ).toEqual([]);
  });

  test("a module's own colours stay on a terminal, where they end with the event, and are taken out elsewhere", () => {
    const coloured = "\u001b[31mred\u001b[0;1;38;5;208m and bold";
    const { NO_COLOR } = process.env;
    delete process.env["NO_COLOR"];
    const onTerminal = capture({ isTty: true });
    onTerminal.log.info(coloured);
    if (NO_COLOR !== undefined) process.env["NO_COLOR"] = NO_COLOR;
    expect(onTerminal.lines[0]).toEndWith(`${coloured}\u001b[0m\n`);
    const inFile = capture();
    inFile.log.info(coloured);
    expect(inFile.lines[0]).toEndWith("info  red and bold\n");
    const json = capture({ format: "json" });
    json.log.info(coloured);
    expect(parse(json.lines)[0]?.["msg"]).toBe("red and bold");
  });

  test("tabs stay in a code frame and are shown in a message", () => {
    const { lines, log } = capture();
    log.info("a\tb\n\tconst c");
    expect(lines[0]).toEndWith("a\\tb\n    \tconst c\n");
  });

  test("a message of megabytes is cut", () => {
    for (const format of ["text", "json"] as const) {
      const { lines, log } = capture({ format });
      log.info("x".repeat(3_000_000));
      expect(lines[0]?.length).toBeLessThan(66_000);
      expect(lines[0]).toContain("… 2934464 more characters");
    }
  });
});

describe("the log as JSON", () => {
  test("is one object a line, with what the event is about in fields of its own", () => {
    const { lines, log } = capture({ format: "json", fields: { slot: 2 } });
    log
      .withFields({ module: "greet", generation: 2, connection: 17 })
      .withTag("start")
      .warn("slow call:", 31, { ms: 5 });
    expect(lines[0]).toMatch(/^\{[^\n]*\}\n$/);
    expect(parse(lines)).toEqual([
      {
        time: expect.stringMatching(new RegExp(`^${TIME}$`)),
        level: "warn",
        msg: "slow call: 31 { ms: 5 }",
        module: "greet",
        generation: 2,
        connection: 17,
        slot: 2,
        pid: process.pid,
        tag: "start",
      },
    ]);
  });

  test("has an error's name, message, stack and causes, and the message in one line", () => {
    const { lines, log } = capture({ format: "json" });
    const thrown = new TypeError("outer", { cause: new Error("inner") });
    log.error("it failed:", thrown);
    log.withFields({ error: thrown }).error('"hello": TypeError: outer\n  at greet.ts:3');
    log.withFields({ error: "just text" }).error("it threw text");
    const [logged, told, text] = parse(lines);
    expect(logged?.["msg"]).toBe("it failed: TypeError: outer");
    expect(told?.["msg"]).toBe('"hello": TypeError: outer');
    for (const event of [logged, told]) {
      expect(event?.["error"]).toEqual({
        name: "TypeError",
        message: "outer",
        stack: expect.stringContaining("log.test.ts"),
        cause: { name: "Error", message: "inner", stack: expect.stringContaining("log.test.ts") },
      });
    }
    expect(text?.["error"]).toEqual({ name: "string", message: "just text", stack: "" });
  });

  test("an error that is its own cause ends", () => {
    const { lines, log } = capture({ format: "json" });
    const error = new Error("round");
    error.cause = error;
    log.error(error);
    expect(parse(lines)[0]?.["msg"]).toBe("Error: round");
  });
});

test("a log of somebody else's says the fields before its messages", () => {
  const said: unknown[][] = [];
  const say = (...values: unknown[]): void => void said.push(values);
  const log = { debug: say, info: say, warn: say, error: say };
  logWith(log, { module: "greet", generation: 2 }).info("a", 1);
  logWith(log, {}).warn("b");
  expect(said).toEqual([["greet v2", "a", 1], ["b"]]);
});
