import { MYSQL } from "../../../src/store/backends/sql/mysql";
import { SqlBackend } from "../../../src/store/backends/sql/backend";
import type { StartedServer } from "../../support/store/database-server";
import { MARIADB_MISSING, startMariadb } from "../../support/store/mariadb";
import { describeBackend } from "../../support/store/suite";

let server: StartedServer;

describeBackend({
  name: "mysql",
  skipped: MARIADB_MISSING,
  start: async () => {
    server = await startMariadb();
  },
  stop: () => server.remove(),
  fresh: async () => {
    const url = await server.fresh();
    return { make: (options) => new SqlBackend(url, MYSQL, options), remove: () => {} };
  },
});
