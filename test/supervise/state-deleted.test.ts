/** The state folder may be deleted, and modules' data lies elsewhere. */
import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defaultOptions } from "../../src/config/options";
import { type Folders, findFolders } from "../../src/server/folders";
import { moveData } from "../../src/supervise/data-move";
import type { Holdings } from "../../src/supervise/takeover/holdings";
import { lockFile } from "../../src/supervise/takeover/lock";
import { StateKeeper } from "../../src/supervise/state-keeper";
import { callProgram } from "../support/call-program";
import { type Hub, makeProject, moduleSource, shareHub, withHub } from "../support/hub";
import { runProgram } from "../support/program";
import { eventually, until } from "../support/until";

/** COUNT tells how often it was asked in all, by a file in its data folder. */
const COUNTER = moduleSource(`{
  routes: { "COUNT": (message, context) => {
    const fs = require("node:fs");
    const file = context.dataDir + "/count";
    const count = (fs.existsSync(file) ? Number(fs.readFileSync(file, "utf8")) : 0) + 1;
    fs.writeFileSync(file, String(count));
    return count + "\\n";
  } },
}`);

const MODULES = {
  "modules/counter2.ts": COUNTER,
  "modules/pooled.ts": moduleSource('{ routes: { "POOL": { run: "pool", handle: () => "pool\\n" } } }'),
  "modules/apart.ts": moduleSource('{ routes: { "APART": { run: "process", handle: () => "process\\n" } } }'),
};

async function hrmr(dir: string, ...args: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await runProgram(args, { cwd: dir });
  return `${exitCode} ${stdout}${stderr}`;
}

async function isWhole(hub: Hub): Promise<void> {
  const state = join(hub.dir, ".hrmr");
  await until("the state folder to be whole again", () => existsSync(join(state, "approved.json")));
  await eventually(async () => expect((await callProgram(["status"], { cwd: hub.dir })).exitCode).toBe(0));
  // What keeps a second server from starting.
  expect(lockFile(join(state, "lock"))).toMatchObject({ holder: `pid ${hub.program.pid}` });
  expect(readdirSync(state)).toContain("README");
}

for (const processes of ["1", "2"]) {
  test(`a server of ${processes} whose state folder is deleted goes on, and gets new lock, socket and shipped modules`, async () => {
    await withHub(MODULES, ["--processes", processes], async (hub) => {
      expect(await hub.ask("COUNT")).toBe("1\n");
      rmSync(join(hub.dir, ".hrmr"), { recursive: true });
      expect(await hub.ask("RELOAD")).toStartWith("OK ");
      expect(await (await fetch(hub.url)).text()).toContain("<html");
      await hub.program.waitFor("was deleted and is made again, with lock and control socket.");
      await isWhole(hub);
      expect([await hub.ask("COUNT"), await hub.ask("POOL"), await hub.ask("APART")]).toEqual([
        "2\n",
        "pool\n",
        "process\n",
      ]);
      hub.write("next/pooled.ts", moduleSource('{ routes: { "POOL": { run: "pool", handle: () => "pushed\\n" } } }'));
      expect(await hrmr(hub.dir, "push", "next/pooled.ts")).toStartWith("0 ");
      expect(await hub.ask("POOL")).toBe("pushed\n");
      expect(await hrmr(hub.dir, "stop")).toStartWith("0 hrmr has stopped");
      expect(readFileSync(join(hub.dir, "data/counter2/count"), "utf8")).toBe("2");
    });
  });
}

const whole = shareHub(MODULES);

test.each(["control.sock", "lock", "shipped", "static_html"])("%s alone is made again too", async (name) => {
  await whole(async (hub) => {
    rmSync(join(hub.dir, ".hrmr", name), { recursive: true });
    await hub.program.waitFor("Files were deleted from the state folder");
    expect(existsSync(join(hub.dir, ".hrmr", name))).toBe(true);
    await isWhole(hub);
    expect(await (await fetch(hub.url)).text()).toContain("<html");
  });
});

test("a pid file that is deleted is there again", async () => {
  await withHub(MODULES, ["--pid-file", "hrmr.pid"], async (hub) => {
    rmSync(join(hub.dir, "hrmr.pid"));
    await until(
      "the pid file",
      () => existsSync(join(hub.dir, "hrmr.pid")) && readFileSync(join(hub.dir, "hrmr.pid"), "utf8") !== "",
    );
    expect(readFileSync(join(hub.dir, "hrmr.pid"), "utf8")).toBe(`${hub.program.pid}\n`);
  });
});

test("with another server in its state folder by then, it goes on and says so once", async () => {
  await withHub(MODULES, [], async (hub) => {
    const state = join(hub.dir, ".hrmr");
    rmSync(state, { recursive: true });
    mkdirSync(state, { mode: 0o700 });
    const lock = lockFile(join(state, "lock"));
    const says = `could not be made again: Cannot start: a server (pid ${process.pid}) runs with the state folder`;
    await hub.program.waitFor(says);
    expect(await hub.ask("COUNT")).toBe("1\n");
    if (!("holder" in lock)) lock.release();
    await hub.program.waitFor("Files were deleted from the state folder");
    expect(hub.program.output().split(says)).toHaveLength(2);
  });
});

test("a project that is deleted as a whole does not come back", async () => {
  const modules = Object.fromEntries(Object.entries(MODULES).map(([path, text]) => [`gone/${path}`, text]));
  await withHub(modules, ["--modules", "gone/modules"], async (hub) => {
    rmSync(join(hub.dir, "gone"), { recursive: true });
    await hub.program.waitFor(`there is no control socket any more. Stop this server with \`kill ${hub.program.pid}\``);
    expect(existsSync(join(hub.dir, "gone"))).toBe(false);
    expect(await hub.ask("POOL")).toBe("pool\n");
  });
});

describe("modules' data", () => {
  test("lies beside the modules, for this user alone", async () => {
    const umask = process.umask(0);
    try {
      await withHub(MODULES, [], async (hub) => {
        expect(await hub.ask("COUNT")).toBe("1\n");
        for (const folder of ["data", "data/counter2"])
          expect(statSync(join(hub.dir, folder)).mode & 0o777).toBe(0o700);
        expect(readFileSync(join(hub.dir, ".hrmr/README"), "utf8")).toContain("may be deleted");
      });
    } finally {
      process.umask(umask);
    }
  });

  test("of an older version is moved there once, with a line that says so", async () => {
    const dir = makeProject({ ...MODULES, ".hrmr/data/counter2/count": "41", ".hrmr/data/gone/kept": "x" });
    try {
      const first = await hrmr(dir, "start", "-d", "--port", "0");
      expect(first).toContain(
        `The data of counter2, gone was moved from ${dir}/.hrmr/data to ${dir}/data, where it is kept from now on.`,
      );
      await hrmr(dir, "stop");
      expect([existsSync(join(dir, ".hrmr/data")), readFileSync(join(dir, "data/gone/kept"), "utf8")]).toEqual([
        false,
        "x",
      ]);
      const second = await hrmr(dir, "start", "-d", "--port", "0");
      expect(second).not.toContain("moved");
      await hrmr(dir, "stop");
      expect(readFileSync(join(dir, "data/counter2/count"), "utf8")).toBe("41");
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  test("that is in both places is used in the data folder, and the old copy stays", async () => {
    const files = { ...MODULES, ".hrmr/data/counter2/count": "41", "data/counter2/count": "7" };
    await withHub(files, [], async (hub) => {
      await hub.program.waitFor(`.hrmr/data still holds data of counter2`);
      expect(await hub.ask("COUNT")).toBe("8\n");
      expect(readFileSync(join(hub.dir, ".hrmr/data/counter2/count"), "utf8")).toBe("41");
    });
  });

  test("lies where --data or dataDir says", async () => {
    await withHub({ ...MODULES, "hrmr.json": '{ "dataDir": "from/file" }' }, ["--data", "from/flag"], async (hub) => {
      expect(await hub.ask("COUNT")).toBe("1\n");
      expect([existsSync(join(hub.dir, "from/flag/counter2/count")), existsSync(join(hub.dir, "from/file"))]).toEqual([
        true,
        false,
      ]);
    });
    await withHub({ ...MODULES, "hrmr.json": '{ "dataDir": "from/file" }' }, [], async (hub) => {
      expect(await hub.ask("COUNT")).toBe("1\n");
      expect(existsSync(join(hub.dir, "from/file/counter2/count"))).toBe(true);
    });
  });

  const find = (dir: string, env: Record<string, string>) =>
    findFolders({ ...defaultOptions(), modulesDir: join(dir, "modules"), stateDir: join(dir, "state") }, env).dataDir;

  test("lies in the state directory of a systemd unit, where an older version kept it too", () => {
    const dir = makeProject(MODULES);
    expect(find(dir, { STATE_DIRECTORY: "/var/lib/hrmr:/var/lib/b" })).toBe("/var/lib/hrmr/data");
    expect(find(dir, {})).toBe(join(dir, "data"));
    rmSync(dir, { recursive: true });
  });

  test("lies in the state folder where the project's cannot be made", () => {
    const dir = makeProject({ ...MODULES, data: "a file" });
    expect(find(dir, {})).toBe(join(dir, "state/data"));
    rmSync(dir, { recursive: true });
  });

  test("goes to another file system whole, with links and times", () => {
    const from = mkdtempSync(join(tmpdir(), "hrmr-data-"));
    const memory = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
    const to = join(mkdtempSync(join(memory, "hrmr-data-")), "data");
    mkdirSync(join(from, "m/deep"), { recursive: true });
    writeFileSync(join(from, "m/deep/file"), "text");
    chmodSync(join(from, "m"), 0o700);
    expect(moveData(from, to)).toEqual({ moved: ["m"], left: [] });
    expect([readdirSync(to), readFileSync(join(to, "m/deep/file"), "utf8"), existsSync(from)]).toEqual([
      ["m"],
      "text",
      false,
    ]);
    expect(moveData(from, to)).toEqual({ moved: [], left: [] });
    rmSync(join(to, ".."), { recursive: true });
  });
});

test("a look that is under way is over before the control socket is left to a new process, and none follows", async () => {
  const dir = mkdtempSync(join(tmpdir(), "hrmr-keeper-"));
  let opened = 0;
  const opening = Promise.withResolvers<void>();
  const socket = { path: "", isInPlace: () => false, close: async () => {}, retire: () => {} };
  const keeper = new StateKeeper({
    ...quietState(dir),
    control: () => socket,
    openControl: () => {
      opened++;
      return opening.promise;
    },
  });
  try {
    keeper.begin();
    await until("the keeper opens the socket anew", () => opened === 1);
    let isPaused = false;
    const paused = keeper.pause().then(() => (isPaused = true));
    await new Promise((resolve) => setImmediate(resolve));
    expect(isPaused).toBe(false);
    opening.resolve();
    await paused;
    // A marker: another keeper's first look, which begins to wait later.
    let looks = 0;
    const marker = new StateKeeper({
      ...quietState(dir),
      control: () => ({ ...socket, isInPlace: () => ++looks > 0 }),
    });
    marker.begin();
    await until("another keeper has looked twice", () => looks > 1);
    marker.close();
    expect(opened).toBe(1);
  } finally {
    keeper.close();
    rmSync(dir, { recursive: true });
  }
});

function quietState(dir: string): ConstructorParameters<typeof StateKeeper>[0] {
  return {
    folders: { stateDir: join(dir, ".hrmr"), staticDir: dir } as Folders,
    options: { modules: {} },
    holdings: { areLocksInPlace: () => true, renewLocks: () => {} } as unknown as Holdings,
    log: { warn: () => {}, error: () => {} },
    control: () => null,
    openControl: async () => {},
    renewed: async () => {},
  };
}
