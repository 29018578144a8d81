/** Runs before every test file: modules under test import from "hrmr" as they do in a server. */
import { registerHrmrModule } from "../src/module/api";

registerHrmrModule();
