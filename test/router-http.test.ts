import { describe, expect, test } from "bun:test";
import { NO_MATCH } from "../src/router/match";
import { normalisePath, PathTable } from "../src/router/paths";
import { parsePattern } from "../src/router/pattern";
import { forSeeds, type Random } from "./support/random";

describe("a request's path", () => {
  test.each([
    ["/", "/"],
    ["/a/b.txt", "/a/b.txt"],
    ["/a/", "/a/"],
    ["/a?b=/../c", "/a"],
    ["/a#b", "/a"],
    ["/a%3Fb?c", "/a?b"],
    ["/a%23b#c", "/a#b"],
    ["//a///b//", "/a/b/"],
    ["/a/./b", "/a/b"],
    ["/a/.", "/a/"],
    ["/a/..", "/"],
    ["/a/b/..", "/a/"],
    ["/a/../../../b", "/b"],
    ["/..", "/"],
    ["/../", "/"],
    ["/a//../b", "/b"],
    ["/a/%2e%2E/b", "/b"],
    ["/a/.%2e/b", "/b"],
    ["/a%2F..%2fb", "/b"],
    ["/%2F%2Fa", "/a"],
    ["/a/...", "/a/..."],
    ["/.well-known/x", "/.well-known/x"],
    ["/a\\..\\b", "/a\\..\\b"],
    ["/%252e%252e/%252F", "/%2e%2e/%2F"],
    ["/a%20b+c", "/a b+c"],
    ["/%61pi", "/api"],
    ["/caf%C3%A9", "/café"],
    ["/caf\xc3\xa9", "/café"],
    ["/caf%C3\xa9", "/café"],
    ["/%F0%9F%98%80", "/😀"],
    ["/%EF%BB%BFa", "/\ufeffa"],
    ["/__proto__", "/__proto__"],
    ["/a:b@c!$&'()*,;=", "/a:b@c!$&'()*,;="],
  ])("%j is routed as %j", (target, path) => {
    expect(normalisePath(target)).toBe(path);
  });

  test.each([
    ["", "nothing"],
    ["*", "not origin-form"],
    ["a/b", "no leading slash"],
    ["?a", "no path"],
    ["%2Fa", "an encoded leading slash"],
    ["http://host/a", "absolute-form"],
    ["/%", "a lone %"],
    ["/%4", "half a sequence"],
    ["/%zz", "no hexadecimal digits"],
    ["/%4g", "one hexadecimal digit"],
    ["/%+1", "a sign"],
    ["/a%4?1", "a sequence that the query cuts"],
    ["/%00", "a NUL"],
    ["/a\0b", "a raw NUL"],
    ["/%C0%AE%C0%AE/", "overlong dots"],
    ["/%C0%AF", "an overlong slash"],
    ["/%E0%80%AF", "a longer overlong slash"],
    ["/%ED%A0%80", "a surrogate"],
    ["/%F4%90%80%80", "beyond Unicode"],
    ["/%FF", "no UTF-8"],
    ["/caf\xe9", "raw Latin-1"],
    ["/%C3", "a character cut short"],
    ["/\u0100", "more than a byte"],
  ])("%j is a bad request: %s", (target) => {
    expect(normalisePath(target)).toBe(null);
  });

  test("has no spelling that keeps a dot segment or a double slash, and one form for any spelling", () => {
    forSeeds(5000, (random) => {
      const plain = `/${random.list(6, () => random.pick(["a", "b.c", "..", ".", "", "é", "%", "?", "..."])).join("/")}`;
      const path = normalisePath(spelled(random, plain));
      expect(path).toBe(resolved(plain));
      expect(path).not.toMatch(/\/\/|\/\.\.?(\/|$)/);
    });
  });
});

/** One of the many ways to write a path: bytes in hexadecimal at will, and always where they must be. */
function spelled(random: Random, text: string): string {
  const chars = [...new TextEncoder().encode(text)].map((byte, index) => {
    const char = String.fromCharCode(byte);
    if (index === 0 || (random.below(3) !== 0 && !"%?#".includes(char))) return char;
    const hex = byte.toString(16).padStart(2, "0");
    return `%${random.below(2) === 0 ? hex : hex.toUpperCase()}`;
  });
  return chars.join("") + random.pick(["", "?x=%zz/../", "#//"]);
}

/** The same by rewriting until nothing changes. */
function resolved(path: string): string {
  let before = "";
  for (path = path.replace(/\/+/g, "/"); path !== before;) {
    before = path;
    path = path.replace(/\/\.(\/|$)/, "/").replace(/^\/\.\.(\/|$)/, "/");
    path = path.replace(/\/(?!\.\.?(?:\/|$))[^/]+\/\.\.(\/|$)/, "/");
  }
  return path;
}

function tableOf(...keys: string[]): PathTable<string> {
  return PathTable.build(keys.map((key) => ({ ...split(key), value: key })));
}

function split(key: string): { method: string | null; pattern: string } {
  const space = key.startsWith("/") ? -1 : key.indexOf(" ");
  return { method: space < 0 ? null : key.slice(0, space), pattern: key.slice(space + 1) };
}

/** What the table says, as plain data. */
function answer(table: PathTable<string>, request: string): unknown {
  const { method, pattern } = split(request);
  const found = table.match(method ?? "GET", pattern);
  if (found === NO_MATCH) return null;
  if ("allow" in found) return found.allow;
  return Object.keys(found.params).length === 0 ? found.value : [found.value, { ...found.params }];
}

describe("HTTP routes", () => {
  test("a plain pattern is a subtree that ends at a slash", () => {
    for (const table of [tableOf("/api"), tableOf("/api/")]) {
      for (const path of ["/api", "/api/", "/api/a/b"]) expect(answer(table, path)).toStartWith("/api");
      for (const path of ["/apiary", "/ap", "/", "/x/api"]) expect(answer(table, path)).toBe(null);
    }
    for (const path of ["/", "/a", "/a/b/"]) expect(answer(tableOf("/"), path)).toBe("/");
  });

  test("a pattern with a name or a star matches the whole path", () => {
    const table = tableOf("/users/:id", "/files/*", "/:a/x/:b/", "/deep/:x/*");
    expect(answer(table, "/users/7")).toEqual(["/users/:id", { id: "7" }]);
    expect(answer(table, "/users/a b/")).toBe(null);
    expect(answer(table, "/users/")).toBe(null);
    expect(answer(table, "/users/7/posts")).toBe(null);
    expect(answer(table, "/files/")).toEqual(["/files/*", { "*": "" }]);
    expect(answer(table, "/files/a/b/")).toEqual(["/files/*", { "*": "a/b/" }]);
    expect(answer(table, "/files")).toBe(null);
    expect(answer(table, "/1/x/2/")).toEqual(["/:a/x/:b/", { a: "1", b: "2" }]);
    expect(answer(table, "/1/x/2")).toBe(null);
    expect(answer(table, "/deep/1/2/3")).toEqual(["/deep/:x/*", { x: "1", "*": "2/3" }]);
  });

  test("the most specific wins, segment by segment, and gives way where it does not fit", () => {
    const table = tableOf("/", "/*", "/a", "/a/:x", "/a/b", "/a/b/:y/d", "/:p/b/c", "/a/*");
    expect(answer(table, "/")).toEqual(["/*", { "*": "" }]);
    expect(answer(table, "/a")).toBe("/a");
    expect(answer(table, "/a/x")).toEqual(["/a/:x", { x: "x" }]);
    expect(answer(table, "/a/b")).toBe("/a/b");
    expect(answer(table, "/a/b/c")).toBe("/a/b");
    expect(answer(table, "/a/b/c/d")).toEqual(["/a/b/:y/d", { y: "c" }]);
    expect(answer(table, "/a/x/y")).toEqual(["/a/*", { "*": "x/y" }]);
    expect(answer(table, "/z/b/c")).toEqual(["/:p/b/c", { p: "z" }]);
    expect(answer(table, "/z/b/d")).toEqual(["/*", { "*": "z/b/d" }]);
  });

  test("a less specific route serves a method that the most specific one lacks", () => {
    const table = tableOf("GET /a/b", "POST /a/:x", "PUT /a", "DELETE /a");
    expect(answer(table, "GET /a/b")).toBe("GET /a/b");
    expect(answer(table, "POST /a/b")).toEqual(["POST /a/:x", { x: "b" }]);
    expect(answer(table, "PUT /a/b")).toBe("PUT /a");
    expect(answer(table, "PATCH /a/b")).toEqual(["DELETE", "GET", "HEAD", "POST", "PUT"]);
    expect(answer(table, "PATCH /a")).toEqual(["DELETE", "PUT"]);
    expect(answer(table, "PATCH /b")).toBe(null);
  });

  test("HEAD goes to GET where it has no route of its own, a method before every method", () => {
    const table = tableOf("GET /a", "/a", "HEAD /b", "GET /b", "/c", "GET /");
    expect(answer(table, "HEAD /a")).toBe("GET /a");
    expect(answer(table, "GET /a")).toBe("GET /a");
    expect(answer(table, "POST /a")).toBe("/a");
    expect(answer(table, "HEAD /b")).toBe("HEAD /b");
    expect(answer(table, "HEAD /c")).toBe("/c");
    expect(answer(table, "HEAD /d")).toBe("GET /");
  });

  test("routes of one shape may name their segments differently by method", () => {
    const table = tableOf("GET /:a/x", "POST /:b/x");
    expect(answer(table, "GET /1/x")).toEqual(["GET /:a/x", { a: "1" }]);
    expect(answer(table, "POST /1/x")).toEqual(["POST /:b/x", { b: "1" }]);
  });

  test("names of Object.prototype are names like any other", () => {
    const table = tableOf("/a/:__proto__", "/b/:constructor");
    const found = table.match("GET", "/a/polluted");
    if (found === NO_MATCH || "allow" in found) throw new Error("no match");
    expect(Object.getPrototypeOf(found.params)).toBe(null);
    expect(Object.entries(found.params)).toEqual([["__proto__", "polluted"]]);
    expect(answer(table, "/b/x")).toEqual(["/b/:constructor", { constructor: "x" }]);
    for (const path of ["/__proto__", "/constructor", "/toString"]) expect(answer(table, path)).toBe(null);
    expect(table.match("__proto__", "/x")).toBe(NO_MATCH);
  });

  test("a match without params is the same frozen object each time; its params cannot be written to", () => {
    const table = tableOf("/api");
    const found = table.match("GET", "/api/x");
    if (found === NO_MATCH || "allow" in found) throw new Error("no match");
    expect(table.match("GET", "/api/x")).toBe(found);
    expect(Object.isFrozen(found) && Object.isFrozen(found.params)).toBe(true);
    expect(answer(table, "GET /api/x")).toBe("/api");
  });

  test("a match with params has an object of its own each time", () => {
    const table = tableOf("/users/:id");
    const first = table.match("GET", "/users/7");
    if (first === NO_MATCH || "allow" in first) throw new Error("no match");
    first.params["id"] = "8";
    expect(answer(table, "/users/7")).toEqual(["/users/:id", { id: "7" }]);
  });

  test("more paths and methods than are remembered are matched all the same", () => {
    const table = tableOf("/a", "GET /b", `/${"l".repeat(300)}`);
    for (let round = 0; round < 2; round++) {
      for (let index = 0; index < 3000; index++) expect(answer(table, `M${index} /a/${index}`)).toBe("/a");
      expect(answer(table, "GET /b/1")).toBe("GET /b");
      expect(answer(table, "POST /b/1")).toEqual(["GET", "HEAD"]);
      expect(answer(table, `/${"l".repeat(300)}/x`)).toStartWith("/lll");
    }
  });

  test("a deep path of a stranger's costs no deep recursion", () => {
    expect(answer(tableOf("/:a/:b/x", "/*"), `/${"a/".repeat(100_000)}`)).toEqual(["/*", { "*": "a/".repeat(100_000) }]);
  });

  test("a pattern may be written encoded; one that cannot match is refused", () => {
    expect(answer(tableOf("/my%20files"), "/my files/a")).toBe("/my%20files");
    expect(answer(tableOf("/100%"), "/100%")).toBe("/100%");
    expect(answer(tableOf("/%3Aid"), "/x")).toBe(null);
    expect(answer(tableOf("/%3Aid"), "/:id")).toBe("/%3Aid");
    for (const pattern of ["", "a", "/a?b", "/a#b", "/a/../b", "/./a", "/*/a", "/*/", "/:", "/:a.b", "/:a/:a", "/%2F", "/%00"]) {
      expect(parsePattern(pattern)).toBe(null);
      expect(() => PathTable.build([{ method: null, pattern, value: 1 }])).toThrow("is not an HTTP path pattern");
    }
  });

  test("agree with ranking every route, for any routes and requests", () => {
    forSeeds(3000, (random) => {
      const keys = someKeys(random);
      const table = tableOf(...keys);
      for (let index = 0; index < 6; index++) {
        const request = `${random.pick(["GET", "HEAD", "PUT"])} ${somePath(random)}`;
        const expected = ranked(keys, request);
        expect([keys, request, answer(table, request)]).toEqual([keys, request, expected]);
        expect(answer(table, request)).toEqual(expected);
      }
    });
  });
});

function someKeys(random: Random): string[] {
  const shapes = new Set<string>();
  return random
    .list(8, () => {
      const segments = random
        .list(3, () => random.pick(["a", "b", ":"]))
        .map((segment, index) => (segment === ":" ? `:p${index}` : segment));
      const tail = random.pick(["", "", "/", "/*"]);
      return `${random.pick(["", "", "GET ", "HEAD ", "PUT "])}${`/${segments.join("/")}${tail}`.replace("//", "/")}`;
    })
    .filter((key) => {
      const shape = key.includes(":") || key.endsWith("*") ? key : key.replace(/(.)\/$/, "$1");
      return !shapes.has(shape) && shapes.add(shape);
    });
}

function somePath(random: Random): string {
  return `/${random.list(4, () => random.pick(["a", "b", "c"])).join("/")}${random.pick(["", "/"])}`.replace("//", "/");
}

/** The rules in so many words: keep the routes that fit, sort them, take the first with the right method. */
function ranked(keys: readonly string[], request: string): unknown {
  const { method, pattern: path } = split(request);
  const fitting = keys.map((key) => ({ key, ...split(key) })).filter(({ pattern }) => regexOf(pattern).test(path));
  const rank = (entry: { method: string | null; pattern: string }): string =>
    rankOf(entry.pattern) + (entry.method === method ? 3 : entry.method === "GET" && method === "HEAD" ? 2 : 1);
  fitting.sort((a, b) => (rank(a) < rank(b) ? 1 : -1));
  const best = fitting.find((entry) => entry.method === null || entry.method === method || (method === "HEAD" && entry.method === "GET"));
  if (best !== undefined) {
    const params = regexOf(best.pattern).exec(path)?.groups ?? {};
    const named = Object.entries(params).map(([name, value]) => [name === "rest" ? "*" : name, value]);
    return named.length === 0 ? best.key : [best.key, Object.fromEntries(named)];
  }
  const allow = fitting.flatMap((entry) => (entry.method === "GET" ? ["GET", "HEAD"] : [entry.method ?? ""]));
  return allow.length === 0 ? null : [...new Set(allow)].sort();
}

function regexOf(pattern: string): RegExp {
  const isWhole = pattern.includes(":") || pattern.endsWith("*");
  const body = (isWhole ? pattern : pattern.replace(/\/$/, "")).replace(/:(\w+)/g, "(?<$1>[^/]+)").replace(/\*$/, "(?<rest>.*)");
  return new RegExp(`^${body}${isWhole ? "$" : "(/.*)?$"}`);
}

/** One digit a segment, most specific highest; where a subtree ends stands 0. */
function rankOf(pattern: string): string {
  const isWhole = pattern.includes(":") || pattern.endsWith("*");
  const segments = (isWhole ? pattern : pattern.replace(/\/$/, "")).split("/").slice(1);
  const digits = segments.map((segment) => (segment.startsWith(":") ? "2" : segment === "*" ? "1" : "3"));
  return digits.join("").padEnd(9, "0");
}
