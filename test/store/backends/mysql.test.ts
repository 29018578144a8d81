import { SqlBackend } from "../../../src/store/backends/sql/backend";
import { MYSQL } from "../../../src/store/backends/sql/mysql";
import { MARIADB_MISSING, startMariadb } from "../../support/store/mariadb";
import { describeServer, shareServer } from "../../support/store/server-suite";
import { describeBackend } from "../../support/store/suite";

const server = shareServer(startMariadb);

describeBackend({
  name: "mysql",
  skipped: MARIADB_MISSING,
  fresh: async () => {
    const url = await (await server()).fresh();
    return { make: (options) => new SqlBackend(url, MYSQL, options), remove: () => {} };
  },
});

describeServer({
  name: "mysql",
  skipped: MARIADB_MISSING,
  server,
  makeUser: (name, password) => [`CREATE USER ${name} IDENTIFIED BY '${password}'`, `GRANT ALL ON *.* TO ${name}`],
});
