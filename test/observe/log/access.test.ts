import { describe, expect, test } from "bun:test";
import { createAccessLog } from "../../../src/observe/log/access";
import type { AccessEntry } from "../../../src/observe/log/fields";
import { createLog } from "../../../src/observe/log/log";

const ENTRY: AccessEntry = {
  address: "10.0.0.7",
  connection: 17,
  module: "greet",
  generation: 2,
  protocol: "http/1.1",
  key: "GET /hello/:name",
  method: "GET",
  path: "/hello/ann",
  status: 200,
  bytes: 1234,
  ms: 0.42049,
};

/** @returns what the entries become, without the time */
function told(
  entries: Partial<AccessEntry>[],
  options: Parameters<typeof createLog>[0] & { sample?: number } = {},
): string[] {
  const lines: string[] = [];
  const { sample = 1, ...setup } = options;
  const access = createAccessLog(createLog({ isTty: false, ...setup, write: (text) => lines.push(text) }), { sample });
  for (const entry of entries) access({ ...ENTRY, ...entry });
  return lines.map((line) => line.replace(/^\S{24} /, "").trimEnd());
}

const RAW = {
  protocol: "raw",
  key: "hello ",
  method: undefined,
  path: undefined,
  status: undefined,
} as unknown as Partial<AccessEntry>;

describe("the access log", () => {
  test("is one line a request or message", () => {
    expect(told([{}, RAW, { module: null, generation: null, key: null, status: 404, path: "/nothing" }])).toEqual([
      "info  greet v2 #17 GET /hello/ann 200 1234 bytes 0.42 ms http/1.1 from 10.0.0.7",
      'info  greet v2 #17 "hello " 1234 bytes 0.42 ms raw from 10.0.0.7',
      "info  #17 GET /nothing 404 1234 bytes 0.42 ms http/1.1 from 10.0.0.7",
    ]);
  });

  test("is an object in JSON", () => {
    const [line = ""] = told([{}], { format: "json" });
    const { address, protocol, key, method, path, status, bytes } = ENTRY;
    expect(JSON.parse(line)).toMatchObject({
      level: "info",
      msg: "GET /hello/ann 200 1234 bytes 0.42 ms http/1.1 from 10.0.0.7",
      module: "greet",
      generation: 2,
      connection: 17,
      access: { address, protocol, key, method, path, status, bytes, ms: 0.42 },
    });
  });

  test("tells neither the query nor who stands before the host", () => {
    for (const format of ["text", "json"] as const) {
      const lines = told(
        [{ path: "/a?token=secret" }, { path: "/a#secret" }, { path: "http://user:secret@host/a?secret" }],
        { format },
      );
      expect(lines.filter((line) => line.includes("secret"))).toEqual([]);
      expect(lines.filter((line) => line.includes("GET /a 200"))).toHaveLength(3);
    }
  });

  test("shows what a peer sent escaped and cut", () => {
    const [first, second] = told([{ path: "/a\u001b[31m\r\n b\u2028 200" }, { path: `/${"x".repeat(9000)}` }]);
    expect(first).toBe(
      "info  greet v2 #17 GET /a\\r\\n\\x20b\\u2028\\x20200 200 1234 bytes 0.42 ms http/1.1 from 10.0.0.7",
    );
    expect(second?.length).toBeLessThan(350);
  });

  test("tells the first and each Nth behind it", () => {
    const entries = Array.from({ length: 10 }, (_, at) => ({ path: `/${at}` }));
    expect(told(entries, { sample: 4 }).map((line) => /GET (\S+)/.exec(line)?.[1])).toEqual(["/0", "/4", "/8"]);
  });

  test("is silent above the level info", () => {
    expect(told([{}], { level: "warn" })).toEqual([]);
  });
});
