/** The socket in a module's hands, limits and deadlines, and clients that are not ours. */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Hub, makeProject, moduleSource, withHub } from "../../support/hub";
import { startProgram } from "../../support/program";
import { binary, close, ping, pong, RawWebSocket, text } from "../../support/websocket";
import { eventually, until } from "../../support/until";

const MODULE = moduleSource(`{
  setup: () => ({ events: [] }),
  routes: {
    "/echo": { websocket: { protocols: ["mine"], message: (socket, data) => socket.send(data) } },
    "/server-closes": { websocket: { protocols: ["mine"], open: (socket) => socket.close(4100, "so be it") } },
    "/quiet": { websocket: {} },
    "/events": {
      websocket: {
        open(socket, { state }) { socket.data = { n: 1 }; state.events.push("open " + socket.readyState); },
        message(socket, data, { state }) { state.events.push((typeof data) + " " + data + " " + Buffer.isBuffer(data) + " " + socket.data.n++); },
        ping(socket, data, { state }) { state.events.push("ping " + data); },
        pong(socket, data, { state }) { state.events.push("pong " + data); },
        close(socket, code, reason, { state }) {
          state.events.push("close " + code + " " + reason + " " + socket.readyState + " " + socket.send("x") + " " + socket.remoteAddress);
        },
      },
    },
    "EVENTS": (message, { state }) => JSON.stringify(state.events.splice(0)) + "\\n",
    "/eval": {
      websocket: {
        message(socket, code, context) {
          const result = new Function("socket", "context", "return " + code)(socket, context);
          socket.send(JSON.stringify(result ?? null));
        },
        upgrade: () => ({ data: [] }),
      },
    },
    "/fails": {
      websocket: {
        message(socket, how) {
          if (how === "throw") throw new Error("thrown by message");
          if (how === "reject") return Promise.reject(new Error("rejected by message"));
          if (how === "late") return new Promise((_, reject) => setTimeout(reject, 10, new Error("rejected late")));
          socket.send("fine");
        },
        close: (socket, code, reason, { log }) => log.info("fails closed " + code),
      },
    },
    "/idle": { websocket: { idleTimeoutMs: 200, message: (socket, data) => socket.send(data), close: (socket, code, reason, { log }) => log.info("idle closed " + code) } },
    "/flood": {
      websocket: {
        maxQueuedBytes: 2000000,
        message(socket, data, { log }) {
          if (data === "memory") return socket.send(String(process.memoryUsage.rss()));
          const results = { sent: 0, queued: 0, dropped: 0 };
          const piece = "x".repeat(100000);
          for (let i = 0; i < 2000; i++) {
            const result = socket.send(piece);
            if (result > 0) results.sent++; else if (result < 0) results.queued++; else results.dropped++;
          }
          log.info("flooded " + JSON.stringify(results) + " waiting " + (socket.getBufferedAmount() <= 2400000));
        },
        drain(socket, { log }) { log.info("drained " + socket.getBufferedAmount()); socket.send("drained"); },
      },
    },
    "/numbered": {
      websocket: {
        message(socket, count) {
          let n = 0;
          // Outside of a read nothing is collected: each frame goes to the connection by itself.
          const timer = setInterval(() => {
            for (let i = 0; i < 5; i++) socket.send(String(n++).padStart(9000, "."));
            if (n >= Number(count)) clearInterval(timer);
          }, 1);
        },
      },
    },
    "/keep": {
      websocket: {
        upgrade: () => ({ data: [] }),
        message(socket, data) { if (data === "all") socket.send(Buffer.concat(socket.data)); else socket.data.push(data); },
      },
    },
    "/room": {
      websocket: {
        open: (socket) => void socket.subscribe("room"),
        message(socket, data) {
          if (data === "leave") return socket.send("left " + socket.unsubscribe("room") + " " + socket.unsubscribe("room"));
          socket.send("reached " + socket.publish("room", data));
        },
      },
    },
  },
}`);

let hub: Hub;
beforeAll(async () => {
  const dir = makeProject({ "modules/all.ts": MODULE });
  hub = new Hub(dir, await startProgram(["--port", "0"], { cwd: dir, isMemoryMeasured: true }));
});
afterAll(() => hub.stop());

async function withSocket(path: string, talk: (socket: RawWebSocket) => Promise<void>, extra = ""): Promise<void> {
  const socket = await RawWebSocket.open(hub.port, path, extra);
  try {
    await talk(socket);
  } finally {
    socket.close();
  }
}

async function eventsAfter(last: string): Promise<string[]> {
  const events: string[] = [];
  await until(`${last} is among the events`, async () => {
    events.push(...(JSON.parse(await hub.ask("EVENTS\n")) as string[]));
    return events.some((event) => event.startsWith(last));
  });
  return events;
}

test("a module sees open, messages, pings, pongs and the close, in order", async () => {
  await withSocket("/events", async (socket) => {
    await socket.send(Buffer.concat([text("a"), binary("b"), ping("c"), pong("d"), close(4000, "bye")]));
    await socket.outcome();
  });
  expect(await eventsAfter("close")).toEqual([
    "open 1",
    "string a false 1",
    "object b true 2",
    "ping c",
    "pong d",
    "close 4000 bye 3 0 127.0.0.1",
  ]);
});

const ends: [string, (socket: RawWebSocket) => Promise<unknown>, string][] = [
  ["a close without a code", (socket) => socket.send(close()), "close 1005"],
  ["a violation", (socket) => socket.send(text("x", { mask: null })), "close 1002"],
  ["the client's FIN", async (socket) => socket.client.finish(), "close 1006"],
  ["a reset", async (socket) => socket.close(), "close 1006"],
];
test.each(ends)("after %s the module is told once", async (_name, end, event) => {
  await withSocket("/events", async (socket) => {
    await socket.sync();
    await end(socket);
    expect((await eventsAfter("close")).filter((seen) => seen.startsWith("close"))).toEqual([
      expect.stringContaining(event),
    ]);
  });
});

const calls: [code: string, result: unknown][] = [
  ["socket.readyState", 1],
  ["socket.client.transport", "tcp"],
  ["socket.remoteAddress", "127.0.0.1"],
  ["(socket.data.push(1), socket.data.length)", 1],
  [
    "[socket.subscribe('a'), socket.subscribe('a'), socket.subscribe('b'), socket.subscriptions]",
    [true, false, true, ["a", "b"]],
  ],
  [
    "[socket.isSubscribed('a'), socket.subscribe('a'), socket.isSubscribed('a'), socket.unsubscribe('a'), socket.isSubscribed('a')]",
    [false, true, true, true, false],
  ],
  ["socket.unsubscribe('never')", false],
  ["socket.publish('nobody', 'x')", 0],
  ["context.publish('nobody', 'x')", 0],
  ["socket.getBufferedAmount()", 0],
  ["socket.cork((same) => same === socket)", true],
  [
    "(() => { try { socket.send({}); } catch (error) { return error.message; } })()",
    "A WebSocket sends strings and bytes, not object. Use JSON.stringify for objects.",
  ],
  [
    "(() => { try { socket.sendText(new Uint8Array(1)); } catch (error) { return error.message; } })()",
    "sendText and publishText take a string, not object.",
  ],
  [
    "(() => { try { socket.sendBinary('x'); } catch (error) { return error.message; } })()",
    "sendBinary and publishBinary take bytes, not a string.",
  ],
  [
    "(() => { try { socket.ping('x'.repeat(126)); } catch (error) { return error.message; } })()",
    "A ping or pong holds at most 125 bytes, not 126.",
  ],
  [
    "(() => { try { socket.close(1005); } catch (error) { return error.message; } })()",
    "1005 is not a close code to send. Use 1000, or one of your own from 3000 to 4999.",
  ],
  [
    "(() => { try { socket.close(1000, 'x'.repeat(124)); } catch (error) { return error.message; } })()",
    "A close reason holds at most 123 bytes.",
  ],
];
test.each(calls)("in a handler %s is right", async (code, result) => {
  await withSocket("/eval", async (socket) => {
    await socket.send(text(code));
    expect(JSON.parse((await socket.waitForFrames(1))[0]?.slice("text:".length) ?? "")).toEqual(result);
  });
});

const sends: [code: string, frame: string, result: number][] = [
  ["socket.send('abc')", "text:abc", 3],
  ["socket.send('äö')", "text:äö", 4],
  ["socket.send('')", "text:", 1],
  ["socket.send(new Uint8Array([1, 2]))", "binary:0102", 2],
  ["socket.send(new Uint8Array([1, 2, 3, 4]).subarray(1, 3))", "binary:0203", 2],
  ["socket.send(new Uint16Array([513]))", "binary:0102", 2],
  ["socket.send(new Uint8Array([9]).buffer)", "binary:09", 1],
  ["socket.sendText('t')", "text:t", 1],
  ["socket.sendBinary(new Uint8Array([5]))", "binary:05", 1],
  ["socket.ping()", "ping:", 1],
  ["socket.ping('pp')", "ping:pp", 2],
  ["socket.pong(new Uint8Array([65]))", "pong:A", 1],
  ["socket.send('\\ud800')", "text:\ufffd", 3],
];
test.each(sends)("%s sends %p and returns %i", async (code, frame, result) => {
  await withSocket("/eval", async (socket) => {
    await socket.send(text(code));
    expect(await socket.waitForFrames(2)).toEqual([frame, `text:${result}`]);
  });
});

test("what is corked leaves in order, after what was sent before and before what follows", async () => {
  await withSocket("/eval", async (socket) => {
    await socket.send(
      text(
        "setTimeout(() => { socket.send('1'); socket.cork(() => { socket.send('2'); socket.send('3'); }); socket.send('4'); }, 5) && 0",
      ),
    );
    expect(await socket.waitForFrames(5)).toEqual(["text:0", "text:1", "text:2", "text:3", "text:4"]);
  });
});

test.each([1000, 1001, 1011, 1012, 1014, 3000, 4999])(
  "the server closes with %i and waits for the answer",
  async (code) => {
    await withSocket("/eval", async (socket) => {
      await socket.send(text(`socket.close(${code}, "why")`));
      await socket.client.waitFor("why");
      // Messages that cross the close are ignored; its answer ends the connection.
      await socket.send(Buffer.concat([text("socket.send('late')"), close(1000)]));
      expect(await socket.outcome()).toMatchObject({ frames: [], code, reason: "why" });
    });
  },
);

test("terminate cuts the connection", async () => {
  await withSocket("/eval", async (socket) => {
    await socket.send(text("socket.terminate()"));
    expect(await socket.outcome()).toMatchObject({ frames: [], code: null });
  });
});

test.each(["throw", "reject", "late"])(
  "a handler that fails (%s) closes its socket with 1011, is logged, and harms no other",
  async (how) => {
    await withSocket("/fails", (bystander) =>
      withSocket("/fails", async (socket) => {
        await socket.send(text(how));
        await socket.client.waitFor("internal error");
        await socket.send(close(1011));
        expect(await socket.outcome()).toMatchObject({ code: 1011 });
        await hub.program.waitFor(
          how === "throw" ? "thrown by message" : how === "reject" ? "rejected by message" : "rejected late",
        );
        await bystander.send(text("you"));
        expect(await bystander.sync()).toEqual(["text:fine"]);
      }),
    );
  },
);

test("a silent client is pinged, and closed when it does not answer", async () => {
  await withSocket("/idle", async (socket) => {
    expect(await socket.waitForFrames(1)).toEqual(["ping:"]);
    expect((await socket.outcome()).frames).toEqual(["ping:"]);
    await hub.program.waitFor("idle closed 1006");
  });
});

test("a client that answers pings stays", async () => {
  await withSocket("/idle", async (socket) => {
    for (let pings = 1; pings <= 5; pings++) {
      await socket.waitForFrames(pings);
      await socket.send(pong());
    }
    await socket.send(text("still here"));
    expect(await socket.sync()).toContain("text:still here");
  });
});

test("a client that never reads: send says -1, then 0, memory is bounded, and drain comes when it reads", async () => {
  await withSocket("/flood", async (socket) => {
    await socket.send(text("memory"));
    const before = Number((await socket.waitForFrames(1))[0]?.slice(5));
    socket.client.pause();
    await socket.send(text("go"));
    await hub.program.waitFor(/flooded .*waiting true/);
    const told = /flooded (\{.*?\})/.exec(hub.program.output())?.[1] ?? "{}";
    const { sent, queued, dropped } = JSON.parse(told) as Record<string, number>;
    expect(queued).toBeGreaterThan(5);
    expect(dropped).toBeGreaterThan(1000);
    expect((sent ?? 0) + (queued ?? 0) + (dropped ?? 0)).toBe(2000);
    const rss = (): number =>
      Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${hub.program.pid}/status`, "utf8"))?.[1]) * 1024;
    await eventually(() => expect(rss() - before).toBeLessThan(60_000_000));
    socket.client.resume();
    await socket.client.waitFor("drained");
    await hub.program.waitFor("drained 0");
    const whole = socket.frames.filter((frame) => frame.length > 100_000);
    expect(whole.length).toBe((sent ?? 0) + (queued ?? 0));
  });
});

test("what waits for a slow client is not overwritten by what others are sent meanwhile", async () => {
  await withSocket("/numbered", (slow) =>
    withSocket("/echo", async (busy) => {
      slow.client.pause();
      await slow.send(text("1200"));
      for (let round = 0; round < 300; round++) {
        await busy.send(text("y".repeat(20_000)));
        await busy.sync();
        busy.clear();
      }
      slow.client.resume();
      const frames = await slow.waitForFrames(1200);
      expect(frames.map((frame) => Number(frame.slice(5).replaceAll(".", "")))).toEqual(
        Array.from({ length: 1200 }, (_, i) => i),
      );
    }),
  );
});

test("bytes that a module keeps stay as they were", async () => {
  await withSocket("/keep", async (socket) => {
    const parts = Array.from({ length: 40 }, (_, i) => Buffer.alloc(10_000 + i, i));
    for (const part of parts) await socket.send(Buffer.concat([binary(part), ping("x".repeat(100))]));
    await socket.send(binary(Buffer.alloc(5, 200)));
    await socket.send(text("all"));
    const frames = await socket.waitForFrames(41);
    const whole = Buffer.concat([...parts, Buffer.alloc(5, 200)]);
    expect(frames.at(-1) === `binary:${whole.toString("hex")}`).toBe(true);
  });
});

test("a client that sends pings and never reads is not remembered for each", async () => {
  await withSocket("/quiet", async (socket) => {
    socket.client.pause();
    const flood = Buffer.concat(Array.from({ length: 4000 }, () => ping("p".repeat(125))));
    for (let rest = Buffer.alloc(0), round = 0; round < 40; round++) {
      if (rest.length === 0) rest = flood;
      // The most that the kernel takes. A server that waits for its pongs to be taken reads no more, and then nothing
      // fits.
      rest = rest.subarray(socket.client.offer(rest));
      // A marker: the server has read all bytes before it that it reads.
      expect(await hub.ask("EVENTS\n")).toStartWith("[");
    }
    const rss = Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${hub.program.pid}/status`, "utf8"))?.[1]);
    expect(rss).toBeLessThan(300_000);
  });
  // The client above has megabytes of pongs before it, if it reads at all: a fresh one shows that others are served.
  await withSocket("/quiet", async (socket) => void (await socket.sync()));
});

test("publish reaches all but the one who publishes, and nobody who left", async () => {
  const sockets = [
    await RawWebSocket.open(hub.port, "/room"),
    await RawWebSocket.open(hub.port, "/room", "Sec-WebSocket-Extensions: permessage-deflate\r\n"),
    await RawWebSocket.open(hub.port, "/room"),
  ] as const;
  const [first, second, third] = sockets;
  try {
    const long = "news ".repeat(500);
    await first.send(text(long));
    expect(await first.waitForFrames(1)).toEqual([`text:reached ${long.length}`]);
    expect(await second.waitForFrames(1)).toEqual([`text:${long}`]);
    expect(await third.waitForFrames(1)).toEqual([`text:${long}`]);
    // Compressed for the one that can, as it is for the other.
    expect([second.raw[0]?.rsv, third.raw[0]?.rsv]).toEqual([4, 0]);
    await third.send(text("leave"));
    expect((await third.waitForFrames(2))[1]).toBe("text:left true false");
    second.close();
    await hub.ask("EVENTS\n");
    await first.send(text("anyone"));
    expect(await first.waitForFrames(2)).toContain("text:reached 0");
  } finally {
    for (const socket of sockets) socket.close();
  }
});

test("Bun's own client is served, with compression", async () => {
  const socket = new WebSocket(`ws://127.0.0.1:${hub.port}/echo`);
  const seen: unknown[] = [];
  const long = "lorem ipsum ".repeat(2000);
  socket.binaryType = "arraybuffer";
  const closed = new Promise<CloseEvent>((resolve) => (socket.onclose = resolve));
  socket.onopen = () => {
    socket.send(long);
    socket.send(new Uint8Array(100_000));
  };
  socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
    seen.push(typeof data === "string" ? data : data.byteLength);
    if (seen.length === 2) socket.close(4003, "thanks");
  };
  const { code, reason, wasClean } = await closed;
  expect({ seen, code, reason, wasClean }).toEqual({
    seen: [long, 100_000],
    code: 4003,
    reason: "thanks",
    wasClean: true,
  });
});

test("the ws client under node is served, with and without compression", async () => {
  const node = Bun.which("node");
  // Without node on the machine there is nothing that could run it.
  if (node === null) return;
  const script = resolve(import.meta.dir, "../../support/websocket-ws.mjs");
  const child = Bun.spawn([node, script, `ws://127.0.0.1:${hub.port}`], { stdout: "pipe", stderr: "pipe" });
  const [out, errors] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  expect(errors).toBe("");
  const talked = { seen: [5, 40_000, 300_000, 12, "pong p"], code: 4002, reason: "done", protocol: "" };
  expect(JSON.parse(out)).toEqual([
    { ...talked, extensions: "" },
    { ...talked, extensions: "permessage-deflate" },
    { ...talked, extensions: "permessage-deflate" },
    { seen: [], code: 4100, reason: "so be it", protocol: "mine", extensions: "permessage-deflate" },
  ]);
});

test("a server that shuts down says 1001 and ends, whether clients answer or not", async () => {
  await withHub(
    { "modules/echo.ts": moduleSource(`{ routes: { "/echo": { websocket: {} } } }`) },
    [],
    async (other) => {
      const [polite, silent] = [
        await RawWebSocket.open(other.port, "/echo"),
        await RawWebSocket.open(other.port, "/echo"),
      ];
      try {
        other.program.signal("SIGTERM");
        await polite.client.waitFor("the server shuts down");
        await polite.send(close(1001));
        expect(await polite.outcome()).toMatchObject({ code: 1001 });
        expect(await silent.outcome()).toMatchObject({ code: 1001 });
        expect(await other.program.exited).toBe(0);
      } finally {
        polite.close();
        silent.close();
      }
    },
  );
});
