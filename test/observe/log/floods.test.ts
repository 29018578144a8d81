/** Events that clients can cause without limit get a few lines, and then a number a second. */
import { beforeEach, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { frame, OPENING } from "../../support/http2";
import { type Hub, moduleSource, reuseHubs, shareHub } from "../../support/hub";
import { talk } from "../../support/raw-client";
import { until } from "../../support/until";
import { text, upgradeRequest } from "../../support/websocket";

const reused = reuseHubs();

const LOUD = moduleSource(`{ routes: {
  "SAME": { framing: "line", handle() { throw new Error("always the same"); } },
  "NEW ": { framing: "line", handle(message) { throw new Error("bad word " + message.text); } },
  "LATER ": { framing: "line", handle(message) { setTimeout(() => { throw new Error("later " + message.text); }, 0); return "ok\\n"; } },
  "LATE ": { framing: "line", run: "pool", handle(message) { setTimeout(() => { throw new Error("late " + message.text); }, 0); return "ok\\n"; } },
  "POOL ": { framing: "line", run: "pool", handle(message) { throw new Error("bad word " + message.text); } },
  "HAND": { connect() { throw new Error("not taken"); } },
  "GET /new/:word": { fetch(_, { params }) { throw new Error("bad word " + params.word); } },
  "GET /live": { websocket: { message(_, data) { throw new Error("bad word " + data); } } },
} }`);
const APART = moduleSource(`{ routes: {
  "PROCESS ": { framing: "line", run: "process", handle(message) { throw new Error("bad word " + message.text); } },
  "LATEST ": { framing: "line", run: "process", handle(message) { Promise.reject(new Error("latest " + message.text)); return "ok\\n"; } },
} }`);
const QUIET = moduleSource(
  `{ routes: { "QUIET": { framing: "line", handle() { throw new Error("heard all the same"); } }, "PING": () => "PONG\\n" } }`,
);
const FILES = {
  "modules/loud.ts": LOUD,
  "modules/apart.ts": APART,
  "modules/quiet.ts": QUIET,
  "hrmr.json": '{ "log": { "file": "hrmr.log", "format": "json" } }',
};

interface Line {
  time: string;
  level: string;
  msg: string;
  module?: string;
}

/** How many lines the log had when the test began: those are of tests before it, on the same server. */
let linesBefore = 0;
beforeEach(() => void (linesBefore = 0));

function linesOf(hub: Hub): Line[] {
  const path = join(hub.dir, "hrmr.log");
  if (!existsSync(path)) return [];
  // Behind the last line end there is nothing, or a line that is being written.
  return readFileSync(path, "utf8")
    .split("\n")
    .slice(linesBefore, -1)
    .map((line) => JSON.parse(line) as Line);
}

/** A test leaves when all that it caused is in the log. */
const withFlooded = shareHub(FILES);
const withShared: typeof withFlooded = (test) =>
  withFlooded((hub) => {
    linesBefore = linesOf(hub).length;
    return test(hub);
  });

const MORE = /^… ([\d,]+) more (?:like it|events?)/;

/** Waits until each of `count` events is told, alone or in a number; fails if they take more lines than they may. */
async function expectFew(hub: Hub, what: string, count: number, isOne: (line: Line) => boolean): Promise<void> {
  const lines = await until(`${count} events of ${what} to be told or counted`, () => {
    const found = linesOf(hub).filter((line) => isOne(line));
    const told = found.reduce((sum, { msg }) => sum + Number(MORE.exec(msg)?.[1]?.replaceAll(",", "") ?? 1), 0);
    if (told > count) throw new Error(`${told} events of ${what} were told, of ${count}`);
    return told === count && found;
  });
  const seconds = (Date.parse(lines.at(-1)?.time ?? "") - Date.parse(lines[0]?.time ?? "")) / 1000;
  // A hundred at once; each second then five, and eleven numbers.
  expect(lines.length).toBeLessThanOrEqual(100 + 16 * (Math.ceil(seconds) + 1));
  expect(lines.length).toBeLessThan(count / 2);
}

const COUNT = 1500;
const words = (prefix: string): string => Array.from({ length: COUNT }, (_, at) => `${prefix}${at}x\n`).join("");

const RAW: [what: string, module: string, message: string][] = [
  ["one failure of a raw handler", "loud", "SAME\n".repeat(COUNT)],
  ["ever new failures of a raw handler", "loud", words("NEW ")],
  ["ever new failures in timers", "loud", words("LATER ")],
  ["ever new failures on the pool", "loud", words("POOL ")],
  ["ever new failures in timers on the pool", "loud", words("LATE ")],
  ["ever new failures in a process", "apart", words("PROCESS ")],
];

test.each(RAW)("%s are few lines, and hide no other module's", (what, module, messages) =>
  withShared(async (hub) => {
    await hub.ask(messages);
    await hub.ask("QUIET\n");
    await until("the quiet module's failure", () => linesOf(hub).some(({ msg }) => msg.includes("heard all the same")));
    await expectFew(hub, what, COUNT, (line) => line.module === module && line.level === "error");
    expect(await hub.ask("PING")).toBe("PONG\n");
  }),
);

test("what a module's process has to say of ever new rejections is few lines", () =>
  reused(FILES, [], async (hub) => {
    await hub.ask(words("LATEST "));
    const found = (): Line[] => linesOf(hub).filter(({ module, level }) => module === "apart" && level === "error");
    await until("a number", () => found().some(({ msg }) => MORE.test(msg)));
    // It sends no more than some 400 of them to the server in the first place.
    expect(found().length).toBeLessThan(200);
    expect(await hub.ask("PING")).toBe("PONG\n");
  }));

test("ever new failures of fetch are few lines", () =>
  withShared(async (hub) => {
    const requests = Array.from({ length: COUNT }, (_, at) => `GET /new/${at}x HTTP/1.1\r\nHost: a\r\n\r\n`);
    const replies = await talk(
      hub.port,
      `${requests.join("")}GET /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
    );
    expect(replies.filter(({ status }) => status === 500)).toHaveLength(COUNT);
    await expectFew(hub, "a fetch handler", COUNT, (line) => line.module === "loud" && line.level === "error");
  }));

const CONNECTIONS = 400;

test("WebSockets and connect handlers that fail one after the other are few lines", () =>
  withShared(async (hub) => {
    for (let at = 0; at < CONNECTIONS; at++) {
      const client = await hub.connect();
      await client.send(upgradeRequest("/live"));
      await client.waitFor("\r\n\r\n");
      client.clear();
      await client.send(text(`${at}x`));
      // Its close frame.
      await client.waitForBytes(4);
      client.close();
    }
    for (let at = 0; at < CONNECTIONS; at++) await hub.ask("HAND\n");
    await expectFew(hub, "connections", 2 * CONNECTIONS, (line) => line.module === "loud" && line.level === "error");
  }));

test("HTTP/2 clients that are cut are few lines", () =>
  reused(
    {
      ...FILES,
      "hrmr.json": '{ "log": { "file": "hrmr.log", "format": "json" }, "http2": { "maxControlFramesPerSecond": 5 } }',
    },
    [],
    async (hub) => {
      const pings = Buffer.concat([OPENING, ...Array.from({ length: 200 }, () => frame(6, 0, 0, "12345678"))]);
      for (let at = 0; at < CONNECTIONS; at++) {
        const client = await hub.connect();
        await client.send(pings);
        await client.waitForEnd();
      }
      await expectFew(hub, "clients that were cut", CONNECTIONS, ({ msg }) =>
        /HTTP\/2 clients? (?:was|were) cut/.test(msg),
      );
    },
  ));

test("RELOADs that change nothing are few lines", () =>
  withShared(async (hub) => {
    const client = await hub.connect();
    for (let at = 0; at < CONNECTIONS; at++) {
      await client.send("RELOAD\n");
      await client.waitFor("\n");
      client.clear();
    }
    await expectFew(hub, "reloads", CONNECTIONS, ({ level, msg }) => level === "info" && /OK .*unchanged/.test(msg));
  }));
