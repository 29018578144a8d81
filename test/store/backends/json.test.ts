import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { JsonBackend } from "../../../src/store/backends/json/backend";
import { describeBackend } from "../../support/store/suite";

describeBackend({
  name: "json",
  skipped: null,
  fresh: () => {
    const folder = mkdtempSync(join(tmpdir(), "hrmr-json-"));
    return {
      make: (options) => new JsonBackend(join(folder, "hub.json"), options),
      remove: () => rmSync(folder, { recursive: true }),
    };
  },
});
