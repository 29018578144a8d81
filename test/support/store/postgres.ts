/** A PostgreSQL server of one test file, in a folder of its own. */
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../free-port";
import { answers, ask, asPlainUser, type StartedServer } from "./database-server";

const ROOT = "/usr/lib/postgresql";

/** The folder of the newest version's programs. null: none is installed */
function programs(): string | null {
  if (!existsSync(ROOT)) return null;
  const versions = readdirSync(ROOT).map(Number).filter(Number.isInteger);
  const folder = join(ROOT, String(Math.max(...versions)), "bin");
  return existsSync(join(folder, "postgres")) ? folder : null;
}

/** Why PostgreSQL cannot run here. null: it can */
export const POSTGRES_MISSING = programs() === null ? "PostgreSQL is not installed (Debian: postgresql)" : null;

/** Its commits are on the disk, as tests of failures need it. */
export async function startPostgres(): Promise<StartedServer> {
  const bin = programs() as string;
  const folder = mkdtempSync(join(tmpdir(), "hrmr-postgres-"));
  const data = join(folder, "data");
  const made = ["-D", data, "-U", "hrmr", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"];
  await asPlainUser.run(folder, [join(bin, "initdb"), ...made]);
  writeFileSync(
    join(data, "pg_hba.conf"),
    "host all locked,mover all scram-sha-256\nhost all all all trust\nlocal all all trust\n",
  );
  const port = freePort();
  const url = `postgres://hrmr@127.0.0.1:${port}/postgres`;
  const settings = ["listen_addresses=127.0.0.1", "shared_buffers=16MB", "max_connections=50"];
  const command = [join(bin, "postgres"), "-D", data, "-k", folder, "-p", `${port}`];
  const begin = async (): Promise<Bun.Subprocess> => {
    const started = asPlainUser.start(folder, [...command, ...settings.flatMap((setting) => ["-c", setting])]);
    await answers(url, started);
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
      const schema = `store${++stores}`;
      await ask(url, `CREATE SCHEMA ${schema}`);
      return `${url}?max=2&search_path=${schema}`;
    },
    ask,
    stop: () => end("SIGINT"),
    kill: () => end("SIGKILL"),
    async start() {
      child = await begin();
    },
    async remove() {
      if (child.exitCode === null && child.signalCode === null) await end("SIGQUIT");
      rmSync(folder, { recursive: true });
    },
  };
}
