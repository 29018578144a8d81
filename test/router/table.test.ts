import { describe, expect, test } from "bun:test";
import { NEED_MORE, NO_MATCH } from "../../src/router/match";
import { describeKey, parseHttpKey, RouteTable, type TableEntry } from "../../src/router/table";

const utf8 = new TextEncoder();

/** "raw PING", "word CLOSE", "http GET /x"; the value is the same text and the owner's number. */
function entriesOf(...lines: string[]): TableEntry<string>[] {
  return lines.map((line, index) => ({
    key: line.slice(line.indexOf(" ") + 1),
    kind: line.slice(0, line.indexOf(" ")) as TableEntry<string>["kind"],
    owner: `m${index}`,
    file: `modules/m${index}.ts`,
    value: `${line}#${index}`,
  }));
}

/** "refused<holder" for each conflict. */
function conflictsOf(...lines: string[]): string[] {
  return RouteTable.build(entriesOf(...lines)).conflicts.map(
    ({ refused, holder }) => `${refused.value} < ${holder.value}`,
  );
}

describe("the route table", () => {
  test("routes messages by bytes and requests by path", () => {
    const { table, conflicts } = RouteTable.build(
      entriesOf("word CLOSE", "raw PING", "raw GRÜSS ", "http /api", "http GET /users/:id", "raw GET"),
    );
    const bytes = (text: string, isFinal = false): unknown => table.matchBytes(utf8.encode(text), 0, isFinal);
    expect(conflicts).toEqual([]);
    expect(bytes("PING\n")).toBe("raw PING#1");
    expect(bytes("GRÜSS Gott")).toBe("raw GRÜSS #2");
    expect(bytes("GET / HTTP/1.1")).toBe("raw GET#5");
    expect(bytes("PIN")).toBe(NEED_MORE);
    expect(bytes("PIN", true)).toBe(NO_MATCH);
    expect(bytes("CLOSE\r\n")).toBe("word CLOSE#0");
    expect(bytes("CLOSED")).toBe(NO_MATCH);
    expect(bytes("/api")).toBe(NO_MATCH);
    expect(table.matchBytes(utf8.encode("xxPING"), 2, true)).toBe("raw PING#1");
    expect([table.mayStartWith(0x50), table.mayStartWith(0x2f)]).toEqual([true, false]);
    expect(table.matchHttp("PUT", "/api/x")).toEqual({ value: "http /api#3", params: {} });
    expect(table.matchHttp("GET", "/users/7")).toEqual({ value: "http GET /users/:id#4", params: { id: "7" } });
    expect(table.matchHttp("PUT", "/users/7")).toEqual({ allow: ["GET", "HEAD"] });
    expect(table.matchHttp("GET", "/PING")).toBe(NO_MATCH);
  });

  test("empty routes nothing, at once", () => {
    const table = RouteTable.empty<string>();
    expect(table.matchBytes(utf8.encode("P"), 0, false)).toBe(NO_MATCH);
    expect(table.matchHttp("GET", "/")).toBe(NO_MATCH);
    expect(table.entries).toEqual([]);
  });

  test("refuses the second of two that claim the same, and the first goes on holding it", () => {
    const entries = entriesOf("raw PING", "raw PING", "raw PINGS");
    const { table, conflicts } = RouteTable.build(entries);
    expect(conflicts).toEqual([{ refused: entries[1]!, holder: entries[0]! }]);
    expect(table.entries).toEqual([entries[0]!, entries[2]!]);
    expect(table.matchBytes(utf8.encode("PING "), 0, true)).toBe("raw PING#0");
  });

  test.each([
    [["http /api", "http /api/"], ["http /api/#1 < http /api#0"]],
    [["http /a/:x/c", "http /a/:y/c"], ["http /a/:y/c#1 < http /a/:x/c#0"]],
    [["http GET ", "http GET /"], ["http GET /#1 < http GET #0"]],
    [["http /a//b", "http /a/b/"], ["http /a/b/#1 < http /a//b#0"]],
    [["http /a b", "http /a%20b"], ["http /a%20b#1 < http /a b#0"]],
    [
      ["http /a", "http /a", "http /a"],
      ["http /a#1 < http /a#0", "http /a#2 < http /a#0"],
    ],
    [["word STOP", "word STOP"], ["word STOP#1 < word STOP#0"]],
    [["raw \ud800", "raw \udfff"], ["raw \udfff#1 < raw \ud800#0"]],
  ])("%j conflict", (lines, conflicts) => {
    expect(conflictsOf(...lines)).toEqual(conflicts);
  });

  test.each([
    [["http /api", "http GET /api", "http POST /api"]],
    [["http /a/:x", "http /a/*", "http /a", "http /a/:x/"]],
    [["http /a/:x", "http /a/x", "http /a/%3Ax"]],
    [["http /a", "raw /a", "raw GET /a", "http GET /a"]],
    [["raw PING", "raw PIN", "raw PINGS", "raw ping"]],
    [["word CLOSE", "raw CLOSED", "raw CLOS", "raw CLOSE\t"]],
  ])("%j do not conflict", (lines) => {
    expect(conflictsOf(...lines)).toEqual([]);
  });

  test("lets no module claim a word, with or without what ends it, wherever the word stands", () => {
    for (const key of ["RELOAD", "RELOAD ", "RELOAD x", "RELOAD\n", "RELOAD\r\n"]) {
      expect(conflictsOf(`raw ${key}`, "word RELOAD")).toEqual([`raw ${key}#0 < word RELOAD#1`]);
      expect(conflictsOf("word RELOAD", `raw ${key}`)).toEqual([`raw ${key}#1 < word RELOAD#0`]);
    }
  });

  test("does not follow later changes of what it was built from", () => {
    const entries = entriesOf("raw PING");
    const { table } = RouteTable.build(entries);
    entries.length = 0;
    expect(table.entries).toHaveLength(1);
    expect(Object.isFrozen(table.entries)).toBe(true);
  });

  test("is not built with a key that is no HTTP route, and the error names file and key", () => {
    expect(() => RouteTable.build(entriesOf("http GREET "))).toThrow('modules/m0.ts: "GREET " is not an HTTP route');
  });
});

describe("an HTTP key", () => {
  test.each([
    ["/", null, "/"],
    ["/a b", null, "/a b"],
    ["GET /x", "GET", "/x"],
    ["GET ", "GET", "/"],
    ["M-SEARCH /", "M-SEARCH", "/"],
    ["PUT /a/:b/*", "PUT", "/a/:b/*"],
  ])("%j is method %p, pattern %j", (key, method, pattern) => {
    expect(parseHttpKey(key)).toEqual({ method, pattern });
  });

  test.each(["", "GET", " /x", " ", "GREET ", "get /x", "GET x", "GET  /x", "/a?b", "GET /*/a", "PING"])(
    "%j is none",
    (key) => {
      expect(parseHttpKey(key)).toBe(null);
    },
  );

  test("is shown with what it stands for", () => {
    expect(describeKey({ key: "GET /x", kind: "http" })).toBe('the HTTP route "GET /x"');
    expect(describeKey({ key: "PING\n", kind: "raw" })).toBe('the prefix "PING\\n"');
    expect(describeKey({ key: "CLOSE", kind: "word" })).toBe('the command "CLOSE"');
  });
});
