/** A MariaDB server of one test file, in a folder of its own. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../free-port";
import { answers, ask, asPlainUser, type StartedServer } from "./database-server";

// It is in a folder that is not in everybody's PATH.
const program = Bun.which("mariadbd", { PATH: `${process.env["PATH"]}:/usr/sbin` });
const installer = Bun.which("mariadb-install-db");

/** Why MariaDB cannot run here. null: it can */
export const MARIADB_MISSING =
  program === null || installer === null ? "MariaDB is not installed (Debian: mariadb-server)" : null;

/** Its commits are on the disk, as tests of failures need it. */
export async function startMariadb(): Promise<StartedServer> {
  const folder = mkdtempSync(join(tmpdir(), "hrmr-mariadb-"));
  const data = join(folder, "data");
  const small = ["--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M", "--performance-schema=off"];
  await asPlainUser.run(folder, [
    installer as string,
    "--no-defaults",
    `--datadir=${data}`,
    "--auth-root-authentication-method=normal",
    "--skip-test-db",
    "--skip-name-resolve",
    ...small,
  ]);
  const port = freePort();
  const url = (database: string): string => `mysql://root@127.0.0.1:${port}/${database}`;
  const settings = [
    "--no-defaults",
    `--datadir=${data}`,
    `--socket=${join(folder, "socket")}`,
    `--pid-file=${join(folder, "pid")}`,
    `--port=${port}`,
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    ...small,
  ];
  const begin = async (): Promise<Bun.Subprocess> => {
    const started = asPlainUser.start(folder, [program as string, ...settings]);
    await answers(url("mysql"), started);
    return started;
  };
  let child = await begin();
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    child.kill(signal);
    await child.exited;
  };
  let stores = 0;
  return {
    folder,
    async fresh() {
      const database = `store${++stores}`;
      await ask(url("mysql"), `CREATE DATABASE ${database}`);
      return `${url(database)}?max=2`;
    },
    ask,
    stop: () => end("SIGTERM"),
    kill: () => end("SIGKILL"),
    async start() {
      child = await begin();
    },
    async remove() {
      if (child.exitCode === null && child.signalCode === null) await end("SIGKILL");
      rmSync(folder, { recursive: true });
    },
  };
}
