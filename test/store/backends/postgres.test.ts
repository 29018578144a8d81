import { SqlBackend } from "../../../src/store/backends/sql/backend";
import { POSTGRES } from "../../../src/store/backends/sql/postgres";
import { POSTGRES_MISSING, startPostgres } from "../../support/store/postgres";
import { describeServer, shareServer } from "../../support/store/server-suite";
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
