/** A reload reads the config file again only if it could have another content. */
import { expect, test } from "bun:test";
import { mkdirSync, renameSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { keepConfig } from "../../src/config/resolve/kept-config";
import { defaultOptions } from "../../src/config/options";
import { makeProject } from "../support/hub";
import { until } from "../support/until";

interface Reads {
  readonly dir: string;
  readonly env: Record<string, string>;
  /** Whether the next call reads the configuration again. */
  isRead(): Promise<boolean>;
}

async function withConfig(file: string | undefined, act: (reads: Reads) => Promise<void>): Promise<void> {
  const dir = makeProject({ "hrmr.json": "{}", "conf/other.json": "{}" });
  const env: Record<string, string> = {};
  let count = 0;
  const read = async () => {
    count++;
    return {
      options: defaultOptions(),
      file: null,
      origins: new Map<string, string>(),
      variables: new Map(),
      notes: [],
    };
  };
  const config = keepConfig(read, { env, cwd: dir, file });
  try {
    // Until the files are old enough for their times to tell a change, each call reads them.
    await until("the configuration to be kept", async () => {
      const before = count;
      await config();
      return count === before;
    });
    await act({
      dir,
      env,
      async isRead() {
        const before = count;
        await config();
        return count > before;
      },
    });
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

const CHANGES: [what: string, change: (dir: string, env: Record<string, string>) => void][] = [
  ["another content", (dir) => writeFileSync(join(dir, "hrmr.json"), '{"threads":1}')],
  ["a content of the same length", (dir) => writeFileSync(join(dir, "hrmr.json"), "[]")],
  [
    "a content of the same length, with the old time put back",
    (dir) => {
      const path = join(dir, "hrmr.json");
      const { atime, mtime } = statSync(path);
      writeFileSync(path, "[]");
      utimesSync(path, atime, mtime);
    },
  ],
  [
    "another file in its place",
    (dir) => {
      writeFileSync(join(dir, "new"), "{}");
      renameSync(join(dir, "new"), join(dir, "hrmr.json"));
    },
  ],
  [
    "a link in its place",
    (dir) => {
      rmSync(join(dir, "hrmr.json"));
      symlinkSync("conf/other.json", join(dir, "hrmr.json"));
    },
  ],
  ["a second config file", (dir) => writeFileSync(join(dir, "hrmr.toml"), "")],
  ["its removal", (dir) => rmSync(join(dir, "hrmr.json"))],
  ["a variable", (_, env) => (env["HRMR_THREADS"] = "2")],
  ["a variable that names another file", (_, env) => (env["HRMR_CONFIG"] = "conf/other.json")],
];

test.each(CHANGES)("it is kept while nothing changes, and read again after %s", (_, change) =>
  withConfig(undefined, async ({ dir, env, isRead }) => {
    expect(await isRead()).toBe(false);
    change(dir, env);
    expect(await isRead()).toBe(true);
    await until("it to be kept again", async () => !(await isRead()));
  }),
);

test("a file that a flag names counts, and its modules folder; hrmr.json does not", () =>
  withConfig("conf/other.json", async ({ dir, isRead }) => {
    writeFileSync(join(dir, "hrmr.json"), '{"threads":1}');
    expect(await isRead()).toBe(false);
    mkdirSync(join(dir, "conf/modules"));
    expect(await isRead()).toBe(true);
    await until("it to be kept again", async () => !(await isRead()));
    writeFileSync(join(dir, "conf/other.json"), "[]");
    expect(await isRead()).toBe(true);
  }));

test("a configuration that cannot be read is read again each time, and options are handed out as copies", async () => {
  const dir = makeProject({});
  let count = 0;
  const config = keepConfig(
    async () => {
      if (++count < 3) throw new Error(`read ${count}`);
      return { options: defaultOptions(), file: null, origins: new Map(), variables: new Map(), notes: [] };
    },
    { env: {}, cwd: dir, file: undefined },
  );
  await expect(config()).rejects.toThrow("read 1");
  await expect(config()).rejects.toThrow("read 2");
  const first = await config();
  const second = await config();
  expect(count).toBe(3);
  first.options.timeouts.drainMs = 1;
  expect(second.options).toEqual(defaultOptions());
  expect((await config()).options).toEqual(defaultOptions());
  rmSync(dir, { recursive: true, force: true });
});
