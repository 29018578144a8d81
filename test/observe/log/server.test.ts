/** The log of a whole server: its lines on requests, handlers and modules, and where they go. */
import { expect, test } from "bun:test";
import { existsSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { type Hub, withHub } from "../../support/hub";
import { until } from "../../support/until";

const MODULE = `export default {
  routes: {
    "GET /logs": { fetch: (request: Request, { log }: any) => { log.info("asked for", new URL(request.url).pathname); return new Response("ok"); } },
    "GET /pool": { run: "pool", fetch: (_: Request, { log }: any) => { log.info("on a thread"); return new Response("ok"); } },
    "GET /fails": { fetch: () => { throw new TypeError("no\\u001b[2J luck"); } },
    FAIL: { framing: "line", handle: () => { throw new TypeError("raw luck"); } },
  },
};
`;

const config = (log: object): string => JSON.stringify({ log: { file: "hrmr.log", ...log } });

interface Event {
  level: string;
  msg: string;
  pid: number;
  module?: string;
  generation?: number;
  connection?: number;
  error?: { name: string; message: string; stack: string };
  access?: Record<string, unknown>;
}

function read(hub: Hub, name = "hrmr.log"): string {
  const path = join(hub.dir, name);
  return existsSync(path) ? readFileSync(path, "utf8") : "";
}

const events = (hub: Hub): Event[] =>
  read(hub)
    .split("\n")
    // Behind the last line end there is nothing, or a line that is being written.
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Event);

test("events of a request tell module, version and connection, from the main thread and from the pool", () =>
  withHub({ "modules/m.ts": MODULE, "hrmr.json": config({ format: "json" }) }, [], async (hub) => {
    for (const [path, msg] of [
      ["/logs", "asked for /logs"],
      ["/pool", "on pool thread \\d+: on a thread"],
      ["/fails", '"GET /fails": TypeError: no\u001b\\[2J luck'],
    ] as const) {
      await (await fetch(hub.url + path)).text();
      const event = await until(msg, () => events(hub).find((each) => new RegExp(`^${msg}$`).test(each.msg)));
      expect(event).toMatchObject({ module: "m", generation: 1, connection: expect.any(Number), pid: hub.program.pid });
    }
    const failed = events(hub).find((event) => event.level === "error");
    expect(failed?.error).toMatchObject({
      name: "TypeError",
      message: "no\u001b[2J luck",
      stack: expect.stringContaining("m.ts"),
    });
  }));

test("in text they stand before the message, and what a handler threw sends nothing to the terminal", () =>
  withHub({ "modules/m.ts": MODULE, "hrmr.json": config({}) }, [], async (hub) => {
    for (const path of ["/logs", "/fails"]) await (await fetch(hub.url + path)).text();
    await until("the failure", () => read(hub).includes("luck"));
    expect(read(hub)).toMatch(/ info {2}m v1 #\d+ asked for \/logs\n/);
    expect(read(hub)).toMatch(/ error m v1 #\d+ "GET \/fails": TypeError: no\\x1b\[2J luck\n {4}/);
  }));

test("a flood of equal failures is ten lines and a number", () =>
  withHub({ "modules/m.ts": MODULE, "hrmr.json": config({ format: "json" }) }, [], async (hub) => {
    const count = 500;
    expect(await hub.ask("FAIL\n".repeat(count))).toBe('ERR "FAIL" failed\n'.repeat(count));
    const summed = await until("all failures", () => {
      const failures = events(hub).filter((event) => event.msg.includes("raw luck"));
      const more = failures.map((event) =>
        Number(/^… ([\d,]+) more like it/.exec(event.msg)?.[1]?.replaceAll(",", "") ?? 1),
      );
      return more.reduce((sum, each) => sum + each, 0) === count && failures;
    });
    expect(summed.length).toBeLessThanOrEqual(44);
    expect(summed[0]).toMatchObject({ module: "m", generation: 1, connection: expect.any(Number) });
    expect(summed.at(-1)).toMatchObject({ module: "m", generation: 1 });
  }));

test("the access log tells each request and message, without its query", () =>
  withHub(
    { "modules/m.ts": MODULE, "hrmr.json": config({ format: "json", access: true, level: "info" }) },
    [],
    async (hub) => {
      await (await fetch(`${hub.url}/logs?token=secret`)).text();
      await hub.ask("FAIL\n");
      const told = await until("both", () => {
        const lines = events(hub).filter((event) => event.access !== undefined);
        return lines.length === 2 && lines;
      });
      const common = { level: "info", module: "m", generation: 1, connection: expect.any(Number) };
      expect(told[0]).toMatchObject({
        ...common,
        access: { protocol: "http/1.1", method: "GET", path: "/logs", status: 200 },
      });
      expect(told[1]).toMatchObject({ ...common, access: { protocol: "raw", key: "FAIL" } });
      expect(told.every(({ access }) => Number(access?.["bytes"]) > 0 && Number(access?.["ms"]) >= 0)).toBe(true);
      expect(read(hub)).not.toContain("secret");
    },
  ));

test("SIGHUP opens the file anew after logrotate has moved it", () =>
  withHub({ "modules/m.ts": MODULE, "hrmr.json": config({}) }, [], async (hub) => {
    await (await fetch(`${hub.url}/logs`)).text();
    renameSync(join(hub.dir, "hrmr.log"), join(hub.dir, "hrmr.log.1"));
    hub.program.signal("SIGHUP");
    await until("a new file", () => existsSync(join(hub.dir, "hrmr.log")));
    await (await fetch(`${hub.url}/logs`)).text();
    await until("the second request", () => read(hub).includes("asked for /logs"));
    expect(read(hub, "hrmr.log.1")).toContain("asked for /logs");
  }));

test("a log file that cannot be opened ends the start with its path", () =>
  expect(
    withHub({ "modules/m.ts": MODULE, "hrmr.json": config({ file: "no/such/hrmr.log" }) }, [], async () => {}),
  ).rejects.toThrow(/Cannot open the log file .*no\/such\/hrmr\.log: its folder does not exist \(ENOENT\)\./));
