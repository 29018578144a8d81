/** A database server of one test file. */
import { chownSync } from "node:fs";

export interface StartedServer {
  /** Its folder; that of its socket, too. */
  readonly folder: string;
  /** A database without tables. @returns its URL */
  fresh(): Promise<string>;
  /** Runs statements on it, past the store. */
  ask(url: string, sql: string): Promise<readonly Record<string, unknown>[]>;
  /** Ends it cleanly. */
  stop(): Promise<void>;
  /** As a power failure of the program does: SIGKILL. */
  kill(): Promise<void>;
  /** After `stop` or `kill`, on the same port. Resolves when it answers. */
  start(): Promise<void>;
  /** Ends it, and removes its folder. */
  remove(): Promise<void>;
}

/** On a loaded machine. In milliseconds. */
const START_MS = 120_000;
const POLL_MS = 100;
const NOBODY = 65_534;
const isRoot = process.getuid?.() === 0;

/** Database servers refuse to run as root: tests that do start them as nobody. */
export const asPlainUser = {
  /** @param folder it gets the user's */
  start(folder: string, command: readonly string[]): Bun.Subprocess {
    if (isRoot) chownSync(folder, NOBODY, NOBODY);
    const user = ["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"];
    return Bun.spawn([...(isRoot ? user : []), ...command], {
      cwd: folder,
      stdout: Bun.file(`${folder}/log`),
      stderr: Bun.file(`${folder}/errors`),
      env: { PATH: process.env["PATH"] ?? "", HOME: folder, LC_ALL: "C" },
    });
  },

  /** @throws Error with its output */
  async run(folder: string, command: readonly string[]): Promise<void> {
    const child = asPlainUser.start(folder, command);
    if ((await child.exited) === 0) return;
    const output = (await Bun.file(`${folder}/log`).text()) + (await Bun.file(`${folder}/errors`).text());
    throw new Error(`${command[0]} failed: ${output}`);
  },
};

/** Runs statements on a connection of their own. */
export async function ask(url: string, sql: string): Promise<readonly Record<string, unknown>[]> {
  const client = new Bun.SQL(url, { max: 1 });
  try {
    return [...((await client.unsafe(sql)) as Record<string, unknown>[])];
  } finally {
    await client.close({ timeout: 0 });
  }
}

/** Resolves when a server that was started answers. After a crash it repairs its files first. */
export async function answers(url: string, child: Bun.Subprocess): Promise<void> {
  for (const end = performance.now() + START_MS; ;) {
    try {
      await ask(url, "SELECT 1");
      return;
    } catch (cause) {
      const { exitCode } = child;
      if (exitCode !== null) throw new Error(`The database server ended with ${exitCode}`, { cause });
      if (performance.now() > end) throw new Error("The database server does not answer", { cause });
      await Bun.sleep(POLL_MS);
    }
  }
}
