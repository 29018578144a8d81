import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SqliteBackend } from "../../../src/store/backends/sqlite/sqlite";
import { describeBackend } from "../../support/store/suite";

describeBackend({
  name: "sqlite",
  skipped: null,
  fresh: () => {
    const folder = mkdtempSync(join(tmpdir(), "hrmr-sqlite-"));
    return {
      make: (options) => new SqliteBackend(join(folder, "hub.sqlite"), options),
      remove: () => rmSync(folder, { recursive: true }),
    };
  },
});
