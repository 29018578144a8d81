import { describe, expect, test } from "bun:test";
import { NO_MATCH } from "../../src/router/match";
import { PathTable, readPath, splitTarget, splitUrl } from "../../src/router/paths";
import { parsePattern } from "../../src/router/pattern";
import { forSeeds, type Random } from "../support/random";

/** The result of reading a path: itself or another spelling; "-> PATH" for a redirect; null for a bad request. */
function read(path: string): string | null {
  const found = readPath(path);
  if (typeof found === "string") return found;
  return found.why !== "spelling" ? null : `-> ${found.canonical}`;
}

describe("a request's path", () => {
  test.each([
    ["/", "/"],
    ["/a/b.txt", "/a/b.txt"],
    ["/a/", "/a/"],
    ["/a/...", "/a/..."],
    ["/admin./x..", "/admin./x.."],
    ["/..;/a", "/..;/a"],
    ["/.well-known/x", "/.well-known/x"],
    ["/..a/.b./...", "/..a/.b./..."],
    ["/__proto__", "/__proto__"],
    ["/a:b@c!$&'()*,;=", "/a:b@c!$&'()*,;="],
    ["/a%3Fb%23c", "/a%3Fb%23c"],
    ["/%252e%252e/%252F", "/%252e%252e/%252F"],
    ["/a%20b+c", "/a%20b+c"],
    ["/%40a%2Bb", "/%40a%2Bb"],
    ["/@scope%2Fpkg", "/@scope%2Fpkg"],
    ["/%2F%2Fa", "/%2F%2Fa"],
    ["/caf%C3%A9/%F0%9F%98%80", "/caf%C3%A9/%F0%9F%98%80"],
    ["/%EF%BB%BFa", "/%EF%BB%BFa"],
  ])("%j is its own one spelling", (path) => {
    expect(read(path)).toBe(path);
  });

  test.each([
    ["/caf%c3%a9", "/caf%C3%A9"],
    ["/@scope%2fpkg", "/@scope%2Fpkg"],
    [`/a"b<c>d^e\`f{g|h}i[j]`, "/a%22b%3Cc%3Ed%5Ee%60f%7Bg%7Ch%7Di%5Bj%5D"],
  ])("%j is taken as %j", (path, taken) => {
    expect(read(path)).toBe(taken);
  });

  test.each([
    ["//a///b//", "/a/b/"],
    ["//", "/"],
    ["/a/./b", "/a/b"],
    ["/a/.", "/a/"],
    ["/a/..", "/"],
    ["/a/b/..", "/a/"],
    ["/a/../../../b", "/b"],
    ["/..", "/"],
    ["/../", "/"],
    ["/a//../b", "/b"],
    ["/%61pi", "/api"],
    ["/favicon%2esvg", "/favicon.svg"],
    ["/%7euser/%2D%5f", "/~user/-_"],
    ["/./%61%2fb/%c3%a9", "/a%2Fb/%C3%A9"],
    ["/%2e%2e%2e", "/..."],
  ])("%j leads to %j", (path, canonical) => {
    expect(read(path)).toBe(`-> ${canonical}`);
  });

  test.each([
    ["", "nothing"],
    ["*", "not origin-form"],
    ["a/b", "no leading slash"],
    ["%2Fa", "an encoded leading slash"],
    ["http://host/a", "absolute-form"],
    ["/%", "a lone %"],
    ["/%4", "half a sequence"],
    ["/%zz", "no hexadecimal digits"],
    ["/%4g", "one hexadecimal digit"],
    ["/%+1", "a sign"],
    ["/%00", "a NUL"],
    ["/a\0b", "a raw NUL"],
    ["/a b", "a space"],
    ["/a\tb", "a tab, which new URL() would leave out"],
    ["/a\x7fb", "a control character"],
    ["/%C0%AE%C0%AE/", "overlong dots"],
    ["/%C0%AF", "an overlong slash"],
    ["/%E0%80%AF", "a longer overlong slash"],
    ["/caf\xc3\xa9", "raw UTF-8"],
    ["/\u0100", "more than a byte"],
    ["/a\\..\\b", "backslashes"],
    ["/a%5cb", "an encoded backslash"],
    ["/%2e%2e/a", "encoded dots"],
    ["/.%2E", "half encoded dots"],
    ["/a/%2e/b", "an encoded dot"],
    ["/x/..%2fadmin", "dots beside an encoded slash"],
    ["/a%2F..%2fb", "dots between encoded slashes"],
    ["/a%2f%2E", "a dot behind an encoded slash"],
    ["/%2e%2Fa", "a dot before an encoded slash"],
    ["//%2e%2e/a", "encoded dots behind a double slash"],
  ])("%j is a bad request: %s", (path) => {
    expect(read(path)).toBe(null);
  });

  test("is not changed by new URL(), or by a second reading", () => {
    const PIECES = ["a", "b.c", "..", ".", "", "é", "%", "?", "...", "@", "/", "\\", '"', "|", "{", ";", "+", "~"];
    forSeeds(5000, (random) => {
      const path = spelled(
        random,
        `/${random.list(6, () => random.pick(PIECES) + random.pick(["", "", "x", "/", "%2F"])).join("/")}`,
      );
      const found = readPath(path);
      const taken = typeof found === "string" ? found : found.canonical;
      if (taken === "") return;
      expect([path, new URL(`http://a.example${taken}?b#c`).pathname]).toEqual([path, taken]);
      expect([path, readPath(taken)]).toEqual([path, taken]);
      expect(taken).not.toMatch(/\/\/|\\|%5C|(\/|%2F)(\.|%2E){1,2}(\/|%2F|$)|%[a-f]|%.[a-f]/);
    });
  });

  test("has one spelling for all that differ only in needless escapes and doubled slashes", () => {
    forSeeds(3000, (random) => {
      const plain = `/${random.list(4, () => random.pick(["a", "b.c", "-_~", "Zz9"])).join("/")}`;
      const written = spelled(random, plain).replaceAll("/", () => random.pick(["/", "//"]));
      const found = readPath(written);
      expect(typeof found === "string" ? found : found.canonical).toBe(plain);
    });
  });
});

test("a target is cut at its query and at its fragment, whichever comes first", () => {
  const cut = (target: string) => Object.values(splitTarget(target));
  expect(cut("/a?b=/../c")).toEqual(["/a", "?b=/../c"]);
  expect(cut("/a#b?c")).toEqual(["/a", ""]);
  expect(cut("/a?b#c?d")).toEqual(["/a", "?b"]);
  expect(cut("/#")).toEqual(["/", ""]);
  expect(splitUrl("https://h:1/a?b=//c#d")).toEqual({ origin: "https://h:1", path: "/a", query: "?b=//c" });
  expect(splitUrl("http://h")).toEqual({ origin: "http://h", path: "/", query: "" });
});

/** One of the many ways to write a path: bytes in hexadecimal at will, and always where they must be. */
function spelled(random: Random, text: string): string {
  const chars = [...new TextEncoder().encode(text)].map((byte) => {
    const char = String.fromCharCode(byte);
    if (char === "/" || (byte < 0x7f && random.below(3) !== 0 && !"%?#".includes(char))) return char;
    const hex = byte.toString(16).padStart(2, "0");
    return `%${random.below(2) === 0 ? hex : hex.toUpperCase()}`;
  });
  return chars.join("");
}

function tableOf(...keys: string[]): PathTable<string> {
  return PathTable.build(keys.map((key) => ({ ...split(key), value: key })));
}

function split(key: string): { method: string | null; pattern: string } {
  const space = key.startsWith("/") ? -1 : key.indexOf(" ");
  return { method: space < 0 ? null : key.slice(0, space), pattern: key.slice(space + 1) };
}

/** The table's answer, as plain data. */
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
    expect(answer(table, "/users/a%20b")).toEqual(["/users/:id", { id: "a b" }]);
    expect(answer(table, "/users/a%20b/")).toBe(null);
    expect(answer(table, "/users/")).toBe(null);
    expect(answer(table, "/users/7/posts")).toBe(null);
    expect(answer(table, "/files/")).toEqual(["/files/*", { "*": "" }]);
    expect(answer(table, "/files/a/b/")).toEqual(["/files/*", { "*": "a/b/" }]);
    expect(answer(table, "/files")).toBe(null);
    expect(answer(table, "/files/%C3%A9/b%2Fc%25")).toEqual(["/files/*", { "*": "é/b/c%" }]);
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
    expect(answer(tableOf("/:a/:b/x", "/*"), `/${"a/".repeat(100_000)}`)).toEqual([
      "/*",
      { "*": "a/".repeat(100_000) },
    ]);
  });

  test("a pattern may be written encoded; one that cannot match is refused", () => {
    for (const key of ["/my%20files", "/my files"]) expect(answer(tableOf(key), "/my%20files/a")).toBe(key);
    for (const key of ["/caf%C3%A9", "/café"]) expect(answer(tableOf(key), "/caf%C3%A9")).toBe(key);
    expect(answer(tableOf("/100%"), "/100%25")).toBe("/100%");
    expect(answer(tableOf("/@scope%2fpkg"), "/@scope%2Fpkg/x")).toBe("/@scope%2fpkg");
    expect(answer(tableOf("/%3Aid"), "/x")).toBe(null);
    expect(answer(tableOf("/%3Aid"), "/:id")).toBe("/%3Aid");
    for (const pattern of [
      "",
      "a",
      "/a?b",
      "/a#b",
      "/a/../b",
      "/./a",
      "/*/a",
      "/*/",
      "/:",
      "/:a.b",
      "/:a/:a",
      "/%00",
      "/a\\b",
      "/a%2F..",
      "/%2e",
    ]) {
      expect(parsePattern(pattern)).toBe(null);
      expect(() => PathTable.build([{ method: null, pattern, value: 1 }])).toThrow("is not an HTTP path pattern");
    }
  });

  test("an encoded slash stays in its segment, and is decoded there", () => {
    const table = tableOf("/pkg/:name", "/pkg/:name/:version", "/files/*", "/@a", "/");
    expect(answer(table, "/pkg/@scope%2Fpkg")).toEqual(["/pkg/:name", { name: "@scope/pkg" }]);
    expect(answer(table, "/pkg/@scope%2Fpkg/1.0")).toEqual([
      "/pkg/:name/:version",
      { name: "@scope/pkg", version: "1.0" },
    ]);
    expect(answer(table, "/pkg%2Fx")).toBe("/");
    // The rest of a path is never one from the root.
    expect(answer(table, "/files/%2Fetc/passwd")).toBe("/");
    // A sub-delimiter and its escape are two names (RFC 3986 section 2.2).
    expect([answer(table, "/@a"), answer(table, "/%40a")]).toEqual(["/@a", "/"]);
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
  const best = fitting.find(
    (entry) => entry.method === null || entry.method === method || (method === "HEAD" && entry.method === "GET"),
  );
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
  const body = (isWhole ? pattern : pattern.replace(/\/$/, ""))
    .replace(/:(\w+)/g, "(?<$1>[^/]+)")
    .replace(/\*$/, "(?<rest>.*)");
  return new RegExp(`^${body}${isWhole ? "$" : "(/.*)?$"}`);
}

/** One digit a segment, most specific highest; where a subtree ends stands 0. */
function rankOf(pattern: string): string {
  const isWhole = pattern.includes(":") || pattern.endsWith("*");
  const segments = (isWhole ? pattern : pattern.replace(/\/$/, "")).split("/").slice(1);
  const digits = segments.map((segment) => (segment.startsWith(":") ? "2" : segment === "*" ? "1" : "3"));
  return digits.join("").padEnd(9, "0");
}

test("a whole pattern is no subtree, and is more specific than one", () => {
  const table = PathTable.build([
    { method: null, pattern: "/", value: "app" },
    { method: null, pattern: "/rpc", value: "subtree" },
    { method: "POST", pattern: "/rpc", value: "whole", isWhole: true },
  ]);
  const found = (method: string, path: string) => {
    const match = table.match(method, path);
    return match !== NO_MATCH && "value" in match ? match.value : null;
  };
  expect(["/rpc", "/rpc/", "/rpc/x", "/rpcs"].map((path) => found("POST", path))).toEqual([
    "whole",
    "subtree",
    "subtree",
    "app",
  ]);
  expect(found("GET", "/rpc")).toBe("subtree");
});
