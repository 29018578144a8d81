import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defaultOptions } from "../../src/config/options";
import { couldMakeFolder, fallbackStateDir, findFolders, findState } from "../../src/server/folders";
import { type Hub, makeProject, moduleSource, withHub } from "../support/hub";
import { program, runProgram } from "../support/program";

/** Every file, folder and socket below a folder that another user could do something with: "0644 lock". */
function openEntries(folder: string): string[] {
  return ["", ...(readdirSync(folder, { recursive: true }) as string[])]
    .map((name) => [name, lstatSync(join(folder, name))] as const)
    .filter(([, stats]) => !stats.isSymbolicLink() && (stats.mode & 0o077) !== 0)
    .map(([name, stats]) => `${(stats.mode & 0o777).toString(8).padStart(4, "0")} ${name}`);
}

const KEEPS = `setup: (context) => { require("node:fs").writeFileSync(context.dataDir + "/kept", "secret", { mode: 0o600 }); },`;

const MODULES = {
  "modules/inline.ts": moduleSource(`{ ${KEEPS} routes: { "INLINE": () => "1\\n" } }`),
  "modules/pooled.ts": moduleSource(`{ ${KEEPS} routes: { "POOL": { run: "pool", handle: () => "1\\n" } } }`),
  "modules/apart.ts": moduleSource(`{ ${KEEPS} routes: { "APART": { run: "process", handle: () => "1\\n" } } }`),
};

async function hrmr(hub: Hub, ...args: string[]): Promise<void> {
  const { exitCode, stdout, stderr } = await runProgram(args, { cwd: hub.dir });
  expect(`${exitCode} ${exitCode === 0 ? "" : stdout + stderr}`).toBe("0 ");
}

describe("whatever the umask", () => {
  let umask = 0;
  beforeAll(() => void (umask = process.umask(0)));
  afterAll(() => void process.umask(umask));

  for (const processes of ["1", "2"]) {
    test(`all files of a server of ${processes} are its user's alone`, async () => {
      const args = ["--processes", processes, "--pid-file", "hrmr.pid"];
      await withHub(MODULES, args, async (hub) => {
        hub.write("next/inline.ts", moduleSource('{ routes: { "INLINE": () => "2\\n" } }'));
        await hrmr(hub, "push", "next/inline.ts");
        await hrmr(hub, "rollback", "inline");
        expect(await hub.ask("INLINE")).toBe("1\n");
        expect(await hub.ask("POOL")).toBe("1\n");
        expect(await hub.ask("APART")).toBe("1\n");
        expect(openEntries(join(hub.dir, ".hrmr"))).toEqual([]);
        // Others may see which process it is.
        expect(lstatSync(join(hub.dir, "hrmr.pid")).mode & 0o777).toBe(0o644);
      });
    });
  }

  test("so are the files of a server in the background", async () => {
    const dir = makeProject(MODULES);
    try {
      await hrmrIn(dir, "start", "-d", "--port", "0");
      await hrmrIn(dir, "stop");
      expect(readdirSync(join(dir, ".hrmr"))).toContain("hrmr.log");
      expect(openEntries(join(dir, ".hrmr"))).toEqual([]);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  async function hrmrIn(dir: string, ...args: string[]): Promise<void> {
    const { exitCode, stdout, stderr } = await runProgram(args, { cwd: dir });
    expect(`${exitCode} ${exitCode === 0 ? "" : stdout + stderr}`).toBe("0 ");
  }
});

test("a state folder that an older version left open is closed, with a line that says so", async () => {
  const dir = makeProject(MODULES);
  const state = join(dir, ".hrmr");
  mkdirSync(join(state, "data", "old"), { recursive: true });
  writeFileSync(join(state, "data", "old", "users"), "secret");
  writeFileSync(join(state, "lock"), "");
  for (const folder of [state, join(state, "data"), join(state, "data", "old")]) chmodSync(folder, 0o755);
  for (const file of ["data/old/users", "lock"]) chmodSync(join(state, file), 0o644);
  try {
    const { stdout } = await runProgram(["start", "-d", "--port", "0"], { cwd: dir });
    await runProgram(["stop"], { cwd: dir });
    expect(stdout).toContain(`${state} was open to other users (its mode was 0755): it is closed to them now.`);
    expect(openEntries(state)).toEqual([]);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

const canBeAnother = process.getuid?.() === 0 && Bun.which("setpriv") !== null && Bun.which("flock") !== null;

test.skipIf(!canBeAnother)(
  "another user cannot hold the lock: it needs root, setpriv and flock to be tried",
  async () => {
    const dir = makeProject(MODULES);
    chmodSync(dir, 0o755);
    try {
      const child = Bun.spawn([...program(), "start", "--port", "0"], { cwd: dir, stdout: "pipe", stderr: "ignore" });
      await child.stdout.getReader().read();
      const other = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
      const stranger = Bun.spawn([...other, "flock", "-n", join(dir, ".hrmr", "lock"), "true"], { stderr: "pipe" });
      expect(await stranger.exited).not.toBe(0);
      expect(await stranger.stderr.text()).toContain("Permission denied");
      child.kill("SIGKILL");
      await child.exited;
    } finally {
      rmSync(dir, { recursive: true });
    }
  },
);

test("a folder that every user may write to is no state folder", () => {
  const dir = mkdtempSync(join(tmpdir(), "hrmr-shared-"));
  try {
    chmodSync(dir, 0o1777);
    expect(refusal(() => findFolders({ ...defaultOptions(), stateDir: dir }))).toBe(
      `STATE_SHARED The state folder ${dir} cannot be used: every user may write to it. Name a folder of this server's own: --state ${dir}/hrmr`,
    );
    expect(lstatSync(dir).mode & 0o7777).toBe(0o1777);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

describe("the state folder in the temporary folder", () => {
  let base: string;
  let place: string;
  beforeAll(() => {
    base = mkdtempSync(join(tmpdir(), "hrmr-base-"));
    place = fallbackStateDir(base);
  });
  afterAll(() => rmSync(base, { recursive: true, force: true }));

  /** The project's own folder cannot be written. */
  function find(make: (dir: string) => void): string {
    return refusal(() =>
      findState({ ...defaultOptions(), modulesDir: join(base, "modules") }, [], (dir) => {
        if (dir === join(base, ".hrmr")) throw new Error("read-only");
        make(dir);
      }),
    );
  }

  test.each([
    ["a link", () => symlinkSync(base, place), "is a symbolic link"],
    ["a link to nowhere", () => symlinkSync(join(base, "nowhere"), place), "is a symbolic link"],
    ["a file", () => writeFileSync(place, ""), "is not a folder"],
    ["open to others", () => (mkdirSync(place), chmodSync(place, 0o755)), "is open to other users (its mode is 0755)"],
  ])("is refused where somebody else may have put it: %s", (_, prepare, why) => {
    prepare();
    try {
      for (const make of [couldMakeFolder, () => undefined]) {
        expect(find(make)).toBe(
          `STATE_FOREIGN The state folder ${place} ${why}. Remove it, or name another folder with --state DIR.`,
        );
      }
      expect(readdirSync(base)).toEqual([]);
    } finally {
      rmSync(place, { recursive: true });
    }
  });

  test("is refused when a link takes its place just as it is made", () => {
    const text = find((dir) => symlinkSync(base, dir));
    rmSync(place);
    expect(text).toContain("is a symbolic link");
  });

  test("is taken when it is this user's own, and closed", () => {
    mkdirSync(place, { mode: 0o700 });
    try {
      expect(find(() => undefined)).toBe(place);
    } finally {
      rmSync(place, { recursive: true });
    }
  });
});

function refusal(act: () => unknown): string {
  try {
    return String(act());
  } catch (error) {
    const { code, message, hint } = error as { code: string; message: string; hint: string };
    return `${code} ${message} ${hint}`;
  }
}
