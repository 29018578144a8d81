/** Runs before every test file: modules under test import from "hrmr" as they do in a server, and no test is cut by Bun's 5 s. */
import { setDefaultTimeout } from "bun:test";
import { registerHrmrModule } from "../src/module/api";

// Each wait within a test has its own deadline and says what it waited for (test/support/until.ts). This is the last resort
// against a test that hangs without one, so it is far above what a loaded machine needs.
setDefaultTimeout(120_000);

registerHrmrModule();
