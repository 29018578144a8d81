import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { Notifier, systemdForSuccessor, withoutSystemd } from "../../../src/supervise/takeover/notify";
import { noLibc, type NotifySocket, openNotifySocket } from "../../support/systemd-fixture";

const UNIT_ENVIRONMENT = {
  HOME: "/home/hrmr",
  NOTIFY_SOCKET: "/run/systemd/notify",
  WATCHDOG_USEC: "30000000",
  WATCHDOG_PID: "77",
  LISTEN_FDS: "1",
  LISTEN_PID: "77",
  LISTEN_FDNAMES: "http",
};

/** Runs `use` with a notify socket and a notifier for it; both are closed afterwards. */
async function withNotifier(
  use: (notifier: Notifier, socket: NotifySocket) => Promise<void> | void,
  { env = {}, isAbstract = false }: { env?: Record<string, string>; isAbstract?: boolean } = {},
): Promise<void> {
  const socket = openNotifySocket({ isAbstract });
  const warnings: string[] = [];
  const notifier = Notifier.fromEnvironment({ NOTIFY_SOCKET: socket.name, ...env }, (text) => warnings.push(text));
  try {
    await use(notifier, socket);
    expect(warnings).toEqual([]);
  } finally {
    notifier.close();
    socket.close();
  }
}

describe.skipIf(noLibc !== null)(`the notifier${noLibc === null ? "" : ` (${noLibc})`}`, () => {
  test.each([false, true])("reaches a path and an abstract name (abstract: %p)", async (isAbstract) => {
    await withNotifier(
      async (notifier, socket) => {
        expect(notifier.isActive).toBe(true);
        notifier.ready("2 modules: greet v1, http v1");
        expect(await socket.next()).toBe("READY=1\nSTATUS=2 modules: greet v1, http v1");
      },
      { isAbstract },
    );
  });

  test("a reload's beginning carries the time of the clock that systemd compares with", async () => {
    await withNotifier(async (notifier, socket) => {
      // Seconds since boot by the kernel, which is that clock but for time asleep.
      const uptimeUsec = () => Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]) * 1e6;
      const before = uptimeUsec();
      notifier.reloading();
      const usec = Number(/^RELOADING=1\nMONOTONIC_USEC=(\d+)$/.exec(await socket.next())?.[1]);
      // /proc/uptime has two digits behind the point.
      expect(usec).toBeGreaterThanOrEqual(before - 20_000);
      expect(usec).toBeLessThanOrEqual(uptimeUsec() + 20_000);
    });
  });

  test("tells the status, the end, the main process and that it takes longer", async () => {
    await withNotifier(async (notifier, socket) => {
      notifier.status("draining: 3 connections");
      notifier.stopping("draining");
      notifier.mainPid(4711);
      notifier.extendTimeout(1500.2);
      expect([await socket.next(), await socket.next(), await socket.next(), await socket.next()]).toEqual([
        "STATUS=draining: 3 connections",
        "STOPPING=1\nSTATUS=draining",
        "MAINPID=4711",
        "EXTEND_TIMEOUT_USEC=1500200",
      ]);
    });
  });

  test("a status cannot smuggle in an assignment, and is cut", async () => {
    await withNotifier(async (notifier, socket) => {
      notifier.status(`a module's name\nMAINPID=1\r\u001b[31m${"x".repeat(2000)}`);
      const message = await socket.next();
      expect(message.startsWith("STATUS=a module's name MAINPID=1 [31mxxx")).toBe(true);
      expect(message.length).toBe("STATUS=".length + 500);
    });
  });

  test("says that it lives at half of the interval, as long as it does", async () => {
    await withNotifier(
      async (notifier, socket) => {
        let isAlive = true;
        const asked = Promise.withResolvers<void>();
        notifier.startWatchdog(() => {
          if (!isAlive) asked.resolve();
          return isAlive;
        });
        expect(notifier.watchdogMs).toBe(20);
        const startedAt = performance.now();
        expect([await socket.next(), await socket.next(), await socket.next()]).toEqual([
          "WATCHDOG=1",
          "WATCHDOG=1",
          "WATCHDOG=1",
        ]);
        // The first at once, then two halves.
        expect(performance.now() - startedAt).toBeGreaterThan(15);
        isAlive = false;
        await asked.promise;
        notifier.close();
        notifier.status("marker");
        // One may have been under way when it died; after that there is silence.
        expect(await socket.waitFor(/^(?!WATCHDOG)/)).toBe("STATUS=marker");
      },
      { env: { WATCHDOG_USEC: "20000", WATCHDOG_PID: String(process.pid) } },
    );
  });

  test.each([
    ["another process", { WATCHDOG_USEC: "20000", WATCHDOG_PID: "1" }],
    ["nobody", {}],
    ["what is no number", { WATCHDOG_USEC: "soon" }],
  ] as [string, Record<string, string>][])("says nothing when the watchdog watches %s", async (_, env) => {
    await withNotifier(
      async (notifier, socket) => {
        notifier.startWatchdog(() => {
          throw new Error("nobody asks");
        });
        notifier.status("marker");
        expect(await socket.next()).toBe("STATUS=marker");
        expect(notifier.watchdogMs).toBe(0);
      },
      { env },
    );
  });

  test("a watchdog without a process id is meant for whoever reads it", async () => {
    await withNotifier((notifier) => expect(notifier.watchdogMs).toBe(30_000), { env: { WATCHDOG_USEC: "30000000" } });
  });

  test("a socket that nobody reads any more is warned of once and ends nothing", () => {
    const socket = openNotifySocket();
    const warnings: string[] = [];
    const notifier = Notifier.fromEnvironment({ NOTIFY_SOCKET: socket.name }, (text) => warnings.push(text));
    socket.close();
    notifier.ready("up");
    notifier.status("still up");
    notifier.close();
    expect(warnings).toEqual(['systemd was not reached: "READY=1" could not be sent to NOTIFY_SOCKET.']);
  });

  test("a status is lost, and not waited for, where systemd takes nothing more", async () => {
    const socket = openNotifySocket();
    const warnings: string[] = [];
    const notifier = Notifier.fromEnvironment({ NOTIFY_SOCKET: socket.name }, (text) => warnings.push(text));
    try {
      // Nobody reads meanwhile, and the kernel queues net.unix.max_dgram_qlen messages: some hundreds at most.
      for (let count = 0; count < 5000; count++) notifier.status(`number ${count}`);
      expect(warnings).toEqual([
        expect.stringMatching(/^systemd was not reached: "STATUS=number \d+" could not be sent/),
      ]);
      expect(await socket.next()).toBe("STATUS=number 0");
    } finally {
      notifier.close();
      socket.close();
    }
  });
});

test.each(["", "relative/path", "@", "vsock:2:1", `/${"x".repeat(120)}`])(
  "%p as NOTIFY_SOCKET tells nobody, and throws nothing",
  (name) => {
    const warnings: string[] = [];
    const notifier = Notifier.fromEnvironment({ NOTIFY_SOCKET: name, WATCHDOG_USEC: "20000" }, (text) =>
      warnings.push(text),
    );
    notifier.ready("up");
    notifier.reloading();
    notifier.startWatchdog(() => true);
    notifier.close();
    expect(notifier.isActive).toBe(false);
    expect(warnings.length).toBe(name === "" ? 0 : 1);
  },
);

test("a child process gets nothing of the unit, and all the rest", () => {
  expect(withoutSystemd(UNIT_ENVIRONMENT)).toEqual({ HOME: "/home/hrmr" });
  expect(UNIT_ENVIRONMENT.NOTIFY_SOCKET).toBe("/run/systemd/notify");
});

test("the process that takes over may speak to systemd, and owns no inherited descriptor", () => {
  expect(systemdForSuccessor(UNIT_ENVIRONMENT)).toEqual({
    HOME: "/home/hrmr",
    NOTIFY_SOCKET: "/run/systemd/notify",
    WATCHDOG_USEC: "30000000",
  });
  expect(Object.keys(systemdForSuccessor({ HOME: "/" }))).toEqual(["HOME"]);
});
