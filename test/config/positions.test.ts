/** Where in a config file a mistake is: line and column, in each of the three formats. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatOf } from "../../src/config/resolve/formats";
import type { KeyPath } from "../../src/config/key-path";
import { readConfigFile } from "../../src/config/resolve/load";
import type { UserError } from "../../src/config/user-error";

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "hrmr-positions-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** The place of `path` as "line:column"; "none" where it was not found. */
function place(format: string, text: string, path: KeyPath): string {
  const found = formatOf(`x.${format}`).locate(text).find(path);
  return found === null ? "none" : `${found.line}:${found.column}`;
}

async function positionsOf(name: string, text: string): Promise<string[]> {
  const path = join(root, name);
  writeFileSync(path, text);
  const file = await readConfigFile(root, path);
  return (file?.mistakes ?? []).map((mistake) => `${file?.positionOf(mistake.path)}: ${mistake.message}`);
}

const TLS_ITEM: KeyPath = ["tls", "sni", 1, "certFile"];

describe("a key's place", () => {
  test("in JSON is that of its name, whatever comments, escapes and brackets stand before it", () => {
    const text = `\ufeff// { "threads": 1 }
{ /* "threads": 1 } */ "a\\"b": "}{\\\\", 'c': [1, [2, "]"], {}],
  "tls": { "sni": [ { "certFile": "a" },
    { "keyFile": "k", "certFile" : "b" } ] }, "thr\\u0065ads" // here
  : 0, }
`;
    expect(place("json", text, ['a"b'])).toBe("2:24");
    expect(place("json", text, ["c", 1])).toBe("2:49");
    expect(place("json", text, ["c", 1, 1])).toBe("2:53");
    expect(place("json", text, TLS_ITEM)).toBe("4:23");
    expect(place("json", text, ["threads"])).toBe("4:47");
  });

  test("in TOML is that of its name, in tables, lists of tables, dotted names and inline tables", () => {
    const text = `# [limits]
threads = 1 # threads = 2
limits.maxBodyBytes = 5
title = """
[tls]
threads = 3"""
listen = [ # "]"
  "tcp://a:1",
  "x",
]
[ "tls" ]
minVersion = "1.3"
[[tls.sni]]
certFile = 'a'
[[tls.sni]]
keyFile = "k"
certFile = "b"
[modules.greet]
db = { url = "x", pool = { max = 3 } }
`;
    expect(place("toml", text, ["threads"])).toBe("2:1");
    expect(place("toml", text, ["limits", "maxBodyBytes"])).toBe("3:8");
    expect(place("toml", text, ["listen", 1])).toBe("9:3");
    expect(place("toml", text, ["tls", "minVersion"])).toBe("12:1");
    expect(place("toml", text, ["tls", "sni", 0, "certFile"])).toBe("14:1");
    expect(place("toml", text, TLS_ITEM)).toBe("17:1");
    expect(place("toml", text, ["modules", "greet", "db", "pool", "max"])).toBe("19:28");
  });

  test("in YAML is that of its name, in maps, lists, quotes and behind long texts", () => {
    const text = `# threads: 1
threads: 1 # threads: 2
"limits":
  maxBodyBytes: 5
note: |
  threads: 3
   tls:

listen:
- tcp://a:1
- x
tls:
  minVersion: "1.3
    tls: "
  sni:
    - certFile: a
      keyFile: k
    - keyFile: &k k
      certFile: b
flow: { a: [1, "}"],
  b: 2 }
modules:
  'it''s':
    enabled: 1
`;
    expect(place("yaml", text, ["threads"])).toBe("2:1");
    expect(place("yaml", text, ["limits", "maxBodyBytes"])).toBe("4:3");
    expect(place("yaml", text, ["listen", 1])).toBe("11:1");
    expect(place("yaml", text, ["tls"])).toBe("12:1");
    expect(place("yaml", text, ["tls", "sni", 0, "keyFile"])).toBe("17:7");
    expect(place("yaml", text, TLS_ITEM)).toBe("19:7");
    expect(place("yaml", text, ["modules", "it's", "enabled"])).toBe("24:5");
    // In brackets: where they begin.
    expect(place("yaml", text, ["flow", "b"])).toBe("20:1");
  });

  test("that is not in the text is that of what it belongs to, or none", () => {
    expect(place("json", '{ "tls": {\n "sni": [] } }', ["tls", "sni", 0, "keyFile"])).toBe("2:2");
    expect(place("json", "{}", ["threads"])).toBe("none");
    expect(place("yaml", "{ threads: 0 }", ["threads"])).toBe("none");
  });

  test.each(["json", "toml", "yaml"] as const)(
    "in %s leads to the line that names it, for whatever a serializer writes",
    (format) => {
      const write = {
        json: (value: object) => JSON.stringify(value, null, 2),
        toml: toToml,
        yaml: (value: object) => Bun.YAML.stringify(value, null, 2),
      };
      for (let seed = 1; seed <= 60; seed++) {
        const value = randomGroup(randomizer(seed), 3);
        const text = write[format](value);
        expect(formatOf(`x.${format}`).parse(text)).toEqual(value);
        const lines = text.split("\n");
        const wrong = pathsOf(value, []).filter((path) => {
          const found = formatOf(`x.${format}`).locate(text).find(path);
          const name = path.findLast((step) => typeof step === "string") ?? "";
          return (
            found === null ||
            !(lines[found.line - 1] ?? "")
              .slice(found.column - 1)
              .replace(/^["'[]+/, "")
              .startsWith(endOf(path, name))
          );
        });
        expect([seed, text, wrong]).toEqual([seed, text, []]);
      }
    },
  );
});

/** The beginning of the text at a key's position. An item of a list of texts has no name of its own. */
function endOf(path: KeyPath, name: string): string {
  return typeof path.at(-1) === "number" ? "" : name;
}

function pathsOf(value: unknown, path: KeyPath): KeyPath[] {
  if (typeof value !== "object" || value === null) return [path];
  const inner = Object.entries(value).flatMap(([name, each]) =>
    pathsOf(each, [...path, Array.isArray(value) ? Number(name) : name]),
  );
  return path.length === 0 ? inner : [path, ...inner];
}

/** Numbers from 0 up to `below`, the same for the same seed. */
function randomizer(seed: number): (below: number) => number {
  let state = seed * 2_654_435_761;
  return (below) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** Each name is unique in the whole value, so that a line that has it is the right one. */
function randomGroup(random: (below: number) => number, depth: number, prefix = "k"): Record<string, unknown> {
  const group: Record<string, unknown> = {};
  for (let index = 0; index <= random(4); index++) {
    const name = `${prefix}${index}`;
    const kind = random(depth > 0 ? 5 : 3);
    if (kind === 0) group[name] = random(1000);
    else if (kind === 1) group[name] = ["a: b", "x # y", "it's", '"[{', "- a", ""][random(6)];
    else if (kind === 2) group[name] = ["one", "two: 2", "[three"].slice(0, 1 + random(3));
    else if (kind === 3) group[name] = randomGroup(random, depth - 1, `${name}x`);
    else group[name] = [randomGroup(random, 0, `${name}y`), randomGroup(random, 0, `${name}z`)];
  }
  return group;
}

/** Enough of a TOML writer for what `randomGroup` makes: plain values first, then tables. */
function toToml(value: Record<string, unknown>, path: string[] = []): string {
  const isTable = (inner: unknown) =>
    typeof inner === "object" && (!Array.isArray(inner) || typeof inner[0] === "object");
  const lines = Object.entries(value).flatMap(([name, inner]) =>
    isTable(inner) ? [] : [`${name} = ${JSON.stringify(inner)}`],
  );
  const tables = Object.entries(value).flatMap(([name, inner]) => {
    if (!isTable(inner)) return [];
    const at = [...path, name];
    if (Array.isArray(inner))
      return inner.map((item) => `[[${at.join(".")}]]\n${toToml(item as Record<string, unknown>, at)}`);
    return [`[${at.join(".")}]\n${toToml(inner as Record<string, unknown>, at)}`];
  });
  return [...lines, ...tables].join("\n");
}

describe("the mistakes of a file", () => {
  test("of JSON stand in its order, each with its place", async () => {
    const text = `{
  // a comment
  "threads": 0,
  "limits": {
    "maxBodyByts": 1, "maxQueued": 1.5
  },
  "tls": { "sni": [
    { "certFile": "a", "serverNames": ["a"] }
  ] }
}
`;
    expect(await positionsOf("order.json", text)).toEqual([
      "order.json:3:3: threads must be a whole number from 1 to 256, not 0",
      "order.json:5:5: limits.maxBodyByts: there is no such key. Did you mean limits.maxBodyBytes?",
      "order.json:5:23: limits.maxQueued must be a whole number from 1, not 1.5",
      "order.json:8:5: tls.sni[0].keyFile is missing",
    ]);
  });

  test("of TOML and YAML have theirs too", async () => {
    expect(
      await positionsOf("bad.toml", 'threads = 0\n[limits]\nmaxBodyByts = 1\n[[tls.sni]]\nserverNames = ["B"]\n'),
    ).toEqual([
      "bad.toml:1:1: threads must be a whole number from 1 to 256, not 0",
      "bad.toml:3:1: limits.maxBodyByts: there is no such key. Did you mean limits.maxBodyBytes?",
      "bad.toml:4:1: tls.sni[0].certFile is missing",
      "bad.toml:4:1: tls.sni[0].keyFile is missing",
      'bad.toml:5:16: tls.sni[0].serverNames[0] must be a lower-case host name, not "B"',
    ]);
    expect(await positionsOf("bad.yaml", "# x\nthreads: 0\nlimits:\n  maxBodyByts: 1\n")).toEqual([
      "bad.yaml:2:1: threads must be a whole number from 1 to 256, not 0",
      "bad.yaml:4:3: limits.maxBodyByts: there is no such key. Did you mean limits.maxBodyBytes?",
    ]);
  });

  test("a key that stands twice is one, and so is what follows the end", async () => {
    expect(
      await positionsOf("twice.json", '{ "threads": 1,\n  "limits": { "maxQueued": 1 }, "threads": 2 }\n}'),
    ).toEqual([
      "twice.json:1:3: threads stands twice, in line 1 and in line 2",
      "twice.json: line 3 has something behind the end of the object",
    ]);
    expect(await positionsOf("twice.yaml", "threads: 1\nlimits:\n  maxQueued: 1\nthreads: 2\n")).toEqual([
      "twice.yaml:1:1: threads stands twice, in line 1 and in line 4",
    ]);
    expect(
      await positionsOf(
        "same.json",
        '{ "limits": { "maxQueued": 1 }, "modules": { "a": { "maxQueued": 1 }, "b": { "maxQueued": 1 } } }',
      ),
    ).toEqual([]);
  });

  test.each([
    ["json", '{\n  "a": 1,\n  "b" 2\n}', 3, null],
    ["toml", "a = 1\nb = \nc = 2", 2, null],
    ["toml", "a = 1\na = 2", 2, "a = ***"],
    ["yaml", "a: 1\nb: [1,\nc: 2", 3, "c: ***"],
    ["yml", "a: b: c", 1, "a: ***: ***"],
  ])(
    "what is no %s at all is told with line and column, and the line itself only without its values: %j",
    async (format, text, line, shown) => {
      const path = join(root, `syntax.${format}`);
      writeFileSync(path, text);
      const error = await readConfigFile(root, path).then(
        () => null,
        (thrown: UserError) => thrown,
      );
      expect(error?.message).toStartWith(`${path}:${line}:`);
      expect(error?.hint).toBe(shown === null ? "Correct the file and try again." : `There: ${shown}`);
      expect(error?.code).toBe("BAD_CONFIG_SYNTAX");
    },
  );
});
