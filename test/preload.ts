/**
 * Runs before the test files: modules under test import from "hrmr" as they do in a server, and no test is cut by Bun's
 * 5 s.
 */
import { plugin } from "bun";
import { registerHrmrModule } from "../src/module/api";

/**
 * For each test, in milliseconds. Each wait within a test has its own deadline and says what it waited for
 * (test/support/until.ts). This is the last resort against a test that hangs without one, so it is far above what a
 * loaded machine needs. `npm run test:long` sets HRMR_TEST_MS.
 */
const TEST_MS = Number(process.env["HRMR_TEST_MS"] ?? 120_000);

// bunfig.toml has no such setting, and a call of setDefaultTimeout in here holds for the first file only: each file is
// given the call. It stands on the file's first line, so that line numbers stay right.
const CALL = `import { setDefaultTimeout as limitTests } from "bun:test"; limitTests(${TEST_MS}); `;
plugin({
  name: "the time of a test",
  setup: (build) => {
    build.onLoad({ filter: /\.test\.ts$/ }, async ({ path }) => ({
      contents: CALL + (await Bun.file(path).text()),
      loader: "ts",
    }));
  },
});

registerHrmrModule();
