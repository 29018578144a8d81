import { expect, test } from "bun:test";
import { SqlBackend } from "../../../src/store/backends/sql/backend";
import { POSTGRES } from "../../../src/store/backends/sql/postgres";
import { openBackend } from "../../../src/store/backends/open";
import { POSTGRES_MISSING, startPostgres } from "../../support/store/postgres";
import { describeServer, shareServer } from "../../support/store/server-suite";
import { backendOptions, set, write } from "../../support/store/subject";
import { describeBackend } from "../../support/store/suite";

const server = shareServer(startPostgres);

describeBackend({
  name: "postgres",
  skipped: POSTGRES_MISSING,
  fresh: async () => {
    const url = await (await server()).fresh();
    return { make: (options) => new SqlBackend(url, POSTGRES, options), remove: () => {} };
  },
});

describeServer({
  name: "postgres",
  skipped: POSTGRES_MISSING,
  server,
  makeUser: (name, password) => [`CREATE ROLE ${name} LOGIN SUPERUSER PASSWORD '${password}'`],
});

test.skipIf(POSTGRES_MISSING !== null)("a PostgreSQL of this machine is reached by its socket", async () => {
  const { folder, fresh } = await server();
  const { port, searchParams } = new URL(await fresh());
  const schema = searchParams.get("search_path") ?? "";
  const backend = openBackend(
    `postgres://hrmr@localhost:${port}/postgres?host=${encodeURIComponent(folder)}&search_path=${schema}`,
    backendOptions(),
  );
  await backend.open();
  await write(backend, set("a", 1));
  const rows = await backend.sql({ parts: ["SELECT inet_client_addr() AS address"], values: [] });
  expect(rows).toEqual([{ address: null }]);
  await backend.close();
});
