import { SqlBackend } from "../../../src/store/backends/sql/backend";
import { POSTGRES } from "../../../src/store/backends/sql/postgres";
import type { StartedServer } from "../../support/store/database-server";
import { POSTGRES_MISSING, startPostgres } from "../../support/store/postgres";
import { describeBackend } from "../../support/store/suite";

let server: StartedServer;

describeBackend({
  name: "postgres",
  skipped: POSTGRES_MISSING,
  start: async () => {
    server = await startPostgres();
  },
  stop: () => server.remove(),
  fresh: async () => {
    const url = await server.fresh();
    return { make: (options) => new SqlBackend(url, POSTGRES, options), remove: () => {} };
  },
});
